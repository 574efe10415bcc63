"""The versions of what decides the bytes of a store, apart from data and config. They are part of its fingerprint.

Raise a number when a change of those modules changes a tensor of any store: stores prepared before are then made anew,
instead of being taken for what they no longer are. `tests/pipeline/test_versions.py` fails where one of them changes
and no number does, until `python -m tests.pipeline.test_versions` has recorded that stores stay what they are.
"""

from typing import NamedTuple


class Deciding(NamedTuple):
    """A version, and the modules of `pipeline` that it stands for."""

    version: int
    modules: tuple[str, ...]


DECIDING = {
    "sampling": Deciding(
        1,
        (
            "graph.csc",
            "sampling.batches",
            "sampling.draws",
            "sampling.kernels",
            "sampling.neighbor",
            "sampling.rng",
            "sampling.tree_kernels",
            "sampling.trees",
            "sampling.trimming_kernels",
            "sampling.whole",
        ),
    ),
    "grouping": Deciding(
        2,
        (
            "grouping.contribution_kernels",
            "grouping.contributions",
            "grouping.groups",
            "grouping.kernels",
            "grouping.split_plan",
        ),
    ),
    "sizing": Deciding(
        2,
        (
            "sizing.budgets",
            "sizing.certificate",
            "sizing.counting",
            "sizing.fitting",
            "sizing.shape_classes",
            "sizing.sharing",
        ),
    ),
    "writing": Deciding(2, ("writing.batch_options", "writing.encode")),
}


def versions() -> dict[str, int]:
    """What a fingerprint takes in."""
    return {name: of.version for name, of in DECIDING.items()}
