"""Finding the files of a download in the folder that the user names."""

from __future__ import annotations

import glob
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.errors import DataError


def folder(path: str | Path, holds: str) -> Path:
    """Return the folder. Raises DataError when there is none."""
    path = checked(path)
    if not path.is_dir():
        reason = "is a file" if path.is_file() else "there is no such folder"
        raise DataError(f"{path}: {reason}; give the folder that holds {holds}.")
    return path


def file(path: str | Path) -> Path:
    """Return the file. Raises DataError when there is none."""
    path = checked(path)
    if not path.is_file():
        reason = "there is no such file"
        if path.is_dir():
            reason = "is a folder; give the file itself"
        elif path.exists():
            reason = "is a pipe or a device; give a file, which convert may read more than once"
        raise DataError(f"{path}: {reason}.")
    return path


def some(path: str | Path) -> list[Path]:
    """Return the file, or those that a pattern such as `orders-*.csv.gz` matches, by name.

    Raises:
        DataError: there is none.
    """
    text = str(path)
    if not any(sign in text for sign in "*?[") or checked(path).exists():
        return [file(path)]
    # A pattern may be absolute, as in a shell.
    found = sorted(glob.glob(text, recursive=True))  # noqa: PTH207
    if not found:
        raise DataError(f"{path}: no file matches this pattern.")
    return [file(each) for each in found]


def checked(path: str | Path) -> Path:
    """Return the path.

    Raises:
        DataError: messages cannot show it, or the system refuses it.
    """
    text = str(path)
    try:
        text.encode("utf-8")
        Path(path).exists()
    except (UnicodeEncodeError, ValueError):
        shown = text.encode("utf-8", "backslashreplace").decode()
        raise DataError(
            f"{shown}: the name holds bytes that are no UTF-8 text; rename it."
        ) from None
    except OSError as error:
        shown = text if len(text) <= 120 else f"{text[:120]}..."
        raise DataError(f"{shown}: cannot be read ({error.strerror or error}).") from None
    return Path(path)


def find(place: Path, patterns: str | Sequence[str], what: str) -> list[Path]:
    """Return the files in `place` that match one of the patterns, by name.

    Raises DataError, naming what is there, for none.
    """
    patterns = [patterns] if isinstance(patterns, str) else patterns
    try:
        found = sorted(
            {file for pattern in patterns for file in place.glob(pattern) if file.is_file()}
        )
        names = sorted(file.name for file in place.iterdir())
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}).") from error
    for path in found:
        checked(path)
    if not found:
        there = ", ".join(names[:10]).encode("utf-8", "backslashreplace").decode() or "nothing"
        raise DataError(
            f"{place}: {' or '.join(patterns)} with {what} is missing (the folder holds: {there})."
        )
    return found


def find_one(place: Path, patterns: str | Sequence[str], what: str) -> Path:
    """Return the one file that matches. Raises DataError for none and for several."""
    found = find(place, patterns, what)
    if len(found) > 1:
        shown = patterns if isinstance(patterns, str) else " or ".join(patterns)
        names = ", ".join(file.name for file in found)
        raise DataError(
            f"{place}: {len(found)} files match {shown} ({names}); keep one in the folder."
        )
    return found[0]
