"""Evaluation takes nothing from training, and no setting called harmless changes a number."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from small_runs import EVERY_MODEL, PROTOCOLS, marks_of, possible, sparing, under
from torch import Tensor

from recbole_precise import Config
from recbole_precise.evaluation import ranking
from recbole_precise.quick_start import train_model

#: One of each kind, always tested: random transforms, negative samples, randomness in the loss,
#: batches padded to their longest row, pairs rated one by one, vectors, several phases, texts.
OFTEN = ("BERT4Rec", "FPMC", "FEARec", "SRGNN", "DIN", "SASRec", "PRECISE", "GraphHeuristic")
BY_RECBOLE = (("BERT4Rec", "uniform"), ("BERT4Rec", "recbole"), ("SASRec-CE", "popular"))
#: Settings that must not matter, at values as far from the defaults as they go.
HARMLESS = {"eval_batch_size": 7, "score_budget_mb": 1e-3, "worker": 2}


def outcome(
    model: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """All that a run computes: weights, the course of training, bits of scores, ranks, metrics."""
    config = Config(model, "ring", config_dict=settings, drawn=settings)
    trained = train_model(config, saved=model == "S3Rec")  # which saves its weights in any case
    trainer, found = trained.trainer, {}
    for split, loader in zip(("valid", "test"), trained.loaders[1:]):
        with monkeypatch.context() as patch:
            scores = record_scores(patch)
            trainer.evaluate(loader, load_best_model=False)
        found[f"{split} scores"] = b"".join(tensor.numpy().tobytes() for tensor in scores)
        ranks = {name: found_ranks.rank.tolist() for name, found_ranks in trainer.ranks.items()}
        found[f"{split} ranks"] = ranks
        found[f"{split} results"] = {name: dict(values) for name, values in trainer.results.items()}
    weights = {name: value.numpy().tobytes() for name, value in trainer.model.state_dict().items()}
    history = [
        {key: value for key, value in record.items() if not key.endswith("seconds")}
        for record in trainer.progress.history
    ]
    return {"weights": weights, "history": history, "phases": len(trainer.progress.phases), **found}


def record_scores(patch: pytest.MonkeyPatch) -> list[Tensor]:
    """What the exact evaluator ranks from here on: scores of all items, or vectors of users."""
    seen: list[Tensor] = []
    by_scores = ranking.rank_by_scores
    by_vectors = ranking.VectorRanker.rank

    def rank_by_scores(scores: Tensor, *args: Any, **more: Any) -> Tensor:
        seen.append(scores.clone())
        return by_scores(scores, *args, **more)

    def rank(self: Any, vectors: Tensor, *args: Any, **more: Any) -> Tensor:
        seen.append(vectors.clone())
        return by_vectors(self, vectors, *args, **more)

    patch.setattr(ranking, "rank_by_scores", rank_by_scores)
    patch.setattr(ranking.VectorRanker, "rank", rank)
    return seen


@pytest.mark.parametrize("model", sparing(EVERY_MODEL, OFTEN))
def test_nothing_harmless_changes_a_bit(
    model: str, small_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Evaluation after each epoch, under other batches, budgets and workers, and none at all."""
    first = outcome(model, small_settings(model), monkeypatch)
    other = outcome(model, small_settings(model, **HARMLESS), monkeypatch)
    assert first == other
    if first["phases"] == 1:  # a later phase begins with the best weights, which evaluation chooses
        unseen = outcome(model, small_settings(model, eval_step=0), monkeypatch)
        assert unseen["weights"] == first["weights"]
        assert unseen["test results"]["test"] == first["test results"]["test"]


@pytest.mark.parametrize(
    ("model", "protocol"),
    [
        pytest.param(model, protocol, marks=marks_of(model, (model, protocol) in BY_RECBOLE))
        for model in EVERY_MODEL
        for protocol in PROTOCOLS
        if possible(model, protocol)
    ],
)
def test_recboles_evaluator_changes_nothing_either(
    model: str, protocol: str, small_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where candidates are sampled: every evaluation of a split meets the same ones."""
    first = outcome(model, small_settings(model, **under(protocol)), monkeypatch)
    other = outcome(model, small_settings(model, **under(protocol), **HARMLESS), monkeypatch)
    assert first == other
    assert all(0 <= value <= 1 for value in first["test results"]["test"].values())
    if first["phases"] == 1:
        unseen = outcome(model, small_settings(model, **under(protocol), eval_step=0), monkeypatch)
        assert unseen["weights"] == first["weights"]
        assert unseen["test results"]["test"] == first["test results"]["test"]


def test_candidates_follow_the_seed_and_not_the_training(
    small_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models, trained for different times, rate the same candidates; another seed, others."""

    def asked(model: str, **more: Any) -> list[list[int]]:
        from recbole_precise.plugin.trainer import PreciseTrainer

        seen = []
        original = PreciseTrainer._neg_sample_batch_eval

        def note(self: Any, batch: Any) -> Any:
            seen.append(batch[0]["item_id"].tolist())
            return original(self, batch)

        with monkeypatch.context() as patch:
            patch.setattr(PreciseTrainer, "_neg_sample_batch_eval", note)
            settings = small_settings(model, **under("popular"), **more)
            config = Config(model, "ring", config_dict=settings, drawn=settings)
            trained = train_model(config, saved=False)
            for _ in range(2):
                trained.trainer.evaluate(trained.loaders[2], load_best_model=False)
        assert seen[: len(seen) // 2] == seen[len(seen) // 2 :]
        return seen

    first = asked("SASRec", epochs=1)
    assert first == asked("BERT4Rec", epochs=2)
    assert first != asked("SASRec", epochs=1, seed=7)


def test_what_an_evaluation_callback_draws_is_given_back(small_settings) -> None:
    """`callback_fn` of tuning, or a person's own."""

    def callback(epoch: int, score: float) -> None:
        random.random()
        np.random.random()
        torch.rand(1)

    weights = []
    for asked in (None, callback):
        config = Config("BERT4Rec", "ring", config_dict=small_settings("BERT4Rec"))
        trained = train_model(config, callback_fn=asked, saved=False)
        weights.append(trained.trainer.model.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_counting_flops_changes_no_training(
    small_settings, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """log_flops has a row transformed, and BERT4Rec's transform draws masks."""
    from recbole_precise import quick_start

    def get_flops(model, dataset, device, logger, transform) -> float:
        transform(dataset, dataset[torch.tensor([1])])
        return 1.0

    monkeypatch.setattr(quick_start, "get_flops", get_flops)
    files = []
    for name in ("without", "with"):
        own = small_settings("BERT4Rec", run_dir=str(tmp_path / name), log_flops=name == "with")
        quick_start.run_recbole("BERT4Rec", "ring", config_dict=own)
        files.append((tmp_path / name / "model.safetensors").read_bytes())
    assert files[0] == files[1]


def test_loaders_that_draw_nothing_keep_their_workers(small_settings) -> None:
    counts = {}
    for model in ("SASRec", "BERT4Rec", "FPMC"):
        config = Config(model, "ring", config_dict=small_settings(model, worker=1, epochs=1))
        trained = train_model(config, saved=False)
        counts[model] = trained.loaders[0].num_workers
    assert counts == {"SASRec": 1, "BERT4Rec": 0, "FPMC": 0}
