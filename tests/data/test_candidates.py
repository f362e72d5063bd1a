"""Modes of evaluation and sampled negatives that the settings or the data do not allow: one
sentence, never a crash or a hang.
"""

import json
import random

import pytest

from recbole_precise import cli
from recbole_precise.errors import UserError
from recbole_precise.plugin.preparation import create_dataset, data_preparation

HEADER = ("user_id:token", "item_id:token", "rating:float", "timestamp:float")
COLUMNS = {"inter": ["user_id", "item_id", "rating", "timestamp"]}
LEAVE_ONE_OUT = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user"}


def rated(users=20, items=15, events=8, seed=4):
    draw = random.Random(seed)
    return [
        (f"u{u}", f"i{draw.randrange(items)}", draw.randint(1, 5), 100 * t + u)
        for t in range(events)
        for u in range(users)
    ]


@pytest.fixture
def prepare(write_dataset, our_config):
    """`prepare(model, events, **settings)`: the loaders of a run."""

    def build(model, events, items=None, **settings):
        path = write_dataset("rated", events, items, inter_header=HEADER)
        columns = COLUMNS if items is None else {**COLUMNS, "item": ["item_id"]}
        config = our_config(
            model, "rated", **{"data_path": str(path), "load_col": columns, **settings}
        )
        return data_preparation(config, create_dataset(config))

    return build


LABELS = {"threshold": {"rating": 3}, "eval_args": {**LEAVE_ONE_OUT, "mode": "labeled"}}
VALUES = {"metrics": ["AUC"], "valid_metric": "AUC"}


@pytest.mark.parametrize("model", ["SASRec-CE", "SASRec", "BPR"])
@pytest.mark.parametrize(
    "settings, says",
    [
        (
            LABELS,
            "mode labeled (valid and test) rates each event by its label and ranks no "
            "candidates, so that ",
        ),
        (
            {**LABELS, "metrics": ["GAUC"], "valid_metric": "GAUC"},
            "so that GAUC cannot be computed",
        ),
        (
            {
                **LABELS,
                "eval_args": {**LEAVE_ONE_OUT, "mode": {"valid": "labeled", "test": "full"}},
            },
            "mode labeled (valid) rates",
        ),
        (
            {**VALUES, "eval_args": {**LEAVE_ONE_OUT, "mode": "labeled"}},
            "mode labeled needs the column 'label' (LABEL_FIELD) in .inter",
        ),
    ],
)
def test_labels_and_metrics_that_do_not_go_together(prepare, model, settings, says):
    with pytest.raises(UserError) as caught:
        prepare(model, rated(), **settings)
    assert says in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("model", ["SASRec-CE", "SASRec", "BPR"])
def test_labelled_events_are_rated(prepare, write_dataset, tmp_path, model):
    path = write_dataset("rated", rated(), inter_header=HEADER)
    given = {"model": model, "dataset": "rated", "data_path": path, "load_col": 
            "{inter: [user_id, item_id, "
            "rating, timestamp]}", "epochs": 1, "threads": 1,
             "threshold": "{rating: 3}", "eval_args": "{split: {LS: "
                                                      "valid_and_test}, "
                                                      "order: TO, group_by: "
                                                      "user, mode: labeled}",
                                                      "metrics": "[AUC, LogLoss]",
             "valid_metric": "AUC", "run_dir": tmp_path / "run", "show_progress": False,
             "tensorboard": False, "gpu_id": ""}  # fmt: skip
    assert cli.main([f"--{key}={value}" for key, value in given.items()]) == 0
    found = json.loads((tmp_path / "run" / "result.json").read_text())["test"]
    assert 0 <= found["auc"] <= 1 and found["logloss"] > 0


UNIFORM = {
    "distribution": "uniform",
    "sample_num": 1,
    "alpha": 1.0,
    "dynamic": False,
    "candidate_num": 0,
}


@pytest.mark.parametrize(
    "model, events, items, settings",
    [
        (
            "SASRec-CE",
            [("u1", "i1", 1, t) for t in range(6)],
            None,
            {"eval_args": {**LEAVE_ONE_OUT, "mode": "uni10"}},
        ),
        (
            "SASRec-CE",
            [("u1", "i1", 1, t) for t in range(6)],
            [("i1", "a"), ("i2", "b")],
            {"eval_args": {**LEAVE_ONE_OUT, "mode": "pop10"}},
        ),
        ("BPR", [("u1", f"i{t}", 1, t) for t in range(6)], None, {}),
        (
            "BPR",
            [("u1", f"i{t}", 1, t) for t in range(6)],
            [(f"i{t}", "a") for t in range(9)],
            {"train_neg_sample_args": {**UNIFORM, "distribution": "popularity"}},
        ),
    ],
    ids=["one item", "one popular item", "a user of all items", "a user of all popular items"],
)
def test_nothing_left_to_draw(prepare, model, events, items, settings):
    with pytest.raises(UserError, match="no item is left to be drawn as a negative or a candidate"):
        prepare(model, events, items, topk=[1], valid_metric="MRR@1", **settings)


def test_lists_longer_than_the_catalogue_are_refused_where_recbole_cuts_them(prepare):
    events = [(f"u{u}", f"i{(u + t) % 5}", 1, t) for u in range(4) for t in range(4)]
    with pytest.raises(UserError, match="topk: 10 is more than the 5 items of rated"):
        prepare("BPR", events)


@pytest.mark.parametrize(
    "mode, warns", [("uni14", False), ("uni15", True), ("pop100", True), ("full", False)]
)
def test_candidates_that_must_repeat_are_a_warning(prepare, caplog, mode, warns):
    prepare("SASRec-CE", rated(), eval_args={**LEAVE_ONE_OUT, "mode": mode})
    assert ("so that some stand in it several times" in caplog.text) == warns
