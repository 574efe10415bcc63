"""Sparse features are the same features: in tables, in batches, in every model, through whole runs."""

from pathlib import Path
from typing import Any, Callable, List, Tuple

import numpy as np
import pytest
import torch
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch import Tensor, nn
from torch_geometric.nn import Linear

from heteroshards.schemas.config import TrainConfig
from heteroshards.schemas.errors import (
    CheckpointError,
    ConfigError,
    CorruptChunkError,
    ModelError,
    SignatureMismatchError,
)
from heteroshards.schemas.inputs import SPARSE_X, model_inputs
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.backends.optimizers import make_optimizer
from heteroshards.trainer.checkpoint import load_model
from heteroshards.trainer.evaluate import answer
from heteroshards.trainer.job import Job, open_job
from heteroshards.trainer.models import MODELS, build_model
from heteroshards.trainer.models.sparse import SparseRows, apply_linear, laid_by_columns, lay_by_columns
from heteroshards.trainer.reading.store import Store, open_store
from heteroshards.trainer.reading.stream import BatchStream
from heteroshards.trainer.reading.tables import DenseTable, SparseTable
from heteroshards.trainer.runs.names import BEST
from heteroshards.trainer.training import fit
from tests.layouts import stored_at
from tests.trainer.conftest import make_config
from tests.trainer.model_cases import sparse_rows
from tests.trainer.run_cases import equal, losses, stop_at, weights
from tests.trainer.store_factory import write_store

HERE = "tests.trainer.test_sparse"
ZEROS = 0.96  # of 16 entries not one is another, as `auto` wants it

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture()
def store(store_of: Callable[..., Store]) -> Store:
    return store_of(zeros=ZEROS)


@st.composite
def matrices(draw: Any) -> np.ndarray:
    """Mostly zeros, among them rows and whole matrices of zeros."""
    shape = (draw(st.integers(1, 12)), draw(st.integers(1, 20)))
    values = st.sampled_from([0.0, 0.0, 0.0, 0.0, 1.0, -2.5, 0.25])
    return draw(arrays.arrays(np.float32, shape, elements=values))


@settings(deadline=None)
@given(matrix=matrices(), width=st.integers(1, 5), spare=st.integers(0, 3), data=st.data())
def test_products_and_gradients_are_those_of_the_dense_matrix(matrix: Any, width: int, spare: int, data: Any) -> None:
    num = data.draw(st.integers(0, len(matrix)))
    x = sparse_rows(matrix, spare)[:num]
    dense = torch.from_numpy(matrix)[:num]
    assert torch.equal(x.to_dense(), dense)
    assert (len(x), x.size(0), x.size(1), x.size(-1)) == (num, num, matrix.shape[1], matrix.shape[1])
    generator = torch.Generator().manual_seed(0)
    found = []
    for product in (x.linear, lambda w, b: nn.functional.linear(dense, w, b)):
        generator.manual_seed(0)
        weight = torch.randn(width, matrix.shape[1], generator=generator, requires_grad=True)
        bias = torch.randn(width, generator=generator, requires_grad=True)
        out = product(weight, bias)
        out.backward(torch.randn(out.shape, generator=generator))
        found.append((out.detach(), weight.grad, bias.grad))
    for actual, expected in zip(*found):
        torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_wide_matrices_have_the_same_gradients() -> None:
    """Columns beyond 16 bits are sorted in another way."""
    columns = torch.tensor([70_000, 3, 65_536, 70_000], dtype=torch.int32)
    x = SparseRows(torch.tensor([0, 2, 4], dtype=torch.int32), columns, torch.tensor([1.0, 2.0, 3.0, 4.0]), 70_001)
    weight = torch.zeros(1, 70_001, requires_grad=True)
    x.linear(weight).backward(torch.tensor([[1.0], [10.0]]))
    assert {int(i): float(weight.grad[0, i]) for i in weight.grad[0].nonzero()} == {3: 2.0, 65_536: 30.0, 70_000: 41.0}


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_products_are_in_the_dtype_of_the_matrix(dtype: torch.dtype) -> None:
    matrix = np.array([[0, 2, 0], [1, 0, 4]], np.float32)
    weight = torch.tensor([[1, 2, 3], [4, 5, 6]], dtype=dtype, requires_grad=True)
    out = sparse_rows(matrix).to(dtype).linear(weight)
    out.sum().backward()
    assert torch.equal(out, torch.tensor([[4, 10], [13, 28]], dtype=dtype))
    assert torch.equal(weight.grad, torch.tensor([[1, 2, 4]] * 2, dtype=dtype))


@pytest.mark.filterwarnings("ignore:Lazy modules are a new feature")
@pytest.mark.parametrize("kind", [Linear, nn.Linear, nn.LazyLinear])
@pytest.mark.parametrize("bias", [True, False])
def test_linear_layers_take_either_kind(kind: Any, bias: bool) -> None:
    matrix, found = np.array([[0, 2, 0], [1, 0, 4]], np.float32), []
    for x in (torch.from_numpy(matrix), sparse_rows(matrix)):
        torch.manual_seed(0)
        layer = kind(5, bias=bias) if kind is nn.LazyLinear else kind(-1 if kind is Linear else 3, 5, bias=bias)
        found.append(apply_linear(layer, x).detach())
    torch.testing.assert_close(*found)


@pytest.mark.parametrize("rows", [slice(1, None), slice(None, -1), slice(None, None, 2), 0])
def test_sparse_rows_are_cut_to_the_first_ones_only(rows: Any) -> None:
    with pytest.raises(AssertionError, match="only the first rows"):
        sparse_rows(np.eye(3, dtype=np.float32))[rows]


@given(matrix=matrices(), data=st.data())
def test_a_sparse_table_has_the_rows_of_a_dense_one(matrix: Any, data: Any) -> None:
    matrix[0, 0] = data.draw(st.sampled_from([0.0, -0.0, np.nan, np.inf]))
    rows = np.concatenate([matrix, np.full((1, matrix.shape[1]), 0, np.float32)])
    table = SparseTable.of(rows)
    real = data.draw(st.lists(st.integers(0, len(matrix) - 1), unique=True))
    ids = np.array(real + [-1] * data.draw(st.integers(0, 3)), np.int32)
    most = table.most(len(real))
    expected = np.empty((len(ids), matrix.shape[1]), np.float32)
    DenseTable(rows).gather(ids, [expected])
    found = [np.empty(len(ids) + 1, np.int32), np.empty(most, np.int32), np.empty(most, np.float32)]
    table.gather(ids, found)
    torch.testing.assert_close(
        SparseRows(*map(torch.from_numpy, found), matrix.shape[1]).to_dense(),
        torch.from_numpy(expected),
        equal_nan=True,
        atol=0,
        rtol=0,
    )
    lengths = np.count_nonzero(matrix, axis=1)
    assert most == max(1, sum(sorted(lengths, reverse=True)[: len(real)]))


def kinds(job: Job) -> List[str]:
    return [spec.kind for spec in job.inputs[0]]


@pytest.mark.parametrize("options", [{"zeros": ZEROS}, {"zeros": ZEROS, "shapes": 2, "chunk_batches": 1}])
def test_batches_have_the_same_features(store_of: Any, tmp_path: Path, options: Any) -> None:
    store = store_of(**options)
    num = store.split("train").num_batches
    found: List[List[Any]] = []
    for choice in ("auto", "never"):
        with open_job(make_config(tmp_path, sparse_features=choice), store, EagerBackend()) as job:
            assert (SPARSE_X[0] in kinds(job), "x" in kinds(job)) == (choice == "auto", choice == "never")
            with job.stream("train", np.arange(num)) as stream:
                batches = list(stream)
        found.append([])
        for _, tensors in batches:
            inputs = next(i for i in job.inputs if all(t.shape == s.shape for t, s in zip(tensors, i)))
            by_kind = {(spec.kind, spec.key): tensor for spec, tensor in zip(inputs, tensors)}
            if choice == "auto":
                for name, width in (("movie", 6), ("actor", 5)):
                    entries = [by_kind.pop((kind, name)) for kind in SPARSE_X]
                    by_kind["x", name] = SparseRows(*entries, width).to_dense()
            found[-1].append(by_kind)
    for sparse, dense in zip(*found):
        assert sparse.keys() == dense.keys()
        for (kind, name), tensor in dense.items():
            if kind == "x":  # pad rows are zeros here, and not the store's pad value
                tensor = torch.where((tensor == 0.5).all(dim=1, keepdim=True), torch.zeros(()), tensor)
            assert torch.equal(sparse[kind, name], tensor)


def compiled_pair(store: Store, tmp_path: Path, name: str, **train: Any) -> List[Tuple[Any, List[Tensor]]]:
    """A model on sparse and on dense features, and their first batches."""
    pair = []
    for choice in ("always", "never"):
        config = make_config(tmp_path, sparse_features=choice, **train)
        model = config.model.model_copy(update={"name": name, "dropout": 0.0, "num_layers": 2, "heads": 2})
        with open_job(config.model_copy(update={"model": model}), store, EagerBackend()) as job:
            with job.stream("train", np.arange(4)) as stream:
                batches = [tensors for _, tensors in stream]
            pair.append((job.compiled, batches))
    return pair


NAMES = [*sorted(MODELS), f"{HERE}:Mine"]


@pytest.mark.parametrize("zeros", [ZEROS, 0.0])
@pytest.mark.parametrize("name", NAMES)
def test_models_learn_the_same(store_of: Any, tmp_path: Path, name: str, zeros: float) -> None:
    """Equal weights at the beginning, equal outputs and weights after steps, up to rounding."""
    (sparse, batches), (dense, dense_batches) = compiled_pair(store_of(zeros=zeros), tmp_path, name, optimizer="sgd")
    assert equal(sparse.model_state(), dense.model_state())
    for batch, expected in zip(batches, dense_batches):
        for of_sparse, of_dense in zip(sparse.step(batch), dense.step(expected)):
            torch.testing.assert_close(of_sparse, of_dense, atol=1e-5, rtol=1e-4)
    state = dense.model_state()
    for key, tensor in sparse.model_state().items():
        torch.testing.assert_close(tensor, state[key], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_optimizers_do_not_care_how_a_matrix_lies(optimizer: str) -> None:
    """One that somebody else has laid out by columns, and so is not declared, is only slower."""
    results = []
    for how in ("by rows", "by columns", "undeclared"):
        torch.manual_seed(0)
        layer = nn.Linear(7, 5)
        if how == "by columns":
            lay_by_columns(layer.weight)
        if how == "undeclared":
            layer.weight.data = layer.weight.data.t().contiguous().t()
        train = TrainConfig(optimizer=optimizer, lr=0.1, momentum=0.9 if optimizer == "sgd" else 0)
        declared = laid_by_columns(layer.parameters())
        assert [id(matrix) for matrix in declared] == ([id(layer.weight)] if how == "by columns" else [])
        adam = make_optimizer(layer.parameters(), train, declared)
        for _ in range(3):
            adam.zero_grad(set_to_none=True)
            layer(torch.randn(4, 7)).square().sum().backward()
            adam.step()
        assert layer.weight.stride() == ((7, 1) if how == "by rows" else (1, 5))
        assert (layer.weight.grad is None) == (how == "by columns")
        results.append(layer.weight.detach())
    torch.testing.assert_close(results[0], results[1])
    torch.testing.assert_close(results[0], results[2])


@pytest.mark.parametrize("model", sorted(MODELS))
def test_runs_go_on_bit_for_bit(store: Store, tmp_path: Path, model: str) -> None:
    config = make_config(tmp_path)
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": model, "heads": 2})})
    whole = fit(config, store, tmp_path / "whole", backend=EagerBackend())
    with pytest.raises(KeyboardInterrupt):
        fit(config, store, tmp_path / "halved", backend=stop_at(EagerBackend(), 11))
    again = fit(config, store, tmp_path / "halved", True, backend=EagerBackend())
    assert losses(tmp_path / "halved") == losses(tmp_path / "whole")
    assert equal(weights(tmp_path / "halved"), weights(tmp_path / "whole"))
    assert again["test"] == whole["test"]


@pytest.mark.parametrize("model", ["hetero_conv", "hgt"])  # between them they have every layer that takes sparse rows
def test_a_compiler_makes_one_graph_of_it(
    store: Store, tmp_path: Path, request: pytest.FixtureRequest, model: str
) -> None:
    backend = InductorBackend(request.config.cache.mkdir("compiled"))
    is_available, reason = backend.is_available()
    if not is_available:
        pytest.skip(reason)
    config = make_config(tmp_path, epochs=2)
    changes = {"name": model, "dropout": 0.0, "num_layers": 1}  # the first one alone has sparse rows
    config = config.model_copy(update={"model": config.model.model_copy(update=changes)})
    result = fit(config, store, tmp_path / "compiled", backend=backend)
    assert result["num_compilations"] == {"train": 1, "infer": 1}
    fit(config, store, tmp_path / "eager", backend=EagerBackend())
    assert losses(tmp_path / "compiled") == pytest.approx(losses(tmp_path / "eager"), rel=1e-4)


def test_runs_go_on_with_the_same_features_only(store: Store, tmp_path: Path) -> None:
    """An optimizer's momentum lies as the matrices do, and sums are rounded otherwise. Scores are the same."""
    by_rows, by_id = make_config(tmp_path), make_config(tmp_path, device_features="always")
    for one, other, types in ((by_rows, by_id, r'\["actor", "movie"\] -> \[\]'), (by_id, by_rows, r"\[\] -> \[.*\]")):
        run = tmp_path / one.train.device_features
        with pytest.raises(KeyboardInterrupt):
            fit(one, store, run, backend=stop_at(EagerBackend(), 11))
        with pytest.raises(CheckpointError, match=f"to another job: sparse_features: {types}"):
            fit(other, store, run, True, backend=EagerBackend())
        answers = []
        for config in (one, other):
            with open_job(config, store, EagerBackend()) as job:
                load_model(run / BEST, job)
                answers.append(answer(job, "test").values)
        np.testing.assert_allclose(*answers, rtol=1e-4)


def test_gradients_of_a_step_that_failed_are_forgotten(store: Store, tmp_path: Path) -> None:
    ends = []
    for fails in (False, True):
        (compiled, batches), _ = compiled_pair(store, tmp_path, "to_hetero")
        if fails:
            compiled._optimizer.step, step = lambda: 1 / 0, compiled._optimizer.step
            with pytest.raises(ModelError, match="optimizer failed; got ZeroDivisionError"):
                compiled.step(batches[1])
            compiled._optimizer.step = step
        compiled.step(batches[0])
        ends.append(compiled.model_state())
    assert equal(*ends)


def test_tables_are_read_once_and_kept_in_one_form(store: Store, tmp_path: Path, monkeypatch: Any) -> None:
    read, paths = store.read_table, []
    monkeypatch.setattr(store, "read_table", lambda path, *args: [paths.append(path), read(path, *args)][1])
    for _ in range(2):
        with open_job(make_config(tmp_path), store, EagerBackend()) as job:
            assert SPARSE_X[0] in kinds(job)
    dense = "features/actor__to__movie/edge_attr"
    assert sorted(paths) == ["features/actor/x", dense, "features/movie/x"]
    assert sorted(store._sparse_tables) == ["features/actor/x", "features/movie/x"] and list(store._tables) == [dense]


def test_auto_takes_what_is_sparse(store_of: Any, store: Store, tmp_path: Path) -> None:
    blind = EagerBackend()
    blind.takes_sparse_features = False
    cases = [(store, EagerBackend(), True), (store_of(zeros=0.9), EagerBackend(), False), (store, blind, False)]
    cases.append((store_of(zeros=ZEROS, features="inline"), EagerBackend(), False))
    for of, backend, expected in cases:
        with open_job(make_config(tmp_path), of, backend) as job:
            assert (SPARSE_X[0] in kinds(job)) == expected
    by_id = make_config(tmp_path, device_features="always")
    with open_job(by_id, store, EagerBackend()) as job:
        assert not set(kinds(job)) & {"x", *SPARSE_X}


def test_other_models_get_dense_features(store: Store, tmp_path: Path) -> None:
    config = make_config(tmp_path)
    config = config.model_copy(update={"model": config.model.model_copy(update={"name": f"{HERE}:Dense"})})
    with open_job(config, store, EagerBackend()) as job:
        assert "x" in kinds(job)


def test_what_cannot_be_is_refused(store_of: Any, store: Store, tmp_path: Path) -> None:
    config = make_config(tmp_path, sparse_features="always")
    blind = EagerBackend()
    blind.takes_sparse_features = False
    dense = config.model_copy(update={"model": config.model.model_copy(update={"name": f"{HERE}:Dense"})})
    both = make_config(tmp_path, sparse_features="always", device_features="always")
    cases: Any = [
        (config, store_of(features="inline"), EagerBackend(), "has its features inline"),
        (config, store, blind, "takes no sparse features; got eager"),
        (dense, store, EagerBackend(), "the model takes no sparse features; got Dense"),
        (both, store, EagerBackend(), "'device_features' and 'sparse_features' cannot both be 'always'"),
    ]
    for job, of, backend, message in cases:
        with pytest.raises(ConfigError, match=message), open_job(job, of, backend):
            pass
    with pytest.raises(ModelError, match="neither True nor False; got 'yes'"):
        build_model(config.model.model_copy(update={"name": f"{HERE}:Undecided"}), store.manifest.graph)


def test_a_batch_with_a_node_twice_is_a_damaged_shard(tmp_path: Path) -> None:
    path = write_store(tmp_path / "store", codec="none", chunk_batches=2, zeros=ZEROS)
    x = open_store(path).read("features/movie/x")
    spec, columns = stored_at(open_store(path).manifest, "test/nodes/movie/n_id")
    array = zarr.open_array(str(path / spec.path), mode="r+")
    values = array[:]
    values[-1, columns] = np.count_nonzero(x, axis=1).argmax()
    array[:] = values
    last = len(values) - 1
    store = open_store(path, check_chunks=False)
    config = make_config(tmp_path, check_chunks=False, on_corrupt="skip")
    with open_job(config, store, EagerBackend()) as job:
        with pytest.raises(CorruptChunkError, match=f"n_id/.*split test, batch {last - last % 2} to.*more than once"):
            with job.stream("test", np.array([last])) as stream:
                list(stream)
        assert answer(job, "test").num_batches_left_out == len(values) - last + last % 2


def test_inputs_are_those_of_the_store(store: Store) -> None:
    manifest = store.manifest
    inputs = model_inputs(manifest.graph, manifest.budgets[0], sparse_entries={"movie": 9})
    place = [spec.kind for spec in inputs].index("x_values")
    inputs[place] = inputs[place]._replace(dtype="float16")
    with pytest.raises(SignatureMismatchError, match="x_values of 'movie'"):
        BatchStream(store, "train", [inputs], np.arange(1))


class Mine(nn.Module):
    """A user's model that takes sparse rows, and slices them by itself."""

    sparse_features = True

    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__()
        self.seed_type, self.width = graph.seed_type, graph.node(graph.seed_type).plain.width
        self.lin = nn.Linear(self.width, graph.num_classes)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        x = x_dict[self.seed_type]
        assert x.size(1) == self.width
        if isinstance(x, Tensor):
            return self.lin(x) + self.lin(x[:4]).sum(dim=0)
        return x.linear(self.lin.weight, self.lin.bias) + x[:4].linear(self.lin.weight, self.lin.bias).sum(dim=0)


class Dense(nn.Module):
    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__()
        self.seed_type, self.lin = graph.seed_type, Linear(-1, graph.num_classes)

    def forward(self, x_dict: Any, edge_index_dict: Any) -> Any:
        return self.lin(x_dict[self.seed_type])


class Undecided(Dense):
    sparse_features = "yes"
