"""Spaces: RecBole's format and meaning, one sentence with the line for a mistake, and the spaces
that are shipped.
"""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise import cli, registry
from recbole_precise.config import properties_folder
from recbole_precise.errors import ConfigError
from recbole_precise.studies.tuning.space import read_space

SHIPPED = sorted((properties_folder() / "tune").glob("*.hyper"))
MIXED = """\
# a comment
learning_rate loguniform -8,0

hidden_dropout_prob uniform 0.0, 0.5
reg quniform 0.05,0.95,0.1
n_layers quniform 1,4,2
train_batch_size choice [512,1024, 2048]
mlp_hidden_size choice ['[64,64]', '[128]']
loss choice ["CE",'BPR',None,True,1]
"""


def space_of(tmp_path: Path, text: str):
    file = tmp_path / "x.hyper"
    file.write_text(text, encoding="utf-8")
    return read_space(file)


def test_every_kind_of_line(tmp_path):
    space = space_of(tmp_path, MIXED + "n_heads uniformint 1,3\n")
    rate, dropout, reg, layers, batch, mlp, loss, heads = space.parameters
    assert (rate.low, rate.high, rate.line) == (math.exp(-8), 1.0, 2) and rate.values() is None
    assert (dropout.low, dropout.high, dropout.line) == (0.0, 0.5, 4)
    assert reg.values() == [
        0.1,
        0.2,
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.8,
        0.9,
    ]  # 0.05 alone would lead to 0
    assert layers.values() == [2, 4]
    assert (
        batch.choices == (512, 1024, 2048)
        and mlp.choices == ("[64,64]", "[128]")
        and loss.choices == ("CE", "BPR", None, True, 1)
    )
    assert heads.values() == [1, 2, 3] and all(isinstance(value, int) for value in heads.values())


@pytest.mark.parametrize("file", [None, *SHIPPED], ids=lambda file: file.stem if file else "mixed")
def test_recbole_draws_the_same_values(file, tmp_path):
    """Every point that RecBole's own reader and hyperopt draw lies in our space, and no end of ours
    is out of their reach.
    """
    pytest.importorskip("hyperopt")
    import numpy as np
    from hyperopt.pyll.stochastic import sample
    from recbole.trainer import HyperTuning

    import recbole_precise  # noqa: F401

    if file is None:
        file = tmp_path / "x.hyper"
        file.write_text(
            "".join(line for line in MIXED.splitlines(keepends=True) if not line.startswith("#"))
        )
    space, theirs = read_space(file), HyperTuning._build_space_from_file(file)
    assert sorted(space.names) == sorted(theirs)
    rng = np.random.default_rng(7)
    points = [sample(theirs, rng=rng) for _ in range(400)]
    for parameter in space.parameters:
        drawn = [point[parameter.name] for point in points]
        assert all(parameter.holds(value) for value in drawn), parameter
        values = parameter.values()
        if values is not None:
            one = [
                replace(parameter, choices=(value,))
                if parameter.choices
                else replace(parameter, low=value, high=value)
                for value in values
            ]
            met = [
                value
                for value, alone in zip(values, one)
                if any(alone.holds(other) for other in drawn)
            ]
            assert met == values
        else:
            scale = math.log if parameter.kind == "loguniform" else float
            width = scale(parameter.high) - scale(parameter.low)
            assert (
                scale(min(drawn)) - scale(parameter.low) < 0.05 * width
                and scale(parameter.high) - scale(max(drawn)) < 0.05 * width
            )


@given(st.floats(-50, 50), st.floats(0.01, 20), st.floats(0.01, 5))
def test_multiples_are_hyperopts(low, width, step):
    """quniform: round(x / step) * step for x between the ends, and every such multiple."""
    from recbole_precise.studies.tuning.space import _read_line

    low, high = round(low, 3), round(low + width, 3)
    step = round(step, 3)

    def share(multiple: int) -> float:
        """Part of the numbers between the ends, in steps, that are rounded to a multiple."""
        return min(high / step, multiple + 0.5) - max(low / step, multiple - 0.5)

    try:
        multiples = [
            round(value / step)
            for value in _read_line(f"a quniform {low!r},{high!r},{step!r}", 1, "here").values()
        ]
    except ConfigError:
        assert (
            sum(
                share(multiple) > 1e-6
                for multiple in range(math.floor(low / step) - 1, math.ceil(high / step) + 2)
            )
            == 1
        )
        return
    assert multiples == list(range(multiples[0], multiples[-1] + 1)) and all(
        share(multiple) > 1e-6 for multiple in multiples
    )
    assert share(multiples[0] - 1) < 1e-6 and share(multiples[-1] + 1) < 1e-6


MISTAKES = [
    ("learning_rate", "line 1: 'learning_rate' is not of the form 'key kind values'"),
    (
        "a choice [1]\nlearning_rate loguniforn -8,0",
        "line 2: unknown kind 'loguniforn' of learning_rate. Did you mean 'loguniform'?",
    ),
    ("a uniform 1", "line 1: '1' are not the 2 numbers of 'a uniform low,high'"),
    ("a uniform 1,nan", "line 1: '1,nan' are not the 2 numbers"),
    ("a quniform 1,2", "line 1: '1,2' are not the 3 numbers"),
    ("a uniform 2,1", "line 1: a needs its lower end first: 2 is not below 1."),
    ("a loguniform 1,900", "line 1: the ends of loguniform are powers of e"),
    ("a quniform 1,2,0", "line 1: the step of a must be above 0"),
    ("a quniform 1,2,10", "line 1: a can only be 0, the one multiple of 10 near its ends"),
    ("a uniformint 1,2.5", "line 1: a uniformint needs whole numbers"),
    ("a choice 3", "line 1: '3' is no list of values"),
    ("a choice []", "line 1: '[]' is no list of values"),
    (
        "a choice [1, __import__('os').getpid()]",
        "line 1: '[1, __import__('os').getpid()]' is no list of values",
    ),
    ("a choice [1, 1.0]", "line 1: a has a value twice"),
    ("a choice [1]\n\na choice [2]", "line 3: 'a' stands in line 1 already"),
    ("# nothing\n", "holds no line such as"),
]


@pytest.mark.parametrize(("text", "message"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_a_line_that_cannot_be_read(text, message, tmp_path):
    with pytest.raises(ConfigError) as caught:
        space_of(tmp_path, text)
    assert message in str(caught.value) and "x.hyper" in str(caught.value)


COMMAND = [
    (
        "learning_rat loguniform -8,0",
        [],
        "line 1: unknown key 'learning_rat'. Did you mean 'learning_rate'?",
    ),
    (
        "learning_rate loguniform -8,0\nhidden_dropout_prob uniform 0.5,1.5",
        [],
        "line 2) must be a number at least 0 and below 1, not 1.499",
    ),
    ("n_layers uniform 1,3", [], "n_layers (x.hyper, line 1) must be a whole number at least 1"),
    (
        "softmax choice ['ful']",
        [],
        "softmax (x.hyper, line 1) must be one of auto, full, sampled, not 'ful'. Did you mean "
        "'full'?",
    ),
    ("topk choice [5, 10]", [], "line 1: 'topk' cannot be tuned"),
    ("run_dir choice ['a']", [], "line 1: 'run_dir' cannot be tuned"),
    (
        "learning_rate loguniform -8,0",
        ["--learning_rate=0.1"],
        "has nothing to search that is not fixed already (learning_rate)",
    ),
    (
        "learning_rate loguniform -8,0",
        ["--sampler=grid"],
        "line 1: a grid needs finitely many values, and learning_rate is drawn by loguniform",
    ),
    (
        "n_heads choice [1, 2]",
        ["--sampler=tpa"],
        "--sampler must be one of tpe, random, grid, not 'tpa'. Did you mean 'tpe'?",
    ),
    ("n_heads choice [1, 2]", ["--trials=0"], "--trials must be a whole number above 0, not '0'."),
    ("n_heads choice [1, 2]", ["--hours=soon"], "--hours must be a number above 0, not 'soon'."),
    ("n_heads choice [1, 2]", ["--trails=3"], "Unknown key 'trails' (on the command line)"),
    (
        "n_heads choice [1, 2]",
        ["--metric=NDCG@7"],
        "valid_metric 'NDCG@7' is not among the metrics computed",
    ),
    ("n_heads choice [1, 2]", ["--run_dir=a"], "tune takes no --run_dir"),
    ("n_heads choice [1, 2]", ["--eval_step=0"], "eval_step must be at least 1"),
    ("n_heads choice [1, 2]", ["--params_file=y.hyper"], "Params file 'y.hyper' does not exist."),
    (None, ["--model=Pop"], "There is no space for Pop (there is for BERT4Rec, CTRL, "),
    (None, ["--model=PRECISE-UD"], "Unknown model 'PRECISE-UD'. Did you mean 'PRECISE-UT'?"),
]


@pytest.mark.parametrize(
    ("text", "more", "message"),
    COMMAND,
    ids=[f"{text} {' '.join(more)}" for text, more, _ in COMMAND],
)
def test_a_mistake_is_one_line_and_leaves_nothing(
    text, more, message, tmp_path, monkeypatch, capsys
):
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    arguments = ["tune", "--dataset=ml-100k", *more]
    if text is not None:
        Path("x.hyper").write_text(text)
        arguments += (
            []
            if any(argument.startswith("--params_file") for argument in more)
            else ["--params_file=x.hyper"]
        )
    if not any(argument.startswith("--model") for argument in more):
        arguments.append("--model=PRECISE-ID")
    status = cli.main(arguments)
    err = capsys.readouterr().err
    assert status == 2 and err.count("\n") == 1 and message in err
    assert [path.name for path in tmp_path.iterdir()] == (["x.hyper"] if text is not None else [])


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
@pytest.mark.parametrize("dataset", ["ml-100k", "prime-pantry"])
def test_shipped_spaces_are_valid_and_hold_the_defaults(file, dataset, our_config, write_dataset):
    """The first trial of TPE is the settings as they are, so these must lie inside."""
    from recbole_precise.config import schema
    from recbole_precise.config.known_keys import our_keys, recbole_keys
    from recbole_precise.plugin.checks.known_keys import keys_of_model

    more = (
        {"data_path": str(write_dataset(dataset, [("u", "i", 1)]))} if dataset != "ml-100k" else {}
    )
    config = our_config(file.stem, dataset, **more)
    entry = registry.resolve(file.stem)
    own = keys_of_model(entry, config.model_class)
    space = read_space(file).checked(
        recbole_keys() | our_keys() | own.keys(),
        lambda key: schema.entry_for(key, entry.ours, own.get(key)),
        config.final_config_dict,
    )
    assert [
        parameter.name
        for parameter in space.parameters
        if not parameter.holds(config[parameter.name])
    ] == []
    labels = space.labels(config.final_config_dict)
    assert space.values(labels) == {name: config[name] for name in space.names}


def test_every_model_that_learns_or_chooses_has_a_space():
    names = {file.stem for file in SHIPPED}
    assert {entry.settings for entry in registry.ENTRIES} - names == {"Pop", "Transition"}
    assert {"SASRec", "GRU4Rec", "BERT4Rec"} <= names


def test_lists_travel_as_text_and_come_back(tmp_path):
    space = space_of(
        tmp_path, "a choice [[64, 64], [128], {'b': 1}]\nb choice [None, True, 1.5, 'x']\n"
    )
    a, b = space.parameters
    assert [a.value(a.label(choice)) for choice in a.choices] == [[64, 64], [128], {"b": 1}]
    assert [b.label(choice) for choice in b.choices] == [None, True, 1.5, "x"]
    assert (
        space.grid()[:2] == [{"a": "[64, 64]", "b": None}, {"a": "[64, 64]", "b": True}]
        and len(space.grid()) == 12
    )
