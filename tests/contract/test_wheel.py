"""What is installed says of itself that it is typed."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from setuptools.build_meta import build_wheel; print(build_wheel(sys.argv[1]))"


def test_a_wheel_has_a_marker_of_types_in_each_package_and_all_modules(tmp_path):
    source = tmp_path / "source"
    ignored = shutil.ignore_patterns("__pycache__")
    for room in ("schemas", "pipeline", "trainer"):
        shutil.copytree(ROOT / room, source / room, ignore=ignored)
    shutil.copy(ROOT / "pyproject.toml", source)
    for beside in ("README.md", "LICENSE"):
        if (ROOT / beside).exists():
            shutil.copy(ROOT / beside, source)
    subprocess.run([sys.executable, "-c", BUILD, str(tmp_path)], cwd=source, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    for room in ("schemas", "pipeline", "trainer"):
        assert any(name.endswith(f"{room}/py.typed") for name in names)
        for path in (ROOT / room).rglob("*.py"):
            assert any(name.endswith(path.relative_to(ROOT).as_posix()) for name in names)
