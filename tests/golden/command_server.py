"""Runs commands of this package, each in a child of one process that has imported everything.

The imports take longer than a tiny training. `CommandServer` starts this file as a program, which
forks for every command: no command sees what another one left in memory. The program knows
`run_recbole_precise.py` and nothing inside the package.
"""

from __future__ import annotations

import faulthandler
import importlib
import json
import os
import runpy
import signal
import subprocess
import sys
import tempfile
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "run_recbole_precise.py"
TIMEOUT = 900
#: What a training imports, so that children need not.
WARM = (
    "torch",
    "torch._dynamo",
    "pandas",
    "scipy.sparse",
    "scipy.stats",
    "transformers",
    "recbole.quick_start",
    "recbole.trainer",
)


@dataclass(frozen=True)
class Finished:
    """What a command left: its exit status, its output and errors together, its processor time."""

    status: int
    output: str
    seconds: float


def environment() -> dict[str, str]:
    """Return the environment of a child: this checkout, one thread, no GPU, no network."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
        "HF_HUB_OFFLINE": "1",
        "MPLBACKEND": "Agg",
    }


class CommandServer:
    """Starts the program when it is first needed; `close` ends it."""

    def __init__(self) -> None:
        """Start nothing yet."""
        self._process: subprocess.Popen[str] | None = None

    def run_command(self, arguments: list[str], folder: Path) -> Finished:
        """Run `recbole-precise ARGUMENTS` in a folder."""
        return self._ask({"arguments": arguments, "folder": str(folder)})

    def run_python(self, file: Path, arguments: list[str], folder: Path) -> Finished:
        """Run a Python file in a folder; its `sys.argv` has the arguments."""
        return self._ask({"arguments": arguments, "folder": str(folder), "file": str(file)})

    def close(self) -> None:
        """End the program."""
        if self._process is not None:
            assert self._process.stdin
            self._process.stdin.close()
            self._process.wait(timeout=60)
            self._process = None

    def _ask(self, request: dict[str, Any]) -> Finished:
        process = self._started()
        assert process.stdin
        assert process.stdout
        with tempfile.NamedTemporaryFile("r", encoding="utf-8", errors="replace") as output:
            process.stdin.write(json.dumps({**request, "output": output.name}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
            if not answer:
                raise RuntimeError("The command server has died.")
            return Finished(output=output.read(), **json.loads(answer))

    def _started(self) -> subprocess.Popen[str]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                cwd=ROOT,
                env=environment(),
            )
        return self._process


def run_apart(command: list[str], folder: Path) -> Finished:
    """Run a command as a process of its own, for those that start further processes."""
    before = os.times()
    done = subprocess.run(
        command,
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    after = os.times()
    used = after.children_user + after.children_system
    used -= before.children_user + before.children_system
    return Finished(done.returncode, done.stdout, used)


def _serve() -> None:
    import recbole_precise

    if not Path(recbole_precise.__file__).is_relative_to(ROOT):
        raise RuntimeError(f"{recbole_precise.__file__} is not the package of {ROOT}.")
    for name in WARM:
        importlib.import_module(name)
    for name in recbole_precise.__all__:
        getattr(recbole_precise, name)
    main = runpy.run_path(str(SCRIPT))["main"]
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what an import prints is no reply
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(request, main)
        _, status, used = os.wait4(child, 0)
        seconds = used.ru_utime + used.ru_stime
        answer = {"status": os.waitstatus_to_exitcode(status), "seconds": seconds}
        replies.write(json.dumps(answer) + "\n")
        replies.flush()


def _become(request: dict[str, Any], main: Any) -> None:
    """Run a request in this process, which ends with it."""
    status = 1
    try:
        output = os.open(request["output"], os.O_WRONLY | os.O_TRUNC)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(output, 1)
        os.dup2(output, 2)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        faulthandler.dump_traceback_later(TIMEOUT, exit=True)
        os.chdir(request["folder"])
        name = request.get("file", str(SCRIPT))
        sys.argv = [name, *request["arguments"]]
        if "file" in request:
            sys.path.insert(0, request["folder"])
            runpy.run_path(name, run_name="__main__")
            status = 0
        else:
            status = main()
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    _serve()
