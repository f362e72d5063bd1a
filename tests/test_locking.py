"""One writer in a directory: among threads, processes, forks and after a kill.

And the commands that hold it.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from datetime import datetime
from pathlib import Path

import pytest

from recbole_precise import cli
from recbole_precise.errors import CheckpointError
from recbole_precise.system import locking
from recbole_precise.system.locking import LOCK, InUseError, exclusive

ROOT = Path(__file__).resolve().parents[1]
posix = pytest.mark.skipif(os.name == "nt", reason="signals and forks of POSIX")

HOLDER = """
import sys, time
from recbole_precise.system.locking import exclusive
with exclusive(sys.argv[1], "run_dir"):
    print("held", flush=True)
    time.sleep(600)
"""


def start_holder(folder: Path) -> subprocess.Popen:
    """A process that holds `folder`."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout.readline() == "held\n"
    return process


def end(process: subprocess.Popen) -> None:
    process.kill()
    process.communicate()


def test_another_process_is_named_and_a_killed_one_holds_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    holder = start_holder(folder)
    try:
        with pytest.raises(InUseError) as refused, exclusive(folder, "run_dir"):
            pass
        said = str(refused.value)
        since = said.split(" since ")[1].split(". ")[0]
        assert said.startswith(
            f"run_dir '{folder}' is in use by process {holder.pid} on host "
            f"{socket.gethostname()} since "
        )
        assert datetime.fromisoformat(since).utcoffset() is not None
    finally:
        end(holder)
    with exclusive(folder, "run_dir"):  # what the killed process left behind is no lock
        assert json.loads((folder / LOCK).read_text())["process"] == os.getpid()
    assert not (folder / LOCK).exists() and folder.is_dir()


def test_a_thread_may_take_it_again_and_no_other_thread(tmp_path: Path) -> None:
    seen = []

    def other() -> None:
        try:
            with exclusive(tmp_path, "run_dir"):
                seen.append("held")
        except InUseError as error:
            seen.append(str(error))

    with exclusive(tmp_path, "run_dir"):
        with exclusive(tmp_path / "." / "", "run_dir"):
            pass
        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
    thread = threading.Thread(target=other)
    thread.start()
    thread.join()
    assert f"in use by process {os.getpid()} on host" in seen[0] and seen[1] == "held"


def test_one_at_a_time_among_many(tmp_path: Path) -> None:
    """Eight threads add to one number, forty times in all: none is lost."""
    count = tmp_path / "folder" / "count"
    (tmp_path / "folder").mkdir()
    count.write_text("0")

    def add() -> None:
        for _ in range(5):
            with exclusive(tmp_path / "folder", "--output", wait=600):
                number = int(count.read_text())
                time.sleep(0.001)
                count.write_text(str(number + 1))

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count.read_text() == "40" and not (tmp_path / "folder" / LOCK).exists()


def test_waiting_ends_with_the_holder_or_with_the_patience(tmp_path: Path) -> None:
    holder = start_holder(tmp_path / "run")
    timer = threading.Timer(0.5, end, [holder])
    with pytest.raises(InUseError), exclusive(tmp_path / "run", "run_dir", wait=0.1):
        pass
    timer.start()
    with exclusive(tmp_path / "run", "run_dir", wait=600):
        assert holder.wait() == -signal.SIGKILL
    timer.join()


@posix
def test_a_fork_does_not_keep_the_lock_of_its_dead_parent(tmp_path: Path) -> None:
    """The holder forks a child that lives on, as DataLoader's workers do.

    The lock ends with the holder alone.
    """
    code = HOLDER.replace(
        'print("held"',
        'import os\n    if os.fork() == 0:\n        time.sleep(600)\n    print("held"',
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment,
        start_new_session=True,
    )
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(InUseError), exclusive(tmp_path, "run_dir"):
            pass
        os.kill(holder.pid, signal.SIGKILL)
        holder.wait()
        with exclusive(tmp_path, "run_dir", wait=5.0):
            pass
    finally:
        os.killpg(holder.pid, signal.SIGKILL)


def test_a_folder_made_for_nothing_goes_again(tmp_path: Path) -> None:
    with exclusive(tmp_path / "a" / "b", "--output"):
        assert (tmp_path / "a" / "b").is_dir()
    assert list(tmp_path.iterdir()) == []
    with exclusive(tmp_path / "a" / "b", "--output"):
        (tmp_path / "a" / "report").touch()
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["report"]


def test_a_file_system_without_locks_is_a_warning(tmp_path: Path, monkeypatch, caplog) -> None:
    def refuse(descriptor: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(locking, "_lock", refuse)
    with exclusive(tmp_path, "run_dir"), exclusive(tmp_path, "run_dir"):
        assert "without locks (No locks available)" in caplog.text
    assert locking._holds == {}


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EROFS, "Read-only"),
        (errno.EACCES, "Permission denied"),
        (errno.ENOSPC, "No space left"),
    ],
)
def test_a_disk_that_refuses_the_lock_file_is_a_sentence(
    tmp_path: Path, monkeypatch, number: int, words: str
) -> None:
    def refuse(*args: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(locking.os, "open", refuse)
    with (
        pytest.raises(CheckpointError, match=f"run_dir '.*' cannot be written: {words}"),
        exclusive(tmp_path, "run_dir"),
    ):
        pass


# --- The commands that hold a directory -------------------------------------------------------


@pytest.fixture
def data(write_dataset) -> list[str]:
    """Settings of a run of two seconds."""
    rows = [(f"u{u}", f"i{(3 * u + t) % 20}", 100 * t + u) for u in range(30) for t in range(6)]
    path = write_dataset("shop", rows, items=[(f"i{i}", f"Item {i}") for i in range(20)])
    return [
        "--dataset=shop",
        f"--data_path={path}",
        "--show_progress=False",
        "--state=ERROR",
        "--tensorboard=False",
        "--gpu_id=",
    ]


def test_a_run_refuses_a_directory_in_use_and_leaves_it(data, tmp_path: Path, capsys) -> None:
    """Whether it begins, goes on, or evaluates what is there.

    And it works when the holder has ended.
    """
    run_dir = tmp_path / "run"
    run = ["--model=Pop", *data, f"--run_dir={run_dir}"]
    holder = start_holder(run_dir)
    try:
        for more in ([], ["--resume=True"]):
            assert cli.main([*run, *more]) == 2
            assert (
                f"run_dir '{run_dir}' is in use by process {holder.pid}" in capsys.readouterr().err
            )
        assert [path.name for path in run_dir.iterdir()] == [LOCK]
    finally:
        end(holder)
    assert cli.main(run) == 0
    before = sorted(path.name for path in run_dir.iterdir())
    holder = start_holder(run_dir)
    try:
        from recbole_precise.serving import evaluation

        assert (
            cli.main(["recommend", f"--run_dir={run_dir}", "--users=u1"]) == 0
        )  # reading needs no lock
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(evaluation, "_PATIENCE", 0.0)
            assert cli.main(["evaluate", f"--run_dir={run_dir}"]) == 2
        assert "is in use by process" in capsys.readouterr().err
        assert (
            cli.main(
                ["evaluate", f"--run_dir={run_dir}", f"--output={tmp_path / 'elsewhere.json'}"]
            )
            == 0
        )
    finally:
        end(holder)
    (run_dir / LOCK).unlink()
    assert sorted(path.name for path in run_dir.iterdir()) == before
    for number in ("", "-2"):
        assert cli.main(["evaluate", f"--run_dir={run_dir}"]) == 0
        assert (run_dir / f"evaluation-test{number}.json").is_file()


def test_the_directory_is_held_while_a_trainer_fits_through_recboles_interface(
    data, tmp_path: Path, our_config, monkeypatch
) -> None:
    """RecBole's own way: Config, data, trainer.fit.

    A second trainer of this process may come after it, another process not.
    """
    from recbole_precise.plugin.preparation import create_dataset, data_preparation
    from recbole_precise.plugin.trainer import get_trainer
    from recbole_precise.training.loop import TrainingLoop

    settings = dict(argument[2:].split("=", 1) for argument in data)
    config = our_config(
        "Pop",
        settings.pop("dataset"),
        **{**settings, "tensorboard": False, "run_dir": str(tmp_path / "run")},
    )
    loaders = data_preparation(config, create_dataset(config))
    from recbole_precise.registry import get_model

    model = get_model("Pop")(config, loaders[0]._dataset)
    held = []
    train = TrainingLoop.fit

    def looking(self, *args, **kwargs):
        held.append((tmp_path / "run" / LOCK).exists())
        return train(self, *args, **kwargs)

    monkeypatch.setattr(TrainingLoop, "fit", looking)
    get_trainer(config)(config, model).fit(loaders[0], loaders[1], saved=True)
    assert held == [True] and not (tmp_path / "run" / LOCK).exists()
    holder = start_holder(tmp_path / "run")
    try:
        with pytest.raises(CheckpointError, match="in use by process"):
            get_trainer(config)(config, model).fit(loaders[0], loaders[1], saved=True)
    finally:
        end(holder)


def test_runs_that_begin_in_one_second_have_a_directory_each(tmp_path: Path) -> None:
    from recbole_precise.runs.folder import RunFolder

    made: list[Path] = []
    threads = [
        threading.Thread(
            target=lambda: made.append(RunFolder.made_at(tmp_path / "a" / "name").path)
        )
        for _ in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(made)) == 12 and all(path.is_dir() for path in made)


def test_a_replay_refuses_a_folder_in_use(data, tmp_path: Path, capsys) -> None:
    holder = start_holder(tmp_path / "out")
    try:
        assert (
            cli.main(
                ["replay", *data, f"--output={tmp_path / 'out'}", "--plots=False", "--period=day"]
            )
            == 2
        )
        assert (
            "--output" in (said := capsys.readouterr().err)
            and f"in use by process {holder.pid}" in said
        )
    finally:
        end(holder)


def test_reports_into_one_folder_wait_for_each_other(data, tmp_path: Path) -> None:
    """An audit that ends while another writes its report there: after it, and whole."""
    holder = start_holder(tmp_path / "out")
    timer = threading.Timer(1.0, end, [holder])
    timer.start()
    assert (
        cli.main(
            [
                "audit",
                *data[:2],
                f"--output={tmp_path / 'out'}",
                "--plots=False",
                "--shuffles=239",
                "--text=none",
            ]
        )
        == 0
    )
    timer.join()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"audit.md", "audit.json"}
