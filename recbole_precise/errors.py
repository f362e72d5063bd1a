"""The mistakes that this package reports to people.

One message that says what, where and how to fix it.

The command line prints the message alone and leaves with status 2; a traceback is only ever shown
for faults of the package itself.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """Base of every error that the user can fix; the message is complete on its own."""


class ConfigError(UserError):
    """A configuration key, value or combination is wrong."""


class DataError(UserError):
    """A file of the data set is missing, malformed or unusable."""


class TextError(UserError):
    """Item text, a text encoder or a text cache is missing, malformed or unusable."""


class CheckpointError(UserError):
    """A run directory or checkpoint is missing, damaged or belongs to something else."""


class DivergedError(UserError, ValueError):
    """A training has left the range of numbers."""


class InterruptedRunError(UserError):
    """A process of a run was ended from outside."""


def shown(value: object, most: int = 80) -> str:
    """Show a value in a message: on one line, and cut where it is long."""
    try:
        text = repr(value)
    except (
        RecursionError,
        ValueError,
    ):  # nested without end, or a number of more digits than Python prints
        text = f"a {type(value).__name__}"
    return (
        text
        if len(text) <= most
        else f"{text[: most - 20]}...{text[-10:]} ({len(text)} characters)"
    )


def nearest(name: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate most like `name` (case and hyphens ignored).

    None when none is near.
    """

    def plain(text: str) -> str:
        return text.lower().replace("-", "_")

    table = {plain(candidate): candidate for candidate in sorted(candidates)}
    found = difflib.get_close_matches(plain(name), list(table), n=1, cutoff=0.6)
    return table[found[0]] if found else None


def did_you_mean(name: str, candidates: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the nearest candidate, or an empty string."""
    found = nearest(name, candidates)
    return f" Did you mean '{found}'?" if found else ""


def not_one_of(value: object, choices: Iterable[str]) -> str:
    """Say what is wrong with a value that is no choice: `must be one of a, b, not 'c'.`."""
    known = list(choices)
    near = did_you_mean(str(value), known)
    return f"must be one of {', '.join(known)}, not '{value}'.{near}"
