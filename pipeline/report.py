"""Statistics as text."""

from pipeline.statistics import SplitUse, StoreUse

HEADER = f"{'':34}{'budget':>8}{'mean':>9}{'p50':>7}{'p95':>7}{'max':>7}{'fill':>7}{'trimmed':>9}"


def store_report(use: StoreUse) -> str:
    """A table per split, and totals."""
    lines = [f"store        {use.path}", f"fingerprint  {use.fingerprint[:12]}", f"features     {use.features}"]
    total = sum(use.bytes.values())
    parts = ", ".join(f"{name} {megabytes(size)}" for name, size in sorted(use.bytes.items(), key=lambda p: -p[1]))
    lines.append(f"on disk      {megabytes(total)} in {use.num_files} files ({parts})")
    for split in use.splits:
        lines += ["", *_split_lines(split)]
    return "\n".join(lines)


def _split_lines(split: SplitUse) -> list[str]:
    title = f"{split.name}: {split.num_seeds} seeds, {split.num_batches} batches in {split.num_rounds} rounds"
    if split.num_batches_skipped:
        title += f"; {split.num_batches_skipped} batches with {split.num_seeds_skipped} seeds skipped"
    lines = [title, HEADER]
    for use in split.types:
        lines.append(
            f"  {use.kind} {use.name:<26}{use.budget:>8}{use.mean:>9.1f}{use.p50:>7.0f}{use.p95:>7.0f}{use.max:>7}"
            f"{use.fill:>7.0%}{use.share_trimmed:>9.1%}"
        )
    lines.append(
        f"  fill: nodes {split.node_fill:.1%}, edges {split.edge_fill:.1%}, seeds {split.seed_fill:.1%} "
        "(the rest is padding)"
    )
    return lines


def megabytes(num_bytes: int) -> str:
    return f"{num_bytes / 2**20:,.1f} MiB"
