"""Run the cells, some at a time, each as a process of its own.

What is finished stays, what was killed goes on, what fails is reported.

A cell's process holds a lock in its directory, so that two benchmarks over the same `runs` share
the work and never write into one directory. A cell ends with the benchmark that started it, also
when that is killed.
"""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Literal

from recbole_precise.errors import CheckpointError, UserError
from recbole_precise.files import cannot_write, make_folder
from recbole_precise.runs.result import read_result
from recbole_precise.studies.benchmark import free_memory
from recbole_precise.studies.benchmark.cells import Cell
from recbole_precise.system import interrupts

try:
    import fcntl
except ImportError:
    # Windows has no such locks: there, run one benchmark at a time over the same runs
    fcntl = None  # type: ignore[assignment]  # a module that may be missing has no other type

CONSOLE = "console.log"
LOCK = "cell.lock"
_HEARTBEAT = 300.0  # seconds between two lines about what is running
_POLL = 0.2
_GRACE = 5.0  # seconds that cells get to end by themselves after Ctrl-C, which reaches them too
_WORDS = 6  # last lines of a failed run that are shown
_GROWTH = 1.1  # a run may take a tenth more than one like it did
_EPOCH = re.compile(r"epoch (\d+) (?:training|evaluating)")


class CellsFailed(UserError):
    """Some runs of a benchmark failed; the others are finished and in the table."""


@dataclass
class Outcome:
    """What became of a cell.

    It is `finished`, `failed` with its last `words`, or `waiting` when the benchmark was
    interrupted.
    """

    cell: Cell
    status: str
    words: str = ""


@dataclass
class _Running:
    cell: Cell
    process: subprocess.Popen
    lock: IO | None
    started: float
    need: int = field(default=0)


class Runner:
    """Runs cells.

    Args:
        jobs: cells at a time.
        memory_gb: GiB that a cell may take when no finished cell shows it; 0: no guard.
        threads: OMP_NUM_THREADS of a cell.
        say: gets each line about what goes on.
    """

    def __init__(
        self,
        cells: Sequence[Cell],
        jobs: int = 1,
        memory_gb: float = 2.0,
        threads: int = 1,
        say: Callable[[str], None] = print,
    ) -> None:
        self.cells = list(cells)
        self.jobs = jobs
        self.memory_gb = memory_gb
        self.threads = threads
        self.say = say
        self.waiting = [cell for cell in self.cells if not cell.finished]
        self.outcomes = {
            cell: Outcome(cell, "finished" if cell.finished else "waiting") for cell in self.cells
        }
        self.running: list[_Running] = []
        self._elsewhere: set[Cell] = set()
        self._last_said = 0.0
        # A Config chooses the GPUs of its process; cells choose theirs themselves.
        self.environment = {
            **os.environ,
            "OMP_NUM_THREADS": str(threads),
            "PYTHONPATH": _python_path(),
        }

    def run(self) -> list[Outcome]:
        """Run what is not finished.

        On an interrupt (Ctrl-C, SIGTERM) the cells at work are stopped, to be resumed later.
        """
        done = len(self.cells) - len(self.waiting)
        if done:
            self.say(
                f"{done} of {len(self.cells)} cells are finished already and are not run again"
            )
        self._last_said = time.monotonic()
        signum: int = signal.SIGTERM
        try:
            with interrupts.signals_interrupt():
                while self.waiting or self.running:
                    self._collect()
                    self._start_some()
                    self._heartbeat()
                    if self.waiting or self.running:
                        time.sleep(_POLL)
        except KeyboardInterrupt as interrupt:
            signum = interrupts.signal_of(interrupt)
            raise
        finally:
            self._stop_all(signum)
        return list(self.outcomes.values())

    # --- Starting -----------------------------------------------------------------------------

    def _start_some(self) -> None:
        for cell in list(self.waiting):
            if len(self.running) >= self.jobs:
                return
            if cell.begins_after is not None and not self._begun(cell):
                continue
            if not self._has_room(cell):
                return
            lock = _lock(cell.folder)
            if lock is False:
                if cell not in self._elsewhere:
                    self._elsewhere.add(cell)
                    self.say(
                        f"{cell.name}: another process is at work on it in '{cell.folder}'; "
                        "waiting for it"
                    )
                continue
            self.waiting.remove(cell)
            if cell.finished:  # the other process has finished it
                self._finish(cell, lock)
                continue
            self._start(cell, lock)

    def _begun(self, cell: Cell) -> bool:
        """Whether the cell that it begins after is finished.

        Where that one failed, so has this one.
        """
        before = cell.begins_after
        assert before is not None, "it begins after no other cell"
        if self.outcomes[before].status == "failed":
            self.waiting.remove(cell)
            self.outcomes[cell] = Outcome(
                cell, "failed", f"it begins after {before.name}, which failed."
            )
            self.say(f"{cell.name} FAILED: {self.outcomes[cell].words}")
        return self.outcomes[before].status == "finished"

    def _start(self, cell: Cell, lock: IO | None) -> None:
        cell.describe()
        begun = any(cell.folder.joinpath(name).exists() for name in ("checkpoint", "state.json"))
        command = [sys.executable, "-m", "recbole_precise", *cell.arguments()]
        try:
            with (cell.folder / CONSOLE).open("ab") as console:
                console.write(f"$ {shlex.join(command)}\n".encode())
                console.flush()
                # The process keeps the lock for as long as it lives, also when this one is killed.
                kept = (lock.fileno(),) if lock else ()
                environment = {**self.environment, interrupts.PARENT: str(os.getpid())}
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=console,
                    stderr=subprocess.STDOUT,
                    env=environment,
                    pass_fds=kept,
                )
        except OSError as error:
            raise cannot_write(cell.folder, f"the cell {cell.name}", error) from error
        self.running.append(_Running(cell, process, lock, time.monotonic(), self._need(cell)))
        self.say(f"{cell.name}: {'goes on' if begun else 'started'}")

    def _has_room(self, cell: Cell) -> bool:
        if not self.memory_gb:
            return True
        free = free_memory.free_bytes()
        need = self._need(cell)
        if free_memory.has_room(
            need,
            [(each.need, free_memory.resident_bytes(each.process.pid)) for each in self.running],
            free,
        ):
            return True
        if not self.running and time.monotonic() - self._last_said > 30:
            self._last_said = time.monotonic()
            self.say(
                f"{cell.name} waits for memory: it may take {need / 2**30:.1f} GiB, "
                f"{free / 2**30:.1f} GiB are free; "
                "--memory_gb says what a cell takes, --memory_gb=0 starts it all the same"
            )
        return False

    def _need(self, cell: Cell) -> int:
        """Return the bytes that a cell may take.

        That is a tenth more than the largest finished cell of its row, or else `memory_gb`.
        """
        peaks = [
            read["peak_memory_mb"]
            for each in self._finished()
            if each.folder.parent == cell.folder.parent and (read := _read(each))
        ]
        return int(max(peaks) * _GROWTH * 2**20) if peaks else int(self.memory_gb * 2**30)

    # --- Ending -------------------------------------------------------------------------------

    def _collect(self) -> None:
        for each in list(self.running):
            status = each.process.poll()
            if status is None:
                continue
            self.running.remove(each)
            if status == 0 and each.cell.finished:
                self._finish(each.cell, each.lock)
            else:
                _unlock(each.lock)
                words = _last_words(each.cell.folder / CONSOLE, status)
                self.outcomes[each.cell] = Outcome(each.cell, "failed", words)
                self.say(f"{each.cell.name} FAILED, see '{each.cell.folder / CONSOLE}': {words}")

    def _finish(self, cell: Cell, lock: IO | None) -> None:
        _unlock(lock)
        self.outcomes[cell] = Outcome(cell, "finished")
        result = _read(cell)
        scores = (
            ", ".join(
                f"{name} {value:.4f}"
                for name, value in list(result["test"].items())[:3]
                if value is not None
            )
            if result
            else ""
        )
        left = len(self.waiting) + len(self.running)
        count = len(self.cells) - left
        seconds = result["seconds"]["total"] if result else 0.0
        self.say(
            f"[{count}/{len(self.cells)}] {cell.name}: {scores} ({span(seconds)}); "
            f"{self._remains()}"
        )

    def _remains(self) -> str:
        left = [*self.waiting, *(each.cell for each in self.running)]
        if not left:
            return "nothing is left"
        seconds, known = remaining_seconds(
            left,
            {each: read["seconds"]["total"] for each in self._finished() if (read := _read(each))},
        )
        spent = {each.cell: time.monotonic() - each.started for each in self.running}
        if seconds is None:
            return f"{len(left)} left"
        seconds -= sum(min(spent.get(cell, 0.0), guess) for cell, guess in known.items())
        return (
            f"{len(left)} left, about {span(max(seconds, 0.0) / max(1, min(self.jobs, len(left))))}"
        )

    def _finished(self) -> list[Cell]:
        return [outcome.cell for outcome in self.outcomes.values() if outcome.status == "finished"]

    def _heartbeat(self) -> None:
        if self.running and time.monotonic() - self._last_said > _HEARTBEAT:
            self._last_said = time.monotonic()
            now = "; ".join(
                f"{each.cell.name}{_epoch(each.cell)}, {span(time.monotonic() - each.started)}"
                for each in self.running
            )
            self.say(f"running: {now}; {self._remains()}")

    def _stop_all(self, signum: int) -> None:
        """Stop the cells at work.

        Those that `signum` may have reached already get some time first.
        """
        deadline = time.monotonic() + (0.0 if signum == signal.SIGTERM else _GRACE)
        while time.monotonic() < deadline and any(
            each.process.poll() is None for each in self.running
        ):
            time.sleep(_POLL)
        for each in self.running:
            each.process.terminate()
        for each in self.running:
            try:
                each.process.wait(30)
            except subprocess.TimeoutExpired:
                each.process.kill()
                each.process.wait()
            _unlock(each.lock)
        self.running = []


def remaining_seconds(
    left: Sequence[Cell], taken: dict[Cell, float]
) -> tuple[float | None, dict[Cell, float]]:
    """Estimate the seconds that the cells `left` will take one after the other, and each.

    A cell takes the mean of its row, else of its data set, else of all (None and no entry while
    nothing like some of them has ended).
    """
    guesses = {}
    for cell in left:
        # Floors take seconds, what is trained minutes or hours: neither tells of the other.
        alike = {
            other: seconds
            for other, seconds in taken.items()
            if other.row.draws_nothing == cell.row.draws_nothing
        }
        for like in (
            lambda other, cell=cell: other.folder.parent == cell.folder.parent,
            lambda other, cell=cell: other.dataset == cell.dataset,
            lambda other: True,
        ):
            times = [seconds for other, seconds in alike.items() if like(other)]
            if times:
                break
        if times:
            guesses[cell] = sum(times) / len(times)
    return sum(guesses.values()) if len(guesses) == len(left) else None, guesses


def span(seconds: float) -> str:
    """Write a duration for people: 40 s, 12 min, 3 h 05 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _last_words(console: Path, status: int) -> str:
    """Why a process ended, as far as it said."""
    lines = [
        line.rstrip()
        for line in console.read_text(encoding="utf-8", errors="replace").splitlines()
        if line.strip()
    ]
    lines = lines[
        max((place for place, line in enumerate(lines) if line.startswith("$ ")), default=-1) + 1 :
    ]
    said = " | ".join(lines[-1:] if status == 2 else lines[-_WORDS:])
    if status < 0:
        name = signal.Signals(-status).name
        return (
            "ended by "
            f"{name}{', perhaps because memory ran out' if name == 'SIGKILL' else ''}. {said}"
        )
    return said or f"it ended with status {status} and said nothing"


def _epoch(cell: Cell) -> str:
    """How far a run has come, from its log."""
    try:
        with (cell.folder / "train.log").open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))
            found = _EPOCH.findall(file.read().decode("utf-8", "replace"))
    except OSError:
        return ""
    return f" (epoch {found[-1]})" if found else ""


def _read(cell: Cell) -> dict | None:
    """Read the result of a cell for what is said about it.

    None where it cannot be read, which the report says.
    """
    try:
        result = read_result(cell.folder)
        float(result["seconds"]["total"]), float(result["peak_memory_mb"])
        return result
    except (CheckpointError, KeyError, TypeError, ValueError):
        return None


def _lock(folder: Path) -> IO | Literal[False] | None:
    """Take the lock of a cell's directory.

    False when another process holds it, None where there are no locks.
    """
    make_folder(folder, "a cell")
    if fcntl is None:
        return None
    try:
        file = (folder / LOCK).open("a")
    except OSError as error:
        raise cannot_write(folder, "a cell", error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return False
    except OSError:  # a file system without locks: its user runs one benchmark at a time
        file.close()
        return None
    return file


def _unlock(lock: IO | None) -> None:
    if lock:
        lock.close()


def _python_path() -> str:
    """Where a cell finds this package, wherever it runs and however this process found it."""
    here = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])])
