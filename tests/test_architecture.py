"""The rules of the house, checked on the syntax trees of every tracked file."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("schemas", "pipeline", "trainer")
OLD_HOST = (3, 8)  # schemas and trainer run on an IPU host's Python
MAX_FUNCTION_LINES = 40
MAX_FILE_LINES = 400
DATA_SUFFIXES = (".npz", ".npy", ".pt", ".pkl", ".mat", ".rda", ".parquet")


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    """All of a file's syntax tree, the module first; walked once, for many a test asks."""
    return list(ast.walk(ast.parse(path.read_text(encoding="utf-8"))))


@functools.cache
def imports(path: Path) -> list[str]:
    """Full names of all modules a file imports, anywhere in it."""
    found: list[str] = []
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: imports are absolute"
            found += [node.module or ""] + [f"{node.module}.{alias.name}" for alias in node.names]
    return found


def importers(package: str, *folders: str) -> list[str]:
    """Files under `folders` that import `package` or something below it."""
    found, package = [], f"heteroshards.{package}" if package in ROOMS else package
    for path in sources(*folders):
        if any(name == package or name.startswith(package + ".") for name in imports(path)):
            found.append(path.relative_to(ROOT).as_posix())
    return found


def test_modules_are_imported_by_their_installed_names() -> None:
    """Else a module would be there twice, and its classes with it."""
    files = sources(*ROOMS, "heteroshards", "tests", "benchmarks", "docs")
    assert [path for path in files if {name.partition(".")[0] for name in imports(path)} & {*ROOMS}] == []


def test_the_rooms_are_there() -> None:
    for room in ROOMS:
        assert len(sources(room)) > 3


@pytest.mark.parametrize(
    ("room", "forbidden"),
    [
        ("schemas", "pipeline"),
        ("schemas", "trainer"),
        ("pipeline", "trainer"),
        ("trainer", "pipeline"),
        ("schemas", "torch"),
        ("schemas", "torch_geometric"),
        ("schemas", "zarr"),
        ("trainer", "numba"),
        ("tests/schemas", "pipeline"),
        ("tests/schemas", "trainer"),
        ("tests/pipeline", "trainer"),
        ("tests/trainer", "pipeline"),
    ],
)
def test_import_directions(room: str, forbidden: str) -> None:
    assert importers(forbidden, room) == []


@pytest.mark.parametrize("package", ["torch_sparse", "pyg_lib", "torch_cluster", "torch_scatter"])
def test_no_compiled_pyg_extensions(package: str) -> None:
    assert importers(package, *ROOMS) == []


@pytest.mark.parametrize("room", ["pipeline", "trainer"])
def test_rooms_stand_on_floors(room: str) -> None:
    """What lies directly below `pipeline` or `trainer`, a module or a package, is imported from above only."""
    below: dict[str, set[str]] = {}
    for path in sources(room):
        here, *_ = path.relative_to(ROOT / room).with_suffix("").parts
        names = {name.split(".")[2] for name in imports(path) if name.startswith(f"heteroshards.{room}.")}
        below.setdefault(here, set()).update(names - {here})
    below.pop("__init__")  # hands out what lies anywhere
    assert list(TopologicalSorter(below).static_order())  # raises CycleError, with the circle


def test_numba_is_set_in_one_place() -> None:
    """Kernels take `njit` from there, so that none is kept, or fails to be kept, in another way."""
    assert importers("numba", "pipeline") == ["pipeline/jit.py"]


def test_an_executor_is_chosen_in_one_place() -> None:
    """So that another kind is a file, and a line there."""
    assert importers("heteroshards.pipeline.executors.threads", *ROOMS) == ["pipeline/executors/__init__.py"]


def test_file_systems_are_chosen_in_one_place() -> None:
    """Readers and writers take what `files_at` gives; only what looks at a folder as such, links and all, names it."""
    kinds = ("files.LocalFiles", "zip_files", "url_files")
    users = {path for kind in kinds for path in importers(f"heteroshards.schemas.store.{kind}", "pipeline", "trainer")}
    assert users == {"pipeline/inspect/ledger.py", "pipeline/verify/files.py"}


def test_schemas_import_little() -> None:
    import sys

    allowed = {
        *sys.stdlib_module_names,
        "numpy",
        "pydantic",
        "tomli",
        "typing_extensions",
        "google_crc32c",
        "numcodecs",
    }
    found = {name for path in sources("schemas") for name in imports(path)}
    others = {name.partition(".")[0] for name in found if not name.startswith("heteroshards.schemas")} - allowed
    assert others <= {"fsspec", "aiohttp"}
    assert {*importers("fsspec", *ROOMS), *importers("aiohttp", *ROOMS)} == {"schemas/store/url_files.py"}


OTHERS = ("torch", "zarr", "torch_geometric", "numcodecs", "numba")


def private_parts(path: Path) -> Iterator[str]:
    """`torch._x`, `torch.x._y` and imports of such, wherever a file names them."""
    nodes = nodes_of(path)
    for name in [*(chain(node) for node in nodes if isinstance(node, ast.Attribute)), *imports(path)]:
        package, *inner = name.split(".")
        if package in OTHERS and any(part[:1] == "_" and part[:2] != "__" for part in inner):
            yield name


def chain(node: ast.expr) -> str:
    """`a.b.c` of names and attributes; "" where something else is at its root."""
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts, node = [node.attr, *parts], node.value
    return ".".join([node.id, *parts]) if isinstance(node, ast.Name) else ""


def test_private_parts_of_others_are_fenced() -> None:
    users = {path.relative_to(ROOT).as_posix() for path in sources(*ROOMS, "heteroshards") if any(private_parts(path))}
    assert users == {"trainer/compat.py", "pipeline/compat.py"}


def private_attributes(path: Path) -> tuple[set[str], set[str]]:
    """Names with one underscore before: what a file gives attributes or module members, and what it reads of others."""
    given, read = set(), set()
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            given.add(node.name)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            given.add(node.target.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id in ("self", "cls"):
            given.add(node.attr)
        elif isinstance(node, ast.Attribute):
            read.add(node.attr)
    return tuple({name for name in names if name[:1] == "_" and name[:2] != "__"} for names in (given, read))


OF_THE_LANGUAGE = {"_asdict", "_fields", "_make", "_replace", "_exit"}  # of named tuples, and os._exit


@pytest.mark.parametrize("room", [*ROOMS, "heteroshards"])
def test_private_attributes_are_our_own(room: str) -> None:
    """Of objects of torch, numba, PyG and zarr no private part is touched but in `compat`; one that has the name of a
    part of ours is not told apart."""
    found = {path: private_attributes(path) for path in sources(room)}
    own = set().union(*(given for given, _ in found.values())) | OF_THE_LANGUAGE
    strange = {p.relative_to(ROOT).as_posix(): read - own for p, (_, read) in found.items() if p.name != "compat.py"}
    assert {path: names for path, names in strange.items() if names} == {}


def test_poptorch_only_in_its_backend() -> None:
    users = importers("poptorch", *ROOMS, "benchmarks")
    assert [path for path in users if not path.startswith("trainer/backends/poptorch")] == []


def test_backends_are_named_in_their_registry_only() -> None:
    """What sets one apart is asked of it; so a new one is a file and a line."""
    naming = []
    for path in sources(*ROOMS, "heteroshards"):
        here = path.relative_to(ROOT).as_posix()
        words = {node.value for node in nodes_of(path) if isinstance(node, ast.Constant)}
        if {"poptorch", "cuda_graphs", "inductor", "eager"} & words and not here.startswith("trainer/backends/"):
            naming.append(here)
    assert naming == ["schemas/backends.py", "trainer/models/user_errors.py"]  # the latter names packages


def test_only_tests_of_the_whole_import_both_sides() -> None:
    """benchmarks compare the two sides, so they may as well."""
    both = set(importers("pipeline", "tests")) & set(importers("trainer", "tests"))
    whole = ("tests/contract/", "tests/fuzz/", "tests/soak.py")
    assert {path for path in both if not path.startswith(whole)} == set()


def on_the_old_host() -> list[Path]:
    """What its Python loads: the rooms, and the tests that run there with the modules of tests they import."""
    todo = sources("schemas", "trainer", "heteroshards", "tests/schemas", "tests/trainer", "tests/poptorch_double")
    todo.append(ROOT / "tests" / "conftest.py")
    found: set[Path] = set()
    while todo:
        found.add(path := todo.pop())
        names = [name.replace(".", "/") for name in imports(path) if name.partition(".")[0] == "tests"]
        files = [ROOT / f"{name}{end}" for name in names for end in (".py", "/__init__.py")]
        todo += [file for file in files if file.exists() and file not in found]
    return sorted(found)


@pytest.mark.parametrize("path", on_the_old_host(), ids=lambda path: path.relative_to(ROOT).as_posix())
def test_the_trainers_side_is_python_3_8(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"), feature_version=OLD_HOST)
    for node in evaluated(tree):
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name):
            assert node.value.id not in ("dict", "list", "tuple", "set", "type"), f"{path}:{node.lineno}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
            assert "strict" not in {keyword.arg for keyword in node.keywords}, f"{path}:{node.lineno}"


def evaluated(tree: ast.Module) -> Iterator[ast.AST]:
    """All nodes but those of annotations that `from __future__ import annotations` leaves as text."""
    text_only = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    todo: list[ast.AST] = [tree]
    while todo:
        yield (node := todo.pop())
        skipped = ("annotation", "returns") if text_only else ()
        for name, value in ast.iter_fields(node):
            if name not in skipped:
                todo += [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, ast.AST)]


def functions(path: Path) -> Iterator[tuple[str, int]]:
    for node in nodes_of(path):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            documentation = node.body[0] if ast.get_docstring(node) else None
            words = documentation.end_lineno - documentation.lineno + 1 if documentation else 0
            yield node.name, node.end_lineno - node.body[0].lineno + 1 - words


def test_a_function_is_a_paragraph() -> None:
    """Lines of the body, its docstring aside."""
    long = [
        f"{path.relative_to(ROOT)}: {name} has {lines} lines"
        for path in sources(*ROOMS, "heteroshards", "examples", "benchmarks", "docs", "tests")
        for name, lines in functions(path)
        if lines > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_a_class_name_means_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for path in sources(*ROOMS):
        for node in nodes_of(path)[0].body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: paths for name, paths in homes.items() if len(paths) > 1} == {}


def test_a_file_is_a_chapter() -> None:
    files = sources(*ROOMS, "heteroshards", "examples", "benchmarks", "docs", "tests")
    counts = {path.relative_to(ROOT).as_posix(): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    assert {path: lines for path, lines in counts.items() if lines > MAX_FILE_LINES} == {}


def test_every_package_of_ours_is_installed() -> None:
    """A folder of modules without `__init__.py` would be left out of an installation."""
    assert [path.parent for path in sources(*ROOMS) if not (path.parent / "__init__.py").exists()] == []


def test_no_data_files_are_tracked() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    listing = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    tracked = listing.splitlines()
    assert "pyproject.toml" in tracked
    assert [path for path in tracked if path.endswith(DATA_SUFFIXES)] == []
