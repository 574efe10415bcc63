"""Statistics as one self-contained page: no script, and nothing is loaded from anywhere."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from heteroshards.pipeline.formatting import size
from heteroshards.pipeline.inspect import plots
from heteroshards.pipeline.inspect.compare import Comparison, SplitChange, TypeChange
from heteroshards.pipeline.inspect.page_style import STYLE
from heteroshards.pipeline.inspect.report import (
    CHANGE_COLUMNS,
    DISK_COLUMNS,
    TYPE_CHANGE_COLUMNS,
    TYPE_COLUMNS,
    change_rows,
    disk_cells,
    identity,
    only_in,
    split_summary,
    type_cells,
    type_change_cells,
)
from heteroshards.pipeline.inspect.statistics import Curve, PartUse, SplitUse, StoreUse, TypeUse

Rows = Sequence[tuple[str, Sequence[str]]]
POLICY = "default-src 'none'; style-src 'unsafe-inline'"


def store_page(use: StoreUse) -> str:
    """The page of one store, a whole HTML document."""
    name = Path(use.path).name
    body = [f"<header><p>Padding of</p><h1>{escape(name)}</h1>{_facts(use)}</header>", _cards(use), *_store(use, "")]
    return _page(f"Padding of {name}", [*body, _LEGEND])


def comparison_page(comparison: Comparison) -> str:
    """The page of two stores: their differences, then each by itself."""
    a, b = comparison.a, comparison.b
    names = [Path(use.path).name for use in (a, b)]
    titles = "".join(
        f"<div><h1><span>{side}</span> {escape(name)}</h1>{_facts(use)}</div>"
        for side, name, use in zip("AB", names, (a, b), strict=True)
    )
    totals = _table("all splits", CHANGE_COLUMNS, change_rows(comparison.values))
    body = [
        f"<header><p>Padding of A against B</p><div class=sides>{titles}</div></header>",
        f"<section><h2>All splits</h2>{totals}</section>",
    ]
    body += [_split_change(split) for split in comparison.splits]
    for side, name, use in zip("AB", names, (a, b), strict=True):
        inner = "".join(_store(use, side.lower()))
        body.append(f"<details><summary>{side} by itself: {escape(name)}</summary>{inner}</details>")
    return _page(f"Padding of {names[0]} against {names[1]}", [*body, _LEGEND])


def _page(title: str, body: Sequence[str]) -> str:
    head = (
        '<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta name="color-scheme" content="light dark"><meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(title)}</title><style>{STYLE}</style>"
    )
    content = "\n".join(body)
    return f'<!DOCTYPE html>\n<html lang="en"><head>{head}</head>\n<body><main>\n{content}\n</main></body></html>\n'


def _facts(use: StoreUse) -> str:
    titled = [*identity(use), *(("graph", note) for note in use.notes)]
    facts = "".join(f"<dt>{escape(title)}</dt><dd>{escape(text)}</dd>" for title, text in titled)
    return f'<dl class="facts">{facts}</dl>'


def _cards(use: StoreUse) -> str:
    totals = use.totals
    cards = [
        ("fill of nodes", f"{totals.node_fill:.1%}", "real rows of all node rows"),
        ("fill of edges", f"{totals.edge_fill:.1%}", "real columns of all edge columns"),
        ("padding", f"{totals.wasted_bytes / max(1, totals.bytes):.1%}", f"of {size(totals.bytes)} handed to a device"),
        ("batches", f"{totals.num_batches:,}", f"{size(totals.bytes / totals.num_batches)} each"),
        ("on disk", size(use.disk_total.stored_bytes), f"{use.disk_total.compression_ratio:.1f} times compressed"),
    ]
    items = (f"<li><span>{title}</span><b>{value}</b><small>{words}</small></li>" for title, value, words in cards)
    return f'<ul class="cards">{"".join(items)}</ul>'


def _store(use: StoreUse, prefix: str) -> list[str]:
    """The sections of one store; `prefix` keeps their anchors apart from those of another store."""
    links = "".join(f'<a href="#{prefix}{i}">{escape(split.name)}</a>' for i, split in enumerate(use.splits))
    disk = _table("On disk", DISK_COLUMNS, [(d.name, disk_cells(d)) for d in (*use.disk, use.disk_total)])
    return [
        f'<nav aria-label="Sections">{links}<a href="#{prefix}disk">on disk</a></nav>',
        *(_split(split, f"{prefix}{i}") for i, split in enumerate(use.splits)),
        f'<section id="{prefix}disk"><h2>On disk</h2>{disk}</section>',
    ]


def _split(split: SplitUse, anchor: str) -> str:
    first, *rest = split_summary(split)
    paragraphs = "".join(f"<p>{escape(line.strip())}</p>" for line in [first.partition(": ")[2], *rest])
    parts = "".join(_part(part, is_titled=len(split.parts) > 1) for part in split.parts)
    return f'<section id="{anchor}"><h2>{escape(split.name)}</h2>{paragraphs}{parts}</section>'


def _part(part: PartUse, is_titled: bool) -> str:
    title = f"<h3>{escape(part.name)}: {part.totals.num_batches:,} batches</h3>" if is_titled else ""
    table = _table(f"Types of {part.name}", TYPE_COLUMNS, [(f"{u.kind} {u.name}", type_cells(u)) for u in part.types])
    histograms = "".join(_histogram(use) for use in part.types)
    bands = "".join(_band(part, kind, curve) for kind, curve in (("nodes", part.node_fill), ("edges", part.edge_fill)))
    return (
        f"{title}{table}<h3>Real counts per batch, against the budget</h3><div class=grid>{histograms}</div>"
        f"<h3>Fill, batch after batch</h3>{bands}<h3>Bytes of a batch, and how many are padding</h3>{_waste(part)}"
    )


def _histogram(use: TypeUse) -> str:
    axis = f"<div class=axis><span>0</span><span>budget {use.budget:,}</span></div>"
    words = f"{use.kind}, {use.fill:.0%} full; tallest bar {max(use.histogram.num_batches):,}"
    caption = f"<figcaption><b>{escape(use.name)}</b><span>{words}</span></figcaption>"
    return f"<figure>{caption}{plots.histogram(use)}{axis}</figure>"


def _band(part: PartUse, kind: str, curve: Curve) -> str:
    runs = f", in runs of {curve.batches_per_point:,}: least, mean, greatest" if curve.batches_per_point > 1 else ""
    y_axis = "<div class=y-axis><span>100%</span><span>50%</span><span>0%</span></div>"
    x_axis = f"<div class=axis><span>batch 0</span><span>{part.totals.num_batches - 1:,}</span></div>"
    plot = plots.fill_band(curve, kind, part.name)
    return f"<figure class=wide><figcaption><b>{kind}</b>{runs}</figcaption>{y_axis}{plot}{x_axis}</figure>"


def _waste(part: PartUse) -> str:
    """Bars of all types on one scale, the one with most padding first, as a table."""
    largest = max(1, *(use.bytes_per_batch for use in part.types))
    rows = []
    for use in sorted(part.types, key=lambda use: -use.wasted_bytes_per_batch):
        wasted, total = use.wasted_bytes_per_batch, use.bytes_per_batch
        words = f"{use.kind} {use.name}: {size(wasted)} of {size(total)} a batch are padding"
        rows.append(
            _bar_row(
                f"{use.kind} {use.name}", plots.bar(total / largest, wasted / largest, words, use.kind), [wasted, total]
            )
        )
    return _bar_table("Padding by type", ("padding", "all"), rows)


def _split_change(split: SplitChange) -> str:
    values = _table(f"Totals of {split.name}", CHANGE_COLUMNS, change_rows(split.values))
    rows = [(f"{use.kind} {use.name}{only_in(use)}", type_change_cells(use)) for use in split.types]
    types = _table(f"Types of {split.name}", TYPE_CHANGE_COLUMNS, rows)
    bars = _waste_change(split.types)
    return (
        f"<section><h2>{escape(split.name + only_in(split))}</h2>{values}{types}"
        f"<h3>Bytes of a batch, and how many are padding</h3>{bars}</section>"
    )


def _waste_change(types: Sequence[TypeChange]) -> str:
    """Two bars per type, of A and of B, on one scale."""
    sides = [
        (use, side, total, getattr(use.values["wasted_bytes_per_batch"], side))
        for use in types
        for side in ("a", "b")
        if (total := getattr(use.values["bytes_per_batch"], side)) is not None
    ]
    largest = max([1.0, *(total for _, _, total, _ in sides)])
    rows = []
    for use, side, total, wasted in sides:
        words = f"{use.kind} {use.name} in {side.upper()}: {size(wasted)} of {size(total)} a batch are padding"
        bar = plots.bar(total / largest, wasted / largest, words, use.kind)
        rows.append(_bar_row(f"{side.upper()}: {use.kind} {use.name}", bar, [wasted, total]))
    return _bar_table("Padding by type", ("padding", "all"), rows)


def _bar_row(name: str, bar: str, num_bytes: Sequence[float]) -> str:
    cells = "".join(f"<td>{size(value)}</td>" for value in num_bytes)
    return f"<tr><th scope=row>{escape(name)}</th><td class=bar>{bar}</td>{cells}</tr>"


def _bar_table(title: str, columns: Sequence[str], rows: Sequence[str]) -> str:
    heads = "".join(f"<th scope=col>{column}</th>" for column in columns)
    key = "<td class=key><i class=real></i>real <i class=pad></i>padding</td>"
    head = f"<thead><tr><td></td>{key}{heads}</tr></thead>"
    body = f"<tbody>{''.join(rows)}</tbody>"
    return f'<div class=scroll><table class=waste aria-label="{escape(title)}">{head}{body}</table></div>'


def _table(title: str, columns: Sequence[str], rows: Rows) -> str:
    width = "" if len(columns) > 6 else " class=narrow"
    heads = "".join(f"<th scope=col>{escape(column)}</th>" for column in columns)
    body = "".join(
        f"<tr><th scope=row>{escape(name)}</th>{''.join(f'<td>{escape(cell)}</td>' for cell in cells)}</tr>"
        for name, cells in rows
    )
    return (
        f'<div class=scroll tabindex=0 role=region aria-label="{escape(title)}"><table{width}>'
        f"<thead><tr><td></td>{heads}</tr></thead><tbody>{body}</tbody></table></div>"
    )


_LEGEND = """<section><h2>How to read this</h2><dl class="legend">
<dt>budget</dt><dd>rows of a type in every batch, one of them reserved for padding</dd>
<dt>mean, p50, p95, max</dt><dd>real rows per batch</dd>
<dt>fill</dt><dd>real rows over all rows; the rest is padding</dd>
<dt>padded, wasted</dt><dd>pad rows per batch, and their bytes: means over batches</dd>
<dt>trimmed</dt><dd>share of batches from which rows were dropped to fit the budget</dd>
<dt>dropped</dt><dd>rows dropped from all batches together</dd>
<dt>limiter</dt><dd>share of batches that this type closed: it came nearest to its budget</dd>
<dt>B/batch</dt><dd>bytes of all tensors of the type as a device receives them, features included</dd>
<dt>plots</dt><dd>the solid line is the budget, the dashed one the mean; what lies shaded between the largest batch and
the budget is never used; bands reach from the least to the greatest fill of a run of batches</dd>
</dl></section>"""
