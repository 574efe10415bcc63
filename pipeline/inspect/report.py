"""Statistics as text."""

from collections.abc import Callable, Mapping

from heteroshards.pipeline.formatting import count, draws_line, sharing_line, size, table
from heteroshards.pipeline.inspect.compare import Change, Comparison, SplitChange, TypeChange
from heteroshards.pipeline.inspect.statistics import DiskUse, PartUse, SplitUse, StoreUse, TypeUse
from heteroshards.pipeline.sizing.certificate import certificate_line
from heteroshards.schemas.budget import Certificate


def store_report(use: StoreUse) -> str:
    """What a store is, what it takes on disk, and a table per part of each split."""
    lines = [f"{title:<13}{text}" for title, text in (*identity(use), *_summary(use))]
    lines += ["", *table(DISK_COLUMNS, [(disk.name, disk_cells(disk)) for disk in (*use.disk, use.disk_total)])]
    for split in use.splits:
        lines += ["", *split_summary(split)]
        for part in split.parts:
            lines += _part_lines(part, is_titled=len(split.parts) > 1)
    lines += ["", LEGEND, *([""] if use.notes else []), *use.notes]
    return "\n".join(lines)


def identity(use: StoreUse) -> list[tuple[str, str]]:
    """(title, text) of which store it is and how it was made."""
    return [
        ("store", use.path),
        ("fingerprint", use.fingerprint[:12]),
        ("features", use.features),
        ("grouping", use.grouping),
        ("budget", f"{use.budget_mode}, {sharing_line(use.sharing)}"),
        *(("certificate", certificate_line(Certificate(**values))) for values in use.certificates),
    ]


def _summary(use: StoreUse) -> list[tuple[str, str]]:
    """(title, text) of its totals."""
    batches = f"{use.totals.num_batches:,} with {use.totals.num_seed_rows:,} seed rows in all splits and rounds"
    return [("batches", batches), ("fill", _fills(use)), ("on device", _device_bytes(use))]


def split_summary(split: SplitUse) -> list[str]:
    """Some lines above the tables of a split."""
    totals = split.totals
    batches, rounds = count(totals.num_batches, "batch", "batches"), count(split.num_rounds, "round", "rounds")
    lines = [f"{split.name}: {count(split.num_seeds, 'seed', 'seeds')}, {batches} in {rounds}"]
    if split.num_batches_skipped:
        lines.append(f"  skipped: {split.num_batches_skipped:,} batches with {split.num_seeds_skipped:,} seeds")
    if split.edge_draws:
        lines.append(f"  edges: {draws_line(split.edge_draws)}")
    return [*lines, f"  fill: {_fills(split)} (the rest is padding); {_device_bytes(split)}"]


def _fills(of: StoreUse | SplitUse) -> str:
    totals = of.totals
    return f"nodes {totals.node_fill:.1%}, edges {totals.edge_fill:.1%}, seeds {totals.seed_fill:.1%}"


def _device_bytes(of: StoreUse | SplitUse) -> str:
    totals = of.totals
    share = totals.wasted_bytes / max(1, totals.bytes)
    return f"{size(totals.bytes / totals.num_batches)} a batch, {share:.1%} of it padding"


TYPE_COLUMNS = (
    *("budget", "mean", "p50", "p95", "max", "fill", "padded", "trimmed", "dropped", "limiter"),
    *("B/batch", "wasted"),
)
LEGEND = """\
padded, wasted: pads per batch, in rows and in bytes on a device; trimmed, limiter: share of batches that lost rows of
the type, and that it closed; dropped: rows lost in all batches together."""
DISK_COLUMNS = ("files", "on disk", "uncompressed", "ratio")


def _part_lines(part: PartUse, is_titled: bool) -> list[str]:
    title = [f"  {part.name}: {part.totals.num_batches:,} batches"] if is_titled else []
    return title + table(TYPE_COLUMNS, [(f"{use.kind} {use.name}", type_cells(use)) for use in part.types])


def type_cells(use: TypeUse) -> list[str]:
    """One text per entry of TYPE_COLUMNS."""
    return [
        str(use.budget),
        f"{use.mean:.1f}",
        f"{use.p50:.0f}",
        f"{use.p95:.0f}",
        str(use.max),
        f"{use.fill:.1%}",
        f"{use.padded_mean:.1f}",
        f"{use.share_trimmed:.1%}",
        str(use.num_trimmed),
        f"{use.share_limiter:.1%}",
        size(use.bytes_per_batch),
        size(use.wasted_bytes_per_batch),
    ]


def disk_cells(use: DiskUse) -> list[str]:
    """One text per entry of DISK_COLUMNS."""
    return [f"{use.num_files:,}", size(use.stored_bytes), size(use.uncompressed_bytes), f"{use.compression_ratio:.2f}"]


CHANGE_COLUMNS = ("A", "B", "B / A")
TYPE_CHANGE_COLUMNS = (
    *("budget A", "budget B", "fill A", "fill B", "B - A", "B/batch A", "B/batch B", "B / A"),
    *("wasted A", "wasted B", "B / A"),
)
FORMATS: dict[str, tuple[str, Callable[[float], str]]] = {
    "num_batches": ("batches", lambda value: f"{value:,}"),
    "num_seed_rows": ("seed rows", lambda value: f"{value:,}"),
    "node_fill": ("fill of nodes", lambda value: f"{value:.1%}"),
    "edge_fill": ("fill of edges", lambda value: f"{value:.1%}"),
    "seed_fill": ("fill of seeds", lambda value: f"{value:.1%}"),
    "bytes": ("bytes on device", size),
    "wasted_bytes": ("of them padding", size),
    "bytes_per_seed": ("bytes per seed row", size),
    "wasted_bytes_per_seed": ("of them padding, per seed row", size),
    "stored_bytes": ("bytes on disk", size),
}


def comparison_report(comparison: Comparison) -> str:
    """Two stores in one table per split; what only one of them has says so."""
    lines = [f"{side}  {use.path} ({use.fingerprint[:12]})" for side, use in (("A", comparison.a), ("B", comparison.b))]
    lines += ["", "all splits", *table(CHANGE_COLUMNS, change_rows(comparison.values))]
    for split in comparison.splits:
        lines += ["", f"{split.name}{only_in(split)}", *table(CHANGE_COLUMNS, change_rows(split.values))]
        rows = [(f"{use.kind} {use.name}{only_in(use)}", type_change_cells(use)) for use in split.types]
        lines += ["", *table(TYPE_CHANGE_COLUMNS, rows)]
    return "\n".join(lines)


def only_in(change: SplitChange | TypeChange) -> str:
    """What follows the name of something that only one store has."""
    return f" (only in {change.only_in.upper()})" if change.only_in else ""


def change_rows(values: Mapping[str, Change]) -> list[tuple[str, list[str]]]:
    """(title, one text per entry of CHANGE_COLUMNS) of each total."""
    rows = []
    for name, change in values.items():
        title, as_text = FORMATS[name]
        rows.append((title, [_text(as_text, change.a), _text(as_text, change.b), _ratio(change)]))
    return rows


def type_change_cells(use: TypeChange) -> list[str]:
    """One text per entry of TYPE_CHANGE_COLUMNS."""
    budget, fill = use.values["budget"], use.values["fill"]
    cells = [_text("{:.10g}".format, budget.a), _text("{:.10g}".format, budget.b)]
    cells += [_text("{:.1%}".format, fill.a), _text("{:.1%}".format, fill.b)]
    cells.append(_text(lambda value: f"{100 * value:+.1f} pp", fill.difference))
    for name in ("bytes_per_batch", "wasted_bytes_per_batch"):
        change = use.values[name]
        cells += [_text(size, change.a), _text(size, change.b), _ratio(change)]
    return cells


def _ratio(change: Change) -> str:
    return _text("{:.3f}".format, change.ratio)


def _text(as_text: Callable[[float], str], value: float | None) -> str:
    return "-" if value is None else as_text(value)
