"""RecBole's log on the console and in the run directory, for as long as a run lasts."""

from __future__ import annotations

import contextlib
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import colorlog

_COLORS = {"DEBUG": "cyan", "WARNING": "yellow", "ERROR": "red", "CRITICAL": "red"}
_ESCAPES = re.compile(r"\x1B(?:[@-Z\\-_]|\[[0-?]*[ -/]*[@-~])")


class _PlainFormatter(logging.Formatter):
    """Lines without the colours of the console."""

    def format(self, record: logging.LogRecord) -> str:
        return _ESCAPES.sub("", super().format(record))


@contextlib.contextmanager
def log_to(file: Path | None, state: str | None = "INFO") -> Iterator[None]:
    """Within it, the root logger writes RecBole's lines to the console and, where given, to `file` (at its end).

    Handlers that were there, of the caller or of an earlier run, get nothing meanwhile and are back afterwards.
    """
    level = getattr(logging, (state or "info").upper(), logging.INFO)
    root = logging.getLogger()
    handlers, before = root.handlers[:], root.level
    console = logging.StreamHandler()
    console.setFormatter(
        colorlog.ColoredFormatter("%(log_color)s%(asctime)-15s %(levelname)s  %(message)s", "%d %b %H:%M", log_colors=_COLORS)
    )
    ours: list[logging.Handler] = [console]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handler = logging.FileHandler(file, encoding="utf-8")
        handler.setFormatter(_PlainFormatter("%(asctime)-15s %(levelname)s  %(message)s", "%a %d %b %Y %H:%M:%S"))
        ours.append(handler)
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
