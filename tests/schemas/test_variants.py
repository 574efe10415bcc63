"""Every key that only some choices know is refused with the others, whatever the section."""

import pytest

from heteroshards.schemas.config import BudgetConfig, DatasetConfig, JobConfig, SamplingConfig
from heteroshards.schemas.config.variants import _conditions
from heteroshards.schemas.errors import ConfigError

SECTIONS = {"dataset": DatasetConfig, "sampling": SamplingConfig, "budget": BudgetConfig}
CHOICES = {
    ("dataset", "source"): ["synthetic", "pyg", "file", "function"],
    ("dataset", "feature_values"): ["error", "default", "allow"],
    ("sampling", "mode"): ["neighbor", "full"],
    ("sampling", "grouping"): ["random", "balanced", "packed"],
    ("budget", "mode"): ["exact", "sampled", "quantile", "uniform", "explicit"],
}
OTHER = {
    "class_name": "IMDB", "root": "x", "path": "x.pt", "function": "a:b", "args": {"scale": 0.5},
    "feature_default": 2.0, "fanout": [9], "replace": True, "batch_size": 7, "grouping": "random", "max_seeds": 99,
    "rounds": 3,
    "eval_rounds": 3, "num_batches": 7, "quantile": 0.5, "confidence": 0.7, "nodes": 9, "edges": 9, "scope": "all",
    "shapes": 3, "oversize": "skip",
}  # fmt: skip
CASES = [
    (section, key, of, chosen)
    for section, model in SECTIONS.items()
    for key, of in _conditions(model)
    for chosen in CHOICES[section, of.choice]
    if chosen not in of.values
]


@pytest.mark.parametrize(("section", "key", "of", "chosen"), CASES, ids=lambda of: str(of)[:30])
def test_a_key_that_a_choice_would_ignore_is_refused(section, key, of, chosen):
    words = f"'{key}' has no meaning with {of.choice} = '{chosen}'; it belongs to '{of.values[0]}'"
    with pytest.raises(ConfigError, match=words):
        JobConfig(**{section: {of.choice: chosen, key: OTHER[key]}})


@pytest.mark.parametrize("section", SECTIONS)
def test_a_key_that_a_choice_needs_is_asked_for(section):
    needed = [(key, of, chosen) for key, of in _conditions(SECTIONS[section]) if of.needed for chosen in of.values]
    assert needed or section == "sampling"
    for key, of, chosen in needed:
        others = {other: OTHER[other] for other, more, also in needed if other != key and also == chosen}
        with pytest.raises(ConfigError, match=f"{of.choice} = '{chosen}' needs '{key}'"):
            JobConfig(**{section: {of.choice: chosen, **others}})


def test_every_declaration_names_choices_that_there_are():
    for section, model in SECTIONS.items():
        for key, of in _conditions(model):
            assert set(of.values) < set(CHOICES[section, of.choice]), key
            assert type(model.model_fields[key].default) is not type(...)
