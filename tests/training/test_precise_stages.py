"""PRECISE's stages through the trainer: universal, targeted, warm start, alternate training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from trainer_runs import run_small

from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.runs.folder import read_weights


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


def without_clock(curve: list[dict]) -> list[dict]:
    return [{key: value for key, value in record.items() if key != "seconds"} for record in curve]


@pytest.fixture
def universal(settings, tmp_path) -> Path:
    run_small(settings("PRECISE-UT", run_dir=str(tmp_path / "ut")))
    return tmp_path / "ut"


def test_the_first_stage_is_universal_training(settings, tmp_path, universal):
    """Record for record the curve of PRECISE-UT.

    The second stage starts from its best weights and never ends below them.
    """
    run_small(settings("PRECISE", run_dir=str(tmp_path / "both")))
    both, alone = result_of(tmp_path / "both"), result_of(universal)
    assert [phase["name"] for phase in both["phases"]] == ["universal", "targeted"]
    first = [record for record in both["curve"] if record["phase"] == "universal"]
    assert without_clock(first) == without_clock(alone["curve"])
    assert both["valid"]["ndcg@10"] >= max(
        record["valid"]["ndcg@10"] for record in both["curve"] if record["phase"] == "targeted"
    )


@pytest.mark.parametrize("model", ["PRECISE", "PRECISE-TT"])
def test_warm_start_copies_bit_for_bit(model, settings, tmp_path, universal, caplog):
    """With nothing learnt after it, every shared tensor is the run's."""
    run_small(
        settings(
            model,
            run_dir=str(tmp_path / "run"),
            warm_start=str(universal),
            targeted_learning_rate=1e-30,
            state="INFO",
        )
    )
    theirs, ours = read_weights(universal)[0], read_weights(tmp_path / "run")[0]
    assert theirs and all(torch.equal(theirs[name], ours[name]) for name in theirs)
    assert {name for name in ours if name not in theirs} == {
        "head.inner.weight",
        "head.inner.bias",
        "head.outer.weight",
        "head.outer.bias",
    }
    log = (tmp_path / "run" / "train.log").read_text()
    assert (
        f"tensors copied: {len(theirs)}; new here: 4 (head.inner.weight, head.inner.bias, "
        "head.outer.weight, head.outer.bias); not needed here: none" in log
    )
    assert [phase["name"] for phase in result_of(tmp_path / "run")["phases"]] == ["targeted"]


def test_what_a_run_has_beyond_is_dropped_and_told(settings, tmp_path):
    run_small(settings("PRECISE-TT", run_dir=str(tmp_path / "tt")))
    run_small(
        settings(
            "PRECISE-UT",
            run_dir=str(tmp_path / "ut"),
            warm_start=str(tmp_path / "tt"),
            state="INFO",
        )
    )
    assert (
        "new here: none; not needed here: 4 (head.inner.bias"
        in (tmp_path / "ut" / "train.log").read_text()
    )


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embedding_size": 16}, "tensor 'item_encoder.parts.0.table.weight' has the shape"),
        ({"item_inter_num_interval": "[10,99]"}, "other items"),
    ],
)
def test_a_warm_start_that_does_not_fit_is_refused(change, said, settings, tmp_path, universal):
    with pytest.raises(CheckpointError, match=said.replace("[", r"\[")):
        run_small(
            settings(
                "PRECISE", run_dir=str(tmp_path / "run"), **{"warm_start": str(universal), **change}
            )
        )


def test_a_warm_start_from_nothing_in_common_or_nowhere(settings, tmp_path):
    run_small(settings("SASRec", run_dir=str(tmp_path / "sasrec")))
    with pytest.raises(CheckpointError, match="no tensor that PRECISE has"):
        run_small(
            settings("PRECISE", run_dir=str(tmp_path / "run"), warm_start=str(tmp_path / "sasrec"))
        )
    with pytest.raises(CheckpointError, match="does not exist"):
        run_small(
            settings(
                "PRECISE", run_dir=str(tmp_path / "other"), warm_start=str(tmp_path / "nowhere")
            )
        )


@pytest.mark.parametrize(
    ("freeze", "moved"),
    [
        ("items", {"sequence_encoder", "head"}),
        ("encoder", {"head"}),
        ("none", {"item_encoder", "sequence_encoder", "head"}),
    ],
)
def test_what_targeted_training_leaves_alone(freeze, moved, settings, tmp_path, universal):
    """A validation that counts for nothing keeps the last epoch's weights: every epoch ties with
    the start.
    """
    run_small(
        settings(
            "PRECISE",
            run_dir=str(tmp_path / "run"),
            warm_start=str(universal),
            targeted_freeze=freeze,
            topk=[40],
            metrics=["Hit"],
            valid_metric="Hit@40",
        )
    )
    before, after = read_weights(universal)[0], read_weights(tmp_path / "run")[0]
    changed = {
        name.split(".")[0]
        for name in after
        if name not in before or not torch.equal(before[name], after[name])
    }
    assert changed == moved


TEXT = {
    "variant": "full",
    "item_text": "{title}",
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    "topk": [40],
    "metrics": ["Hit"],
    "valid_metric": "Hit@40",
}


@pytest.mark.parametrize(
    ("frozen", "kinds"), [("tokens", ["table"]), ("tokens+fusion", ["table", "pooling", "no_text"])]
)
def test_alternate_training_freezes_and_releases(frozen, kinds, settings, tmp_path, monkeypatch):
    """The token table is, bit for bit, what it was before until the first stage ends.

    Then it moves, at the lower rate.
    """
    from recbole_precise.models.precise import PRECISEUT
    from recbole_precise.plugin.trainer import PreciseTrainer

    seen: dict[str, list] = {}
    original = PreciseTrainer._train_epoch

    def watched(self, train_data, epoch, *args, **kwargs):
        state = lambda: {
            name: value.detach().clone() for name, value in self.model.named_parameters()
        }
        before = state()
        result = original(self, train_data, epoch, *args, **kwargs)
        seen.setdefault(self.loop.phase.name, []).append(
            (
                before,
                state(),
                [(group["lr"], len(group["params"])) for group in self.optimizer.param_groups],
            )
        )
        return result

    monkeypatch.setattr(PreciseTrainer, "_train_epoch", watched)
    run_small(
        settings(
            "PRECISE-UT",
            run_dir=str(tmp_path / "run"),
            alternate=True,
            alternate_freeze=frozen,
            epochs=4,
            learning_rate=0.01,
            **TEXT,
        )
    )
    assert list(seen) == ["universal-ids", "universal"] and [
        len(records) for records in seen.values()
    ] == [2, 2]
    text = "item_encoder.parts.1."
    for before, after, _ in seen["universal-ids"]:
        still = {name for name in before if torch.equal(before[name], after[name])}
        assert {
            name for name in still if name.startswith(text + "table")
        } and "item_encoder.parts.0.table.weight" not in still
        wrong = {
            name
            for name in before
            if name.startswith(text)
            and "no_text" not in name
            and (name in still) != any(name.startswith(text + kind) for kind in kinds)
        }
        assert not wrong
    for before, after, groups in seen["universal"]:
        assert not torch.equal(before[text + "table"], after[text + "table"])
        assert [(round(rate, 12), count) for rate, count in groups][1] == (0.001, 1) and groups[0][
            0
        ] == 0.01
    assert PRECISEUT.trains_on_windows


def test_alternate_training_has_nothing_to_freeze_without_tokens(settings, tmp_path):
    run_small(settings("PRECISE-UT", run_dir=str(tmp_path / "run"), alternate=True))
    assert [phase["name"] for phase in result_of(tmp_path / "run")["phases"]] == ["universal"]


@pytest.mark.parametrize(
    "key", [{"targeted_loss": "bprr"}, {"targeted_negatives": 0}, {"alternate_share": 1.0}]
)
def test_wrong_values_are_told(key, settings):
    with pytest.raises(ConfigError, match=next(iter(key))):
        run_small(settings("PRECISE", **key))
