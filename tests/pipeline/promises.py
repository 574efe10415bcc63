"""What a reader may rely on in any store, checked with zarr and numpy alone."""

import numpy as np

from heteroshards.schemas.graph import edge_key
from tests.pipeline.stores import manifest_of, read


def check_store(store, data):
    """Everything a reader may rely on, against the source graph."""
    manifest = manifest_of(store)
    assert manifest["complete"] is True
    for split in manifest["splits"]:
        check_coverage(store, data, manifest, split)
        for part in split["parts"]:
            check_part(store, data, manifest, split, part)


def part_path(split, part):
    return split["name"] if len(split["parts"]) == 1 else f"{split['name']}/shape_{part['shape']}"


def check_coverage(store, data, manifest, split):
    """Each seed once per round, across all parts."""
    own = np.flatnonzero(data[manifest["graph"]["task"]["seed_type"]][f"{split['name']}_mask"].numpy())
    for round_index in range(0 if split["num_batches_skipped"] else len(split["parts"][0]["round_starts"]) - 1):
        found = []
        for part in split["parts"]:
            start, stop = part["round_starts"][round_index : round_index + 2]
            seeds = read(store, f"{part_path(split, part)}/seeds/n_id")[start:stop]
            found.append(seeds[seeds >= 0])
        assert np.array_equal(np.sort(np.concatenate(found)), own)


def check_part(store, data, manifest, split, part):
    seed_type, budget = manifest["graph"]["task"]["seed_type"], manifest["budgets"][part["shape"]]
    name = part_path(split, part)
    seeds, y = read(store, f"{name}/seeds/n_id"), read(store, f"{name}/seeds/targets/y")
    real = read(store, f"{name}/seeds/mask")
    assert np.array_equal(real, seeds >= 0)
    own = np.flatnonzero(data[seed_type][f"{split['name']}_mask"].numpy())
    rounds = read(store, f"{name}/stats/round")
    assert np.array_equal(rounds, np.repeat(np.arange(len(part["round_starts"]) - 1), np.diff(part["round_starts"])))
    assert np.isin(seeds[real], own).all()
    assert np.array_equal(y[real], data[seed_type].y.numpy()[seeds[real]])
    assert (y[~real] == -100).all()
    n_id = {t: read(store, f"{name}/nodes/{t}/n_id") for t in data.node_types}
    for t, ids in n_id.items():
        assert ids.shape[1] == budget["num_nodes"][t]
        assert np.array_equal(read(store, f"{name}/nodes/{t}/mask"), ids >= 0)
        assert (ids[:, -1] == -1).all()
    assert np.array_equal(n_id[seed_type][:, : seeds.shape[1]][real], seeds[real]), "seeds come first"
    counts = read(store, f"{name}/stats/num_nodes").sum(axis=2)
    for i, t in enumerate(data.node_types):
        assert np.array_equal((n_id[t] >= 0).sum(axis=1), counts[:, i])
    for edge_type in data.edge_types:
        check_edges(store, name, edge_type, data, n_id, budget)


def check_edges(store, split, edge_type, data, n_id, budget):
    src, _, dst = edge_type
    folder = f"{split}/edges/{edge_key(edge_type)}"
    edge_index, mask = read(store, f"{folder}/edge_index"), read(store, f"{folder}/mask")
    e_id = read(store, f"{folder}/e_id")
    last = np.array([budget["num_nodes"][src] - 1, budget["num_nodes"][dst] - 1])
    assert edge_index.min() >= 0 and (edge_index.max(axis=(0, 2)) <= last).all()
    assert np.array_equal(mask, e_id >= 0)
    for b in range(len(edge_index)):
        ends = np.stack([n_id[src][b][edge_index[b, 0]], n_id[dst][b][edge_index[b, 1]]])
        assert np.array_equal(ends[:, mask[b]], data[edge_type].edge_index.numpy()[:, e_id[b][mask[b]]])
        assert (edge_index[b][:, ~mask[b]] == last[:, None]).all(), "pads touch only pad nodes"
