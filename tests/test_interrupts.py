"""Signals that end a command: every command that can go on says how, with the status that a shell
expects.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from recbole_precise import cli
from recbole_precise.system import interrupts
from recbole_precise.system.interrupts import Interrupted, signals_interrupt

ROOT = Path(__file__).resolve().parents[1]
pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals of POSIX")
SIGNALS = [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]


@pytest.fixture(autouse=True)
def _handlers_of_a_terminal() -> None:
    """A suite in a shell's background ignores SIGINT; handlers are put back."""
    before = {signum: signal.getsignal(signum) for signum, _ in SIGNALS}
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
def test_a_signal_is_an_interrupt_within_and_nothing_is_left_after(
    signum: int, status: int
) -> None:
    before = signal.getsignal(signum)
    with pytest.raises(KeyboardInterrupt) as seen, signals_interrupt():
        os.kill(os.getpid(), signum)
        time.sleep(10)
    assert interrupts.signal_of(seen.value) == signum and interrupts.status_of(seen.value) == status
    assert signal.getsignal(signum) is before
    assert interrupts.status_of(KeyboardInterrupt()) == 130


def test_what_was_ignored_or_handled_stays_so() -> None:
    seen = []
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # nohup
    signal.signal(signal.SIGTERM, lambda signum, frame: seen.append(signum))
    with signals_interrupt():
        os.kill(os.getpid(), signal.SIGHUP)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    assert seen == [signal.SIGTERM]


def test_threads_change_no_handler() -> None:
    seen = []

    def work() -> None:
        with signals_interrupt():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [signal.SIG_DFL]


CLEANING = """
import os, signal, sys, time
from recbole_precise.system.interrupts import signals_interrupt
with signals_interrupt(repeat=sys.argv[1] == "repeat"):
    try:
        print("ready", flush=True)
        time.sleep(600)
    finally:
        print("cleaning", flush=True)
        ends = time.monotonic() + float(sys.argv[2])
        while time.monotonic() < ends:
            time.sleep(0.01)
        print("clean", flush=True)
"""


def cleaning(*arguments: str) -> subprocess.Popen:
    """A process that cleans up after a signal for so many seconds."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", CLEANING, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    )
    assert process.stdout.readline() == "ready\n"
    return process


def test_the_second_signal_ends_at_once() -> None:
    process = cleaning("repeat", "600")
    process.terminate()
    assert process.stdout.readline() == "cleaning\n"
    time.sleep(2 * interrupts._SAME)
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGTERM and "clean" not in out


def test_a_signal_to_a_process_and_its_group_is_one() -> None:
    """`timeout` sends twice: to the process and to its group."""
    process = cleaning("repeat", "1")
    process.terminate()
    assert process.stdout.readline() == "cleaning\n"
    process.terminate()
    out, _ = process.communicate(timeout=60)
    assert out == "clean\n" and process.returncode not in (0, -signal.SIGTERM)


def test_a_part_of_a_command_ends_with_it(tmp_path: Path) -> None:
    """A grandchild whose parent is killed, and one whose parent is dead before it asks."""
    code = (
        "import os, subprocess, sys, time\n"
        "from recbole_precise.system.interrupts import PARENT\n"
        "part = 'import time; from recbole_precise.system.interrupts import end_with_starter; "
        "end_with_starter(); print(1, flush=True); time.sleep(600)'\n"
        "child = subprocess.Popen([sys.executable, '-c', part], stdout=subprocess.PIPE, "
        "env={**os.environ, PARENT: str(os.getpid())})\n"
        "child.stdout.readline()\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment
    )
    import psutil

    child = psutil.Process(int(parent.stdout.readline()))
    parent.kill()
    parent.communicate()
    assert psutil.wait_procs([child], timeout=60)[1] == []
    orphan = subprocess.run(
        [
            sys.executable,
            "-c",
            "from recbole_precise.system.interrupts import end_with; end_with(1 << 22)",
        ],
        env=environment,
        timeout=60,
    )
    assert orphan.returncode == -signal.SIGKILL


# --- Commands ---------------------------------------------------------------------------------


@pytest.fixture
def data(write_dataset, tmp_path: Path) -> list[str]:
    rows = [
        (f"u{u}", f"i{(3 * u + t * t) % 20}", 86_400 * t + u) for u in range(40) for t in range(9)
    ]
    path = write_dataset("shop", rows, items=[(f"i{i}", f"Item {i}") for i in range(20)])
    return [
        "--dataset=shop",
        f"--data_path={path}",
        "--show_progress=False",
        "--tensorboard=False",
        "--use_gpu=False",
        f"--checkpoint_dir={tmp_path / 'saved'}",
    ]


def interrupt_at(
    monkeypatch, place: type, name: str, call: int, signum: int = signal.SIGTERM
) -> None:
    """Let the `call`-th call of a method send this process a signal."""
    original, calls = getattr(place, name), []

    def calling(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == call:
            os.kill(os.getpid(), signum)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(place, name, calling)


def go_on(line: str) -> list[str]:
    """The arguments of the command that a line names."""
    words = shlex.split(line[line.index("recbole-precise") :])
    return words[1:]


@pytest.mark.parametrize(("signum", "status"), SIGNALS)
@pytest.mark.parametrize("state", ["INFO", "CRITICAL"])
def test_a_run_says_how_to_go_on_and_that_command_does(
    data, tmp_path: Path, monkeypatch, capsys, signum: int, status: int, state: str
) -> None:
    """Into the log and onto stderr, whatever `state` leaves out.

    A run_dir with a blank and a quote is one word.
    """
    from recbole_precise.models.sasrec import SASRecCE

    run_dir = tmp_path / "it's a run"
    run = [
        "--model=SASRec-CE",
        *data,
        "--epochs=2",
        "--embedding_size=8",
        "--n_layers=1",
        "--checkpoint_seconds=0",
        f"--state={state}",
    ]
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(patch, SASRecCE, "calculate_loss", 2, signum)
        assert cli.main([*run, f"--run_dir={run_dir}"]) == status
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        "Interrupted. Go on with: recbole-precise --model=SASRec-CE --dataset=shop" in last
        and "Traceback" not in last
    )
    assert (run_dir / "train.log").read_text().splitlines()[-1].split("Interrupted.")[1] in last
    if state == "INFO" and signum == signal.SIGTERM:
        assert cli.main(go_on(last)) == 0
        assert "Resume training from epoch" in (run_dir / "train.log").read_text()
        assert cli.main([*run, f"--run_dir={tmp_path / 'straight'}"]) == 0
        one, two = (
            json.loads((folder / "result.json").read_text())["test"]
            for folder in (run_dir, tmp_path / "straight")
        )
        assert one == two


def test_a_run_without_a_name_says_the_one_that_it_got(
    data, tmp_path: Path, monkeypatch, capsys
) -> None:
    from recbole_precise.models.sasrec import SASRecCE

    interrupt_at(monkeypatch, SASRecCE, "calculate_loss", 1)
    assert cli.main(["--model=SASRec-CE", *data]) == 143
    (run_dir,) = (tmp_path / "saved").iterdir()
    assert f"--run_dir={run_dir} --resume=True" in capsys.readouterr().err.strip().splitlines()[-1]


def test_a_replay_says_how_to_go_on_and_that_command_does(
    data, tmp_path: Path, monkeypatch, capsys
) -> None:
    from recbole_precise.studies.replay.engine import Replay

    command = [
        "replay",
        *data,
        f"--output={tmp_path / 'out'}",
        "--period=day",
        "--plots=False",
        "--embedding_size=8",
        "--token_size=8",
        "--epochs=1",
        "--variant=id",
    ]
    with monkeypatch.context() as patch:
        interrupt_at(patch, Replay, "_train", 4)
        assert cli.main(command) == 143
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(
        "Interrupted. The same command goes on after the last finished period: recbole-precise "
        "replay "
    )
    assert cli.main(go_on(last)) == 0
    assert "after 3 of 9 periods" in capsys.readouterr().err


def test_a_study_says_how_to_go_on_and_that_command_does(
    data, tmp_path: Path, monkeypatch, capsys
) -> None:
    from recbole_precise.models.sasrec import SASRecCE

    (tmp_path / "space.hyper").write_text("learning_rate choice [0.01, 0.001]\n")
    command = [
        "tune",
        "--model=SASRec-CE",
        *data,
        f"--params_file={tmp_path / 'space.hyper'}",
        "--sampler=grid",
        f"--storage={tmp_path / 'study.db'}",
    ]
    command += ["--embedding_size=8", "--n_layers=1", "--epochs=1"]
    with monkeypatch.context() as patch:
        interrupt_at(patch, SASRecCE, "calculate_loss", 2)
        assert cli.main(command) == 143
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith(
        "Interrupted. The same command goes on with the study: recbole-precise tune "
    )
    assert cli.main(go_on(last)) == 0
    trials = json.loads((tmp_path / "SASRec-CE-shop" / "trials.json").read_text())
    assert "complete" in json.dumps(trials)


def test_encoding_says_how_to_go_on(data, tmp_path: Path, monkeypatch, capsys, bert: Path) -> None:
    from recbole_precise.text.encoder import HfEncoder

    interrupt_at(monkeypatch, HfEncoder, "encode_batch", 1)
    command = [
        "encode",
        *data,
        "--item_text={title}",
        f"--text_encoder={bert}",
        f"--text_cache_dir={tmp_path / 'cache'}",
    ]
    assert cli.main(command) == 143
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert (
        last
        == "Interrupted. The same command goes on with the texts that are left: "
        + shlex.join(["recbole-precise", *command])
    )


def test_a_command_that_keeps_nothing_is_interrupted_alone(data, monkeypatch, capsys) -> None:
    from recbole_precise import data as package
    from recbole_precise.studies.doctor import plan

    assert package
    interrupt_at(monkeypatch, plan.DescribedData, "file", 1)
    assert cli.main(["doctor", *data[:2]]) == 143
    assert capsys.readouterr().err == "Interrupted.\n"
    assert issubclass(Interrupted, KeyboardInterrupt)
