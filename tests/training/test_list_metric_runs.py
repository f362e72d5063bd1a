"""Metrics beyond accuracy in whole runs: from the data set to result.json, evaluate and resume."""

from __future__ import annotations

import json
import math
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from trainer_runs import run_small

from recbole_precise import cli
from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.parts import training_item_counts
from recbole_precise.plugin.preparation import create_dataset, data_preparation
from recbole_precise.serving.top import top_items

NAMES = ["ItemCoverage", "GiniIndex", "ShannonEntropy", "AveragePopularity", "TailPercentage"]


def events(data_path: str) -> dict[str, list[str]]:
    """Each user's items in the order of time."""
    history: dict[str, list[tuple[float, str]]] = {}
    for line in (Path(data_path) / "ring" / "ring.inter").read_text().splitlines()[1:]:
        user, item, time = line.split("\t")
        history.setdefault(user, []).append((float(time), item))
    return {user: [item for _, item in sorted(own)] for user, own in history.items()}


def expected_from_lists(run_dir: str, data_path: str, topk: list[int]) -> dict[str, float]:
    """The metrics of the lists that `top_items` gives to the test rows, counted by token in the
    file.
    """
    from command_lines import command_line

    from recbole_precise.finished import load_data_and_model

    with command_line([]):
        config, model, dataset, _, _, loader = load_data_and_model(
            run_dir, {"show_progress": False}
        )
    part, names = loader._dataset, dataset.field2id_token[dataset.iid_field]
    rows = np.arange(len(part))
    excluded = part.history(rows) if config["mask_history"] else None
    batch = loader.transform(part, part[rows])
    found = top_items(
        model, batch, max(topk), allowed=torch.ones(len(names), dtype=torch.bool), excluded=excluded
    )
    history = events(data_path)
    trained = Counter(item for own in history.values() for item in own[:-2])
    catalogue = sorted({item for own in history.values() for item in own})
    by_count = sorted(names[1:], key=lambda name: (trained[name], list(names).index(name)))
    tail = set(by_count[: max(1, int(config["tail_ratio"] * len(catalogue)))])
    n, metrics = len(catalogue), {}
    for k in topk:
        lists = [[names[i] for i in row[:k] if i] for row in found.items.tolist()]
        times = Counter(item for one in lists for item in one)
        total = sum(times.values())
        ordered = sorted(times.get(item, 0) for item in catalogue)
        metrics[f"itemcoverage@{k}"] = len(times) / n
        metrics[f"giniindex@{k}"] = sum((2 * i - n - 1) * c for i, c in enumerate(ordered, 1)) / (
            n * total
        )
        metrics[f"shannonentropy@{k}"] = -sum(
            c / total * math.log(c / total) for c in times.values()
        )
        metrics[f"averagepopularity@{k}"] = np.mean(
            [np.mean([trained[i] for i in one]) for one in lists]
        )
        metrics[f"tailpercentage@{k}"] = np.mean(
            [np.mean([i in tail for i in one]) for one in lists]
        )
    return metrics


@pytest.mark.parametrize(
    ("model", "more"),
    [
        ("SASRec", {}),
        ("SASRec", {"mask_history": True, "eval_batch_size": 7}),
        ("PRECISE-ID", {"mask_history": True}),
        ("Pop", {}),
        ("Transition", {}),
    ],
)
def test_a_run_reports_what_its_lists_hold(
    settings, tmp_path: Path, capsys, model: str, more: dict
) -> None:
    """Also beside rank metrics, and `evaluate` and a resumed run give the same digits again."""
    topk = [1, 5, 20]
    small = settings(
        model,
        metrics=[*NAMES, "NDCG"],
        topk=topk,
        valid_metric="GiniIndex@5",
        tail_ratio=0.2,
        run_dir=str(tmp_path / "run"),
        **more,
    )
    returned = run_small(small)
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    found = expected_from_lists(str(tmp_path / "run"), small["data_path"], topk)
    assert {name: result["test"][name] for name in found} == pytest.approx(found, rel=1e-12)
    assert set(result["test"]) == {*found, *(f"ndcg@{k}" for k in topk)} == set(result["valid"])
    assert all(
        set(part["test"]) <= {f"ndcg@{k}" for k in topk} for part in result["slices"].values()
    )
    assert cli.main(["evaluate", f"--run_dir={tmp_path / 'run'}"]) == 0
    again = json.loads((tmp_path / "run" / "evaluation-test.json").read_text())
    assert again["test"] == result["test"] and again["slices"] == result["slices"]
    assert run_small({**small, "resume": True}) == returned
    # Less of the Gini index is better: the best epoch has the least of all.
    assert not returned["valid_score_bigger"]
    scores = [record["valid"]["giniindex@5"] for record in result["curve"] if record["valid"]]
    assert (
        not scores or result["valid"]["giniindex@5"] == min(scores) == returned["best_valid_score"]
    )


@pytest.mark.parametrize("length", [1, 3, 50])
@pytest.mark.parametrize(
    "how", [{"LS": "valid_and_test"}, {"RS": [0.6, 0.2, 0.2]}, {"TS": [0.6, 0.2, 0.2]}]
)
def test_training_events_in_recboles_rows(
    our_config, stock_config, settings, length: int, how: dict
) -> None:
    """The same counts from RecBole's own rows, which lack each user's first event, as from our
    sequences.
    """
    from recbole.data.dataset import SequentialDataset

    small = settings(
        "SASRec",
        MAX_ITEM_LIST_LENGTH=length,
        eval_args={"split": how, "order": "TO", "mode": "full", "group_by": "user"},
        time_order="recbole",
    )
    del small["model"], small["dataset"]
    config = our_config("SASRec", "ring", **small)
    ours, theirs = create_dataset(config).build(), SequentialDataset(config).build()
    counts = training_item_counts(ours[0])
    assert np.array_equal(training_item_counts(theirs[0]), counts) and counts[0] == 0
    assert np.array_equal(
        ours[2].train_item_counts().numpy(), counts
    )  # an evaluated part knows them too


def test_recboles_dataset_is_counted_from_the_training_part(settings, tmp_path: Path) -> None:
    """DIEN reads RecBole's own data set: its evaluated part does not know the training events, the
    training part does.
    """
    from command_lines import command_line

    from recbole_precise.plugin.config import Config
    from recbole_precise.plugin.training_settings import ranking_settings
    from recbole_precise.training.judging import shown_items

    small = settings(
        "DIEN",
        metrics=["NDCG", "AveragePopularity"],
        eval_args={"mode": "full"},
        train_neg_sample_args={"distribution": "uniform", "sample_num": 1},
    )
    with command_line([]):
        config = Config(config_dict=small)
    train, _, test = data_preparation(config, create_dataset(config))
    with pytest.raises(ConfigError, match="know_training"):
        shown_items(ranking_settings(config), test._dataset, None)
    trained = Counter(item for own in events(small["data_path"]).values() for item in own[:-2])
    names = test._dataset.field2id_token["item_id"]
    counts = shown_items(ranking_settings(config), test._dataset, train._dataset).train_counts
    assert counts.tolist() == [trained[name] for name in names]


def test_recboles_numbers_on_demand_and_a_warning(settings, tmp_path: Path, caplog) -> None:
    """evaluator: recbole keeps RecBole's numbers, also when the run is evaluated again.

    The log says what is wrong with them.
    """
    small = settings(
        "SASRec",
        metrics=["NDCG", *NAMES],
        topk=[5],
        valid_metric="NDCG@5",
        evaluator="recbole",
        state="WARNING",
    )
    theirs = run_small({**small, "run_dir": str(tmp_path / "theirs")})
    exact = run_small({**small, "evaluator": "exact", "run_dir": str(tmp_path / "exact")})
    log = (tmp_path / "theirs" / "train.log").read_text()
    assert (
        "RecBole's here" in log
        and "RecBole's here" not in (tmp_path / "exact" / "train.log").read_text()
    )
    found, right = theirs["test_result"], exact["test_result"]
    assert found["itemcoverage@5"] == pytest.approx(
        right["itemcoverage@5"] * 40 / 41, abs=1e-4
    )  # the padding counts
    assert (
        found["averagepopularity@5"] < right["averagepopularity@5"]
        and found["ndcg@5"] == right["ndcg@5"]
    )
    for name in ("theirs", "exact"):
        assert cli.main(["evaluate", f"--run_dir={tmp_path / name}"]) == 0
        again, result = (
            json.loads((tmp_path / name / file).read_text())["test"]
            for file in ("evaluation-test.json", "result.json")
        )
        assert again == result


def test_general_models_keep_recboles_numbers_with_a_warning(settings, tmp_path: Path) -> None:
    small = settings(
        "BPR",
        metrics=["NDCG", "ItemCoverage"],
        topk=[5],
        valid_metric="NDCG@5",
        epochs=1,
        run_dir=str(tmp_path / "run"),
        state="WARNING",
    )
    del small["load_col"]
    result = run_small({**small, "load_col": {"inter": ["user_id", "item_id"]}})
    assert (
        "itemcoverage@5" in result["test_result"]
        and "RecBole's here" in (tmp_path / "run" / "train.log").read_text()
    )


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"eval_args": {"mode": "uni20"}}, "evaluator: recbole"),
        ({"metrics": ["GiniIndex", "GAUC"], "valid_metric": "GiniIndex@10"}, "GAUC"),
        ({"eval_args": {"mode": "uni20"}, "evaluator": "exact"}, "evaluator: exact"),
        ({"tail_ratio": 0}, "tail_ratio"),
        ({"tail_ratio": -0.1}, "tail_ratio"),
        ({"tail_ratio": "many"}, "tail_ratio"),
    ],
)
def test_what_would_be_wrong_is_refused(our_config, settings, more: dict, said: str) -> None:
    small = {**settings("SASRec", metrics=["NDCG", "TailPercentage"]), **more}
    del small["model"], small["dataset"]
    with pytest.raises(ConfigError, match=said):
        our_config("SASRec", "ring", **small)
    if "GAUC" not in said and "evaluator" not in more and "tail_ratio" not in more:
        assert our_config("SASRec", "ring", **small, evaluator="recbole")["evaluator"] == "recbole"
