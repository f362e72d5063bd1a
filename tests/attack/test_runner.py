"""The runner of attacks itself: it judges as it should, draws the same attacks from the same seed,
and ends well with some.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
import run as runner  # noqa: E402
import runs_inputs  # noqa: E402
from attack import Attack  # noqa: E402

pytestmark = pytest.mark.skipif(os.name == "nt", reason="forks")


def test_a_seed_names_its_attacks() -> None:
    first, again, other = (list(runs_inputs.inputs(seed, 60)) for seed in (1, 1, 2))
    plain = [
        [(attack.name, attack.arguments, sorted(attack.files)) for attack in attacks]
        for attacks in (first, again, other)
    ]
    assert plain[0] == plain[1] != plain[2] and len(plain[0]) == 60
    assert plain[0][:9] == [
        (each.name, each.arguments, sorted(each.files)) for each in runs_inputs.inputs(1, 9)
    ]  # a number means the same in any count


def _write(path: Path, text: str) -> None:
    path.write_text(text)


FAULTS: list[tuple[str, Callable[[Path], object], int, bool, str]] = [
    ("a refusal", lambda folder: _write(folder / "said", "a sentence\n"), 2, False, ""),
    ("a result", lambda folder: _write(folder / "work" / "top.tsv", "new"), 0, False, ""),
    ("a status", lambda folder: None, 1, False, "status 1"),
    ("a crash", lambda folder: None, -11, False, "crash: SIGSEGV"),
    ("a hang", lambda folder: None, -9, True, "hangs"),
    ("silence", lambda folder: _write(folder / "said", " \n"), 2, False, "without a word"),
    (
        "a trace",
        lambda folder: _write(folder / "said", "Traceback (most recent call last):\n"),
        2,
        False,
        "it printed 'Traceback",
    ),
    ("a loss", lambda folder: (folder / "work" / "data").unlink(), 0, False, "removed: data"),
    (
        "a change",
        lambda folder: _write(folder / "work" / "data", "other"),
        0,
        False,
        "changed: data",
    ),
    (
        "a change that may be",
        lambda folder: _write(folder / "work" / "log", "longer"),
        0,
        False,
        "",
    ),
    (
        "a leftover",
        lambda folder: _write(folder / "work" / ".a.json.7.tmp", ""),
        2,
        False,
        "left behind: .a.json.7.tmp",
    ),
    (
        "a stray",
        lambda folder: _write(folder / "elsewhere", ""),
        0,
        False,
        "outside of the working directory: elsewhere",
    ),
]


@pytest.mark.parametrize(
    ("name", "act", "status", "hangs", "fault"), FAULTS, ids=[fault[0] for fault in FAULTS]
)
def test_what_is_wrong_is_seen(
    tmp_path: Path, name: str, act: Callable, status: int, hangs: bool, fault: str
) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (tmp_path / "said").write_text("words\n")
    (work / "data").write_text("given")
    (work / "log").write_text("long")
    case = runner.Case("runs", 0, Attack(name, [], {}, may_change=("log",)))
    running = runner._Running(case, 0, tmp_path, runner._digests(work), time.monotonic())
    act(tmp_path)
    arena = runner.Arena.__new__(runner.Arena)
    arena.limit = 1.0
    found = arena._judge(running, status, hangs, 0.1).faults
    assert (found == []) if not fault else any(fault in each for each in found)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("script", "more"), [("run.py", ["--count=60"]), ("kills.py", ["--kills=16"])]
)
def test_some_of_each(script: str, more: list[str], tmp_path: Path) -> None:
    """Some attacks and some kills, with another seed than that of `make attack` and `make
    kills`.
    """
    done = subprocess.run(
        [sys.executable, str(HERE / script), "--seed=11", *more],
        capture_output=True,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
        timeout=3000,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
