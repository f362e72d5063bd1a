"""Every key of properties/ has an entry, a comment and a valid default; every entry has a key."""

from __future__ import annotations

import re

import pytest

from recbole_precise.config import properties_folder, read_settings, schema
from recbole_precise.errors import ConfigError
from recbole_precise.nn.sequence_encoders import ACTIVATIONS

FOLDER = properties_folder()
FILES = sorted(
    file for file in FOLDER.rglob("*.yaml") if file.parent.name != "benchmark"
)  # plans have keys of their own
MODEL_FILES = sorted((FOLDER / "model").glob("*.yaml"))


def documented(file) -> dict[str, str]:
    """Key -> its comment's type, of the top-level keys of a YAML file."""
    lines = file.read_text(encoding="utf-8").splitlines()
    found = {}
    for line in lines:
        match = re.match(r"(\w+):.*?#\s*\(([^)]+)\)\s+\S+", line)
        if match:
            found[match.group(1)] = match.group(2)
    return found


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(FOLDER)))
def test_every_key_has_an_entry_a_comment_and_a_valid_default(file):
    comments = documented(file)
    for key, value in read_settings(file).items():
        entry = schema.known_key(key)
        assert entry is not None, f"{key} has no entry in schema.py"
        entry.check(key, value, str(file))
        assert key in comments, f"{key} in {file.name} needs a comment '# (type) meaning'"
        assert set(comments[key].split(" or ")) <= set(entry.types), (
            f"{key}: the comment says ({comments[key]}), the schema {entry.kinds}"
        )


def test_every_entry_has_a_key():
    assert schema.OVERALL.keys() == read_settings(FOLDER / "overall.yaml").keys()
    in_models = {key for file in MODEL_FILES for key in read_settings(file)}
    assert schema.model_keys().keys() - in_models == set()


def test_activations_are_those_that_the_encoders_have():
    assert set(schema.known_key("hidden_act").choices) == set(ACTIVATIONS)


def test_our_overall_settings_touch_no_key_of_recbole():
    from recbole_precise.config.known_keys import recbole_keys

    assert not read_settings(FOLDER / "overall.yaml").keys() & recbole_keys()
    assert not schema.OVERALL.keys() & (schema.RECBOLE.keys() | schema.model_keys().keys())


def test_recbole_accepts_its_own_defaults():
    """No entry for RecBole's keys is stricter than RecBole's own YAML files."""
    from recbole_precise.config.known_keys import recbole_folder

    for name in (
        "overall.yaml",
        "dataset/sample.yaml",
        "dataset/ml-100k.yaml",
        "quick_start_config/sequential.yaml",
    ):
        for key, value in read_settings((recbole_folder() / "properties") / name).items():
            if key in schema.RECBOLE:
                schema.RECBOLE[key].check(key, value, name)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 2.5), ("epochs", True), ("epochs", -1), ("learning_rate", 0), ("learning_rate",
            "fast"), ("learning_rate", float("nan")),
        ("hidden_dropout_prob", 1.0), ("hidden_dropout_prob", -0.1), ("mask_history", 1),
        ("mask_history", "yes"), ("slices", ["age"]),
        ("tie_break", "first"), ("learner", "adamm"), ("load_col", ["user_id"]), ("epochs", None),
        ("item_text", 3), ("metrics", None),
    ],
)  # fmt: skip
def test_values_that_a_key_does_not_take(key, value):
    with pytest.raises(ConfigError) as caught:
        schema.known_key(key).check(key, value, "in 'x.yaml'")
    assert str(caught.value).startswith(f"{key} (in 'x.yaml') must be ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("epochs", 0),
        ("learning_rate", 1),
        ("learner", "AdamW"),
        ("slices", []),
        ("slices", None),
        ("item_text", ["a", "b"]),
        ("topk", 5),
        ("topk", [5, 10]),
    ],
)
def test_values_that_a_key_takes(key, value):
    schema.known_key(key).check(key, value, "anywhere")
