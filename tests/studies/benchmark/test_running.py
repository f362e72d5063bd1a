"""Cells as real processes: killed and run again, failing beside others, locked, and started only
where there is memory.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from recbole_precise import cli
from recbole_precise.studies.benchmark import free_memory
from recbole_precise.studies.benchmark.cells import Cell
from recbole_precise.studies.benchmark.plan import Row
from recbole_precise.studies.benchmark.running import (
    Runner,
    _lock,
    _unlock,
    remaining_seconds,
    span,
)

ROOT = Path(__file__).resolve().parents[3]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and locks of POSIX")


def command(plan: Path, runs: Path, *more: str) -> list[str]:
    return [
        sys.executable,
        "-m",
        "recbole_precise",
        "benchmark",
        f"--plan={plan}",
        f"--runs={runs}",
        "--jobs=2",
        "--threads=1",
        "--memory_gb=0.2",
        *more,
    ]


def start(arguments: list[str], **more) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        arguments,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
        **more,
    )


def test_killed_halfway_and_run_again(write_plan, ring, tmp_path):
    """SIGKILL to the benchmark and its cells: what is finished is not touched, what was under way
    goes on, what fails is told.
    """
    small = {
        "hidden_size": 16,
        "inner_size": 16,
        "n_layers": 1,
        "epochs": 15,
        "stopping_step": 100,
        "checkpoint_seconds": 0.05,
    }
    plan = write_plan(
        datasets={"ring": ring}, seeds=[1, 2], metrics=["ndcg@10"], slices=["warm", "cold"],
        against="Pop", resamples=199,
        models={"Pop": None, "SASRec": {"settings": small}, "Broken": {"model": "SASRec",
            "seeds": [1], "settings": {"hidden_size": 16, "n_heads": 3}}},
    )  # fmt: skip
    runs = tmp_path / "runs"
    first = start(command(plan, runs))
    while first.poll() is None:
        folders = list(runs.glob("ring/SASRec-*/seed-1"))
        if (
            list(runs.glob("ring/Pop-*/seed-1/result.json"))
            and folders
            and len(list((folders[0] / "checkpoint").glob("state-*.json"))) > 0
        ):
            break
        time.sleep(0.02)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    (pop,), (killed,) = runs.glob("ring/Pop-*/seed-1"), runs.glob("ring/SASRec-*/seed-1")
    assert first.returncode == -signal.SIGKILL and not (killed / "result.json").exists()
    before = (pop / "result.json").stat().st_mtime_ns

    again = start(command(plan, runs))
    out, errors = again.communicate(timeout=600)
    assert again.returncode == 2, errors
    assert (pop / "result.json").stat().st_mtime_ns == before
    assert "Resume training from epoch" in (killed / "train.log").read_text()
    assert (
        "1 of 4 cells are finished already and are not run again" in errors
        and "ring SASRec seed 1: goes on" in errors
    )
    assert "[4/4]" in errors or "[3/4]" in errors
    assert (
        errors.strip()
        .splitlines()[-1]
        .startswith("1 of 4 cells failed, the first ring Broken seed 1: ")
        and "hidden size (16) is not a multiple" in errors
    )
    results = {
        file.parents[1].name.split("-")[0]: json.loads(file.read_text())
        for file in runs.glob("ring/*/seed-2/result.json")
    }
    assert results["SASRec"]["curve"][-1]["epoch"] == 14
    report = runs / "report-plan"
    assert {"results.json", "table.md", "table.csv", "table-ring.tex", "plots"} == {
        path.name for path in report.iterdir()
    }
    table = (report / "table.md").read_text()
    assert (
        out.startswith(table)
        and "## Failed cells\n\n- ring Broken seed 1" in table
        and "| SASRec |" in table
        and "| Broken |" not in table
    )
    assert {file.name for file in (report / "plots").iterdir()} >= {
        "ring-time.png",
        "ring-curves.png",
        "ring-slices.png",
    }

    plan.write_text(
        plan.read_text()
        .replace("Broken:", "Pop again:")
        .replace("hidden_size: 16\n      n_heads: 3", "epochs: 0")
        .replace("model: SASRec", "model: Pop")
    )
    third = start(command(plan, runs, "--report_only=True", "--plots=False"))
    out, errors = third.communicate(timeout=600)
    assert (third.returncode, errors) == (0, "") and "## Not run yet\n\n- ring Pop again" in out


def test_a_row_begins_with_what_another_has_learnt(write_plan, ring, tmp_path):
    """Seed by seed, after it has ended.

    Its time counts both, and where the first fails so does what begins after it.
    """
    small = {"hidden_size": 16, "inner_size": 16, "n_layers": 1, "epochs": 2}
    plan = write_plan(
        datasets={"ring": ring}, seeds=[1, 2], metrics=["ndcg@10"], against="first", resamples=199,
        models={
            "first": {"model": "SASRec", "settings": small},
            "second": {"model": "SASRec", "after": "first", "settings": {**small,
                "learning_rate": 1e-30}},
            "broken": {"model": "SASRec", "seeds": [1], "settings": {**small, "n_heads": 3}},
            "after the broken one": {"model": "SASRec", "seeds": [1], "after": "broken",
                "settings": small},
        },
    )  # fmt: skip
    runs = tmp_path / "runs"
    out, errors = start(command(plan, runs, "--plots=False")).communicate(timeout=600)
    assert (
        "ring after the broken one seed 1 FAILED: it begins after ring broken seed 1, which failed."
        in errors
        and "2 of 6 cells failed" in errors
    )
    for seed in (1, 2):
        (first,), (second,) = (
            runs.glob(f"ring/first-*/seed-{seed}"),
            runs.glob(f"ring/second-*/seed-{seed}"),
        )
        assert f"Warm start from '{first}'" in (second / "train.log").read_text()
        one, two = (json.loads((folder / "result.json").read_text()) for folder in (first, second))
        assert one["test"] == pytest.approx(two["test"])  # at that rate nothing is learnt after it
    rows = {
        row["name"]: row
        for row in json.loads((runs / "report-plan" / "results.json").read_text())["datasets"][
            "ring"
        ]["rows"]
    }
    seconds = {name: rows[name]["seconds"]["train"]["values"] for name in ("first", "second")}
    assert all(
        late > early for early, late in zip(seconds["first"], seconds["second"], strict=True)
    ) and rows["second"]["epochs"] == [4, 4]
    for first, second in zip(
        rows["first"]["curves"], rows["second"]["curves"], strict=True
    ):  # on one clock: the second begins where the first ended
        assert second[0]["seconds"] > first[-1]["seconds"] and [
            record["epoch"] for record in second
        ] == [0, 1]
    assert (
        "No paired test of second" not in out
        and "| second on ring |" in out[out.index("against first") :]
    )
    assert (
        rows["second"]["after"] == "first"
        and "whose time is counted too: second after first." in out
    )


def test_floors_of_a_shipped_plan_and_their_comparison(tmp_path, capsys):
    """ml-100k as it ships: the floors alone, beside each other in the table, and through
    `compare`.
    """
    runs = tmp_path / "runs"
    done = start(
        [
            sys.executable,
            "-m",
            "recbole_precise",
            "benchmark",
            "ml-100k",
            f"--runs={runs}",
            "--models=Pop Transition",
            "--against=Pop",
            "--plots=False",
        ]
    )
    out, errors = done.communicate(timeout=600)
    assert done.returncode == 0, errors
    assert (
        "| Pop | <u>0.0220</u> |" in out
        and "**0.0552**\\*" in out
        and "**0.1092**\\*" in out
        and "1 (draws nothing)" in out
    )
    assert (
        cli.main(
            [
                "compare",
                f"{runs}/ml-100k/Transition-*/seed-*",
                f"{runs}/ml-100k/Pop-*/seed-*",
                "--metric=ndcg@10",
            ]
        )
        == 0
    )
    (test,) = json.loads((runs / "report-ml-100k" / "results.json").read_text())["significance"][
        "tests"
    ][:1]
    assert f"{test['low']:+.4f} to {test['high']:+.4f}" in capsys.readouterr().out


def make_cell(
    folder: Path, model: str = "SASRec", row: str = "row", seed: int = 1, dataset: str = "ring"
) -> Cell:
    return Cell(
        dataset,
        dataset,
        Row(row, model, None, {}, {}, (seed,), False, None),
        seed,
        {},
        {},
        folder / row / f"seed-{seed}",
    )


def test_sigterm_stops_the_cells_too(write_plan, ring, tmp_path):
    plan, runs = (
        write_plan(
            datasets={"ring": ring},
            models={"SASRec": {"settings": {"epochs": 5000, "stopping_step": 5000}}},
        ),
        tmp_path / "runs",
    )
    process = start(command(plan, runs))
    while process.poll() is None and not list(runs.glob("ring/SASRec-*/seed-2020/train.log")):
        time.sleep(0.05)
    (folder,) = runs.glob("ring/SASRec-*/seed-2020")
    assert _lock(folder) is False  # the cell holds it
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=300)
    assert (
        process.returncode == 143
        and "Interrupted. The same command goes on where it stopped: recbole-precise benchmark "
        in errors.splitlines()[-1]
    )
    assert (
        "Interrupted. Go on with: recbole-precise --model=SASRec"
        in (folder / "train.log").read_text().splitlines()[-1]
    )
    lock = _lock(folder)
    assert lock  # nobody is at work there any more
    _unlock(lock)


def test_cells_end_with_a_benchmark_that_is_killed(write_plan, ring, tmp_path):
    """SIGKILL to the benchmark alone, which can tell its cells nothing."""
    plan, runs = (
        write_plan(
            datasets={"ring": ring},
            models={"SASRec": {"settings": {"epochs": 5000, "stopping_step": 5000}}},
        ),
        tmp_path / "runs",
    )
    process = start(command(plan, runs))
    while process.poll() is None and not list(runs.glob("ring/SASRec-*/seed-2020/train.log")):
        time.sleep(0.05)
    (folder,) = runs.glob("ring/SASRec-*/seed-2020")
    cells = psutil.Process(process.pid).children(recursive=True)
    assert cells
    process.kill()
    process.communicate()
    assert psutil.wait_procs(cells, timeout=60)[1] == []
    lock = _lock(folder)
    assert lock  # nobody is at work there any more
    _unlock(lock)


def test_a_cell_at_work_elsewhere_is_waited_for(tmp_path, leave_run):
    cell, lines = make_cell(tmp_path), []
    lock = _lock(cell.folder)

    def other_process():
        leave_run(cell.folder, [1, 2])
        _unlock(lock)

    timer = threading.Timer(1.0, other_process)
    timer.start()
    (outcome,) = Runner([cell], say=lines.append).run()
    timer.join()
    assert outcome.status == "finished" and not (cell.folder / "console.log").exists()
    assert "another process is at work on it" in lines[0] and lines[-1].endswith("nothing is left")


def test_the_orphan_of_a_killed_benchmark_keeps_its_directory(tmp_path):
    lock = _lock(tmp_path / "cell")
    child = subprocess.Popen(
        [sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(lock.fileno(),)
    )
    _unlock(lock)  # as the system does when the benchmark dies
    assert _lock(tmp_path / "cell") is False
    child.communicate(b"\n")
    _unlock(_lock(tmp_path / "cell"))


def test_nothing_starts_without_memory(tmp_path, leave_run, monkeypatch):
    """A cell needs a tenth more than the largest finished one of its row, or what the user says.

    The guard can be switched off.
    """
    done, cell, other = (
        make_cell(tmp_path, seed=1),
        make_cell(tmp_path, seed=2),
        make_cell(tmp_path, row="other"),
    )
    leave_run(done.folder, [1, 2], peak_memory_mb=1000.0)
    lines: list[str] = []
    runner = Runner([done, cell, other], memory_gb=2.0, say=lines.append)
    assert (runner._need(cell), runner._need(other)) == (1_153_433_600, 2 << 30)
    monkeypatch.setattr(free_memory, "free_bytes", lambda: 1_200_000_000)
    assert runner._has_room(cell) and not runner._has_room(other)
    runner._told = -1e9
    assert (
        not runner._has_room(other)
        and "ring other seed 1 waits for memory: it may take 2.0 GiB, 1.1 GiB are free" in lines[0]
    )
    # A run beside it has taken 100 MB of what it may take.
    monkeypatch.setattr(free_memory, "resident_bytes", lambda pid: 100_000_000)
    runner.running = [SimpleNamespace(need=200_000_000, process=SimpleNamespace(pid=1))]
    assert not runner._has_room(cell)
    runner.memory_gb = 0
    assert runner._has_room(cell) and runner._has_room(other)


def test_free_memory_knows_the_limits_of_containers(tmp_path):
    assert free_memory.free_bytes(tmp_path) > 0  # no limit: the machine's
    (tmp_path / "memory.max").write_text("1000\n")
    (tmp_path / "memory.current").write_text("700\n")
    (tmp_path / "memory.stat").write_text("anon 500\ninactive_file 150\n")
    assert free_memory.free_bytes(tmp_path) == 450
    (tmp_path / "memory.max").write_text("max\n")
    assert free_memory.free_bytes(tmp_path) > 1000
    assert (
        free_memory.resident_bytes(os.getpid()) > 10_000_000
        and free_memory.resident_bytes(2**22 + 1) == 0
    )


def test_what_remains_is_guessed_from_the_nearest_alike(tmp_path):
    a1, a2, b1 = (
        make_cell(tmp_path, row="a"),
        make_cell(tmp_path, row="a", seed=2),
        make_cell(tmp_path, row="b"),
    )
    floor, unlike = make_cell(tmp_path, "Pop", "floor"), make_cell(tmp_path, "Pop", "floor 2")
    total, each = remaining_seconds([a2, b1, unlike], {a1: 100.0, floor: 2.0})
    assert each == {a2: 100.0, b1: 100.0, unlike: 2.0} and total == 202.0
    assert remaining_seconds([b1, unlike], {floor: 2.0}) == (None, {unlike: 2.0})
    assert [span(seconds) for seconds in (3.4, 89, 91, 5399, 11_100)] == [
        "3 s",
        "89 s",
        "2 min",
        "1 h 30 min",
        "3 h 05 min",
    ]
