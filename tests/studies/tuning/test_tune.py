"""`tune` as people use it: processes, kills, what it leaves, and that its best settings give the
run that it promises.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

optuna = pytest.importorskip("optuna")
pytest.importorskip("matplotlib")
sys.path.insert(0, str(Path(__file__).parent))
from sqlalchemy.exc import SQLAlchemyError  # noqa: E402
from tune_runs import SMALL, arguments, ended, start  # noqa: E402

from recbole_precise import cli  # noqa: E402

SPACE = (
    "learning_rate loguniform -7,-3\nhidden_dropout_prob uniform 0.0,0.5\nn_heads choice [1, "
    "2, 3]\n"
)
FIXED = {key: value for key, value in SMALL.items() if key != "learning_rate"}


@pytest.fixture
def here(tmp_path, monkeypatch) -> Path:
    """An empty working directory with a space."""
    monkeypatch.chdir(tmp_path)
    Path("x.hyper").write_text(SPACE)
    return tmp_path


def tune(*more: str, **settings) -> int:
    return cli.main(["tune", "--params_file=x.hyper", *arguments({**FIXED, **settings}), *more])


def trials_of(folder: str | Path) -> list[dict]:
    return json.loads(Path(folder, "trials.json").read_text())["trials"]


def study_of(file: Path, name: str):
    return optuna.load_study(study_name=name, storage=f"sqlite:///{file}")


def test_a_study_from_begin_to_end(here, capsys):
    assert tune("--trials=8", "--prune_after=1", epochs=3) == 0
    out = capsys.readouterr().out
    folder = here / "saved" / "tune" / "PRECISE-ID-ml-100k"
    assert {path.name for path in folder.iterdir()} == {
        "trials.md",
        "trials.json",
        "best.yaml",
        "parallel.png",
    }
    assert (
        out.count("\ntrial ") == 8 + 1 and "Chosen on validation data alone." in out
    )  # a line each, and the table's header
    rows = trials_of(folder)
    assert len(rows) == 8 and {row["number"] for row in rows} == set(range(8))
    done = [row["value"] for row in rows if row["state"] == "complete"]
    assert done == sorted(done, reverse=True)
    failed = [row for row in rows if row["state"] == "failed"]
    assert (
        all("n_heads = 3" in row["reason"] for row in failed)
        and all(row["settings"]["n_heads"] == 3 for row in failed)
        and failed
    )
    markdown = (folder / "trials.md").read_text()
    assert (
        f"- trial {failed[0]['number']}: {failed[0]['reason']}" in markdown
        and markdown.count("\n| ") == 8 + 2
    )
    first = next(row for row in rows if row["number"] == 0)
    assert (
        first["settings"]["n_heads"] == 2 and first["settings"]["learning_rate"] == 0.002
    )  # the settings as they are come first

    best = yaml.safe_load((folder / "best.yaml").read_text())
    assert {key: best[key] for key in rows[0]["settings"]} == rows[0]["settings"] and best[
        "valid_metric"
    ] == "NDCG@10"
    assert (
        cli.main(
            [
                "--model=PRECISE-ID",
                "--dataset=ml-100k",
                f"--config_files={folder / 'best.yaml'}",
                "--run_dir=run",
                "--show_progress=False",
                "--gpu_id=",
            ]
        )
        == 0
    )
    result = json.loads(Path("run", "result.json").read_text())
    assert result["valid"] == rows[0]["valid"] and result["valid"]["ndcg@10"] == rows[0]["value"]

    # The same command again finds the budget used, another budget goes on, other settings are
    # refused.
    file = here / "saved" / "tune" / "PRECISE-ID-ml-100k.db"
    before = study_of(file, "PRECISE-ID-ml-100k").trials
    assert tune("--trials=8", "--prune_after=1", epochs=3) == 0
    assert study_of(file, "PRECISE-ID-ml-100k").trials == before
    assert tune("--trials=9", "--prune_after=1", epochs=3) == 0 and len(trials_of(folder)) == 9
    capsys.readouterr()
    assert tune("--trials=9", "--prune_after=1", epochs=4) == 2
    assert "(settings.epochs: 3 then, 4 now)" in capsys.readouterr().err


def test_the_plot_shows_what_it_says(here):
    from matplotlib.image import imread

    assert tune("--trials=4", "--sampler=random", "--study=plot", epochs=1) == 0
    folder = here / "saved" / "tune" / "plot"
    picture = imread(folder / "parallel.png")
    assert (
        picture.shape[0] > 400
        and picture.shape[1] > 700
        and np.unique(picture.reshape(-1, picture.shape[2]), axis=0).shape[0] > 50
    )
    from recbole_precise.studies.tuning.plot import _axis
    from recbole_precise.studies.tuning.report import Row
    from recbole_precise.studies.tuning.space import read_space

    def row(**settings) -> Row:
        return Row(0, "complete", 0.1, settings, 0, 1, 1.0, {}, "")

    rate, dropout, heads = map(_axis, read_space("x.hyper").parameters)
    assert (
        rate.height(row(learning_rate=float(np.exp(-5)))) == pytest.approx(0.5)
        and "log scale" in rate.title
    )
    assert dropout.height(row(hidden_dropout_prob=0.125)) == pytest.approx(0.25) and dropout.ticks[
        -1
    ] == (1.0, "0.5")
    assert [heads.height(row(n_heads=value)) for value in (1, 2, 3)] == [
        0.0,
        0.5,
        1.0,
    ] and heads.height(row()) is None


def test_two_processes_share_a_study(here):
    Path("x.hyper").write_text(
        "learning_rate choice [0.001, 0.003, 0.01]\nhidden_dropout_prob choice [0.0, 0.3]\n"
    )
    words = [
        "tune",
        "--params_file=x.hyper",
        "--sampler=grid",
        "--storage=shared/s.db",
        "--study=s",
        "--pruner=none",
        *arguments(FIXED, epochs=8),
    ]
    outs = [ended(process) for process in [start(*words, cwd=here) for _ in range(2)]]
    study = study_of(here / "shared" / "s.db", "s")
    assert [trial.state.name for trial in study.trials] == ["COMPLETE"] * 6
    points = [tuple(trial.params.values()) for trial in study.trials]
    assert points == [(rate, dropout) for rate in (0.001, 0.003, 0.01) for dropout in (0.0, 0.3)]
    lines = [out.count("\ntrial ") - 1 for out in outs]
    assert sum(lines) == 6
    assert min(lines) >= 1
    # What two found is what one finds.
    assert cli.main([*words[:3], "--storage=alone/s.db", *words[4:]]) == 0
    alone = {str(row["settings"]): row["value"] for row in trials_of("alone/s")}
    assert (
        alone == {str(row["settings"]): row["value"] for row in trials_of("shared/s")}
        and len(alone) == 6
    )


def test_a_kill_loses_the_trial_under_way_alone(here):
    words = [
        "tune",
        "--params_file=x.hyper",
        "--trials=5",
        "--sampler=random",
        "--study=s",
        "--pruner=none",
        *arguments(FIXED, epochs=6),
    ]
    Path("x.hyper").write_text(SPACE.replace("[1, 2, 3]", "[1, 2]"))
    process = start(*words, "--storage=killed/s.db", cwd=here)
    file = here / "killed" / "s.db"

    def under_way() -> list:
        try:
            trials = study_of(file, "s").trials
        except (KeyError, SQLAlchemyError, optuna.exceptions.OptunaError):
            return []  # it is being made
        return [
            trial
            for trial in trials
            if trial.state.name == "RUNNING" and trial.intermediate_values and trial.number >= 2
        ]

    while process.poll() is None and not (file.exists() and under_way()):
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    before = study_of(file, "s").trials
    (dead,) = [trial for trial in before if trial.state.name == "RUNNING"]
    ended(start(*words, "--storage=killed/s.db", cwd=here))
    after = study_of(file, "s").trials
    for trial in before:
        if trial.number != dead.number:
            assert after[trial.number] == trial
    marked = after[dead.number]
    assert marked.state.name == "FAIL"
    assert "reason" not in marked.user_attrs
    assert marked.params == dead.params
    (again,) = [trial for trial in after if trial.system_attrs.get("failed_trial") == dead.number]
    assert again.params == dead.params
    assert again.state.name == "COMPLETE"
    assert len(after) == 6

    # Together the same points and values as in a study that was left alone.
    assert cli.main([*words, "--storage=alone/s.db"]) == 0
    alone = study_of(here / "alone" / "s.db", "s").trials
    assert {str(trial.params): trial.value for trial in alone} == {
        str(trial.params): trial.value for trial in after if trial.value is not None
    }


def test_an_interrupt_gives_the_point_back_and_says_how_to_go_on(here, monkeypatch, capsys):
    from recbole_precise.studies.tuning import session

    run_trial, calls = session.run_trial, []

    def interrupted_once(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return run_trial(*args)

    monkeypatch.setattr(session, "run_trial", interrupted_once)
    assert tune("--trials=3", "--study=s", epochs=1) == 130
    assert "The same command goes on with the study" in capsys.readouterr().err
    assert [row["state"] for row in trials_of("saved/tune/s")] == ["complete", "lost"]
    assert tune("--trials=3", "--study=s", epochs=1) == 0
    assert len(calls) == 4 and calls[2][1] == calls[1][1]  # the same point
    assert len([row for row in trials_of("saved/tune/s") if row["state"] != "lost"]) == 3


def test_hours_cut_the_trial_under_way(here, capsys):
    """The first validation is past a budget of a few milliseconds, however fast the machine is."""
    assert tune("--hours=0.000001", "--study=s", epochs=50) == 0
    (row,) = trials_of("saved/tune/s")
    assert (
        row["state"] == "cut"
        and row["epochs"] == 1
        and row["value"] == row["valid"].get("ndcg@10", row["value"])
    )
    assert "trained to its end it may differ" in Path("saved/tune/s/best.yaml").read_text()
    assert (
        tune("--hours=0.000001", "--study=s", epochs=50) == 0
        and len(trials_of("saved/tune/s")) == 1
    )


def test_a_hopeless_space_is_left(here, capsys):
    Path("x.hyper").write_text("n_heads choice [3, 5, 7]\nlearning_rate loguniform -7,-3\n")
    assert tune("--trials=30", "--study=s", epochs=1) == 2
    captured = capsys.readouterr()
    assert (
        "The first 5 trials have all failed, the last one so: embedding_size + token_size = 16"
        in captured.err
        and captured.err.count("\n") == 1
    )
    assert len(trials_of("saved/tune/s")) == 5 and not Path("saved/tune/s/best.yaml").exists()
    assert "lie outside the space (n_heads 2): the first trial is drawn" in captured.out


def test_what_is_fixed_is_not_searched(here, capsys):
    assert tune("--trials=2", "--study=s", epochs=1, learning_rate=0.01, n_heads=2) == 0
    assert (
        "Not searched, because it is fixed: learning_rate 0.01, n_heads 2."
        in capsys.readouterr().out
    )
    assert all(set(row["settings"]) == {"hidden_dropout_prob"} for row in trials_of("saved/tune/s"))


def test_a_floor_is_tuned_without_training(here, capsys, monkeypatch, write_dataset):
    """GraphHeuristic, whose own space has no number to draw.

    Texts are read through the bundled encoder's cache.
    """
    words = [f"word{index}" for index in range(12)]
    rng = np.random.default_rng(0)
    events = [
        (f"u{user}", f"i{item}", time)
        for user in range(30)
        for time, item in enumerate(rng.integers(0, 12, 8))
    ]
    path = write_dataset("shop", events, [(f"i{index}", word) for index, word in enumerate(words)])
    settings = {
        "data_path": path,
        "item_text": "{title}",
        "text_cache_dir": here / "cache",
        "gpu_id": "",
        "state": "ERROR",
    }
    settings["load_col"] = "{inter: [user_id, item_id, timestamp], item: [item_id]}"
    assert (
        cli.main(
            [
                "tune",
                "--model=GraphHeuristic",
                "--dataset=shop",
                "--trials=6",
                "--study=s",
                *arguments(settings),
            ]
        )
        == 0
    )
    rows = trials_of("saved/tune/s")
    assert [row["state"] for row in rows] == ["complete"] * 6 and rows[0]["settings"].keys() >= {
        "graph_variant",
        "graph_window",
    }
    assert len({row["value"] for row in rows}) > 1


@pytest.mark.parametrize("package", ["optuna", "matplotlib"])
def test_a_missing_package_is_named(here, monkeypatch, capsys, package):
    import importlib.util

    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *args: None if name == package else find(name, *args),
    )
    assert tune("--trials=1") == 2
    assert (
        capsys.readouterr().err
        == f"tune needs the package '{package}': run `pip install optuna matplotlib`.\n"
    )


def test_a_storage_that_cannot_be_used_is_one_sentence(here, capsys):
    """Before any trial; a server that does not answer too."""
    Path("old.journal").write_text("{}\n")
    Path("text.db").write_text("text" * 1000)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        for storage, said in (
            ("old.journal", "journals are those of earlier versions"),
            ("text.db", "is no SQLite file"),
            ("sqlserver://host/studies", "is no address of a database"),
            (
                f"postgresql+psycopg2://me:secret@127.0.0.1:{port}/x",
                "'postgresql+psycopg2://me:***",
            ),
        ):
            assert tune("--trials=1", f"--storage={storage}") == 2
            err = capsys.readouterr().err
            assert said in err
            assert err.count("\n") == 1
            assert "secret" not in err
