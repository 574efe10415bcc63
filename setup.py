"""The rooms lie at the root of the repository, and inside `heteroshards` once installed. See also pyproject.toml."""

from setuptools import find_packages, setup

ROOMS = ("schemas", "pipeline", "trainer")
PACKAGES = find_packages(include=[pattern for room in ROOMS for pattern in (room, f"{room}.*")])

setup(
    packages=["heteroshards", *(f"heteroshards.{name}" for name in PACKAGES)],
    package_dir={"heteroshards": "heteroshards", **{f"heteroshards.{room}": room for room in ROOMS}},
)
