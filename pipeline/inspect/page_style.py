"""The style sheet of the page: light and dark, narrow and wide, no fonts or images from elsewhere."""

STYLE = """
:root { color-scheme: light dark; --paper: #fbfaf8; --card: #ffffff; --ink: #1d2330; --soft: #5b6474; --rule: #dfe1e6;
  --nodes: #2f6db5; --edges: #1b8a72; --wasted: #e0803a; --unused: #f6e3d3; --budget: #b3261e; }
@media (prefers-color-scheme: dark) { :root { --paper: #14171d; --card: #1c2129; --ink: #e8eaee; --soft: #a3adbb;
  --rule: #343b47; --nodes: #6aa7ee; --edges: #45bd9f; --wasted: #e58c4a; --unused: #3a2c22; --budget: #ff8a80; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI",
  Roboto, "Liberation Sans", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 28px 20px 60px; }
header > p { margin: 0; color: var(--soft); }
h1 { margin: 0 0 12px; font-size: 26px; line-height: 1.25; overflow-wrap: anywhere; }
.sides { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 0 30px; }
h1 span { color: var(--soft); font-weight: 400; }
h2 { margin: 0 0 6px; font-size: 20px; overflow-wrap: anywhere; }
h3 { margin: 28px 0 10px; font-size: 15px; }
section { margin: 0 0 22px; padding: 20px 22px 24px; background: var(--card); border: 1px solid var(--rule);
  border-radius: 10px; }
section > p { margin: 0 0 4px; color: var(--soft); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 2px 18px; margin: 0 0 22px; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
.legend { margin: 8px 0 0; gap: 6px 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); gap: 12px; margin: 0 0 22px;
  padding: 0; list-style: none; }
.cards li { padding: 12px 16px; background: var(--card); border: 1px solid var(--rule); border-radius: 10px; }
.cards span, .cards small { display: block; color: var(--soft); }
.cards b { font-size: 24px; font-weight: 600; line-height: 1.3; }
nav { display: flex; flex-wrap: wrap; gap: 8px 18px; margin: 0 0 14px; } a { color: var(--nodes); }
.scroll { overflow-x: auto; margin-top: 14px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px; font-variant-numeric: tabular-nums; }
th, td { padding: 5px 0 5px 14px; border-bottom: 1px solid var(--rule); text-align: right; white-space: nowrap; }
thead th { color: var(--soft); font-weight: 500; }
tbody th { min-width: 150px; padding-left: 0; text-align: left; font-weight: 500; white-space: normal;
  overflow-wrap: anywhere; }
tbody tr:last-child > * { border-bottom: 0; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(250px, 100%), 1fr)); gap: 22px 26px;
  align-items: end; }
figure { margin: 0; } figcaption { margin-bottom: 6px; color: var(--soft); font-size: 13.5px; overflow-wrap: anywhere; }
figcaption span { display: block; } figcaption b { color: var(--ink); font-weight: 600; }
svg { display: block; width: 100%; height: 84px; }
figure > svg { border-bottom: 1px solid var(--soft); }
.wide { display: grid; grid-template-columns: 42px 1fr; margin-bottom: 16px; } .wide svg { height: 150px; }
.wide figcaption { grid-column: 1 / 3; } .wide .axis { grid-column: 2; }
.axis, .y-axis { display: flex; justify-content: space-between; color: var(--soft); font-size: 12px; padding-top: 2px; }
.y-axis { flex-direction: column; padding: 0 8px 0 0; text-align: right; line-height: 1; }
.waste { table-layout: fixed; } .waste tbody th { width: 30%; } .waste thead td:first-child { width: 30%; }
.waste thead th { width: 96px; } .waste .key { text-align: left; color: var(--soft); }
.narrow { max-width: 640px; }
.waste svg { height: 16px; shape-rendering: crispEdges; } .waste tbody th { min-width: 0; }
.key i { display: inline-block; width: 10px; height: 10px; margin: 0 5px 0 8px; }
.key .real { background: linear-gradient(90deg, var(--nodes) 50%, var(--edges) 50%); margin-left: 0; }
.key .pad { background: var(--wasted); }
.bars.nodes { fill: var(--nodes); } .bars.edges { fill: var(--edges); } .wasted { fill: var(--wasted); }
.unused { fill: var(--unused); } .band.nodes { fill: var(--nodes); } .band.edges { fill: var(--edges); }
.band { opacity: .28; }
.line { fill: none; stroke-width: 1.5px; vector-effect: non-scaling-stroke; stroke: var(--ink); }
.line.mean { stroke-dasharray: 4 3; } .line.budget { stroke: var(--budget); stroke-width: 2px; }
.line.grid { stroke: var(--rule); stroke-width: 1px; }
.line.nodes { stroke: var(--nodes); } .line.edges { stroke: var(--edges); }
details { margin: 0 0 22px; } summary { margin-bottom: 14px; cursor: pointer; font-weight: 600; }
@media (max-width: 600px) { main { padding: 16px 10px 40px; } section { padding: 16px 14px 18px; }
  dl { grid-template-columns: 1fr; } dd { margin-bottom: 6px; }
  .waste tbody th, .waste thead td:first-child { width: 34%; } .waste thead th { width: 76px; } }
"""
