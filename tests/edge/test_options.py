"""Options of the commands: a value as it was meant, or one sentence that names the option and what
was given.
"""

from __future__ import annotations

import dataclasses
import json
from argparse import ArgumentTypeError

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.cli import inspect
from recbole_precise.cli.commands import COMMANDS, parser_of
from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.values import (
    names,
    number,
    switch,
    whole_number,
    whole_numbers,
)
from recbole_precise.convert import SOURCES
from recbole_precise.convert import options as convert_options
from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.discrepancy import DISTANCES
from recbole_precise.serving.evaluation import SPLITS
from recbole_precise.studies.audit.examine import DEFAULT_SHUFFLES
from recbole_precise.studies.audit.load import TEXTS
from recbole_precise.studies.inspection.separations import GROUPS
from recbole_precise.studies.replay.engine import Options as ReplayOptions
from recbole_precise.studies.replay.periods import UNITS
from recbole_precise.studies.tuning.search import METRIC
from recbole_precise.studies.tuning.study import PRUNERS, SAMPLERS

PARSERS = {command: parser_of(command) for command in COMMANDS}


@given(st.integers(-5, 10**12), st.integers(0, 5))
def test_whole_numbers_from_the_least_on(value, least):
    read = whole_number(least)
    if value >= least:
        assert read(f" {value} ") == value
    else:
        with pytest.raises(ArgumentTypeError, match=f"must be a whole number .*, not '{value}'"):
            read(str(value))


@given(st.lists(st.integers(0, 99), min_size=1, max_size=5), st.sampled_from([" ", ",", ", "]))
def test_lists_of_whole_numbers(values, between):
    text = between.join(map(str, values))
    if len(set(values)) == len(values):
        assert whole_numbers(text) == values
    else:
        with pytest.raises(ArgumentTypeError, match="must be different whole numbers"):
            whole_numbers(text)


@given(st.floats())
def test_numbers_within_their_bounds(value):
    for bounds, holds in (
        ({}, value >= 0),
        ({"above": 0}, value > 0),
        ({"above": 0, "most": 1}, 0 < value <= 1),
        ({"above": 0, "below": 1}, 0 < value < 1),
    ):
        if holds and value != float("inf"):
            assert number(**bounds)(repr(value)) == value
        else:
            with pytest.raises(ArgumentTypeError, match="must be a number "):
                number(**bounds)(repr(value))


@pytest.mark.parametrize("text", ["", "1.5", "x", "1e3", "-1", "٣x"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ArgumentTypeError):
        whole_number()(text)
    with pytest.raises(ArgumentTypeError):
        whole_numbers(text)


def small_parser() -> CommandParser:
    parser = CommandParser("small")
    parser.add_argument("--count", type=whole_number(), default=3)
    parser.add_argument("--split", choices=("test", "valid"), default="test")
    parser.add_argument("--plots", type=switch, default=True)
    parser.add_argument("--file", required=True, metavar="FILE")
    group = parser.add_mutually_exclusive_group()
    group.add_argument("--users", metavar="U")
    group.add_argument("--items", metavar="I")
    return parser


def test_what_is_missing_has_its_default():
    args = small_parser().parse(["--file=x"])
    assert (args.count, args.split, args.plots, args.users) == (3, "test", True, None)
    assert (args.given, args.settings) == ({"file": "x"}, {})
    assert args.command_line == "recbole-precise small --file=x"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "small needs --file: recbole-precise small --file=FILE [--key=value ...]."),
        (["--file=x", "--count=0"], "--count must be a whole number above 0, not '0'."),
        (
            ["--file=x", "--split=vlid"],
            "--split must be one of test, valid, not 'vlid'. Did you mean 'valid'?",
        ),
        (
            ["--file=x", "--plots=Tru"],
            "--plots must be True or False, not 'Tru'. Did you mean 'True'?",
        ),
        (["--file=x", "--file=y"], "--file is given twice, as 'x' and as 'y'."),
        (["--file"], "--file needs a value: write --file=value."),
        (
            ["--file=x", "--users=1", "--items=2"],
            "small needs one of --users=U, --items=I, not several.",
        ),
        (
            ["--file=x", "--cuont=2"],
            "Unknown option '--cuont' of small. Did you mean 'count'? It takes --count, --split, "
            "--plots, --file, --users, --items.",
        ),
        (
            ["--file=x", "stray"],
            "Unexpected argument 'stray': settings are written --key=value or --key value.",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words, sentence):
    with pytest.raises(ConfigError) as error:
        small_parser().parse(words)
    assert str(error.value) == sentence


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_is_explained(command):
    parser = PARSERS[command]
    assert parser.description
    lines = parser.format_help().splitlines()
    for key, action in parser.options.items():
        (line,) = [line for line in lines if line.startswith(f"  --{key}=")]
        assert action.help and line.endswith(action.help)


def test_what_convert_and_inspect_take():
    taken = {
        "source",
        "input",
        "output",
        "overwrite",
        *convert_options.NAMES,
        *(name for source in SOURCES.values() for name in source.own_options),
    }
    convert = PARSERS["convert"]
    assert convert.options.keys() == taken
    assert list(convert.suggestions["source"]()) == list(SOURCES)
    assert list(convert.suggestions["preset"]()) == list(convert_options.PRESETS)
    assert PARSERS["inspect"].options.keys() == {
        *inspect.COMMON,
        *(key for kind in inspect.KINDS.values() for key in kind.options),
    }


def test_defaults_and_choices_are_those_of_the_studies():
    def default(command: str, key: str) -> object:
        return PARSERS[command].options[key].default

    def choices(command: str, key: str) -> tuple[str, ...]:
        return tuple(PARSERS[command].options[key].choices or ())

    assert default("audit", "shuffles") == DEFAULT_SHUFFLES
    assert tuple(PARSERS["audit"].suggestions["text"]()) == TEXTS
    assert PARSERS["tune"].options["metric"].metavar == METRIC
    assert (choices("tune", "sampler"), choices("tune", "pruner")) == (SAMPLERS, PRUNERS)
    assert (choices("inspect", "distance"), choices("inspect", "groups")) == (DISTANCES, GROUPS)
    assert choices("evaluate", "split") == choices("inspect", "split") == SPLITS
    assert choices("replay", "time_unit") == tuple(UNITS)
    args = PARSERS["replay"].parse([])
    for field in dataclasses.fields(ReplayOptions):
        assert getattr(args, field.name) == field.default
    for key in convert_options.NAMES:
        standard = getattr(convert_options.Options(), key)
        assert str(default("convert", key)) == str(standard)


texts = st.text(st.characters(blacklist_categories=["Cs", "Cc"]), min_size=1, max_size=8).filter(
    lambda name: name == " ".join(name.split()) and name
)


@given(st.lists(texts, min_size=1, max_size=4))
def test_names_of_any_letters_are_read_back(wanted):
    assert names(json.dumps(wanted)) == wanted
    for quote in ('"', "'"):
        if not any(quote in name for name in wanted):
            assert names(" ".join(f"{quote}{name}{quote}" for name in wanted)) == wanted
    plain = [name for name in wanted if not name.startswith(("'", '"')) and len(name.split()) == 1]
    if plain and not plain[0].startswith("["):
        assert names("  ".join(plain)) == plain


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
    assert names(text) == found


@pytest.mark.parametrize(
    "text",
    ["", "  ", "''", "'a b", 'a "b', "'a'b", "[]", '["a", ""]', "[1.5]", '[["a"]]', "[true]"],
)
def test_what_names_nobody(text):
    with pytest.raises(ArgumentTypeError):
        names(text)
