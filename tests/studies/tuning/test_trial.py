"""A trial: the numbers of the command, data prepared once, the test split left alone, and failures
that are told.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2] / "training"))
from trainer_runs import run_small
from tune_runs import SASREC, SMALL, arguments, ended, start

from recbole_precise.studies.tuning import trial as trials
from recbole_precise.studies.tuning.trial import PreparedData, Stopped, Task, run_trial


def task_of(settings: dict, *without: str) -> Task:
    rest = {
        key: value for key, value in settings.items() if key not in ("model", "dataset", *without)
    }
    return Task(settings["model"], settings["dataset"], (), tuple(arguments(rest)))


def quiet(epoch: int, score: float, seconds: float) -> None:
    """Nobody watches."""


@pytest.fixture
def reads(monkeypatch) -> list:
    """Data sets that are read."""
    made = []
    create = trials.create_dataset
    monkeypatch.setattr(
        trials, "create_dataset", lambda config: made.append(config["model"]) or create(config)
    )
    return made


@pytest.mark.parametrize(
    ("settings", "before", "point"),
    [
        # window_shift moves the rows of the training data; the trials before leave their marks on a
        # data set that is shared wrongly.
        (
            SMALL | {"window_shift": True},
            [{"learning_rate": 0.02, "train_batch_size": 16}, {"hidden_dropout_prob": 0.5}],
            {"learning_rate": 0.004, "train_batch_size": 32},
        ),
        pytest.param(
            SASREC,
            [{"learning_rate": 0.01, "n_layers": 2}],
            {"learning_rate": 0.003, "hidden_dropout_prob": 0.1},
            marks=pytest.mark.slow,
        ),
    ],
    ids=["PRECISE-ID", "SASRec"],
)
def test_a_trial_gives_the_commands_numbers(settings, before, point, reads, tmp_path):
    """After other trials on the data read once, the validation result is to the last bit that of a
    process of its own.
    """
    import json

    task, data = (
        task_of(settings, *point, *(key for other in before for key in other)),
        PreparedData(),
    )
    fixed = {
        key: settings[key]
        for key in settings
        if key in point or any(key in other for other in before)
    }
    for other in before:
        assert run_trial(task, {**fixed, **other}, data, quiet).value is not None
    outcome = run_trial(task, {**fixed, **point}, data, quiet)
    assert reads == [settings["model"]]
    ended(
        start(
            *arguments(
                {**settings, **point},
                run_dir=tmp_path / "run",
                valid_metric=task.config(fixed)["valid_metric"],
            ),
            cwd=tmp_path,
        )
    )
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert outcome.found["valid"] == result["valid"]
    assert outcome.value == result["valid"][task.config(fixed)["valid_metric"].lower()]
    assert (
        outcome.found["best_epoch"] == result["phases"][-1]["best_epoch"]
        and outcome.found["epochs"] == settings["epochs"]
    )


def test_data_is_read_again_when_a_setting_of_it_changes(reads):
    settings = SMALL | {"epochs": 1}
    task, data = task_of(settings, "MAX_ITEM_LIST_LENGTH", "learning_rate"), PreparedData()
    points = [
        {"MAX_ITEM_LIST_LENGTH": 8},
        {"MAX_ITEM_LIST_LENGTH": 5},
        {"MAX_ITEM_LIST_LENGTH": 5, "learning_rate": 0.003},
        {"MAX_ITEM_LIST_LENGTH": 8},
    ]
    found = [run_trial(task, point, data, quiet).found["valid"] for point in points]
    assert len(reads) == 3 and found[0] == found[3] != found[1] != found[2]
    alone = run_trial(task, points[1], PreparedData(), quiet)
    assert alone.found["valid"] == found[1]


def test_seconds_are_those_of_the_clock_that_the_settings_name(monkeypatch):
    """A processor whose clock leaps a thousand seconds at each look: the budget sees them with
    train_clock: processor alone.
    """
    import itertools

    from recbole_precise.studies.tuning import trial

    for clock, leaps in (("processor", True), ("wall", False)):
        ticks = itertools.count(step=1000.0)
        monkeypatch.setattr(trial, "process_time", lambda ticks=ticks: next(ticks))
        told = []
        outcome = run_trial(
            task_of(SMALL | {"epochs": 2, "train_clock": clock}),
            {},
            PreparedData(),
            lambda epoch, score, seconds: told.append(seconds),
        )
        assert (
            (told == [1000.0, 2000.0] and outcome.found["seconds"] == 3000.0)
            if leaps
            else max(*told, outcome.found["seconds"]) < 900
        )


def test_the_test_split_is_never_ranked(monkeypatch, tmp_path):
    from recbole_precise.plugin.trainer import PreciseTrainer

    ranked, evaluate = [], PreciseTrainer.evaluate

    def spy(self, eval_data, *args, **kwargs):
        ranked.append(self._split_of(eval_data))
        return evaluate(self, eval_data, *args, **kwargs)

    monkeypatch.setattr(PreciseTrainer, "evaluate", spy)
    monkeypatch.chdir(tmp_path)
    assert run_trial(task_of(SMALL), {}, PreparedData(), quiet).value is not None
    assert (
        run_trial(
            task_of(
                SMALL | {"model": "Transition"},
                "embedding_size",
                "token_size",
                "n_layers",
                "learning_rate",
                "epochs",
            ),
            {},
            PreparedData(),
            quiet,
        ).value
        > 0
    )
    assert set(ranked) == {"valid"} and len(ranked) == SMALL["epochs"] + 1
    assert list(tmp_path.iterdir()) == []
    run_small(SMALL | {"checkpoint_dir": str(tmp_path), "epochs": 1, "state": "ERROR"})
    assert "test" in ranked  # the spy sees what a run does


@pytest.mark.parametrize("how", ["pruned", "cut"])
def test_a_trial_that_is_stopped_has_its_best_so_far(how):
    seen = []

    def watch(epoch: int, score: float, seconds: float) -> None:
        seen.append(score)
        if epoch == 1:
            raise Stopped(how)

    outcome = run_trial(task_of(SMALL), {}, PreparedData(), watch)
    assert outcome.stopped == how and len(seen) == 2 and outcome.value == max(seen)
    assert outcome.found["epochs"] == 2 and outcome.found["best_epoch"] == seen.index(max(seen))


def test_failures_are_told_and_not_raised(monkeypatch):
    data = PreparedData()
    task = task_of(SMALL, "learning_rate")
    refused = run_trial(task, {"n_heads": 3}, data, quiet)
    assert refused.value is None and refused.found["reason"].startswith(
        "embedding_size + token_size = 16 cannot be shared evenly by n_heads = 3"
    )
    assert "traceback" not in refused.found

    def watch(*_) -> None:
        raise MemoryError("no room")

    broken = run_trial(task, {}, data, watch)
    assert (
        broken.value is None
        and broken.found["reason"] == "MemoryError: no room"
        and "watch" in broken.found["traceback"]
    )
    assert run_trial(task, {}, data, quiet).value is not None
    with pytest.raises(KeyboardInterrupt):
        run_trial(task, {}, data, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))


def test_recboles_hyper_tuning_gives_a_trials_numbers(tmp_path, monkeypatch):
    """RecBole's own tuning over our objective_function, by file and with its three algorithms."""
    pytest.importorskip("hyperopt")
    import yaml
    from command_lines import command_line
    from recbole.trainer import HyperTuning

    from recbole_precise import objective_function

    monkeypatch.chdir(tmp_path)
    fixed = {key: value for key, value in SMALL.items() if key != "learning_rate"} | {
        "epochs": 1,
        "tensorboard": False,
    }
    Path("fixed.yaml").write_text(yaml.safe_dump(fixed))
    Path("grid.hyper").write_text("learning_rate choice [0.001, 0.01]\n")
    Path("all.hyper").write_text(
        "learning_rate loguniform -7,-4\nhidden_dropout_prob uniform 0.1,0.5\nattn_dropout_prob "
        "quniform 0.1,0.5,0.1\ntrain_batch_size choice [16, 32]\n"
    )
    task, data = Task("PRECISE-ID", "ml-100k", ("fixed.yaml",)), PreparedData()
    for algorithm, file, evaluations in (
        ("exhaustive", "grid.hyper", 2),
        ("random", "all.hyper", 2),
        ("bayes", "all.hyper", 2),
    ):
        with command_line([]):
            tuning = HyperTuning(
                objective_function,
                params_file=file,
                fixed_config_file_list=["fixed.yaml"],
                algo=algorithm,
                max_evals=evaluations,
            )
            tuning.run()
        assert len(tuning.params2result) == evaluations, algorithm
        assert (
            run_trial(task, tuning.best_params, data, quiet).value
            == tuning.best_score
            == max(tuning.score_list)
        ), algorithm
