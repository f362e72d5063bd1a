"""Intervals: read as RecBole reads them, or refused with key, value, place and an example."""

from __future__ import annotations

import logging
import math
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.config.intervals import as_text, parse_intervals
from recbole_precise.errors import ConfigError
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.dataset import SequenceDataset

bounds = (
    st.integers(-50, 50)
    | st.floats(-50, 50).map(lambda number: round(number, 2))
    | st.sampled_from([math.inf, -math.inf])
)


@given(
    bounds,
    bounds,
    st.sampled_from("[("),
    st.sampled_from("])"),
    st.integers(-60, 60),
    st.sampled_from(["", " "]),
)
def test_an_interval_holds_what_recbole_lets_through(low, high, left, right, number, blank):
    text = f"{left}{blank}{low},{blank}{high}{right}"
    try:
        (found,) = parse_intervals(text)
    except ValueError:
        within = [
            n
            for n in [low, high, (low + high) / 2 if math.isfinite(low + high) else 0.0]
            if math.isfinite(n) and _recbole(text, n)
        ]
        assert within == [], "only an interval without any number is refused"
        return
    assert found.holds(number) is _recbole(text, number)


def _recbole(text: str, number: float) -> bool:
    intervals = SequenceDataset._parse_intervals_str(
        SimpleNamespace(logger=logging.getLogger("quiet")), text
    )
    return bool(SequenceDataset._within_intervals(None, number, intervals))


BAD = [
    "[5,10",
    "6,inf",
    "5..10",
    "[6]",
    "",
    "[]",
    "[a,b)",
    "[10,5]",
    "(5,5)",
    "(5,5]",
    "[5,6);",
    ";",
    "[1,2,3]",
    ">=3",
    "3",
    "[nan,3]",
    "5-10",
    "(inf,inf)",
    "[5;10]",
    "]5,10[",
]


@pytest.mark.parametrize("key", ["user_inter_num_interval", "item_inter_num_interval"])
@pytest.mark.parametrize(
    "value",
    [*BAD, [6], [1, 2, 3], [10, 5], ["a", 5], [None, 5], "[0,0]", "[0,1)", "(5,6)", "[-5,0]"],
    ids=repr,
)
def test_an_unreadable_or_empty_interval_names_key_value_and_place(key, value):
    with pytest.raises(ConfigError) as caught:
        Config("Pop", "ml-100k", config_dict={key: value})
    message = str(caught.value)
    assert message.startswith(f"{key}") and "(in config_dict)" in message and "\n" not in message
    assert (
        "[5,inf)" in message
        or "comparison" in message
        or "begins" in message
        or "beyond" in message
        or "a list" in message
    )


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ("[5,inf)", "[5,inf)"),
        ("[6,inf]", "[6,inf]"),
        ([5, 30], [5, 30]),
        ([6, "inf"], "[6,inf]"),
        ("(6,30)", (6, 30)),
        ("(6,inf)", "(6,inf)"),
        ("[1,2];[4,9)", "[1,2];[4,9)"),
        ([5, math.inf], [5, math.inf]),
        (None, None),
    ],
)
def test_intervals_that_are_taken(value, kept):
    assert (
        Config("Pop", "ml-100k", config_dict={"user_inter_num_interval": value})[
            "user_inter_num_interval"
        ]
        == kept
    )


@pytest.mark.parametrize(("value", "least"), [([20, "inf"], 20), ("(20,inf]", 21), ([20, 500], 20)])
def test_they_filter(our_config, value, least):
    from recbole_precise.plugin.preparation import create_dataset

    dataset = create_dataset(
        our_config(
            "Pop",
            user_inter_num_interval=value,
            item_inter_num_interval=value,
            load_col={"inter": ["user_id", "item_id", "timestamp"]},
        )
    )
    counts = (
        [*dataset.user_counter.values(), *dataset.item_counter.values()]
        if hasattr(dataset, "user_counter")
        else [*dataset.counter("user_id").values()]
    )
    assert counts and min(counts) >= least - 1  # the first event is no target


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ({"timestamp": ">=3"}, ["val_interval: timestamp", "write [3,inf)"]),
        ({"timestamp": "<3.5"}, ["write (-inf,3.5)"]),
        ({"timestamp": "==3"}, ["write [3,3]"]),
        ({"timestamp": "[5,1]"}, ["ends before it begins"]),
        ({"timestamp": [1, 2, 3]}, ["two bounds"]),
        ({"timestamp": None}, ["no interval"]),
        ({"timestamp": {"a": 1}}, ["no interval"]),
        (
            {"timestamps": "[1,2]"},
            ["'timestamps', which is not loaded", "Did you mean 'timestamp'"],
        ),
        ({"age": "[3,5]"}, ["'age', which is not loaded"]),
        ({"item_id": "[1,5]"}, ["must be a list of the values to keep"]),
        ({"item_id": []}, ["must be a list of the values to keep"]),
        ("{timestamp: [3,inf)}", ["val_interval", "a mapping", "in quotes"]),
    ],
)
def test_intervals_of_values(value, words):
    with pytest.raises(ConfigError) as caught:
        Config("Pop", "ml-100k", config_dict={"val_interval": value})
    for word in ["val_interval", "config_dict", *words]:
        assert word in str(caught.value)


def test_values_of_token_columns_are_lists():
    config = Config(
        "Pop",
        "ml-100k",
        config_dict={"val_interval": {"item_id": ["1", "2"], "timestamp": [1, "inf"]}},
    )
    assert config["val_interval"] == {"item_id": ["1", "2"], "timestamp": "[1,inf]"}


def test_a_pair_is_written_as_the_interval_that_it_was():
    assert [as_text(value) for value in ([5, 30], (5, 30), ["5", "inf"], "[5,30]", None)] == [
        "[5,30]",
        "(5,30)",
        "[5,inf]",
        "[5,30]",
        None,
    ]
