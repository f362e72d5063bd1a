"""`evaluate` of a finished run on its own data gives the numbers of its result.json, to the last digit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from small_runs import EVERY_MODEL, FULL, marks_of, possible, under, write_ratings

from recbole_precise import cli, run_recbole

WAYS: dict[str, dict[str, Any]] = {
    "exact": {"metrics": ["Recall", "NDCG", "MRR"], "topk": [3, 10], "slices": ["history"]},
    "masked": {"mask_history": True},
    "held_out": {"holdout_items": 0.2},
    "recbole": under("recbole"),
    "uniform": under("uniform"),
    "popular": under("popular"),
    "labeled": {
        "eval_args": {**FULL, "mode": "labeled"},
        "metrics": ["AUC", "LogLoss"],
        "valid_metric": "AUC",
        "evaluator": "recbole",
    },
}
OFTEN = {
    "BERT4Rec": ("exact", "uniform"),
    "SRGNN": ("popular",),
    "DIEN": ("uniform",),  # its data set draws negative histories
    "SASRec": ("labeled",),
    "SASRec-CE": ("masked", "uniform"),
    "PRECISE-UT": ("held_out",),
    "CTRL": ("exact",),
}


def cases() -> list[Any]:
    return [
        pytest.param(model, way, marks=marks_of(model, way in OFTEN.get(model, ())))
        for model in EVERY_MODEL
        for way in WAYS
        if possible(model, way)
    ]


@pytest.mark.parametrize(("model", "way"), cases())
def test_evaluate_repeats_the_result(model: str, way: str, small_settings, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    settings = small_settings(model, epochs=1, **WAYS[way])
    if way == "labeled":
        rated = write_ratings(Path(settings["data_path"]) / "ring")
        settings |= {**rated, "load_col": {**settings["load_col"], **rated["load_col"]}}
    dataset = settings.pop("dataset", "ring")
    if model == "S3Rec":  # the run that recommends is the second of two
        first = tmp_path / "first"
        run_recbole(model, dataset, config_dict={**settings, "run_dir": str(first)})
        settings |= {"train_stage": "finetune", "pre_model_path": str(first / f"S3Rec-{dataset}-1.pth")}
    run_recbole(model, dataset, config_dict={**settings, "run_dir": str(run_dir)})
    result = json.loads((run_dir / "result.json").read_text())
    for split in ("test", "valid"):
        file = tmp_path / f"{split}.json"
        assert cli.main(["evaluate", f"--run_dir={run_dir}", f"--split={split}", f"--output={file}"]) == 0
        again = json.loads(file.read_text())
        assert again[split] == result[split]
        if split == "test":
            assert again["slices"] == result["slices"]
            assert again.get("cold") == result.get("cold")
