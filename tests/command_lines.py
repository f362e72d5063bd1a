"""A command line for settings that are read inside a block, wherever they are read."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from recbole_precise.plugin.config import Config


@contextmanager
def command_line(arguments: Iterable[str]) -> Iterator[None]:
    """Let every Config that is given no command line of its own read these arguments."""
    given = list(arguments)
    original = Config.__init__

    @functools.wraps(original)
    def read(self, *args, command_line=None, **more):
        chosen = given if command_line is None else command_line
        original(self, *args, command_line=chosen, **more)

    Config.__init__ = read
    try:
        yield
    finally:
        Config.__init__ = original
