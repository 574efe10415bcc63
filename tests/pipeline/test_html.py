"""The page of `inspect --html`, as a document and in a real browser without network."""

import base64
import json
import re
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from heteroshards.pipeline.cli import main
from heteroshards.pipeline.inspect import plots
from heteroshards.pipeline.inspect.compare import compare
from heteroshards.pipeline.inspect.html import comparison_page, store_page
from heteroshards.pipeline.inspect.statistics import Curve, store_use
from tests.browser import BROWSER, FLAGS, needs_browser
from tests.pipeline.ledgers import movie_graph, write_ledgers

EVIL = ("<script>alert(1)</script>".replace("/", ""), "\"'><img src=x onerror=alert(2)>", "A&amp;B & <i>")
VOID = {"meta", "link", "img", "br", "hr", "input", "wbr"}


class Page(HTMLParser):
    """Every element as (tag, attributes), the text, and whether elements are closed in the order they are opened."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> closes another element"

    def handle_data(self, data: str) -> None:
        self.text += data

    def having(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def uses(tmp_path_factory):
    """A store whose types have names that are HTML, and one of 100,000 batches with plain names."""
    root = tmp_path_factory.mktemp("stores")
    write_ledgers(root / "a&b <i>", movie_graph(EVIL, "&lt;"), {"train": 40, "val": 1})
    write_ledgers(root / "large", movie_graph(), {"train": 100_000, "test": 300})
    return store_use(root / "a&b <i>"), store_use(root / "large")


def check_document(text, names):
    page = Page(text)
    assert page.open == [], "every element is closed"
    assert {tag for tag, _ in page.elements} & {"script", "img", "link", "iframe", "object", "i ", "base"} == set()
    for _, attributes in page.elements:
        assert not {"src", "srcset", "onerror", "onload", "data", "action", "xlink:href"} & set(attributes)
        assert (attributes.get("href") or "#").startswith("#")
    assert "url(" not in text and "@import" not in text and "http:" not in text and "https:" not in text
    (policy,) = [meta["content"] for meta in page.having("meta") if meta.get("http-equiv")]
    assert policy.startswith("default-src 'none'")
    for name in names:
        assert name in page.text
    for svg in page.having("svg"):
        assert svg["role"] == "img" and svg["aria-label"]
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(set(ids)) == len(ids) and {a["href"] for a in page.having("a")} == {f"#{name}" for name in ids}
    return page


def names_of(use):
    return [of.name for split in use.splits for part in split.parts for of in part.types]


def test_the_page_is_a_whole_document_that_asks_for_nothing(uses):
    for use in uses:
        text = store_page(use)
        page = check_document(text, [*names_of(use), use.path, *(split.name for split in use.splits)])
        types = len(names_of(use))
        assert len(page.having("svg")) == 2 * types + 2 * len(use.splits), "a histogram and a bar each, and two bands"
        assert len(text) < 200_000, "100,000 batches are drawn in a bounded number of points"


def test_the_comparison_is_one_too(uses):
    for pair in (uses, uses[::-1]):
        text = comparison_page(compare(*pair))
        page = check_document(text, [*names_of(pair[0]), *names_of(pair[1]), "(only in A)", "(only in B)"])
        assert len(page.having("details")) == 2 and len(text) < 400_000


def path_points(d):
    """Corners of a path of absolute M, H, V and Z."""
    x = y = 0.0
    points = []
    for letter, arguments in re.findall(r"([MHVZ])([^MHVZ]*)", d):
        values = [float(value) for value in arguments.split()]
        if letter == "M":
            x, y = values
        elif letter == "H":
            (x,) = values
        elif letter == "V":
            (y,) = values
        points.append((x, y))
    return points


def test_a_histogram_draws_every_batch_below_the_budget(uses):
    for split in uses[1].splits:
        for of in split.parts[0].types:
            page = Page(plots.histogram(of))
            bars, mean, budget = (path["d"] for path in page.having("path"))
            rights = [x for x, _ in path_points(bars)]
            assert max(rights) <= path_points(budget)[0][0] == plots.BUDGET_AT
            assert bars.count("M") == sum(count > 0 for count in of.histogram.num_batches)
            assert path_points(mean)[0][0] == pytest.approx(plots.BUDGET_AT * of.mean / of.budget, abs=0.5)
            tallest = min(y for _, y in path_points(bars))
            assert tallest == 10, "the tallest bar reaches the same height in every plot"


@pytest.mark.parametrize("fills", [[0.25], [0.0, 1.0, 0.5], np.linspace(0.1, 0.9, 200).tolist()])
def test_a_band_reaches_from_the_least_to_the_greatest(fills):
    least, greatest = [fill / 2 for fill in fills], [min(1, fill + 0.05) for fill in fills]
    page = Page(plots.fill_band(Curve(3, least, fills, greatest), "nodes", "train"))
    band, line = (path["d"] for path in page.having("path")[-2:])
    height = plots.HEIGHT
    corners = path_points(band)
    expected = [float(f"{round(height * (1 - fill), 1):g}") for fill in [*least, *greatest[::-1]]]
    assert [y for _, y in corners[1:-1:2]] == expected, "there along the least, back along the greatest"
    assert min(x for x, _ in corners) == 0 and max(x for x, _ in corners) == plots.WIDTH
    means = [round(height * (1 - fill), 1) for fill in fills]
    assert [y for _, y in path_points(line)][1::2] == means and path_points(line)[-1][0] == plots.WIDTH


def test_a_bar_is_real_then_padding():
    real, padding = Page(plots.bar(0.5, 0.2, "t", "nodes")).having("rect")
    assert (real["x"], real["width"]) == ("0", "300") and (padding["x"], padding["width"]) == ("300", "200")


def test_the_command_writes_the_page_and_says_why_it_cannot(uses, tmp_path):
    def run(*args):
        return CliRunner().invoke(main, ["inspect", uses[0].path, *(str(arg) for arg in args)])

    page = tmp_path / "page.html"
    assert "limiter" in run("--html", page).output and page.read_text() == store_page(uses[0])
    values = json.loads(run("--html", page, "--json", "--against", uses[1].path).output)
    assert set(values) == {"a", "b", "values", "splits"} and "against" in page.read_text()
    for place in (tmp_path, tmp_path / "none" / "page.html", page / "below"):
        result = run("--html", place)
        assert result.exit_code == 2 and "the page cannot be written" in result.output and str(place) in result.output


def browse(tmp_path: Path, page: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    command = [str(BROWSER), *FLAGS, f"--user-data-dir={tmp_path / 'profile'}", *flags, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)


@pytest.fixture
def pages(uses, tmp_path):
    texts = {"store": store_page(uses[0]), "large": store_page(uses[1]), "both": comparison_page(compare(*uses))}
    paths = {name: tmp_path / f"{name}.html" for name in texts}
    for name, text in texts.items():
        paths[name].write_text(text, encoding="utf-8")
    return paths


@needs_browser
@pytest.mark.parametrize("name", ["store", "large", "both"])
def test_a_browser_builds_the_page_as_written(pages, tmp_path, name):
    page = Page(browse(tmp_path, pages[name], "--dump-dom").stdout)
    written = Page(pages[name].read_text(encoding="utf-8"))
    assert [tag for tag, _ in page.elements] == [tag for tag, _ in written.elements], "nothing was moved or repaired"
    assert page.text.split() == written.text.split()


def requests_of(tmp_path: Path, page: Path) -> set[str]:
    """What the page (not the browser for itself) asked for, from the browser's own log of its network stack."""
    log = tmp_path / "net.json"
    browse(tmp_path, page, f"--log-net-log={log}", "--dump-dom")
    events = re.findall(r'^\{"params":\{"initiator".*\}(?=,?$)', log.read_text(encoding="utf-8"), re.M)
    asked = [json.loads(event)["params"] for event in events]
    return {params["url"] for params in asked if params["network_isolation_key"].startswith("file:")}


@needs_browser
def test_a_browser_asks_for_nothing_but_the_page(pages, tmp_path):
    asking = tmp_path / "asking.html"
    asking.write_text("<img src=http://a.invalid/x.png><link rel=stylesheet href=https://b.invalid/y.css>")
    assert requests_of(tmp_path, asking) == {"http://a.invalid/x.png", "https://b.invalid/y.css"}, "the log shows them"
    for page in pages.values():
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub("<meta http-equiv[^>]*>", "", text), encoding="utf-8")  # not even if it were allowed
        assert requests_of(tmp_path, page) == set()


@needs_browser
@pytest.mark.parametrize("width", [480, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_browser_draws_plots_in_both_colour_schemes(pages, tmp_path, width, scheme):
    from PIL import Image

    shot = tmp_path / "shot.png"
    dark = ["--blink-settings=preferredColorScheme=0"] if scheme == "dark" else []
    height = 2600 if width > 1000 else 4200
    browse(tmp_path, pages["large"], *dark, f"--window-size={width},{height}", f"--screenshot={shot}")
    pixels = np.asarray(Image.open(shot).convert("RGB")).astype(int)
    assert pixels.shape == (height, width, 3)
    paper = pixels[0, 0]
    assert (paper.mean() < 60) == (scheme == "dark")
    text = pages["large"].read_text(encoding="utf-8")
    colours = re.findall(r"--(nodes|edges|wasted|budget): #(\w{6})", text)
    own = colours[len(colours) // 2 :] if scheme == "dark" else colours[: len(colours) // 2]
    for name, colour in own:
        found = (pixels == list(base64.b16decode(colour.upper()))).all(axis=2).sum()
        assert found > 100, f"{name} is drawn"
