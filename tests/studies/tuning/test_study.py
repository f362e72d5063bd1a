"""Studies: what is handed out, what a killed process leaves, budgets, and the file on disk.

No model is trained here.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

optuna = pytest.importorskip("optuna")

from recbole_precise.errors import ConfigError  # noqa: E402
from recbole_precise.studies.tuning.space import read_space  # noqa: E402
from recbole_precise.studies.tuning.store import Workers, open_storage  # noqa: E402
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
STORAGES = ["study.journal", "study.db"]


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
    return SharedStudy(path, "s", plan, Budget(**budget))


def die(study: SharedStudy) -> None:
    """What a SIGKILL does to a process's hold: the system frees its lock, and nothing else
    happens.
    """
    study._workers._own.release()


def run(study: SharedStudy, limit: int = 1000) -> list[dict]:
    """Trials to the end, with the value -(x ** 2); returns their points."""
    points = []
    while len(points) < limit and (trial := study.begin()) is not None:
        points.append(dict(trial.params))
        study.finish(trial, -(trial.params.get("x", 1) ** 2), {"seconds": 2.0})
    return points


@pytest.mark.parametrize("name", STORAGES)
@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_points_depend_on_the_seed_alone_also_after_a_break(plan, tmp_path, name, sampler):
    plan = replace(plan, sampler=sampler)
    whole = run(join(tmp_path / "whole" / name, plan, trials=16))
    first = join(tmp_path / "two" / name, plan, trials=16)
    begun = run(first, limit=5)
    first.leave()
    assert begun + run(join(tmp_path / "two" / name, plan, trials=16)) == whole
    assert run(join(tmp_path / "other" / name, replace(plan, seed=4), trials=16)) != whole


def test_processes_that_share_a_random_study_draw_what_one_would(plan, tmp_path):
    alone = run(join(tmp_path / "alone.journal", plan, trials=9))
    studies = [join(tmp_path / "shared.journal", plan, trials=9) for _ in range(3)]
    under_way = [(study, study.begin()) for study in studies * 3]
    assert sorted(map(str, (trial.params for _, trial in under_way))) == sorted(map(str, alone))
    assert studies[0].begin() is None


def test_tpe_beats_chance(plan, tmp_path):
    """On -(x ** 2) of four keys, TPE's later points lie nearer to 0 than the ones that it drew at
    first.
    """
    points = run(join(tmp_path / "s.journal", replace(plan, sampler="tpe"), trials=40))
    near = [abs(point["x"]) for point in points]
    assert mean(near[20:]) < 0.5 * mean(near[:10])


def test_the_first_trial_has_the_settings_as_they_are(plan, tmp_path):
    start = {"x": 1.0, "rate": 0.01, "n": 2, "kind": None}
    points = run(join(tmp_path / "s.journal", replace(plan, sampler="tpe", start=start), trials=3))
    assert points[0] == start and points[1] != start


@pytest.mark.parametrize("name", STORAGES)
def test_a_dead_process_gives_its_point_back(plan, tmp_path, name):
    dead, alive = (join(tmp_path / name, plan, trials=4) for _ in range(2))
    trial = dead.begin()
    other = alive.begin()
    assert not was_lost(alive.trials()[0])
    die(dead)
    again = alive.begin()
    assert again.params == trial.params != other.params
    lost = alive.trials()[0]
    assert was_lost(lost) and alive.trials()[again.number].user_attrs["again"] == 0
    alive.finish(other, 1.0, {})
    alive.finish(again, 2.0, {})
    run(alive)
    assert counted(alive.trials()) == 4 and len(alive.trials()) == 5
    assert [trial.state.name for trial in alive.trials()].count("COMPLETE") == 4


def test_a_point_that_kills_its_process_is_left_in_the_end(plan, tmp_path):
    for attempt in range(ATTEMPTS):
        study = join(tmp_path / "s.journal", plan, trials=1)
        assert study.begin() is not None, attempt
        die(study)
    study = join(tmp_path / "s.journal", plan, trials=1)
    assert (
        study.begin() is None
        and counted(study.trials()) == 1
        and len({str(point_of(trial)) for trial in study.trials()}) == 1
    )


def test_killed_while_a_trial_was_handed_out(plan, tmp_path):
    """A trial without a worker, its point half drawn, and an enqueued one: the two moments inside
    `begin`.
    """
    study = join(tmp_path / "s.journal", plan, trials=2)
    half = study.study.ask()
    half.suggest_float("x", -5, 5)
    other = join(tmp_path / "s.journal", plan, trials=2)
    again = other.begin()
    assert again.params["x"] == half.params["x"] and set(again.params) == {"x", "rate", "n", "kind"}
    other.finish(again, 0.0, {})
    other.study.enqueue_trial({"x": 4.0})
    assert run(other)[0]["x"] == 4.0 and counted(other.trials()) == 2


@pytest.mark.parametrize("name", STORAGES)
def test_a_grid_is_gone_through_once(grid, tmp_path, name):
    studies = [join(tmp_path / name, grid) for _ in range(2)]
    points = []
    while True:
        begun = [(study, trial) for study in studies if (trial := study.begin()) is not None]
        for study, trial in begun:
            points.append(tuple(trial.params.values()))
            study.finish(trial, 0.0, {})
        if not begun:
            break
    assert points == [(a, b) for a in (1, 2, None) for b in (0.0, 0.1, 0.2)]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(["begin", "finish", "fail", "prune", "die"])),
        max_size=30,
    ),
    st.integers(1, 12),
)
def test_whatever_happens_every_point_of_a_grid_is_tried_once(
    grid, tmp_path_factory, steps, trials
):
    """Three processes begin, end and die in any order; then one goes on alone."""
    path = tmp_path_factory.mktemp("any") / "s.journal"
    studies = [join(path, grid, trials=trials) for _ in range(3)]
    running: list = [None, None, None]
    for index, step in steps:
        study, trial = studies[index], running[index]
        if step == "begin" and trial is None:
            running[index] = study.begin()
        elif step == "die":
            die(study)
            studies[index], running[index] = join(path, grid, trials=trials), None
        elif trial is not None and step in ("finish", "fail", "prune"):
            {
                "finish": lambda: study.finish(trial, 1.0, {}),
                "fail": lambda: study.fail(trial, {"reason": "r"}),
                "prune": lambda: study.prune(trial, {}),
            }[step]()
            running[index] = None
        under_way = [point_of(t) for t in studies[0].trials() if t.state.name == "RUNNING"]
        assert counted(studies[0].trials()) <= min(trials, 9)
        assert len({str(point) for point in under_way}) == len(under_way)
    for study in studies:
        die(study)
    last = join(path, grid, trials=trials)
    run(last)
    tried = [str(point_of(trial)) for trial in last.trials() if not was_lost(trial)]
    given_up = [
        trial
        for trial in last.trials()
        if was_lost(trial) and trial.user_attrs.get("attempt", 1) == ATTEMPTS
    ]
    assert len(tried) == len(set(tried)) and len(tried) + len(given_up) == min(
        trials, 9
    ) == counted(last.trials())


def test_hours_are_those_of_all_trials(plan, tmp_path):
    one, two = (join(tmp_path / "s.journal", plan, seconds=10.0) for _ in range(2))
    trial = one.begin()
    one.spend(trial, 7.0)
    assert two.time_left() == 3.0
    other = two.begin()
    two.spend(other, 3.5)
    assert one.time_left() < 0 and two.begin() is None
    one.finish(trial, 1.0, {"seconds": 8.0})
    assert two.time_left() == -1.5
    longer = join(tmp_path / "s.journal", plan, seconds=20.0)
    assert longer.begin() is not None


def test_another_plan_is_refused(plan, tmp_path):
    join(tmp_path / "s.journal", plan, trials=3)
    for change, said in (
        ({"task": {"settings": {"epochs": 4}}}, r"settings.epochs: 3 then, 4 now"),
        ({"seed": 4}, "seed: 3 then, 4 now"),
        ({"space": plan.space.without(["n"])}, "space.n"),
    ):
        with pytest.raises(ConfigError, match=said):
            join(tmp_path / "s.journal", replace(plan, **change), trials=3)
    join(tmp_path / "s.journal", plan, trials=30)


def test_median_pruning_waits_as_told(plan, tmp_path):
    study = join(tmp_path / "s.journal", replace(plan, pruner="median", prune_after=3), trials=10)
    for _ in range(5):
        trial = study.begin()
        for epoch in range(5):
            trial.report(1.0, epoch)
            assert not trial.should_prune()
        study.finish(trial, 1.0, {})
    trial, asked = study.begin(), []
    for epoch in range(4):
        trial.report(0.5, epoch)
        asked.append(trial.should_prune())
    assert asked == [False, False, True, True]
    study.prune(trial, {})
    assert best_of(study.trials(), True).number == 0


def test_best_is_the_earliest_of_equals(plan, tmp_path):
    study = join(tmp_path / "s.journal", plan, trials=3)
    for value in (0.2, 0.3, 0.3):
        study.finish(study.begin(), value, {})
    assert (
        best_of(study.trials(), bigger=True).number == 1
        and best_of(study.trials(), bigger=False).number == 0
    )


# --- The file ---------------------------------------------------------------------------------


def test_a_torn_line_is_dropped(plan, tmp_path):
    path = tmp_path / "s.journal"
    study = join(path, plan, trials=6)
    run(study, limit=2)
    content = path.read_bytes()
    lines = content.splitlines(keepends=True)
    for cut in (1, 10, len(lines[-1]) - 1):
        path.write_bytes(content[:-cut])
        again = join(path, plan, trials=6)
        assert len(again.trials()) == 2
        run(again, limit=1)
        for line in path.read_bytes().splitlines():
            json.loads(line)


def test_a_file_that_is_no_study(plan, tmp_path):
    for name, content in (
        ("s.journal", b"not a journal\nat all\n"),
        ("s.db", b"not a database" * 100),
        ("t.journal", b'{"a": 1}\n{"b": 2}\n'),
    ):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError, match=f"{name}' is no "):
            open_storage(tmp_path / name)
    with pytest.raises(ConfigError, match="not the address"):
        open_storage(Path("mysql://host/study"))
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be used"):
        open_storage(tmp_path / "file" / "s.journal")


def test_a_killed_process_is_known_to_be_dead(tmp_path):
    code = (
        "import sys, pathlib; from recbole_precise.studies.tuning.store import Workers\n"
        "workers = Workers(pathlib.Path(sys.argv[1])); print(workers.name, flush=True); "
        "sys.stdin.read()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "s")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    name = process.stdout.readline().strip()
    own = Workers(tmp_path / "s")
    assert own.alive(name) and own.alive(own.name)
    process.kill()
    process.wait()
    assert not own.alive(name) and not own.alive("never-there")
    own.leave()
    assert list((tmp_path / "s.workers").iterdir()) == []


def test_a_process_killed_while_it_writes_blocks_nobody(tmp_path):
    """With a relative path too, which Optuna's own lock waits on for ever."""
    holds = (
        "import sys, pathlib; from recbole_precise.studies.tuning.store import open_storage\n"
        "store = open_storage(pathlib.Path('s.journal')); store._backend._guard.acquire(); "
        "print('held', flush=True); sys.stdin.read()"
    )
    writes = (
        "import optuna, pathlib; from recbole_precise.studies.tuning.store import open_storage; "
        "optuna.create_study(storage=open_storage(pathlib.Path('s.journal')), "
        "study_name='s')"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", holds],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
    )
    assert holder.stdout.readline() == "held\n"
    writer = subprocess.Popen(
        [sys.executable, "-c", writes], cwd=tmp_path, stderr=subprocess.DEVNULL
    )
    with pytest.raises(subprocess.TimeoutExpired):
        writer.wait(5)
    holder.kill()
    assert writer.wait(60) == 0
    holder.wait()


def test_turns_are_taken_one_at_a_time(grid, tmp_path):
    """Threads with a hold each stand for processes: no point is handed out twice."""
    points: list = []

    def work() -> None:
        study = join(tmp_path / "s.journal", grid)
        while (trial := study.begin()) is not None:
            points.append(tuple(trial.params.items()))
            study.finish(trial, 0.0, {})

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(points) == len(set(points)) == 9
