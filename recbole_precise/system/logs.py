"""RecBole's log on the console and in the run directory, for as long as a run lasts."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import colorlog

from recbole_precise.files import cannot_write, make_folder
from recbole_precise.system.clock import timestamp

_COLORS = {"DEBUG": "cyan", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_ESCAPES = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")


class _PlainFormatter(logging.Formatter):
    """Lines without the colours of the console."""

    def format(self, record: logging.LogRecord) -> str:
        return _ESCAPES.sub("", super().format(record))


class _FileFormatter(_PlainFormatter):
    """Plain lines whose times a reader in another zone, and a program, understands."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:
        return timestamp(record.created)


class _LogFile(logging.FileHandler):
    """A log file whose disk may fill up: that is said once, and the run goes on without it.

    What a run must not lose is written elsewhere, and fails there with its own message.
    """

    def __init__(self, file: Path) -> None:
        super().__init__(file, encoding="utf-8")
        self._failed = False

    def emit(self, record: logging.LogRecord) -> None:
        if not self._failed:
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        error = sys.exc_info()[1]
        if not isinstance(error, OSError):
            super().handleError(record)
            return
        self._failed = True
        logging.getLogger().warning(
            f"The log '{self.baseFilename}' ends here: {error.strerror or error}."
        )

    def close(self) -> None:
        with contextlib.suppress(OSError):  # what is still buffered goes with the disk that is full
            super().close()


def on_a_terminal() -> bool:
    """Return whether somebody watches stderr: a terminal or a notebook.

    Who watches wants colours and progress bars.
    """
    stream = sys.stderr
    try:
        return stream.isatty() or type(stream).__module__.startswith("ipykernel")
    except (AttributeError, ValueError):
        return False


def _console_formatter() -> logging.Formatter:
    """Return RecBole's lines, with its colours where somebody watches.

    Unless colours are switched off (no-color.org).
    """
    if on_a_terminal() and not os.environ.get("NO_COLOR"):
        return colorlog.ColoredFormatter(
            "%(log_color)s%(asctime)-15s %(levelname)s  %(message)s",
            "%d %b %H:%M",
            log_colors=_COLORS,
        )
    return _PlainFormatter("%(asctime)-15s %(levelname)s  %(message)s", "%d %b %H:%M")


@contextlib.contextmanager
def log_to(file: Path | None, state: str | None = "INFO") -> Iterator[None]:
    """Let the root logger write RecBole's lines within the block.

    To the console and, where given, to `file` (at its end).

    Handlers that were there, of the caller or of an earlier run, get nothing meanwhile and are back
    afterwards.

    Raises:
        CheckpointError: the file cannot be written.
    """
    level = getattr(logging, (state or "info").upper(), logging.INFO)
    root = logging.getLogger()
    handlers = root.handlers[:]
    before = root.level
    console = logging.StreamHandler()
    console.setFormatter(_console_formatter())
    ours: list[logging.Handler] = [console]
    if file is not None:
        make_folder(file.parent, "the log")
        try:
            log_file = _LogFile(file)
        except OSError as error:
            raise cannot_write(file.parent, "the log", error) from error
        log_file.setFormatter(_FileFormatter("%(asctime)s %(levelname)s  %(message)s"))
        ours.append(log_file)
    for handler in ours:
        handler.setLevel(level)
    root.handlers[:] = ours
    root.setLevel(level)
    try:
        yield
    finally:
        root.handlers[:] = handlers
        root.setLevel(before)
        for handler in ours:
            handler.close()
