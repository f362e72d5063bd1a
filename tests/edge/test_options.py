"""Options of the verbs: a value as it was meant, or one sentence that names the option and what was
given.
"""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.cli import benchmark, inspect, tune
from recbole_precise.cli.commands import VERBS, usage
from recbole_precise.cli.options import number, one_of, switch, whole_number, whole_numbers, words
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.verb_options import VERB_OPTIONS
from recbole_precise.convert import SOURCES
from recbole_precise.convert import options as convert_options
from recbole_precise.errors import ConfigError
from recbole_precise.studies.audit.examine import DEFAULT_SHUFFLES


@given(st.integers(-5, 10**12), st.integers(0, 5))
def test_whole_numbers_from_the_least_on(value, least):
    if value >= least:
        assert whole_number({"k": f" {value} "}, "k", None, least=least) == value
    else:
        with pytest.raises(ConfigError, match=f"--k must be a whole number .*, not '{value}'"):
            whole_number({"k": str(value)}, "k", None, least=least)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=5), st.sampled_from([" ", ",", ", "]))
def test_lists_of_whole_numbers(values, between):
    options = {"seeds": between.join(map(str, values))}
    if len(set(values)) == len(values):
        assert whole_numbers(options, "seeds") == values
    else:
        with pytest.raises(ConfigError, match="--seeds must be different whole numbers"):
            whole_numbers(options, "seeds")


@given(st.floats())
def test_numbers_within_their_bounds(value):
    for bounds, holds in (
        ({}, value >= 0),
        ({"above": 0}, value > 0),
        ({"above": 0, "most": 1}, 0 < value <= 1),
        ({"above": 0, "below": 1}, 0 < value < 1),
    ):
        if holds and value != float("inf"):
            assert number({"k": repr(value)}, "k", None, **bounds) == value
        else:
            with pytest.raises(ConfigError, match="--k must be a number "):
                number({"k": repr(value)}, "k", None, **bounds)


@pytest.mark.parametrize("text", ["", "1.5", "x", "1e3", "-1", "٣x"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ConfigError):
        whole_number({"k": text}, "k", 1)
    with pytest.raises(ConfigError):
        whole_numbers({"k": text}, "k")


def test_what_is_missing_has_its_default():
    assert (
        whole_number({}, "k", 3),
        whole_numbers({}, "k"),
        number({}, "k", None),
        switch({}, "k", True),
        one_of({}, "k", ("a", "b")),
    ) == (3, None, None, True, "a")
    assert (
        one_of({}, "k", ("a", "b"), default="b") == "b"
        and switch({"k": "false"}, "k", True) is False
    )
    with pytest.raises(
        ConfigError, match="--k must be one of test, valid, not 'vlid'. Did you mean 'valid'"
    ):
        one_of({"k": "vlid"}, "k", ("test", "valid"))


def test_every_switch_of_the_manuals_may_stand_alone():
    manuals = " ".join([usage(), *(verb.manual() for verb in VERBS.values())])
    switches = set(re.findall(r"--(\w+)=(?:True|False)\b", manuals))
    assert {
        "plots",
        "dry_run",
        "report_only",
        "only_new",
        "overwrite",
        "skip_bad_rows",
        "trained_only",
        "cold",
    } <= switches
    assert {
        key
        for key in switches
        if parse_arguments([f"--{key}", "--seed=1"], strict=True) != {key: "True", "seed": "1"}
    } == set()


@pytest.mark.parametrize("verb", VERBS)
def test_manuals_list_what_the_usage_names(verb):
    named = set(re.findall(r"--(\w+)=", VERBS[verb].usage)) - {"key"}
    assert named - VERB_OPTIONS[VERBS[verb].module].keys() <= (
        {"mask_history", "topk"} if verb == "evaluate" else {"model", "dataset"}
    )


def test_manuals_list_what_convert_and_inspect_take():
    taken = {
        "source",
        "input",
        "output",
        "overwrite",
        *convert_options.NAMES,
        *(name for source in SOURCES.values() for name in source.own_options),
    }
    assert VERB_OPTIONS["convert"].keys() == taken
    assert re.findall(
        r"[\w-]+", VERB_OPTIONS["convert"]["source"].meaning.replace(" or ", ", ")
    ) == list(SOURCES)
    assert VERB_OPTIONS["inspect"].keys() == {
        *inspect._COMMON,
        *(key for kind in inspect.KINDS.values() for key in kind.own),
    }


def test_manuals_print_the_defaults():
    with_numbers = {
        (verb, key): option.value
        for verb, options in VERB_OPTIONS.items()
        for key, option in options.items()
    }
    assert with_numbers["tune", "trials"] == str(tune.TRIALS) and with_numbers[
        "tune", "prune_after"
    ] == str(tune.PRUNE_AFTER)
    assert (
        with_numbers["tune", "metric"] == tune.METRIC
        and with_numbers["audit", "shuffles"] == str(DEFAULT_SHUFFLES)
        and with_numbers["benchmark", "runs"] == benchmark._RUNS
    )
    defaults = convert_options.Options()
    assert all(
        with_numbers["convert", key] == str(getattr(defaults, key))
        for key in convert_options.NAMES
        if getattr(defaults, key) is not None
    )


names = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda name: name == " ".join(name.split()) and name
)


@given(st.lists(names, min_size=1, max_size=4))
def test_names_of_any_letters_are_read_back(wanted):
    assert words(json.dumps(wanted), "users") == wanted
    for quote in ('"', "'"):
        if not any(quote in name for name in wanted):
            assert words(" ".join(f"{quote}{name}{quote}" for name in wanted), "users") == wanted
    plain = [name for name in wanted if not name.startswith(("'", '"')) and len(name.split()) == 1]
    if plain and not plain[0].startswith("["):
        assert words("  ".join(plain), "users") == plain


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("u1 u2", ["u1", "u2"]),
        ("'u 1' \"u 2\" u3", ["u 1", "u 2", "u3"]),
        ('["a b", 7]', ["a b", "7"]),
        ("O'Brien it's", ["O'Brien", "it's"]),
        ("[PAD]", ["[PAD]"]),
        ("a\\b", ["a\\b"]),
    ],
)
def test_names_with_blanks_and_quotes(text, found):
    assert words(text, "users") == found


@pytest.mark.parametrize(
    "text",
    ["", "  ", "''", "'a b", 'a "b', "'a'b", "[]", '["a", ""]', "[1.5]", '[["a"]]', "[true]"],
)
def test_what_names_nobody(text):
    with pytest.raises(ConfigError, match="--users"):
        words(text, "users")
