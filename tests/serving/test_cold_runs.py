"""Whole items held out of real runs: text models know something of them, models of IDs alone know
nothing.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from recbole_precise import cli


def run(tmp_path: Path, model: str, **more) -> dict:
    settings = {
        "gpu_id": "",
        "show_progress": "False",
        "tensorboard": "False",
        "state": "ERROR",
        "holdout_items": 0.1,
        **more,
    }
    assert (
        cli.main(
            [
                "run",
                f"--model={model}",
                "--dataset=ml-100k",
                f"--run_dir={tmp_path / model}",
                *(f"--{key}={value}" for key, value in settings.items()),
            ]
        )
        == 0
    )
    return json.loads((tmp_path / model / "result.json").read_text())


@pytest.mark.parametrize("model", ["SASRec", "TransRec", "GraphHeuristic"])
def test_every_kind_of_model_has_a_cold_report(tmp_path, monkeypatch, model):
    monkeypatch.setattr(sys, "argv", ["test"])
    sizes = {
        "SASRec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1},
        "BERT4Rec": {"hidden_size": 8, "inner_size": 8, "n_layers": 1},
    }.get(model, {})
    result = run(tmp_path, model, epochs=0, MAX_ITEM_LIST_LENGTH=10, **sizes)
    events = result["cold"]["events"]
    assert events["cases"] > 5000 and events["users"] <= 943
    own, chance = (events["metrics"][name]["recall@10"] for name in (model, "chance"))
    if model == "GraphHeuristic":  # for an item without a transition it is the likeness of texts
        assert own["mean"] == pytest.approx(
            events["metrics"]["TextLast"]["recall@10"]["mean"], abs=2e-3
        )
    else:  # random numbers: near chance over more than 5,000 cases
        assert abs(own["mean"] - chance["mean"]) < 0.05


@pytest.mark.slow
def test_text_beats_chance_and_likeness_and_ids_are_at_chance(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["test"])
    text = run(tmp_path, "PRECISE-LLM", epochs=3)["cold"]["events"]["model_against"]
    for other in ("chance", "TextLast", "TextMean"):
        for metric in ("recall@10", "ndcg@10"):
            assert text[other][metric]["low"] > 0, (other, metric)
    events = run(tmp_path, "PRECISE-ID", epochs=3)["cold"]["events"]
    for metric in ("recall@10", "ndcg@10"):
        assert events["metrics"]["PRECISE-ID"][metric]["mean"] == pytest.approx(
            events["metrics"]["chance"][metric]["mean"], abs=1e-9
        )
