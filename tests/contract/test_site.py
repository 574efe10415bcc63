"""The site of docs/ is built strictly, and is what a reader sees in a real browser."""

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from heteroshards.schemas.config import JobConfig
from tests.browser import Tab, needs_browser

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "build" / "docs"
PAGES = {path.stem for path in (ROOT / "docs").glob("*.md")}
INSTALLED = ".venv-docs/.ready"


def make(target: str) -> subprocess.CompletedProcess[str]:
    """As from a shell: this may run under a make of its own."""
    environment = {key: value for key, value in os.environ.items() if key not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    command = ["make", "--no-print-directory", target]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site() -> Path:
    if make("has-docs-python").returncode:
        pytest.skip("mkdocs-material needs Python 3.11 or newer")
    if make(INSTALLED).returncode and "CI" not in os.environ:
        pytest.skip("mkdocs cannot be installed: no network?")
    done = make("docs")
    assert done.returncode == 0, done.stdout + done.stderr
    return SITE


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(site: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(site))) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def tab(address: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tab]:
    with Tab(tmp_path_factory.mktemp("browser")) as opened:
        yield opened


def test_every_page_is_built(site: Path) -> None:
    assert {path.parent.name for path in site.glob("*/index.html")} == PAGES
    assert (site / "index.html").exists() and not list(site.rglob("*.py"))


def test_the_reference_of_the_api_is_made_from_docstrings(site: Path) -> None:
    text = (site / "api" / "index.html").read_text(encoding="utf-8")
    for name in ("prepare", "ShardDataset", "JobConfig", "open_store", "fit", "evaluate", "predict"):
        assert f'.{name}"' in text, f"{name} has an anchor"
    assert "threads. They never change a byte" in text
    assert "CorruptChunkError" in text and ":::" not in text


def test_the_reference_of_the_config_is_made(site: Path) -> None:
    text = (site / "configuration" / "index.html").read_text(encoding="utf-8")
    assert text.count("<table>") == len(JobConfig.model_fields) - 1 and "keys:" not in text


@needs_browser
def test_a_browser_shows_the_first_page(tab: Tab, address: str) -> None:
    tab.open(f"{address}/")
    assert tab.evaluate("document.querySelector('h1').innerText").startswith("heteroshards")
    assert tab.evaluate("document.querySelectorAll('article table').length") == 2
    assert tab.evaluate("document.querySelector('article table').getBoundingClientRect().height") > 100
    assert "fit(config, store" in tab.evaluate("document.querySelector('article').innerText")


@needs_browser
def test_a_reader_gets_about(tab: Tab, address: str) -> None:
    tab.open(f"{address}/")
    tab.click("nav.md-nav--primary a[href='configuration/']")
    tab.wait("location.pathname == '/configuration/' && document.readyState == 'complete'")
    cells = "#sampling ~ .md-typeset__scrollwrap td:first-child"
    keys = tab.evaluate(f"[...document.querySelectorAll('{cells}')].map(cell => cell.innerText)")
    assert {"fanout", "batch_size", "rounds"} <= set(keys)
    tab.click("article a[href='../padding/#grouping']")
    tab.wait("location.pathname == '/padding/' && location.hash == '#grouping' && document.readyState == 'complete'")
    assert tab.evaluate("document.querySelector('#grouping').innerText").startswith("Grouping")


@needs_browser
def test_a_reader_finds_what_is_searched_for(tab: Tab, address: str) -> None:
    tab.open(f"{address}/")
    tab.click("input.md-search__input")
    tab.send("Input.insertText", text="available_memory_proportion")
    found = ".md-search-result__item a[href*=configuration]"
    tab.wait(f"document.querySelector('{found}')?.getBoundingClientRect().height")
    tab.click(found)
    tab.wait("location.pathname == '/configuration/'")


@needs_browser
def test_no_page_asks_for_anything_outside_or_fails(tab: Tab, address: str) -> None:
    for name in sorted(PAGES):
        tab.open(f"{address}/{name}/")
        asked = tab.evaluate("performance.getEntriesByType('resource').map(entry => entry.name)")
        assert asked and [url for url in asked if not url.startswith(address)] == [], name
        assert tab.evaluate("document.querySelectorAll('article h1').length") == 1, name
    failures = [event for event in tab.events if event["method"] == "Runtime.exceptionThrown"]
    assert failures == [], json.dumps(failures)[:1000]
