"""Runs whose texts are tuned: the adapter travels with the weights, and is trained once however the
run goes on.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from process_runs import in_processes, run_here
from trainer_runs import outcome, run_small

from recbole_precise.errors import CheckpointError
from recbole_precise.nn.text_adapter import TextAdapter
from recbole_precise.runs.folder import read_weights

TUNED = {"text_tuning": "cooccurrence", "text_tuning_steps": 3, "text_tuning_width": 8,
    "item_text": "{title}", "embedding_size": 8, "n_layers": 1,
         "load_col": {"inter": ["user_id", "item_id", "timestamp"],
             "item": ["item_id"]}}  # fmt: skip


class Trained(Exception):
    """An adapter was trained where it should have been taken over."""


@pytest.fixture
def texts(settings, tmp_path_factory):
    """`texts(model, **more)`: settings of a run with tuned texts, over one cache."""
    cache = str(tmp_path_factory.getbasetemp() / "texts")
    return lambda model, **more: settings(model, **{**TUNED, "text_cache_dir": cache, **more})


@pytest.fixture
def no_training(monkeypatch):
    """Called: from then on no adapter may be trained."""

    def refuse(self, *args):
        raise Trained

    return lambda: monkeypatch.setattr(TextAdapter, "fit", refuse)


def adapter_of(run_dir: Path) -> dict[str, torch.Tensor]:
    return {
        name: value
        for name, value in read_weights(run_dir)[0].items()
        if name.startswith("text_adapter.")
    }


def test_a_finished_run_is_asked_with_its_own_adapter(texts, no_training, tmp_path: Path) -> None:
    """Evaluated and asked of new items, also from a copy of the directory, and when what the run
    would train would differ today.
    """
    from command_lines import command_line

    from recbole_precise.finished import load_data_and_model, load_finished

    result = run_small(texts("PAD", run_dir=str(tmp_path / "run"), epochs=1))
    no_training()
    with command_line([]):
        config, model, _, _, _, test = load_data_and_model(tmp_path / "run", {"gpu_id": ""})
    from recbole_precise.plugin.trainer import get_trainer

    trainer = get_trainer(config)(config, model)
    assert trainer.evaluate(test, load_best_model=False) == result["test_result"]
    new = tmp_path / "new.item"
    new.write_text("item_id:token\ttitle:token_seq\nn1\tItem 5\nn2\t\n")
    asked = load_finished(str(tmp_path / "run"), {"gpu_id": ""}, str(new))
    text, old = asked.model.item_encoder.text, int(np.flatnonzero(asked.tokens == "i5")[0])
    assert asked.readable.tolist() == [True, False]
    torch.testing.assert_close(
        text.vectors[asked.first_new], text.vectors[old], rtol=1e-4, atol=1e-4
    )
    assert text.vectors[asked.first_new + 1].abs().sum() == 0
    saved = adapter_of(tmp_path / "run")
    assert len(saved) == 6 and all(
        torch.equal(value, asked.model.state_dict()[name]) for name, value in saved.items()
    )


@pytest.mark.parametrize("model", ["SASRec-Text", "LLM-ESR"])
def test_a_resumed_run_trains_none_and_leaves_the_same_bits(
    texts, no_training, monkeypatch, tmp_path: Path, model: str
) -> None:
    from recbole_precise import registry

    run_small(texts(model, run_dir=str(tmp_path / "straight"), checkpoint_seconds=0))
    stopped, steps = (
        texts(model, run_dir=str(tmp_path / "stopped"), checkpoint_seconds=0, resume=True),
        [],
    )
    cls = registry.get_model(model)
    original = cls.calculate_loss

    def counted(self, batch):
        if len(steps) == 2:
            raise KeyError("power cut")
        steps.append(0)
        return original(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(cls, "calculate_loss", counted)
        with pytest.raises(KeyError, match="power cut"):
            run_small(stopped)
    no_training()
    run_small(stopped)
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")
    (tmp_path / "stopped" / "result.json").unlink()
    run_small(stopped)  # trained, and killed before its test
    assert outcome(tmp_path / "stopped") == outcome(tmp_path / "straight")


def test_a_warm_start_takes_the_adapter_over(texts, no_training, tmp_path: Path) -> None:
    run_small(texts("PAD", run_dir=str(tmp_path / "first"), phases=["pretrain"], epochs=1))
    with pytest.raises(CheckpointError, match="text_adapter.* has the shape"):
        run_small(
            texts(
                "PAD",
                run_dir=str(tmp_path / "other"),
                phases=["align"],
                epochs=1,
                warm_start=str(tmp_path / "first"),
                text_tuning_width=4,
            )
        )
    no_training()
    run_small(
        texts(
            "PAD",
            run_dir=str(tmp_path / "second"),
            phases=["align"],
            epochs=1,
            warm_start=str(tmp_path / "first"),
            seed=5,
        )
    )
    one, other = (adapter_of(tmp_path / name) for name in ("first", "second"))
    assert one and all(torch.equal(value, other[name]) for name, value in one.items())
    with pytest.raises(CheckpointError, match="nowhere"):
        run_small(
            texts(
                "PAD",
                run_dir=str(tmp_path / "third"),
                phases=["align"],
                warm_start=str(tmp_path / "nowhere"),
            )
        )
    with pytest.raises(Trained):  # from a run without an adapter there is none to take
        run_small(texts("PAD", run_dir=str(tmp_path / "fourth"), phases=["align"]))


def test_two_processes_have_the_adapter_of_one(texts, tmp_path: Path) -> None:
    """Though each process draws its first weights from a seed of its own."""
    run_small(texts("SASRec-Text", run_dir=str(tmp_path / "one"), epochs=1))
    found = in_processes(run_here, texts("SASRec-Text", run_dir=str(tmp_path / "two"), epochs=1))
    assert found[0] == found[1]
    one, two = (adapter_of(tmp_path / name) for name in ("one", "two"))
    assert one and all(torch.equal(value, two[name]) for name, value in one.items())
