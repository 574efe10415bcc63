"""Numbers and tables as text, for terminals of 120 columns."""

from collections.abc import Mapping, Sequence

import numpy as np

WIDTH = 120
MIN_NAME = 16
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(columns: Sequence[str], rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """A named row per entry, numbers right-aligned. A name that is too long gets lines of its own above its numbers.

    Never wider than WIDTH as long as the numbers leave MIN_NAME for names.
    """
    cells = [columns, *(row for _, row in rows)]
    widths = [max(len(row[i]) for row in cells) for i in range(len(columns))]
    longest = max((len(name) for name, _ in rows), default=0) + 2
    gap = 2 if longest + sum(widths) + 2 * len(widths) <= WIDTH else 1
    widths = [width + gap for width in widths]
    room = max(MIN_NAME, min(longest, WIDTH - sum(widths)))
    lines = [" " * room + _aligned(columns, widths)]
    for name, row in rows:
        text = f"  {name}"
        if len(text) > room:
            lines += [text[:WIDTH], *(f"    {text[i : i + WIDTH - 4]}" for i in range(WIDTH, len(text), WIDTH - 4))]
            text = ""
        lines.append(f"{text:<{room}}{_aligned(row, widths)}")
    return lines


def _aligned(cells: Sequence[str], widths: Sequence[int]) -> str:
    return "".join(f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True))


def size(num_bytes: float) -> str:
    """Bytes with three digits and a unit.

    >>> size(0), size(1000), size(1536), size(5 * 2**30)
    ('0 B', '1000 B', '1.50 KiB', '5.00 GiB')
    """
    unit = 0
    while num_bytes >= 1023.5 and unit + 1 < len(UNITS):
        num_bytes, unit = num_bytes / 1024, unit + 1
    digits = 0 if unit == 0 or num_bytes >= 99.95 else 1 if num_bytes >= 9.995 else 2
    return f"{num_bytes:.{digits}f} {UNITS[unit]}"


def count(number: int, one: str, many: str) -> str:
    """
    >>> count(1, "batch", "batches"), count(1000, "batch", "batches")
    ('1 batch', '1,000 batches')
    """
    return f"{number:,} {one if number == 1 else many}"


def listed(names: Sequence[str], most: int = 8) -> str:
    """
    >>> listed(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")


def draws_line(draws: Mapping[str, Mapping[str, int]], most: int = 3) -> str:
    """How many of the edges sampled in a round differ, and of which types fewest; `draws` as `SplitUse.edge_draws`.

    Small neighborhoods are soon seen whole; few different edges of a large one would mean that batches share draws.

    >>> draws_line({"a__to__b": {"sampled": 80, "distinct": 40}, "b__to__a": {"sampled": 20, "distinct": 20}})
    '60% of those sampled in a round differ (least: a__to__b 50%, b__to__a 100%)'
    """
    sampled = {key: found for key, found in draws.items() if found["sampled"]}
    if not sampled:
        return "none is sampled"
    shares = sorted((found["distinct"] / found["sampled"], key) for key, found in sampled.items())
    distinct, total = (sum(found[kind] for found in sampled.values()) for kind in ("distinct", "sampled"))
    least = ", ".join(f"{key} {share:.0%}" for share, key in shares[:most])
    return f"{distinct / total:.0%} of those sampled in a round differ (least: {least})"


def sharing_line(groups: Sequence[Sequence[str]]) -> str:
    """Which splits share their budgets.

    >>> sharing_line([["train"], ["val", "test"]])
    'train apart from val, test'
    """
    return "shared by all splits" if len(groups) == 1 else " apart from ".join(", ".join(group) for group in groups)


def as_ranges(numbers: Sequence[int] | np.ndarray, most: int | None = None) -> str:
    """Ascending numbers, shortened; with `most`, no more than so many runs of them.

    >>> as_ranges([0, 3, 4, 5, 9])
    '0, 3-5, 9'
    """
    cuts = np.flatnonzero(np.diff(numbers) != 1) + 1
    runs = np.split(np.asarray(numbers), cuts)
    text = [f"{run[0]}-{run[-1]}" if len(run) > 1 else str(run[0]) for run in runs]
    return listed(text, most or len(text))
