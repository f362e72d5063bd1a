"""Signals that end a command: each becomes a KeyboardInterrupt.

All end with the same cleaning up.

Also processes that must not outlive the one that started them.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

#: Environment variable by which a command that starts this one as its part gives its own process
#: number.
PARENT = "RECBOLE_PRECISE_PARENT"
_NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
#: Seconds within which a second signal is the same one: `timeout` and service managers send to a
#: process and its group.
_SAME = 0.5
_WATCH = 0.5  # seconds between two looks at the parent, where the system does not tell of its death
_PR_SET_PDEATHSIG = 1


class Interrupted(KeyboardInterrupt):
    """A signal asked this process to end.

    Attributes:
        signum: the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def signals() -> list[int]:
    """Return the signals of this system that ask a command to end."""
    return [int(getattr(signal, name)) for name in _NAMES if hasattr(signal, name)]


def signal_of(interrupt: KeyboardInterrupt) -> int:
    """Return the signal behind an interrupt; Python's own stands for Ctrl-C."""
    return getattr(interrupt, "signum", signal.SIGINT)


def status_of(interrupt: KeyboardInterrupt) -> int:
    """Return the exit status that a shell expects.

    130 after Ctrl-C, 143 after SIGTERM, 129 after SIGHUP.
    """
    return 128 + signal_of(interrupt)


def report(interrupt: KeyboardInterrupt, message: str) -> None:
    """Print on stderr how to go on, once for an interrupt, however many callers it passes."""
    if not getattr(interrupt, "reported", False):
        print(message, file=sys.stderr, flush=True)
        mark_reported(interrupt)


def mark_reported(interrupt: KeyboardInterrupt) -> None:
    """Note that the user knows how to go on."""
    interrupt.reported = True  # type: ignore[attr-defined]


@contextlib.contextmanager
def signals_interrupt(repeat: bool = True) -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP raise Interrupted within the block.

    A second one ends the process at once.

    Nothing changes in other threads than the main one, and for signals that the caller of the
    process had ignored (`nohup`, a shell's background) or that somebody has given a handler of
    their own. Handlers are put back afterwards.

    Args:
        repeat: whether a second signal ends the process; False: it is passed over.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first: list[float] = []

    def interrupt(signum: int, frame: Any) -> None:
        now = time.monotonic()
        if not first:
            first.append(now)
            raise Interrupted(signum)
        if repeat and now - first[0] > _SAME:
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)

    before: dict[int, Any] = {}
    for signum in signals():
        if signal.getsignal(signum) in (signal.SIG_DFL, signal.default_int_handler):
            before[signum] = signal.signal(signum, interrupt)
    try:
        yield
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)


def end_with(parent: int) -> None:
    """Let this process be killed when its parent dies, however that dies.

    At once where it is dead already.

    Linux signals it; elsewhere a thread looks who the parent is.

    Args:
        parent: number of the process that started this one.
    """
    if os.name == "nt":
        return  # there a parent is not known by its number alone
    asked = _ask_linux()
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
    if not asked:
        threading.Thread(target=_watch, args=(parent,), name="watch-parent", daemon=True).start()


def end_with_starter() -> None:
    """`end_with` the command that started this one as a part of its work, if one did."""
    parent = os.environ.pop(PARENT, "")
    if parent.isdecimal():
        end_with(int(parent))


def _ask_linux() -> bool:
    if not sys.platform.startswith("linux"):
        return False
    try:
        return ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0) == 0
    except (OSError, AttributeError):
        return False


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_WATCH)
    os.kill(os.getpid(), signal.SIGKILL)
