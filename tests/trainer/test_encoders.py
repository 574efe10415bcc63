"""Several attributes, and codes, become one learned matrix of a type: exactly so, whichever way they come."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import nn

from heteroshards.schemas.attributes import Attributed, AttributeSchema
from heteroshards.schemas.config import ModelConfig
from heteroshards.schemas.errors import ConfigError, CorruptChunkError
from heteroshards.trainer.backends.eager import EagerBackend
from heteroshards.trainer.job import open_job
from heteroshards.trainer.models.encoders import AttributeEncoders
from heteroshards.trainer.models.encoders.codes import CodeEncoder
from heteroshards.trainer.models.scale import embedding_scale
from heteroshards.trainer.reading.dataset import ShardDataset
from heteroshards.trainer.reading.store import Store, open_store
from heteroshards.trainer.training import fit
from tests.trainer.conftest import make_config
from tests.trainer.factory_graph import codes, numbers, source
from tests.trainer.store_factory import write_store

HERE = __name__
MODELS = ("to_hetero", "hetero_conv", "hgt")
SMALL = ModelConfig(hidden_channels=8)
half = AttributeSchema(name="half", width=2, dtype="float16")
RICH = Attributed(attributes=(*numbers("x", 3), *codes("kinds", 7, 3), half))


def encoders(config: ModelConfig = SMALL) -> AttributeEncoders:
    torch.manual_seed(0)
    return AttributeEncoders([("plain type", Attributed(attributes=numbers("x", 3))), ("rich.type", RICH)], config)


def values(rows: int = 5) -> Any:
    rng = np.random.default_rng(0)
    return {
        "x": torch.from_numpy(rng.normal(size=(rows, 3)).astype("float32")),
        "kinds": torch.from_numpy(rng.integers(-1, (7, 3), size=(rows, 2)).astype("int32")),
        "half": torch.ones(rows, 2, dtype=torch.float16),
    }


def test_each_attribute_is_encoded_and_added_up() -> None:
    """A linear layer for numbers, a vector per column of codes: four terms, so half of their sum."""
    model, given = encoders(), values()
    given["kinds"][0] = -1
    found = model({"plain type": given["x"], "rich.type": given}, torch.float32)
    assert found["plain type"] is given["x"]
    x, kinds, half = model.types[0].parts
    expected = x.linear(given["x"]) + half.linear(given["half"].float())
    for row in range(5):
        for column in range(2):
            code = int(given["kinds"][row, column])
            if code >= 0:
                expected[row] = expected[row] + kinds.embeddings[column].weight[code]
    torch.testing.assert_close(found["rich.type"], expected / 2)
    found["rich.type"].sum().backward()
    used = kinds.embeddings[0].weight.grad.abs().sum(dim=1) > 0
    assert set(used.nonzero().flatten().tolist()) == {int(code) for code in given["kinds"][:, 0] if code >= 0}


@pytest.mark.parametrize("name", ["to_hetero", "hgt"])
def test_vectors_of_codes_begin_as_those_of_nodes_do(name: str) -> None:
    torch.manual_seed(0)
    (kinds,) = AttributeEncoders(
        [("a", Attributed(attributes=codes("kinds", 4000)))], ModelConfig(name=name, hidden_channels=16)
    ).parameters()
    assert kinds.std().item() == pytest.approx(embedding_scale(name, 16), rel=0.05)


def test_it_compiles_as_one_graph() -> None:
    encoder = CodeEncoder((7, 3), 4, 1.0)
    compiled = torch.compile(encoder, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(values()["kinds"]), encoder(values()["kinds"]))


def losses_of(store: Store, tmp_path: Path, name: str, **train: Any) -> Any:
    config = make_config(tmp_path, **train)
    model = config.model.model_copy(update={"name": name, "dropout": 0.0, "heads": 2})
    with open_job(config.model_copy(update={"model": model}), store, EagerBackend()) as job:
        kinds = {spec.kind for spec in job.inputs[0]}
        with job.stream("train", np.arange(4)) as stream:
            found = [job.compiled.step(tensors)[1].item() for _, tensors in stream]
        state = {key: value for key, value in job.compiled.model_state().items() if "encoders" in key}
    return found, kinds, state


@pytest.mark.parametrize("name", MODELS)
def test_models_learn_the_same_from_tables_batches_and_beside_the_model(
    store_of: Any, tmp_path: Path, name: str
) -> None:
    ways = [("table", "never"), ("inline", "never"), ("table", "always")]
    found = [
        losses_of(store_of(is_rich=True, features=features), tmp_path, name, device_features=choice)
        for features, choice in ways
    ]
    (first, kinds, state), (inline, _, _), (resident, by_id, _) = found
    assert inline == pytest.approx(first, rel=1e-5) and resident == pytest.approx(first, rel=1e-5)
    assert "x" in kinds and "x" not in by_id
    assert {key.split(".")[-1] for key in state} == {"weight", "bias"} and len(state) == 7


def test_packed_stores_have_them_too(store_of: Any, tmp_path: Path) -> None:
    found = [losses_of(store_of(is_rich=True, is_packed=packed), tmp_path, "to_hetero")[0] for packed in (False, True)]
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_other_types_may_be_sparse_beside_them(store_of: Any, tmp_path: Path) -> None:
    store = store_of(is_rich=True, zeros=0.97)
    with open_job(make_config(tmp_path), store, EagerBackend()) as job:
        by_kind = {(spec.kind, spec.key) for spec in job.inputs[0]}
    assert {("x_values", "actor"), ("x", "movie")} <= by_kind
    with pytest.raises(ConfigError, match=r"attributes, or codes, has no sparse features; got node type 'movie'"):
        with open_job(make_config(tmp_path, sparse_features="always"), store, EagerBackend()):
            pass


def test_a_run_is_trained_and_goes_on(store_of: Any, tmp_path: Path) -> None:
    store = store_of(is_rich=True)
    whole = fit(make_config(tmp_path), store, tmp_path / "whole", backend=EagerBackend())
    fit(make_config(tmp_path, epochs=2), store, tmp_path / "parts", backend=EagerBackend())
    again = fit(make_config(tmp_path), store, tmp_path / "parts", backend=EagerBackend())
    assert again["test"] == whole["test"]


class Own(nn.Module):
    """A model of one's own gets what the encoders make."""

    extra_inputs = ("edge_attr",)

    def __init__(self, graph: Any, config: Any) -> None:
        super().__init__()
        self.linear = nn.Linear(config.hidden_channels, graph.task.columns)

    def forward(self, x_dict: Any, edge_index_dict: Any, edge_attr_dict: Any) -> Any:
        assert x_dict["movie"].shape[1] == edge_attr_dict["actor", "to", "movie"].shape[1] == 8
        return self.linear(x_dict["movie"])


def test_models_of_ones_own_get_them_encoded(store_of: Any, tmp_path: Path) -> None:
    losses, _, state = losses_of(store_of(is_rich=True), tmp_path, HERE + ":Own")
    assert np.isfinite(losses).all() and len(state) == 7


@pytest.mark.parametrize("features", ["table", "inline"])
def test_items_hold_every_attribute(store_of: Any, features: str) -> None:
    store, tables = store_of(is_rich=True, features=features), source(is_rich=True).tables
    item, data = ShardDataset(store, "train")[0], ShardDataset(store, "train", as_hetero_data=True)[0]
    n_id, mask = item["nodes/movie/n_id"], item["nodes/movie/mask"]
    for name in ("x", "kinds"):
        assert torch.equal(data["movie"][name], item[f"nodes/movie/{name}"])
        expected = tables[f"features/movie/{name}"][n_id[mask].numpy()]
        assert (item[f"nodes/movie/{name}"][mask].numpy() == expected).all()
    assert (item["nodes/movie/kinds"][~mask] == -1).all() and (item["nodes/movie/x"][~mask] == 0.5).all()
    assert item["edges/actor__to__movie/role"].dtype == data["actor", "to", "movie"].role.dtype == torch.int32


@pytest.mark.parametrize("features", ["table", "inline"])
@pytest.mark.parametrize("value", [7, -2])
def test_codes_that_do_not_exist_are_found_before_they_are_followed(tmp_path: Path, features: str, value: int) -> None:
    path = write_store(tmp_path / "store", codec="none", features=features, is_rich=True)
    name = "features/movie/kinds" if features == "table" else "train/nodes/movie/kinds"
    array = zarr.open_array(str(path / name), mode="r+")
    spoilt = array[:]
    spoilt[..., 0].flat[0] = value
    array[:] = spoilt
    with pytest.raises(CorruptChunkError, match=r"codes of 'kinds' do not exist.*\[7, 3\], by column"):
        fit(make_config(tmp_path, check_chunks=False), open_store(path, False), tmp_path / "run")


def test_a_model_may_ask_how_wide_features_are() -> None:
    assert Attributed(attributes=numbers("x", 6)).num_features == 6
    assert Attributed(attributes=()).num_features is None
    assert Attributed(attributes=(*numbers("x", 6), *codes("kinds", 3))).num_features is None
