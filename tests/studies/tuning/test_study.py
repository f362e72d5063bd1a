"""Studies: what is handed out, what a killed process leaves, budgets, and the file on disk.

No model is trained here.
"""

from __future__ import annotations

import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

optuna = pytest.importorskip("optuna")

from recbole_precise.errors import CheckpointError, ConfigError  # noqa: E402
from recbole_precise.studies.tuning import store  # noqa: E402
from recbole_precise.studies.tuning.space import read_space  # noqa: E402
from recbole_precise.studies.tuning.store import Store, read_address  # noqa: E402
from recbole_precise.studies.tuning.study import (  # noqa: E402
    ATTEMPTS,
    Budget,
    Plan,
    SharedStudy,
    best_of,
    counted,
    point_of,
    was_lost,
)

PLAN = Plan(
    space=None,
    sampler="random",
    pruner="none",
    seed=3,
    bigger=True,
    prune_after=5,
    start=None,
    task={"settings": {"epochs": 3}},
)


class Killed(BaseException):
    """What Optuna does not catch, as it sees nothing of a SIGKILL: the trial stays under way."""


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    file = tmp_path / "x.hyper"
    file.write_text(
        "x uniform -5,5\nrate loguniform -8,0\nn quniform 1,4,1\nkind choice [None, 'a', 'b']\n"
    )
    return replace(PLAN, space=read_space(file))


@pytest.fixture
def grid(tmp_path: Path) -> Plan:
    file = tmp_path / "grid.hyper"
    file.write_text("a choice [1, 2, None]\nb quniform 0,0.2,0.1\n")
    return replace(PLAN, space=read_space(file), sampler="grid")


def join(path: Path, plan: Plan, **budget) -> SharedStudy:
    return SharedStudy(read_address(str(path)), path.parent / "s", "s", plan, Budget(**budget))


def value_of(trial) -> float:
    """The value -(x ** 2), after two seconds."""
    trial.set_user_attr("seconds", 2.0)
    return -(trial.params.get("x", 1) ** 2)


def run(study: SharedStudy, limit: int = 1000) -> list[dict]:
    """Trials to the end; returns their points."""
    points = []
    while len(points) < limit and (trial := study.run_next(value_of)) is not None:
        points.append(dict(trial.params))
    return points


def kill(path: Path, study: SharedStudy, objective: Callable = lambda trial: None) -> None:
    """Begin a trial, whose process is killed: no sign of life comes any more."""

    def killed(trial) -> float:
        objective(trial)
        raise Killed

    with pytest.raises(Killed):
        study.run_next(killed)
    pass_time(path)


def pass_time(path: Path) -> None:
    """Move every sign of life an hour into the past."""
    with sqlite3.connect(path) as database:
        database.execute(
            "UPDATE trial_heartbeats SET heartbeat = datetime(heartbeat, '-1 hour') "
            "WHERE trial_id IN (SELECT trial_id FROM trials WHERE state = 'RUNNING')"
        )
    database.close()


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_points_depend_on_the_seed_alone_also_after_a_break(plan, tmp_path, sampler):
    plan = replace(plan, sampler=sampler)
    whole = run(join(tmp_path / "whole.db", plan, trials=16))
    path = tmp_path / "two.db"
    begun = run(join(path, plan, trials=16), limit=5)
    kill(path, join(path, plan, trials=16))
    assert begun + run(join(path, plan, trials=16)) == whole
    assert run(join(tmp_path / "other.db", replace(plan, seed=4), trials=16)) != whole


def test_processes_that_share_a_random_study_draw_what_one_would(plan, tmp_path):
    alone = run(join(tmp_path / "alone.db", plan, trials=9))
    points = []

    def begin_all(depth: int) -> None:
        """Begin a trial in one process while those of the others are under way."""
        study = join(tmp_path / "shared.db", plan, trials=9)

        def objective(trial) -> float:
            points.append(dict(trial.params))
            begin_all(depth + 1)
            return 0.0

        assert (study.run_next(objective) is None) == (depth == 9)

    begin_all(0)
    assert sorted(map(str, points)) == sorted(map(str, alone))


def test_tpe_beats_chance(plan, tmp_path):
    """On -(x ** 2) of four keys, TPE's later points lie nearer to 0 than the ones that it drew at
    first.
    """
    points = run(join(tmp_path / "s.db", replace(plan, sampler="tpe"), trials=40))
    near = [abs(point["x"]) for point in points]
    assert mean(near[20:]) < 0.5 * mean(near[:10])


def test_the_first_trial_has_the_settings_as_they_are(plan, tmp_path):
    start = {"x": 1.0, "rate": 0.01, "n": 2, "kind": None}
    points = run(join(tmp_path / "s.db", replace(plan, sampler="tpe", start=start), trials=3))
    assert points[0] == start
    assert points[1] != start


def test_a_dead_process_gives_its_point_back(plan, tmp_path):
    path = tmp_path / "s.db"
    kill(path, join(path, plan, trials=4))
    alive = join(path, plan, trials=4)
    (dead,) = alive.trials()
    assert not was_lost(dead)
    run(alive)
    trials = alive.trials()
    assert was_lost(trials[0])
    assert trials[1].system_attrs["failed_trial"] == 0
    assert trials[1].params == dead.params != trials[2].params
    assert [trial.state.name for trial in trials] == ["FAIL"] + 4 * ["COMPLETE"]
    assert counted(trials) == 4


def test_a_living_process_keeps_its_trial(plan, tmp_path):
    """Signs of life come while it runs, however long it takes."""
    other = join(tmp_path / "s.db", plan, trials=1)

    def objective(trial) -> float:
        assert other.run_next(value_of) is None
        return 1.0

    assert join(tmp_path / "s.db", plan, trials=1).run_next(objective).value == 1.0


def test_a_process_that_was_taken_for_dead_goes_on_with_the_next_trial(plan, tmp_path):
    path = tmp_path / "s.db"
    other = join(path, plan, trials=2)

    def silent(trial) -> float:
        pass_time(path)
        run(other, limit=1)
        trial.report(0.0, 1)
        return 0.0

    study = join(path, plan, trials=2)
    assert was_lost(study.run_next(silent))
    run(study)
    assert [trial.state.name for trial in study.trials()] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_point_that_kills_its_process_is_left_in_the_end(plan, tmp_path):
    path = tmp_path / "s.db"
    for _ in range(ATTEMPTS):
        kill(path, join(path, plan, trials=1))
    study = join(path, plan, trials=1)
    assert study.run_next(value_of) is None
    assert counted(study.trials()) == 1
    assert len(study.trials()) == ATTEMPTS
    assert len({str(point_of(trial)) for trial in study.trials()}) == 1


def test_killed_while_a_trial_was_handed_out(plan, tmp_path):
    """Its point half drawn, or still in the queue: nothing is lost."""
    path = tmp_path / "s.db"
    alone = run(join(tmp_path / "alone.db", plan, trials=3))
    half = replace(plan, space=plan.space.without(["rate", "n", "kind"]))
    study = join(path, plan, trials=3)
    study.plan = half
    kill(path, study)
    study.study.enqueue_trial({})
    points = run(join(path, plan, trials=3))
    assert sorted(point["x"] for point in points) == sorted(point["x"] for point in alone)
    assert all(point.keys() == alone[0].keys() for point in points)


def test_an_interrupt_gives_the_point_back(plan, tmp_path):
    def interrupted(trial) -> float:
        trial.set_user_attr("seconds", 7.0)
        raise KeyboardInterrupt

    study = join(tmp_path / "s.db", plan, trials=2)
    with pytest.raises(KeyboardInterrupt):
        study.run_next(interrupted)
    run(study)
    trials = study.trials()
    assert [trial.state.name for trial in trials] == ["FAIL", "COMPLETE", "COMPLETE"]
    assert trials[1].params == trials[0].params
    assert [trial.user_attrs["seconds"] for trial in trials] == [7.0, 2.0, 2.0]


def test_a_process_waits_for_a_trial_that_may_be_lost(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "HEARTBEAT", 1)
    monkeypatch.setattr(store, "GRACE", 2)
    said: list = []
    with pytest.raises(Killed):
        join(tmp_path / "s.db", plan, trials=1).run_next(
            lambda trial: (_ for _ in ()).throw(Killed)
        )
    alive = join(tmp_path / "s.db", plan, trials=1)
    assert alive.run_next(value_of) is None
    assert alive.wait_for_lost(said.append)
    assert said == ["Waiting up to 2 s: is the process of trial 0 alive?"]
    run(alive)
    assert not alive.wait_for_lost(said.append)

    # A living one is not waited for to its end.
    longer = join(tmp_path / "s.db", plan, trials=2)

    def objective(trial) -> float:
        started = time.monotonic()
        assert not alive.wait_for_lost(said.append)
        assert 2 < time.monotonic() - started < 30
        return 1.0

    longer.run_next(objective)
    assert [trial.state.name for trial in alive.trials()] == ["FAIL", "COMPLETE", "COMPLETE"]


def test_a_grid_is_gone_through_once(grid, tmp_path):
    studies = [join(tmp_path / "s.db", grid) for _ in range(2)]
    points = []

    def objective(trial) -> float:
        points.append(tuple(trial.params.values()))
        if len(points) % 2:
            studies[1].run_next(objective)
        return 0.0

    while studies[0].run_next(objective) is not None:
        pass
    assert points == [(a, b) for a in (1, 2, None) for b in (0.0, 0.1, 0.2)]


@dataclass(frozen=True)
class Begun:
    """A trial, how it ends, and what other processes begin and end before that."""

    end: str
    meanwhile: list[Begun]


ENDS = st.sampled_from(["finish", "fail", "prune", "die", "interrupt"])
HISTORIES = st.recursive(
    st.lists(st.builds(Begun, ENDS, st.just([])), max_size=4),
    lambda inner: st.lists(st.builds(Begun, ENDS, inner), max_size=4),
    max_leaves=8,
)


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(HISTORIES, st.integers(1, 12))
def test_whatever_happens_every_point_of_a_grid_is_tried_once(
    grid, tmp_path_factory, history, budget
):
    """Processes begin, end and die while others are under way; then one goes on alone."""
    path = tmp_path_factory.mktemp("any") / "s.db"
    grid = replace(grid, pruner="none")

    def happen(begun: list[Begun]) -> None:
        study = join(path, grid, trials=budget)
        for each in begun:
            with contextlib.suppress(Killed, KeyboardInterrupt):
                study.run_next(lambda trial, each=each: objective(trial, each))
        study.close()

    def objective(trial, each: Begun) -> float:
        happen(each.meanwhile)
        trials = trial.study.get_trials()
        under_way = [str(point_of(t)) for t in trials if t.state.name == "RUNNING"]
        assert counted(trials) <= min(budget, 9)
        assert len(set(under_way)) == len(under_way)
        if each.end == "fail":
            trial.set_user_attr("reason", "r")
        if each.end == "prune":
            raise optuna.TrialPruned
        if each.end == "die":
            raise Killed
        if each.end == "interrupt":
            raise KeyboardInterrupt
        return float("nan") if each.end == "fail" else 1.0

    happen(history)
    last = join(path, grid, trials=budget)
    pass_time(path)
    run(last)
    trials = last.trials()
    last.close()
    tried = [str(point_of(trial)) for trial in trials if not was_lost(trial)]
    given_up = [
        trial
        for trial in trials
        if was_lost(trial) and len(trial.system_attrs.get("retry_history", [])) == ATTEMPTS - 1
    ]
    assert len(tried) == len(set(tried))
    assert len(tried) + len(given_up) == min(budget, 9) == counted(trials)


def test_hours_are_those_of_all_trials(plan, tmp_path):
    one, two = (join(tmp_path / "s.db", plan, seconds=10.0) for _ in range(2))

    def other(trial) -> float:
        two.spend(trial, 3.5)
        assert one.time_left() < 0
        return 1.0

    def objective(trial) -> float:
        one.spend(trial, 7.0)
        assert two.time_left() == 3.0
        two.run_next(other)
        assert two.run_next(value_of) is None
        one.spend(trial, 8.0)
        return 1.0

    one.run_next(objective)
    assert two.time_left() == -1.5
    assert join(tmp_path / "s.db", plan, seconds=20.0).run_next(value_of) is not None


def test_another_plan_is_refused(plan, tmp_path):
    join(tmp_path / "s.db", plan, trials=3)
    for change, said in (
        ({"task": {"settings": {"epochs": 4}}}, r"settings.epochs: 3 then, 4 now"),
        ({"seed": 4}, "seed: 3 then, 4 now"),
        ({"space": plan.space.without(["n"])}, "space.n"),
    ):
        with pytest.raises(ConfigError, match=said):
            join(tmp_path / "s.db", replace(plan, **change), trials=3)
    join(tmp_path / "s.db", plan, trials=30)


def test_median_pruning_begins_after_prune_after_epochs(plan, tmp_path):
    study = join(tmp_path / "s.db", replace(plan, pruner="median", prune_after=3), trials=10)

    def good(trial) -> float:
        for epoch in range(5):
            trial.report(1.0, epoch)
            assert not trial.should_prune()
        return 1.0

    asked = []

    def bad(trial) -> float:
        for epoch in range(4):
            trial.report(0.5, epoch)
            asked.append(trial.should_prune())
        raise optuna.TrialPruned

    for _ in range(5):
        study.run_next(good)
    assert study.run_next(bad).state.name == "PRUNED"
    assert asked == [False, False, True, True]
    assert best_of(study.trials(), True).number == 0


def test_best_is_the_earliest_of_equals(plan, tmp_path):
    study = join(tmp_path / "s.db", plan, trials=3)
    for value in (0.2, 0.3, 0.3):
        study.run_next(lambda trial, value=value: value)
    assert best_of(study.trials(), bigger=True).number == 1
    assert best_of(study.trials(), bigger=False).number == 0


# --- The database -----------------------------------------------------------------------------


def test_addresses(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for text in ("a/s.db", "sqlite:///a/s.db"):
        assert store.file_of(read_address(text)) == Path("a/s.db")
    assert store.file_of(read_address(f"sqlite:///{tmp_path}/s.db")) == tmp_path / "s.db"
    server = read_address("mysql+pymysql://me:secret@host:1/studies")
    assert store.file_of(server) is None
    assert "secret" not in str(server)
    for text, said in (
        ("", "--storage"),
        ("sqlite://", "--storage"),
        ("s.journal", "journals are those of earlier versions"),
        ("sqlite:///old/s.journal", "journals are those of earlier versions"),
        ("postgersql://me:secret@host/studies", "'postgersql://...' is no address of a database"),
        ("postgresql://me:secret@host:port/x", "'postgresql://...' is no address of a database"),
    ):
        with pytest.raises(ConfigError, match=said) as caught:
            read_address(text)
        assert "secret" not in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a b.db", "{SCHEMA_VERSION}.db", "50% ü.db", "what?.db", "x#y"])
def test_names_of_files(plan, tmp_path, name):
    run(join(tmp_path / name, plan, trials=1))
    assert len(join(tmp_path / name, plan, trials=1).trials()) == 1
    assert (tmp_path / name).is_file()


def test_a_file_that_is_no_database(plan, tmp_path):
    (tmp_path / "s.db").write_bytes(b"not a database" * 100)
    with pytest.raises(ConfigError, match=r"s\.db' is no SQLite file: choose another name"):
        join(tmp_path / "s.db", plan)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE studies (name TEXT)")
    with pytest.raises(ConfigError, match=r"other\.db' cannot be used: table studies has no"):
        join(tmp_path / "other.db", plan)


def test_a_server_without_its_driver(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "pymysql", None)
    with pytest.raises(ConfigError, match="run `pip install 'pymysql'`") as caught:
        Store(read_address("mysql+pymysql://me:secret@host/studies"), tmp_path / "s")
    assert "secret" not in str(caught.value)


def test_no_room_is_one_sentence(plan, tmp_path):
    """SQLite's own limit on the pages of a file, which it reports as it does a full disk."""
    study = join(tmp_path / "s.db", plan, trials=5)
    run(study, limit=1)

    def fill(connection, _) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    study.close()
    sqlalchemy = pytest.importorskip("sqlalchemy")
    sqlalchemy.event.listen(study._store.rdb.engine, "connect", fill)

    def objective(trial) -> float:
        trial.set_user_attr("text", "x" * 100_000)
        return 1.0

    with pytest.raises(CheckpointError, match="No space left in '.*' for the study"):
        study.run_next(objective)


def test_a_file_that_another_program_holds_is_one_sentence(plan, tmp_path, monkeypatch):
    monkeypatch.setattr(store, "PATIENCE", 1)
    with sqlite3.connect(tmp_path / "s.db") as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match=r"s\.db' is held by another program for 1 s"):
            join(tmp_path / "s.db", plan)


def test_the_database_is_never_locked_for_the_user(tmp_path):
    """Processes that do nothing but write into one file all end well."""
    writes = (
        "import sys, pathlib\n"
        "from recbole_precise.studies.tuning.store import Store, read_address\n"
        "import optuna; optuna.logging.set_verbosity(optuna.logging.ERROR)\n"
        "store = Store(read_address('s.db'), pathlib.Path('s'))\n"
        "study = optuna.create_study(storage=store.rdb, study_name='s', load_if_exists=True)\n"
        "def objective(trial):\n"
        "    for step in range(30): trial.report(step, step)\n"
        "    return trial.suggest_float('x', 0, 1)\n"
        "study.optimize(objective, n_trials=3)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-W", "error::UserWarning", "-c", writes],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        _, said = process.communicate(timeout=300)
        assert process.returncode == 0, said
        assert "locked" not in said
    study = optuna.load_study(storage=f"sqlite:///{tmp_path}/s.db", study_name="s")
    assert [trial.number for trial in study.trials] == list(range(12))
    assert all(len(trial.intermediate_values) == 30 for trial in study.trials)


def test_turns_are_taken_one_at_a_time(grid, tmp_path):
    """Threads with a hold each stand for processes: no point is handed out twice."""
    points: list = []

    def work() -> None:
        study = join(tmp_path / "s.db", grid)
        while (trial := study.run_next(value_of)) is not None:
            points.append(tuple(trial.params.items()))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(points) == len(set(points)) == 9
