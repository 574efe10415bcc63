"""Plots as inline SVG: shapes only. Names, axes and numbers stand beside them in HTML, so that they never scale.

Every plot is 1000 units wide and stretched to its place; colours are classes of the page's style sheet.
"""

from collections.abc import Sequence
from html import escape

from heteroshards.pipeline.inspect.statistics import Curve, TypeUse

WIDTH, HEIGHT = 1000, 200
BUDGET_AT = 985  # so that the line of the budget stands clear of the edge


def histogram(use: TypeUse) -> str:
    """Batches by real count from 0 to the budget, which is a line; a dashed line is the mean."""
    top = max(1, *use.histogram.num_batches)
    scale = BUDGET_AT / use.budget
    bars = []
    for i, count in enumerate(use.histogram.num_batches):
        if count:
            left = round(i * use.histogram.width * scale, 1)
            right = round(min((i + 1) * use.histogram.width, use.budget) * scale, 1)
            height = max(2, round(count / top * (HEIGHT - 10)))
            bars.append(f"M{left:g} {HEIGHT}V{HEIGHT - height}H{right:g}V{HEIGHT}Z")
    mean, most = round(use.mean * scale), round(use.max * scale)
    shapes = [
        f'<rect class="unused" x="{most}" y="0" width="{BUDGET_AT - most}" height="{HEIGHT}"/>',
        f'<path class="bars {use.kind}" d="{"".join(bars)}"/>',
        f'<path class="line mean" d="M{mean} 0V{HEIGHT}"/>',
        f'<path class="line budget" d="M{BUDGET_AT} 0V{HEIGHT}"/>',
    ]
    title = f"{use.kind} {use.name}: real counts per batch"
    words = f"mean {use.mean:.1f}, median {use.p50:.0f}, 95th percentile {use.p95:.0f}, largest {use.max}"
    return _svg(title, f"{words}; the budget is {use.budget}", shapes)


def fill_band(curve: Curve, kind: str, name: str) -> str:
    """Fill of the batches in order: a band from least to greatest, and a line of means, over 0 to 100 %."""
    count = len(curve.mean)
    ends = [round(WIDTH * (i + 1) / count) for i in range(count)]
    outline = f"M0 {_fill_y(curve.least[0])}{_steps(ends, curve.least)}"
    back = list(zip([*ends[:-1][::-1], 0], curve.greatest[::-1], strict=True))
    outline += "".join(f"V{_fill_y(fill)}H{end}" for end, fill in back)
    shapes = [
        *(f'<path class="line grid" d="M0 {y}H{WIDTH}"/>' for y in (0, HEIGHT // 2, HEIGHT)),
        f'<path class="band {kind}" d="{outline}Z"/>',
        f'<path class="line {kind}" d="M0 {_fill_y(curve.mean[0])}{_steps(ends, curve.mean)}"/>',
    ]
    words = f"between {min(curve.least):.1%} and {max(curve.greatest):.1%}, batch by batch"
    return _svg(f"{name}: fill of {kind} per batch", words, shapes)


def bar(share: float, wasted: float, title: str, kind: str) -> str:
    """One bar: `share` of the width is used by real rows and pads, `wasted` of it by pads, at its right end."""
    real, end = round(WIDTH * (share - wasted), 1), round(WIDTH * share, 1)
    shapes = [
        f'<rect class="bars {kind}" x="0" y="0" width="{real:g}" height="{HEIGHT}"/>',
        f'<rect class="wasted" x="{real:g}" y="0" width="{round(end - real, 1):g}" height="{HEIGHT}"/>',
    ]
    return _svg(title, "", shapes)


def _steps(ends: Sequence[int], fills: Sequence[float]) -> str:
    """Level over each run of batches, then up or down."""
    return "".join(f"V{_fill_y(fill)}H{end}" for end, fill in zip(ends, fills, strict=True))


def _fill_y(fill: float) -> str:
    return f"{round(HEIGHT * (1 - fill), 1):g}"


def _svg(title: str, words: str, shapes: Sequence[str]) -> str:
    label = escape(f"{title}, {words}" if words else title)
    opening = f'<svg role="img" aria-label="{label}" viewBox="0 0 {WIDTH} {HEIGHT}" preserveAspectRatio="none">'
    return f"{opening}<title>{label}</title>{''.join(shapes)}</svg>"
