"""`plan` as text."""

from collections.abc import Iterator, Mapping, Sequence

from heteroshards.pipeline.forecast.disk import DiskForecast
from heteroshards.pipeline.forecast.job import Forecast, SplitForecast
from heteroshards.pipeline.formatting import draws_line, sharing_line
from heteroshards.pipeline.sizing.counting import Coverage

NODES_AND_EDGES = f"{'nodes':>9}{'edges':>9}"
TYPES = f"{'':34}{'budget':>9}{'mean':>10}{'max':>8}{'fill':>7}{'bytes/batch':>13}"
SPLITS = f"{'':8}{'seeds':>9}{'rounds':>8}{'batches/round':>15}{'batches':>9}{'seeds/batch':>18}" + (
    f"{'seed':>7}{'node':>7}{'edge fill':>11}{'trimmed':>9}"
)
ALTERNATIVES = f"{'grouping':<10}{'budget':<10}{'batches/epoch':>14}{NODES_AND_EDGES}{'node':>7}{'edge':>7}" + (
    f"{'seed fill':>11}{'MiB/batch':>11}{'MiB/epoch':>11}{'over':>8}"
)
TRIMS = f"{'of exact':<10}{NODES_AND_EDGES}{'MiB/batch':>11}{'batches/epoch':>15}{'over':>8}" + (
    f"{'nodes lost':>12}{'edges lost':>12}"
)


def forecast_report(found: Forecast) -> str:
    """Tables: the config, alternatives, smaller budgets; and what is extrapolated."""
    state = "is there already" if found.is_there else "nothing is written"
    lines = [
        f"store     {found.path} ({state})",
        f"grouping  {found.grouping}, at most {found.max_seeds} seeds a batch; features {found.features}",
        f"budget    {found.mode}, over it: {found.oversize}; {sharing_line(found.sharing)}",
        *(f"          {line}" for line in found.certainty),
        *_coverage_lines({split.name: split.coverage for split in found.splits}),
        *found.notes,
        "",
        *_given_lines(found),
    ]
    if found.alternatives:
        lines += ["", *_alternative_lines(found)]
    if found.trims:
        lines += ["", *_trim_lines(found)]
    waste = ", ".join(f"{k}: {ratio:.3f}" for k, ratio in enumerate(found.waste_by_shapes, 1))
    lines += ["", "Shapes, [budget] shapes = k in each scope (padded over real bytes of what a model receives)", waste]
    return "\n".join(lines)


def _coverage_lines(coverage: Mapping[str, Coverage]) -> Iterator[str]:
    parts = [
        f"{name} {part.num_rounds_counted} of {part.num_rounds} rounds"
        + (f" of {part.num_seeds_counted} random seeds" if part.num_seeds_counted < part.num_seeds else "")
        for name, part in coverage.items()
        if not part.is_whole
    ]
    if parts:
        yield f"counted   {', '.join(parts)}; the rest is extrapolated, and budgets can only be larger"


def _given_lines(found: Forecast) -> list[str]:
    lines = []
    for index, shape in enumerate(found.shapes):
        if len(found.shapes) > 1:
            names = ", ".join(shape.splits)
            lines.append(f"shape {index} ({names}): {shape.share_of_batches:.0%} of the batches")
        lines.append(TYPES)
        for use in shape.types:
            lines.append(
                f"  {use.kind} {use.name:<26}{use.budget:>9}{use.mean:>10.1f}{use.max:>8}{use.fill:>7.0%}"
                f"{use.bytes_per_batch:>13,}"
            )
        lines += [f"  a batch has {mebibytes(shape.bytes_per_batch)}, as a device receives it", ""]
    lines.append(SPLITS)
    lines += [_split_line(split) for split in found.splits]
    lines += [f"edges     {split.name}: {draws_line(split.edge_draws)}" for split in found.splits if split.edge_draws]
    lines += ["", *_disk_lines(found.disk)]
    ratio = found.inline_bytes / max(1, found.table_bytes)
    lines.append(
        f"features  {mebibytes(found.table_bytes)} in tables, {mebibytes(found.inline_bytes)} inline: "
        f"{ratio:.1f} times as much (before compression)"
    )
    return lines


def _split_line(split: SplitForecast) -> str:
    least, mean, most = split.seeds_per_batch
    line = (
        f"{split.name:<8}{split.num_seeds:>9}{split.num_rounds:>8}{split.batches_per_round:>15.1f}"
        f"{split.num_batches:>9}{f'{least}, {mean:.1f}, {most}':>18}"
        f"{split.seed_fill:>7.1%}{split.node_fill:>7.1%}{split.edge_fill:>11.1%}{split.share_trimmed:>9.1%}"
    )
    return line + (f"  ({split.num_batches_skipped} skipped)" if split.num_batches_skipped else "")


def _disk_lines(disk: DiskForecast | None) -> list[str]:
    if disk is None:
        return ["on disk   not measured: prepare would refuse"]
    parts = [f"{'' if part.is_exact else '~'}{part.name} {mebibytes(part.stored_bytes)}" for part in disk.parts]
    sampled = any(not part.is_exact for part in disk.parts)
    note = "; ~ from a sample of its chunks, encoded" if sampled else "; every chunk was encoded"
    return [
        f"on disk   {'~' if sampled else ''}{mebibytes(disk.stored_bytes)} in {disk.num_files} chunk files, "
        f"{mebibytes(disk.uncompressed_bytes)} before compression",
        f"          ({', '.join(parts)}{note})",
    ]


def _alternative_lines(found: Forecast) -> list[str]:
    lines = ["Alternatives, same seeds (sums over types; over: batches that do not fit)"]
    lines += [*_coverage_lines(found.trial_coverage), ALTERNATIVES]
    for other in found.alternatives:
        mark = " *" if (other.grouping, other.mode) == (found.grouping, found.mode) else ""
        batch, epoch = other.bytes_per_batch / 2**20, other.bytes_per_epoch / 2**20
        lines.append(
            f"{other.grouping:<10}{other.mode:<10}{other.batches_per_epoch:>14.1f}{other.node_budget:>9}"
            f"{other.edge_budget:>9}{other.node_fill:>7.1%}{other.edge_fill:>7.1%}{other.seed_fill:>11.1%}"
            f"{batch:>11.2f}{epoch:>11.1f}{other.share_over:>8.1%}{mark}"
        )
    return [*lines, "* the config's", *_left_out_lines(found.left_out)]


def _left_out_lines(left_out: Sequence[str]) -> Iterator[str]:
    """Each reason once, with all that it concerns."""
    concerned: dict[str, list[str]] = {}
    for line in left_out:
        which, _, reason = line.partition(": ")
        concerned.setdefault(reason, []).append(which)
    for reason, which_ones in concerned.items():
        yield f"left out  {'; '.join(which_ones)}: {reason}"


def _trim_lines(found: Forecast) -> list[str]:
    recounted = _range([trim.num_recounted for trim in found.trims])
    lines = [
        f"Smaller budgets, oversize = 'trim_nodes_and_edges' (losses recounted on {recounted} batches)",
        TRIMS,
    ]
    for trim in found.trims:
        lines.append(
            f"{trim.scale:<10}{trim.node_budget:>9}{trim.edge_budget:>9}{trim.bytes_per_batch / 2**20:>11.2f}"
            f"{trim.batches_per_epoch:>15.1f}{trim.share_over:>8.1%}{trim.share_nodes:>12.2%}{trim.share_edges:>12.2%}"
        )
    return lines


def _range(counts: Sequence[int]) -> str:
    return f"{min(counts)}" if min(counts) == max(counts) else f"{min(counts)} to {max(counts)}"


def mebibytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.2f} MiB"
