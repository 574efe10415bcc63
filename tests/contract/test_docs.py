"""What the README and the pages of docs/ show is what works."""

import inspect
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pytest
import xarray
from pydantic import BaseModel, Field

import heteroshards
from docs.keys import models_of, section_keys, with_tables
from heteroshards import pipeline
from heteroshards.schemas.config import JobConfig, parse_value
from tests.pipeline.build import job
from tests.strategies import random_graph

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted((ROOT / "docs").glob("*.md"))
LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
SECTIONS = [name for name in JobConfig.model_fields if name != "name"]


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def page(name: str) -> str:
    return read(ROOT / "docs" / f"{name}.md")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    types = {("a", "to", "b"): 60, ("b", "to", "a"): 60}
    data = random_graph(np.random.default_rng(0), {"a": 40, "b": 20}, types, "a", {"a": 3})
    return pipeline.prepare(data, job(data, tmp_path_factory.mktemp("stores"), sampling={"batch_size": 4}))


def test_one_batch_is_read_with_nothing_but_zarr_and_numpy(store):
    example = re.search(r"<!-- example: read-one-batch -->\n```python\n(.*?)```", page("store"), re.S)
    names = {"STORE": str(store)}
    exec(example.group(1), names)
    assert list(names["x"]) == [("a", "x")] and names["x"]["a", "x"].shape[1] == 3
    assert set(names["edge_index"]) == {"a__to__b", "b__to__a"}


@pytest.mark.parametrize("group", ["train/seeds", "val/nodes/a", "test/edges/a__to__b", "train/stats", "features/a"])
def test_groups_open_in_xarray_with_named_dimensions(store, group):
    with xarray.open_zarr(str(store), group=group, consolidated=False) as dataset:
        for variable in dataset.variables.values():
            assert not any(dim.startswith("dim_") for dim in variable.dims)
            assert variable.dtype.kind in "ibf"
            assert variable.attrs["description"]


def test_the_python_of_the_readme_works_as_shown(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example = re.search(r"## Fifteen lines of Python\n\n```python\n(.*?)```", read(README), re.S).group(1)
    types = {("author", "writes", "paper"): 90, ("paper", "written_by", "author"): 90}
    data = random_graph(
        np.random.default_rng(0), {"author": 30, "paper": 60}, types, "paper", {"author": 3, "paper": 4}
    )
    names = {"data": data}
    exec(example, names)
    assert names["batch"]["paper"].x.shape[1] == 4
    assert len(names["batch"]["paper"].n_id) == names["budget"].num_nodes["paper"]
    assert 0 <= names["result"]["test"]["accuracy"] <= 1
    assert names["scores"] == pytest.approx(names["result"]["val"])
    assert (tmp_path / "runs" / "mine" / "best.pt").is_file()
    assert len(example.splitlines()) <= 15 and len(read(README).splitlines()) <= 150


def rows(table: str) -> list[list[str]]:
    """Cells of a Markdown table's rows, the head left out."""
    lines = [line for line in table.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines[2:]]


@pytest.mark.parametrize("section", SECTIONS)
def test_the_config_reference_has_every_key_once_with_its_default_and_meaning(section):
    text = with_tables(page("configuration"))
    (part,) = re.findall(rf"^## `\[{section}\]`\n(.*?)(?=^## |\Z)", text, re.M | re.S)
    models = list(models_of(JobConfig.model_fields[section].annotation))
    found = rows(part)
    assert all(len(row) == 3 for row in found)
    assert sorted(row[0] for row in found) == sorted({f"`{key}`" for model in models for key in model.model_fields})
    told = " ".join(" ".join(inspect.getdoc(model).split()) for model in models)
    for name, default, meaning in found:
        fields = [model.model_fields[name.strip("`")] for model in models if name.strip("`") in model.model_fields]
        defaults = [None if field.is_required() else field.get_default(call_default_factory=True) for field in fields]
        expected = [value for i, value in enumerate(defaults) if value is not None and value not in defaults[:i]]
        assert [parse_value(value) for value in re.findall(r"`(.*?)`", default)] == expected
        assert meaning and (len(models) > 1 or f": {meaning}" in told)


def test_no_section_of_the_config_is_left_out_of_the_reference():
    assert sorted(re.findall(r"<!-- keys: (\w+) -->", page("configuration"))) == sorted(SECTIONS)


class Fixed(BaseModel):
    """A budget that is given.

    Attributes:
        mode: which kind.
        nodes: rows | columns.
        oversize: of both.
    """

    mode: Literal["fixed"] = "fixed"
    nodes: int
    oversize: str = "error"


class Counted(BaseModel):
    """A budget that is counted.

    Attributes:
        mode: which kind.
        shapes: how many.
        oversize: of counted ones.
    """

    mode: Literal["counted"] = "counted"
    shapes: int | None = None
    oversize: str = "error"


def test_variants_of_a_section_share_a_table():
    assert section_keys(Annotated[Fixed | Counted, Field(discriminator="mode")]) == {
        "mode": ('`"fixed"` or `"counted"`', "which kind."),
        "nodes": ("", "rows \\| columns."),
        "oversize": ('`"error"`', "of both.; of counted ones."),
        "shapes": ("", "how many."),
    }


def anchors(path: Path) -> set[str]:
    """Those of a page's headings, as both the site and a repository's browser make them."""
    headings = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S), re.M)
    return {re.sub(r"\s", "-", re.sub(r"[^\w\s-]", "", heading).strip().lower()) for heading in headings}


def is_there(path: Path, target: str) -> bool:
    place, _, anchor = target.partition("#")
    found = (path.parent / place).resolve() if place else path
    return found.is_relative_to(ROOT) and found.exists() and (not anchor or anchor in anchors(found))


@pytest.mark.parametrize("path", [README, *PAGES], ids=lambda path: path.name)
def test_every_link_leads_somewhere(path):
    text = re.sub(r"^```.*?^```", "", read(path), flags=re.M | re.S)
    targets = [target for target in LINK.findall(text) if "://" not in target]
    assert [target for target in targets if not is_there(path, target)] == []


def test_the_check_of_links_finds_broken_ones():
    assert is_there(README, "docs/padding.md#grouping") and is_there(PAGES[0], "../README.md#two-commands")
    for target in ("docs/none.md", "docs/padding.md#none", "#none", "../elsewhere.md"):
        assert not is_there(README, target)


def tracked() -> Iterator[Path]:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return (ROOT / name for name in listing.splitlines() if name.endswith((".py", ".toml", ".md", ".ipynb")))


def test_pages_that_the_code_names_are_there():
    named = {name for path in tracked() if path.exists() for name in re.findall(r"\bdocs/[\w-]+\.md\b", read(path))}
    assert {"docs/ipu.md", "docs/own-model.md"} <= named
    assert sorted(name for name in named if not (ROOT / name).exists() and name != "docs/none.md") == []


def test_tests_that_the_pages_name_are_there():
    """Those of the tables of what can go wrong, and wherever else one is named."""
    text = "\n".join(map(read, [README, ROOT / "CONTRIBUTING.md", *PAGES]))
    there = {path.relative_to(ROOT).with_suffix("").as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    named = re.findall(r"`((?:tests/[\w/]*)?test_\w+)(?:\.py)?`", text)
    assert len(named) > 50
    absent = {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in there)}
    assert absent == {"test_mask"}  # an attribute of a graph


def test_the_reference_of_the_api_has_every_public_name():
    described = set(re.findall(r"^::: heteroshards\.(?:\w+\.)*(\w+)$", page("api"), re.M))
    assert {*heteroshards.__all__} - {"__version__"} <= described
