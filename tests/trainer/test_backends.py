import contextlib
import os
import warnings
from pathlib import Path
from typing import Any, Dict, Iterator, List, Tuple

import pytest
import torch
from torch import Tensor, nn

from heteroshards.schemas.config import ModelConfig, TrainConfig
from heteroshards.schemas.errors import BackendError, ModelError, SignatureMismatchError
from heteroshards.schemas.graph import GraphSchema
from heteroshards.trainer.backends import BackendFallbackWarning, CompiledModel, inductor, resolve_backend
from heteroshards.trainer.backends.compiling import Compiling
from heteroshards.trainer.backends.optimizers import make_optimizer
from heteroshards.trainer.models import MODELS
from tests.trainer.model_cases import NUM_CLASSES, budget, random_batch, schema, seed_model

HERE = "tests.trainer.test_backends"
RELATIONS = (("actor", "to", "movie"), ("genre", "to", "movie"), ("movie", "to", "actor"))
FEATURES = {"movie": 5, "actor": 4, "genre": None}
ADAM = TrainConfig()
CAN_COMPILE, REASON = inductor.InductorBackend(Path()).is_available()
needs_compiler = pytest.mark.skipif(not CAN_COMPILE, reason=REASON)


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def cache(request: pytest.FixtureRequest) -> Path:
    """Kept between runs of the tests, like a user's: the first one takes a minute of C++ compilation."""
    return Path(request.config.cache.mkdir("compiled"))


def _compiled(
    backend: str, cache: Path, name: str = "to_hetero", train: TrainConfig = ADAM, **values: Any
) -> Tuple[CompiledModel, List[List[Tensor]]]:
    graph = schema(RELATIONS, FEATURES)
    config = ModelConfig(name=name, **{"hidden_channels": 4, "heads": 2, "num_layers": 1, **values})
    model, batch = seed_model(graph, budget(graph), config)
    batches = [random_batch(graph, model.inputs, budget(graph).num_nodes, seed) for seed in range(4)]
    return resolve_backend(backend, cache).compile(model, train, batch), batches


def _assert_equal(one: Dict[str, Tensor], other: Dict[str, Tensor]) -> None:
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        torch.testing.assert_close(tensor, other[name], atol=1e-4, rtol=1e-4)


@needs_compiler
@pytest.mark.parametrize("name", sorted(MODELS))
def test_inductor_trains_as_eager_does_with_one_compilation_each(name: str, cache: Path) -> None:
    before = os.environ.get("TORCHINDUCTOR_CACHE_DIR")
    train = TrainConfig(lr=0.01)
    eager, batches = _compiled("eager", cache, name, train)
    compiled, _ = _compiled("inductor", cache, name, train)
    for batch in batches:
        for expected, actual in zip(eager.step(batch), compiled.step(batch)):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
        for expected, actual in zip(eager.infer(batch), compiled.infer(batch)):
            torch.testing.assert_close(actual, expected, atol=1e-4, rtol=1e-4)
    _assert_equal(eager.model_state(), compiled.model_state())
    assert compiled.num_compilations == {"train": 1, "infer": 1}
    assert eager.num_compilations == {"train": 0, "infer": 0}
    assert any((cache / "inductor").iterdir())
    assert os.environ.get("TORCHINDUCTOR_CACHE_DIR") == before


@needs_compiler
def test_compiling_is_told_and_counted_once_for_each_kind(cache: Path) -> None:
    compiled, batches = _compiled("inductor", cache, f"{HERE}:Flagged")
    told: List[str] = []

    @contextlib.contextmanager
    def tell(what: str) -> Iterator[None]:
        told.append(what)
        yield

    compiled.compiling.tell = tell
    for batch in batches:
        compiled.step(batch), compiled.infer(batch)
    assert told == ["compiling the training step", "compiling the inference step"]
    assert all(seconds > 0 for seconds in compiled.compiling.seconds.values())
    assert compiled.compiling.num_first == {"train": 1, "infer": 1}


@needs_compiler
def test_compiled_code_goes_elsewhere_where_its_folder_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    compiled, batches = _compiled("inductor", tmp_path / "file" / "cache", f"{HERE}:Flagged")
    assert len(compiled.notes) == 1
    assert f"{tmp_path / 'file' / 'cache' / 'inductor'} cannot be written (Not a directory)" in compiled.notes[0]
    compiled.infer(batches[0])
    folder = compiled._cache
    assert any(folder.iterdir())
    compiled.close()
    assert not folder.exists()


def test_without_a_temporary_folder_nothing_compiles(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def fail() -> None:
        raise FileNotFoundError("no usable temporary directory")

    monkeypatch.setattr(inductor, "MIN_TORCH", (0, 0))
    monkeypatch.setattr(inductor.tempfile, "gettempdir", fail)
    monkeypatch.setattr(inductor.shutil, "which", lambda name: name)
    with pytest.warns(BackendFallbackWarning, match="no folder for temporary files can be written"):
        assert resolve_backend("inductor", tmp_path).name == "eager"


def test_only_first_calls_compile() -> None:
    compiling = Compiling()
    for shape in (0, 1, 0):
        with compiling.first("train", shape):
            pass
    assert compiling.num_first == {"train": 2, "infer": 0}
    with pytest.raises(RuntimeError), compiling.first("infer"):
        raise RuntimeError
    assert compiling.is_first("infer") and not compiling.is_first("train", 1)


@needs_compiler
def test_dropout_compiles_and_differs_from_step_to_step(cache: Path) -> None:
    compiled, batches = _compiled("inductor", cache, f"{HERE}:Dropping", TrainConfig(lr=1e-30))
    losses = {float(compiled.step(batches[0])[1]) for _ in range(4)}
    assert len(losses) > 1
    assert len({float(compiled.infer(batches[0])[1]) for _ in range(3)}) == 1
    assert compiled.num_compilations == {"train": 1, "infer": 1}


@needs_compiler
def test_a_second_compilation_is_an_error(cache: Path) -> None:
    compiled, batches = _compiled("inductor", cache, f"{HERE}:Flagged")
    compiled.infer(batches[0])
    Flagged.factor = 2
    try:
        with pytest.raises(BackendError, match="the infer step would be compiled a second time"):
            compiled.infer(batches[0])
    finally:
        Flagged.factor = 1


@needs_compiler
def test_what_cannot_be_compiled_is_said(cache: Path) -> None:
    compiled, batches = _compiled("inductor", cache, f"{HERE}:DataDependent")
    with pytest.raises(BackendError, match=r"the train step does not compile.*backend = 'eager'"):
        compiled.step(batches[0])


@needs_compiler
def test_many_models_in_one_process_compile(cache: Path) -> None:
    """Each has its own count of compilations, although torch counts them per code object."""
    with torch._dynamo.config.patch(recompile_limit=2):
        for _ in range(3):
            compiled, batches = _compiled("inductor", cache, f"{HERE}:Flagged")
            compiled.infer(batches[0])
            compiled.close()
            assert compiled.num_compilations == {"train": 0, "infer": 1}


def test_steps_and_inference_share_parameters(tmp_path: Path) -> None:
    compiled, batches = _compiled("eager", tmp_path)
    before = compiled.infer(batches[0])[1]
    for _ in range(20):
        out, loss = compiled.step(batches[0])
    assert not out.requires_grad and not loss.requires_grad
    assert compiled.infer(batches[0])[1] < before


@pytest.mark.parametrize(
    "train",
    [
        TrainConfig(optimizer="adam"),
        TrainConfig(optimizer="adamw", weight_decay=0.1),
        TrainConfig(optimizer="sgd", momentum=0.9, lr=0.1),
    ],
    ids=lambda train: train.optimizer,
)
def test_a_saved_state_continues_as_if_uninterrupted(train: TrainConfig, tmp_path: Path) -> None:
    first, batches = _compiled("eager", tmp_path, train=train)
    first.step(batches[0])
    weights, state = first.model_state(), first.optimizer_state()
    expected = [first.step(batch)[1] for batch in batches[1:]]
    second, _ = _compiled("eager", tmp_path, train=train)
    second.load_model_state(weights)
    second.load_optimizer_state(state)
    assert [second.step(batch)[1] for batch in batches[1:]] == expected
    _assert_equal(first.model_state(), second.model_state())


def test_optimizers_follow_the_config() -> None:
    weights = [nn.Parameter(torch.zeros(1))]
    sgd = make_optimizer(weights, TrainConfig(optimizer="sgd", momentum=0.5, lr=0.25, weight_decay=0.125))
    assert isinstance(sgd, torch.optim.SGD)
    assert [sgd.defaults[key] for key in ("momentum", "lr", "weight_decay")] == [0.5, 0.25, 0.125]
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        optimizer = make_optimizer(weights, TrainConfig(optimizer=name, lr=0.25, weight_decay=0.125))
        assert type(optimizer) is kind
        assert (optimizer.defaults["lr"], optimizer.defaults["weight_decay"]) == (0.25, 0.125)


@pytest.mark.parametrize("optimizer", ["adam", "adamw", "sgd"])
def test_weights_with_gaps_in_memory_are_trained_where_they_lie(optimizer: str, tmp_path: Path) -> None:
    """torch's fused optimizers would update other places: gradients have no gaps."""
    train = TrainConfig(optimizer=optimizer, lr=0.1)
    runs = []
    for name in ("Gaps", "NoGaps"):
        compiled, batches = _compiled("eager", tmp_path, f"{HERE}:{name}", train)
        runs.append([float(compiled.step(batch)[1]) for batch in batches])
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


def test_weights_with_gaps_that_share_memory_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"share memory.*got model.weight and model.other"):
        _compiled("eager", tmp_path, f"{HERE}:Shared")


def test_another_signature_is_refused(tmp_path: Path) -> None:
    compiled, batches = _compiled("eager", tmp_path)
    good = batches[0]
    wrong = {
        r"movie: x differs .*; got float32 \(8, 5\); expected float32 \(9, 5\)": [good[0][:-1]] + good[1:],
        r"movie: x differs .*; got float16 \(9, 5\)": [good[0].half()] + good[1:],
        r"another number of tensors": good[:-1],
    }
    for message, batch in wrong.items():
        for call in (compiled.step, compiled.infer):
            with pytest.raises(SignatureMismatchError, match=message):
                call(batch)
    compiled.step(good)


def test_compile_refuses_a_model_that_breaks_its_contract(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="wrong shape"):
        _compiled("eager", tmp_path, f"{HERE}:Squeezed")


def test_close_leaves_the_weights_readable(tmp_path: Path) -> None:
    compiled, batches = _compiled("eager", tmp_path)
    compiled.step(batches[0])
    before = compiled.model_state()
    compiled.close()
    _assert_equal(compiled.model_state(), before)


@pytest.mark.parametrize("name", ["auto", "inductor"])
def test_falls_back_to_eager_with_a_warning(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inductor, "MIN_TORCH", (0, 0))
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.warns(
        BackendFallbackWarning, match=f"'{name}' runs as 'eager'.*no C\\+\\+ compiler 'no-such-compiler'"
    ):
        assert resolve_backend(name, tmp_path).name == "eager"
    monkeypatch.setattr(inductor, "MIN_TORCH", (99, 0))
    with pytest.warns(BackendFallbackWarning, match="is older than 99.0"):
        assert resolve_backend(name, tmp_path).name == "eager"


def test_backends_by_name(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert resolve_backend("eager", tmp_path).name == "eager"
        if CAN_COMPILE:
            assert resolve_backend("auto", tmp_path).name == "inductor"
    with pytest.raises(BackendError, match="got 'poplar'; expected one of auto, poptorch, cuda_graphs"):
        resolve_backend("poplar", tmp_path)


class Flagged(nn.Module):
    """Multiplies by a class attribute, on which compiled code is specialised."""

    factor = 1

    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.linear = nn.Linear(5, NUM_CLASSES)

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        return self.linear(x_dict["movie"]) * self.factor


class Dropping(Flagged):
    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        return self.linear(nn.functional.dropout(x_dict["movie"], 0.5, self.training))


class DataDependent(Flagged):
    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        out = self.linear(x_dict["movie"])
        return out if out.sum() > 0 else -out


class Squeezed(Flagged):
    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        return self.linear(x_dict["movie"])[:1]


class NoGaps(nn.Module):
    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.linspace(-1, 1, 50).reshape(5, 10)[:, 1 : 2 * NUM_CLASSES : 2].clone())

    def forward(self, x_dict: Dict[str, Tensor], edge_index_dict: Any) -> Tensor:
        return x_dict["movie"] @ self.weight


class Gaps(NoGaps):
    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__(graph, config)
        self.weight = nn.Parameter(torch.linspace(-1, 1, 50).reshape(5, 10)[:, 1 : 2 * NUM_CLASSES : 2])


class Shared(Gaps):
    def __init__(self, graph: GraphSchema, config: ModelConfig) -> None:
        super().__init__(graph, config)
        self.other = nn.Parameter(self.weight.data[:2])
