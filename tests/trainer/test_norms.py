"""Masked norms are, on real rows, the layers they are named after, and never see a pad."""

from pathlib import Path
from typing import Any, Callable, Dict, List, NamedTuple, Tuple

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn

from heteroshards.trainer.backends.inductor import InductorBackend
from heteroshards.trainer.models import norms
from heteroshards.trainer.training import fit
from tests.poptorch_double import installed
from tests.trainer.conftest import make_config

CHANNELS, REAL, PADS = 6, 11, 5
HERE = "tests.trainer.test_norms"

pytestmark = pytest.mark.usefixtures("one_thread")


class Case(NamedTuple):
    masked: Callable[[], nn.Module]
    plain: Callable[[], nn.Module]


CASES: Dict[str, Case] = {
    "batch": Case(lambda: norms.BatchNorm(CHANNELS), lambda: nn.BatchNorm1d(CHANNELS)),
    "batch-cumulative": Case(
        lambda: norms.BatchNorm(CHANNELS, momentum=None), lambda: nn.BatchNorm1d(CHANNELS, momentum=None)
    ),
    "batch-stateless": Case(
        lambda: norms.BatchNorm(CHANNELS, affine=False, track_running_stats=False),
        lambda: nn.BatchNorm1d(CHANNELS, affine=False, track_running_stats=False),
    ),
    "layer": Case(lambda: norms.LayerNorm(CHANNELS), lambda: pyg.LayerNorm(CHANNELS)),
    "layer-node": Case(lambda: norms.LayerNorm(CHANNELS, mode="node"), lambda: pyg.LayerNorm(CHANNELS, mode="node")),
    "layer-plain": Case(lambda: norms.LayerNorm(CHANNELS, affine=False), lambda: pyg.LayerNorm(CHANNELS, affine=False)),
    "graph": Case(lambda: norms.GraphNorm(CHANNELS), lambda: pyg.GraphNorm(CHANNELS)),
    "instance": Case(lambda: norms.InstanceNorm(CHANNELS), lambda: pyg.InstanceNorm(CHANNELS)),
    "instance-tracking": Case(
        lambda: norms.InstanceNorm(CHANNELS, affine=True, track_running_stats=True),
        lambda: pyg.InstanceNorm(CHANNELS, affine=True, track_running_stats=True),
    ),
    "pair": Case(lambda: norms.PairNorm(), lambda: pyg.PairNorm()),
    "pair-individual": Case(lambda: norms.PairNorm(2.0, True), lambda: pyg.PairNorm(2.0, True)),
    "mean": Case(lambda: norms.MeanSubtractionNorm(), lambda: pyg.MeanSubtractionNorm()),
    "size": Case(lambda: norms.GraphSizeNorm(), lambda: pyg.GraphSizeNorm()),
    "groups": Case(lambda: norms.DiffGroupNorm(CHANNELS, 3), lambda: pyg.DiffGroupNorm(CHANNELS, 3)),
}


def pair_of(name: str) -> Tuple[nn.Module, nn.Module]:
    """A masked norm and the layer it stands for, with equal weights that are not ones and zeros."""
    masked, plain = CASES[name].masked(), CASES[name].plain()
    with torch.no_grad():
        for parameter in plain.parameters():
            parameter.copy_(torch.randn(parameter.shape))
    assert [(k, v.shape, v.dtype) for k, v in masked.state_dict().items()] == [
        (k, v.shape, v.dtype) for k, v in plain.state_dict().items()
    ]
    masked.load_state_dict(plain.state_dict())
    return masked, plain


def batches(pads: List[float]) -> List[Tuple[Tensor, Tensor]]:
    """Real rows, and them with pads of the given values behind."""
    found = []
    for value in pads:
        real = torch.randn(REAL, CHANNELS) * 3 + 1
        found.append((real, torch.cat([real, torch.full((PADS, CHANNELS), value)])))
    return found


@pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])
@pytest.mark.parametrize("name", list(CASES))
def test_outputs_statistics_and_gradients_are_those_of_the_unpadded_layer(name: str, training: bool) -> None:
    torch.manual_seed(3)
    masked, plain = pair_of(name)
    mask = torch.arange(REAL + PADS) < REAL
    for real, padded in batches([0.0, 7.0, float("nan"), float("inf")]):  # statistics follow one another
        masked.train(training)
        plain.train(training)
        given, expected_given = padded.requires_grad_(), real.requires_grad_()
        out, expected = masked(given, mask), plain(expected_given)
        torch.testing.assert_close(out[:REAL], expected, atol=2e-5, rtol=1e-4)
        factors = torch.randn(REAL, CHANNELS)
        (out[:REAL] * factors).sum().backward()
        (expected * factors).sum().backward()
        torch.testing.assert_close(given.grad[:REAL], expected_given.grad, atol=2e-5, rtol=1e-3)
        assert torch.equal(given.grad[REAL:], torch.zeros(PADS, CHANNELS))
        assert out.isfinite().all()
        for key, value in plain.state_dict().items():
            torch.testing.assert_close(masked.state_dict()[key], value, atol=1e-5, rtol=1e-4, msg=key)
        for one, other in zip(masked.parameters(), plain.parameters()):
            torch.testing.assert_close(one.grad, other.grad, atol=1e-4, rtol=1e-3)


@pytest.mark.parametrize("name", list(CASES))
@pytest.mark.parametrize("num_real", [0, 1])
def test_a_batch_of_no_or_one_real_row_is_finite_and_tracks_nothing_of_none(name: str, num_real: int) -> None:
    torch.manual_seed(4)
    masked, _ = pair_of(name)
    before = {key: value.clone() for key, value in masked.state_dict().items()}
    x = torch.randn(PADS, CHANNELS, requires_grad=True)
    out = masked(x, torch.arange(PADS) < num_real)
    out.square().sum().backward()
    assert out.isfinite().all() and x.grad.isfinite().all()
    assert all(parameter.grad is None or parameter.grad.isfinite().all() for parameter in masked.parameters())
    if num_real == 0:
        assert all(torch.equal(before[key], value) for key, value in masked.state_dict().items())


def test_statistics_of_half_precision_do_not_overflow() -> None:
    x = torch.full((REAL + PADS, CHANNELS), 30000.0).half()
    x[0] = 0
    norm = norms.MeanSubtractionNorm()
    out = norm(x, torch.arange(REAL + PADS) < REAL)
    assert out.dtype == torch.float16
    torch.testing.assert_close(out[:REAL].float().mean(), torch.tensor(0.0), atol=20, rtol=0)


class Normed(nn.Module):
    """Every masked norm after another, on the seed type."""

    extra_inputs = ("node_mask",)

    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__()
        self.seed_type = graph.seed_type
        self.first = pyg.Linear(-1, CHANNELS)
        self.norms = nn.ModuleList(case.masked() for name, case in CASES.items() if name != "batch-cumulative")
        self.head = nn.Linear(CHANNELS, graph.num_classes)

    def forward(self, x_dict: Any, edge_index_dict: Any, node_mask_dict: Any) -> Tensor:
        x = self.first(x_dict[self.seed_type])
        for norm in self.norms:
            x = x + norm(x, node_mask_dict[self.seed_type])
        return self.head(x)


def test_every_backend_runs_them(table_store: Any, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    def run(backend: str) -> Any:
        cache = str(request.config.cache.mkdir("compiled"))
        config = make_config(tmp_path, epochs=2, backend=backend, cache=cache)
        config = config.model_copy(update={"model": config.model.model_copy(update={"name": f"{HERE}:Normed"})})
        return fit(config, table_store, tmp_path / backend)

    losses = {"eager": run("eager")["test"]["loss"]}
    if InductorBackend(Path()).is_available()[0]:
        losses["inductor"] = run("inductor")["test"]["loss"]
    with installed():
        losses["poptorch"] = run("poptorch")["test"]["loss"]
    for loss in losses.values():
        assert loss == pytest.approx(losses["eager"], rel=2e-2)
