"""PAD through the trainer: its phases in one command, resumed, and started from earlier runs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from test_resume import run_until
from trainer_runs import outcome, run_small

from recbole_precise.runs.folder import read_weights

SMALL = {"embedding_size": 8, "n_layers": 1, "train_batch_size": 20, "prefix_batch_size": 100,
    "epochs": 2, "item_text": "{title}", "learning_rate": 0.01,
         "load_col": {"inter": ["user_id", "item_id", "timestamp"],
             "item": ["item_id"]}}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> str:
    return str(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def pad(settings, tmp_path, cache):
    """`pad(run_dir, **more)`: settings of a small PAD on the data set `ring`."""

    def build(run_dir: str, **more):
        return settings(
            "PAD", **{**SMALL, "text_cache_dir": cache, "run_dir": str(tmp_path / run_dir), **more}
        )

    return build


def result_of(folder: Path) -> dict:
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize(
    ("backbone", "loss"),
    [
        ("transformer", "softmax"),
        ("SASRec", "bce"),
        ("GRU4Rec", "softmax"),
        ("Caser", "softmax"),
        ("Caser", "bce"),
    ],
)
def test_three_phases_in_one_command(pad, tmp_path, backbone, loss):
    run_small(pad("run", backbone=backbone, loss=loss, epochs=3))
    result = result_of(tmp_path / "run")
    assert [(phase["name"], phase["epochs"]) for phase in result["phases"]] == [
        ("pretrain", 3),
        ("align", 3),
        ("finetune", 3),
    ]
    for name in ("pretrain", "finetune"):
        losses = [record["train_loss"] for record in result["curve"] if record["phase"] == name]
        assert losses[-1] < losses[0]
    assert result["text_encoder"]["pooling"] == "mean" and 0 <= result["test"]["ndcg@10"] <= 1


@pytest.mark.parametrize(("align", "moving"), [
    ("anchored", {"item_encoder.towers.aligned.table", "item_encoder.towers.aligned.view",
        "encoders.aligned"}),
    ("anchored_frozen", {"item_encoder.towers.aligned.view", "encoders.aligned"}),
    ("non_anchored", {"item_encoder.towers.aligned.table", "item_encoder.towers.aligned.view"}),
])  # fmt: skip
def test_what_each_phase_leaves_alone(pad, tmp_path, align, moving, monkeypatch):
    """Tensor by tensor, bit for bit, before and after every epoch.

    Frozen text is no parameter and never moves.
    """
    from recbole_precise.plugin.trainer import PreciseTrainer

    seen: dict[str, set[str]] = {}
    original = PreciseTrainer._train_epoch

    def watched(self, train_data, epoch, *args, **kwargs):
        text = self.model.item_encoder.text.vectors
        before, before_text = (
            {name: value.detach().clone() for name, value in self.model.named_parameters()},
            text.clone(),
        )
        result = original(self, train_data, epoch, *args, **kwargs)
        after = dict(self.model.named_parameters())
        part = {
            name: ".".join(
                name.split(".")[: 2 if name.startswith("enc") else 4 if "towers" in name else 2]
            )
            for name in before
        }
        seen.setdefault(self.loop.phase.name, set()).update(
            part[name] for name in before if not torch.equal(before[name], after[name])
        )
        assert torch.equal(before_text, text)
        return result

    monkeypatch.setattr(PreciseTrainer, "_train_epoch", watched)
    run_small(pad("run", align=align))
    assert seen["pretrain"] == {"item_encoder.towers.id.table", "encoders.id"}
    assert seen["align"] == moving
    assert seen["finetune"] == {f"encoders.{name}" for name in ("id", "aligned", "text")} | {
        "item_encoder.gate"
    } | {
        f"item_encoder.towers.{name}"
        for name in ("id.table", "aligned.table", "aligned.view", "text.view")
    }


@pytest.mark.parametrize(
    ("settings_", "stop"), [({}, 18), ({"backbone": "Caser", "loss": "bce"}, 11)]
)
def test_killed_in_the_alignment_and_resumed(pad, tmp_path, settings_, stop, monkeypatch):
    """A run whose process ends inside phase 2 goes on to the bits of one that was never stopped."""
    from recbole_precise.models.pad import PAD

    run_small(pad("straight", checkpoint_seconds=0, **settings_))
    begun, original = [], PAD.set_phase
    monkeypatch.setattr(
        PAD, "set_phase", lambda self, phase: (begun.append(phase.name), original(self, phase))[1]
    )
    assert not run_until(
        pad("stopped", checkpoint_seconds=0, **settings_),
        tmp_path / "stopped",
        "calculate_loss",
        stop,
    )
    assert begun == ["pretrain", "align"]
    run_small(pad("stopped", resume=True, checkpoint_seconds=0, **settings_))
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_later_phases_start_from_an_earlier_run(pad, tmp_path):
    """Nothing learnt after it: the aligned expert is, bit for bit, the ID expert of the run that
    was named.
    """
    run_small(pad("first", phases=["pretrain"]))
    run_small(
        pad(
            "second",
            phases=["align"],
            warm_start=str(tmp_path / "first"),
            align_learning_rate=1e-30,
        )
    )
    first, second = (read_weights(tmp_path / name)[0] for name in ("first", "second"))
    assert [phase["name"] for phase in result_of(tmp_path / "second")["phases"]] == ["align"]
    assert int(first["trained_to"]) == 1 and int(second["trained_to"]) == 2
    for ours, theirs in (
        ("item_encoder.towers.aligned.table.", "item_encoder.towers.id.table."),
        ("encoders.aligned.", "encoders.id."),
    ):
        names = [name for name in second if name.startswith(ours)]
        assert names and all(
            torch.equal(second[name], first[theirs + name.removeprefix(ours)]) for name in names
        )
    run_small(
        pad(
            "third",
            phases=["finetune"],
            warm_start=str(tmp_path / "second"),
            finetune_learning_rate=1e-30,
        )
    )
    third = read_weights(tmp_path / "third")[0]
    assert all(
        (third[name] - second[name]).abs().max() < 1e-20 for name in second if name != "trained_to"
    )  # biases of 0 move by the rate


def test_other_experts_may_go_on_where_no_gate_was_trained(pad, tmp_path):
    """The gate of a run without the last phase begins anew; a trained one is not thrown away."""
    from recbole_precise.errors import CheckpointError

    run_small(pad("first", phases=["pretrain", "align"], epochs=1))
    run_small(
        pad(
            "second",
            phases=["finetune"],
            experts=["id", "aligned"],
            epochs=1,
            warm_start=str(tmp_path / "first"),
            finetune_learning_rate=1e-30,
            gate_rate=1.0,
        )
    )
    first, second = (read_weights(tmp_path / name)[0] for name in ("first", "second"))
    assert (
        first["item_encoder.gate.logits"].shape[1] == 3
        and second["item_encoder.gate.logits"].shape[1] == 2
        and second["item_encoder.gate.logits"].abs().max() < 1e-20
    )
    assert all(
        (second[name] - first[name]).abs().max() < 1e-20
        for name in second
        if name in first and name not in ("trained_to", "item_encoder.gate.logits")
    )
    with pytest.raises(
        CheckpointError,
        match="'item_encoder.gate.logits' has the shape .*, 2., this model's has .*, 3.",
    ):
        run_small(pad("third", phases=["finetune"], epochs=1, warm_start=str(tmp_path / "second")))


def test_the_last_phase_keeps_what_it_began_with_unless_an_epoch_is_better(pad, tmp_path):
    """With a rate that spoils everything: the tested weights are the second phase's, and the text
    expert has its first weight.
    """
    run_small(pad("first", phases=["pretrain", "align"], epochs=2))
    run_small(
        pad(
            "second",
            phases=["finetune"],
            epochs=2,
            warm_start=str(tmp_path / "first"),
            late_weight=0.01,
            finetune_learning_rate=50.0,
            gate_rate=1.0,
        )
    )
    first, second = (read_weights(tmp_path / name)[0] for name in ("first", "second"))
    (phase,) = result_of(tmp_path / "second")["phases"]
    assert phase["best_epoch"] == -1 and phase["epochs"] >= 1 and int(second["trained_to"]) == 3
    assert all(
        torch.equal(second[name], first[name])
        for name in second
        if name not in ("trained_to", "item_encoder.gate.logits")
    )
    torch.testing.assert_close(
        second["item_encoder.gate.logits"].exp(),
        torch.tensor([1.0, 1.0, 0.01]).expand_as(first["item_encoder.gate.logits"]),
    )


def test_a_run_of_the_first_phase_alone_is_ranked_by_the_id_expert(pad, tmp_path):
    """Also when it is read again: the weights say which phase they come from."""
    import recbole_precise as rp

    run_small(pad("first", phases=["pretrain"]))
    config, model, _, _, _, test = rp.load_data_and_model(str(tmp_path / "first"))
    model.eval()
    rows = test._dataset[torch.arange(6)].to(config["device"])
    assert model.item_vectors().shape[1] == 8
    torch.testing.assert_close(
        model.item_vectors(), model.item_encoder.towers["id"].table.table.weight
    )
    assert model.full_sort_predict(rows).shape == (6, 41)


def test_weights_and_texts_of_another_encoder_are_not_mixed(pad, tmp_path, bert):
    """The files of the encoder changed under the same name: a run is not loaded, resumed or begun
    with what they give.
    """
    import recbole_precise as rp
    from recbole_precise.errors import CheckpointError

    folder = Path(shutil.copytree(bert, tmp_path / "encoder"))
    texts = {"text_encoder": str(folder), "experts": ["text"], "epochs": 1}
    run_small(pad("first", **texts))
    rp.load_data_and_model(str(tmp_path / "first"))
    config = folder / "config.json"
    config.write_text(config.read_text() + " ")
    with pytest.raises(
        CheckpointError,
        match="first' was trained on texts read by '.*' .SHA-256 .*is another encoder",
    ):
        rp.load_data_and_model(str(tmp_path / "first"))
    with pytest.raises(CheckpointError, match="warm_start '.*first' was trained on texts read by"):
        run_small(pad("second", warm_start=str(tmp_path / "first"), **texts))
    (tmp_path / "first" / "result.json").unlink()  # a run that was killed before its test
    with pytest.raises(CheckpointError, match="holds another run: text_encoder.sha256: '"):
        run_small(pad("first", resume=True, **texts))
    state = tmp_path / "first" / "state.json"
    assert "text_encoder" in json.loads(state.read_text())["state"]["identity"]


@pytest.mark.slow
def test_ml_100k_learns(tmp_path, cache):
    """Above popularity, whose ndcg@10 is 0.021 under RecBole's protocol, after a few epochs of each
    phase.
    """
    from command_lines import command_line

    from recbole_precise import run_recbole

    with command_line([]):
        run_recbole(model="PAD", dataset="ml-100k", config_dict={
            "gpu_id": "", "show_progress": False, "state": "ERROR", "tensorboard": False,
            "run_dir": str(tmp_path / "run"), "text_cache_dir": cache,
            "backbone": "SASRec", "epochs": 4, "embedding_size": 32, "train_batch_size": 32,
            "learning_rate": 0.003, "hidden_dropout_prob": 0.2,
        })  # fmt: skip
    result = result_of(tmp_path / "run")
    assert len(result["phases"]) == 3 and result["test"]["ndcg@10"] > 0.025
