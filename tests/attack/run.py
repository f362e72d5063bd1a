"""Bad input by the hundreds, from a seed: no stack trace, no hang, no crash, and nothing lost.

    python tests/attack/run.py --seed=1 --count=1000            all generators, 1,000 attacks in all
    python tests/attack/run.py --seed=1 --only=runs --number=17 one attack again, with what it
    printed

The package is imported once; each attack is a fork that runs the command in a working directory of
its own. An attack holds when the command ends with status 0 or 2 (130 and 143 after signals) in
time, prints no stack trace, leaves every file that it was given as it was, and no temporary file.
"""

from __future__ import annotations

import argparse
import fnmatch
import gc
import hashlib
import importlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

import contextlib  # noqa: E402

from attack import Attack  # noqa: E402
from workplace import place, preload, prepare  # noqa: E402

GENERATORS = ("settings", "data", "convert", "runs")
ALLOWED = (0, 2, 130, 143)
_BAD_WORDS = (
    "Traceback (most recent call last)",
    "Fatal Python error",
    "--- Logging error ---",
    "Exception ignored in",
)
_LEFT = (".*.tmp", "*.partial", ".convert-*", ".lock")
#: Files that a command may add to: the log of a run, and what the caches of libraries keep.
_GROWING = ("*/train.log", "*/.lock", "cache/*", "home/*")


@dataclass
class Case:
    """An attack with its place in the order of its generator."""

    kind: str
    number: int
    attack: Attack


@dataclass
class Outcome:
    """How a case ended: `status` of the process, `faults` in words, and what it printed."""

    case: Case
    status: int
    faults: list[str]
    said: str
    seconds: float


@dataclass
class _Running:
    case: Case
    pid: int
    folder: Path
    before: dict[str, str]
    started: float


def cases(kinds: list[str], seed: int, count: int) -> Iterator[Case]:
    """The cases of all generators that there are, `count` in all, in turn."""
    found = [kind for kind in kinds if (HERE / f"{kind}_inputs.py").is_file()]
    for kind in kinds:
        if kind not in found:
            print(f"There is no generator {kind}_inputs.py.", flush=True)
    for place_of, kind in enumerate(found):
        share = count // len(found) + (place_of < count % len(found))
        attacks = importlib.import_module(f"{kind}_inputs").inputs(seed, share)
        yield from (Case(kind, number, attack) for number, attack in zip(range(share), attacks))


class Arena:
    """Runs cases, `jobs` at a time, in forks of this process."""

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self.good = folder / "good-files"
        self.good.mkdir()
        prepare(self.good)
        self.running: list[_Running] = []

    def run(self, waiting: Iterator[Case], jobs: int) -> Iterator[Outcome]:
        """Outcomes in the order in which they come."""
        more = True
        while more or self.running:
            while more and len(self.running) < jobs:
                case = next(waiting, None)
                more = case is not None
                if case is not None:
                    self.running.append(self._start(case))
            yield from self._ended()

    def _start(self, case: Case) -> _Running:
        folder = self.folder / f"{case.kind}-{case.number}"
        folder.mkdir()
        place(case.attack, self.good, folder / "work", runs=case.kind == "runs")
        before = _digests(folder / "work")
        sys.stdout.flush()
        pid = os.fork()
        if pid == 0:
            _attacked(case.attack.command(folder / "work"), folder)
        return _Running(case, pid, folder, before, time.monotonic())

    def _ended(self) -> Iterator[Outcome]:
        time.sleep(0.005)
        for each in list(self.running):
            pid, status = os.waitpid(each.pid, os.WNOHANG)
            seconds = time.monotonic() - each.started
            if not pid and seconds < self.limit:
                continue
            hangs = not pid
            if hangs:
                os.kill(each.pid, signal.SIGKILL)
                _, status = os.waitpid(each.pid, 0)
            _end_group(each.pid)
            self.running.remove(each)
            yield self._judge(each, os.waitstatus_to_exitcode(status), hangs, seconds)
            shutil.rmtree(each.folder, ignore_errors=True)

    def _judge(self, each: _Running, status: int, hangs: bool, seconds: float) -> Outcome:
        said = (each.folder / "said").read_text(encoding="utf-8", errors="replace")
        faults = []
        if hangs:
            faults.append(f"hangs: not ended after {self.limit:g} s")
        elif status < 0:
            faults.append(f"crash: {signal.Signals(-status).name}")
        elif status not in ALLOWED:
            faults.append(f"status {status}")
        faults += [f"it printed '{words}'" for words in _BAD_WORDS if words in said]
        if status == 2 and not said.strip():
            faults.append("status 2 without a word")
        after = _digests(each.folder / "work")
        free = (*each.case.attack.may_change, *_GROWING)
        for name, digest in each.before.items():
            if after.get(name) != digest and not any(
                fnmatch.fnmatch(name, pattern) for pattern in free
            ):
                faults.append(f"{'changed' if name in after else 'removed'}: {name}")
        if not hangs and status >= 0:
            new = [name for name in after if name not in each.before]
            faults += [
                f"left behind: {name}"
                for name in new
                if any(
                    fnmatch.fnmatch(part, pattern) for part in name.split("/") for pattern in _LEFT
                )
            ]
        faults += [
            f"outside of the working directory: {path.name}"
            for path in each.folder.iterdir()
            if path.name not in ("work", "said")
        ]
        return Outcome(each.case, status, faults, said, seconds)


def _attacked(arguments: list[str], folder: Path) -> None:
    """In the fork: the command, as a process of its own would run it."""
    status = 1
    try:
        os.setsid()
        for signum in (signal.SIGINT, signal.SIGTERM):
            signal.signal(signum, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        out = os.open(folder / "said", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdout = open(  # noqa: SIM115
            1, "w", encoding="utf-8", errors="backslashreplace", closefd=False
        )
        sys.stderr = open(
            2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1
        )
        os.chdir(folder / "work")
        os.environ.update(
            HOME=str(folder / "work" / "home"), RECBOLE_PRECISE_CACHE=str(folder / "work" / "cache")
        )
        sys.argv = ["recbole-precise", *arguments]
        from recbole_precise.cli import main

        status = main(arguments)
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 1
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)


def _end_group(pid: int) -> None:
    """Processes that a command started and left."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def _digests(folder: Path) -> dict[str, str]:
    """Path -> digest of every file below a folder."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found[path.relative_to(folder).as_posix()] = hashlib.blake2b(
                path.read_bytes(), digest_size=16
            ).hexdigest()
    return found


def _surroundings() -> dict[str, list[str]]:
    """Names in places where no command of an attack has any business."""
    places = [Path("/"), ROOT, Path.home()]
    return {
        str(path): sorted(entry.name for entry in path.iterdir() if entry.name != "__pycache__")
        for path in places
        if path.is_dir()
    }


def table(outcomes: list[Outcome]) -> str:
    """Counts by generator."""
    lines = [
        f"{'generator':<10} {'attacks':>8} {'refused':>8} {'accepted':>9} {'faults':>7} "
        f"{'slowest':>9}"
    ]
    for kind in dict.fromkeys(outcome.case.kind for outcome in outcomes):
        own = [outcome for outcome in outcomes if outcome.case.kind == kind]
        counts = [
            len(own),
            sum(outcome.status == 2 for outcome in own),
            sum(outcome.status == 0 for outcome in own),
            sum(bool(outcome.faults) for outcome in own),
        ]
        lines.append(
            f"{kind:<10} {counts[0]:>8} {counts[1]:>8} {counts[2]:>9} {counts[3]:>7} "
            f"{max(outcome.seconds for outcome in own):>7.1f} s"
        )
    return "\n".join(lines)


def show(outcome: Outcome, seed: int, count: int, whole: bool) -> str:
    """A case in words: what was tried, what is wrong, the last words, and how to try it again."""
    case, lines = outcome.case, outcome.said.strip().splitlines()
    words = "\n".join(f"    | {line[:300]}" for line in (lines if whole else lines[-6:]))
    again = (
        f"python tests/attack/run.py --seed={seed} --count={count} --only={case.kind} "
        f"--number={case.number}"
    )
    arguments = " ".join(
        re.sub(r"\s+", " ", repr(argument))[:120] for argument in case.attack.arguments
    )
    return (
        f"{case.kind} {case.number}: {case.attack.name}\n    {arguments[:600]}\n    status "
        f"{outcome.status}; {'; '.join(outcome.faults) or 'holds'}\n{words}\n    again: "
        f"{again}"
    )


def main() -> int:
    """Run what the command line asks for; status 1 when an attack does not hold."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=1000, help="attacks in all")
    parser.add_argument(
        "--only",
        choices=GENERATORS,
        action="append",
        help="this generator alone, which then gets the share that it has among all",
    )
    parser.add_argument("--number", type=int, help="this attack of the generator alone")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds that a command may take")
    options = parser.parse_args()
    preload()
    import recbole_precise

    if not Path(recbole_precise.__file__).is_relative_to(ROOT):
        raise SystemExit(f"the package comes from {recbole_precise.__file__}, not from {ROOT}")
    waiting = cases(list(GENERATORS), options.seed, options.count)
    wanted = (
        case
        for case in waiting
        if (options.only is None or case.kind in options.only)
        and options.number in (None, case.number)
    )
    around, started = _surroundings(), time.monotonic()
    outcomes: list[Outcome] = []
    with tempfile.TemporaryDirectory(prefix="attack-") as folder:
        arena = Arena(Path(folder), options.limit)
        gc.collect()
        gc.freeze()  # forks then share the pages of what is imported
        for outcome in arena.run(wanted, options.jobs):
            outcomes.append(outcome)
            if outcome.faults or options.number is not None:
                print(
                    show(outcome, options.seed, options.count, whole=options.number is not None),
                    flush=True,
                )
    if not outcomes:
        raise SystemExit("there is no such attack")
    print(
        f"\n{table(outcomes)}\n{len(outcomes)} attacks in {time.monotonic() - started:.0f} s, "
        f"seed {options.seed}"
    )
    strays = {
        path: sorted(set(names) - set(around[path]))
        for path, names in _surroundings().items()
        if set(names) - set(around[path])
    }
    for path, names in strays.items():
        print(f"new in {path}: {', '.join(names)}")
    failed = sum(bool(outcome.faults) for outcome in outcomes)
    print(f"{failed} attacks do not hold" if failed else "all attacks hold")
    return 1 if failed or strays else 0


if __name__ == "__main__":
    sys.exit(main())
