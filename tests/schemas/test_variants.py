"""Every key that only some choices know is refused with the others, whatever the section."""

import re
from typing import get_args

import pytest

from heteroshards.schemas.config import JobConfig
from heteroshards.schemas.config.variants import Section, _conditions
from heteroshards.schemas.errors import ConfigError

SECTIONS = {
    name: field.annotation
    for name, field in JobConfig.model_fields.items()
    if isinstance(field.annotation, type) and issubclass(field.annotation, Section)
}
OTHER = {
    "class_name": "IMDB", "root": "x", "path": "x.pt", "function": "a:b", "args": {"scale": 0.5},
    "feature_default": 2.0, "fanout": [9], "replace": True, "batch_size": 7, "grouping": "random", "max_seeds": 99,
    "rounds": 3,
    "eval_rounds": 3, "num_batches": 7, "quantile": 0.5, "confidence": 0.7, "nodes": 9, "edges": 9, "scope": "all",
    "shapes": 3, "oversize": "skip", "momentum": 0.5, "loss_scaling": 2.0, "stochastic_rounding": True,
    "is_disjoint": True, "time": {"nodes": "t"}, "strategy": "last", "window": 3, "weight": "w",
    "class_weights": "balanced", "pos_weight": "balanced", "loss": "l1",
}  # fmt: skip


def choices(section, key):
    """All values of a key that others depend on."""
    annotation = SECTIONS[section].model_fields[key].annotation
    return [False, True] if annotation is bool else list(get_args(annotation))


def in_toml(value):
    return str(value).lower() if isinstance(value, bool) else f"'{value}'"


CASES = [
    (section, key, of, chosen)
    for section, model in SECTIONS.items()
    for key, of in _conditions(model)
    for chosen in choices(section, of.choice)
    if chosen not in of.values
]
NEEDED = {
    name: [(key, of, chosen) for key, of in _conditions(model) if of.needed for chosen in of.values]
    for name, model in SECTIONS.items()
}


def test_sections_with_variants_are_found():
    assert (
        {section for section, *_ in CASES} == set(SECTIONS) == {"dataset", "task", "sampling", "budget", "train", "ipu"}
    )


@pytest.mark.parametrize(("section", "key", "of", "chosen"), CASES, ids=lambda of: str(of)[:30])
def test_a_key_that_a_choice_would_ignore_is_refused(section, key, of, chosen):
    words = f"'{key}' has no meaning with {of.choice} = {in_toml(chosen)}; it belongs to {of.choice} = "
    with pytest.raises(ConfigError, match=re.escape(words + in_toml(of.values[0]))):
        JobConfig(**{section: {of.choice: chosen, key: OTHER[key]}})


@pytest.mark.parametrize("section", [section for section, needed in NEEDED.items() if needed])
def test_a_key_that_a_choice_needs_is_asked_for(section):
    for key, of, chosen in NEEDED[section]:
        others = {other: OTHER[other] for other, more, also in NEEDED[section] if other != key and also == chosen}
        with pytest.raises(ConfigError, match=f"{of.choice} = '{chosen}' needs '{key}'"):
            JobConfig(**{section: {of.choice: chosen, **others}})


def test_every_declaration_names_choices_that_there_are():
    for section, model in SECTIONS.items():
        for key, of in _conditions(model):
            assert set(of.values) < set(choices(section, of.choice)), key
            assert type(model.model_fields[key].default) is not type(...)
