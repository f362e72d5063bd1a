"""Finding the files of a download in the folder that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_precise.errors import DataError


def folder(path: str | Path, holds: str) -> Path:
    """The folder. Raises DataError when there is none."""
    path = Path(path)
    if not path.is_dir():
        reason = "is a file" if path.is_file() else "there is no such folder"
        raise DataError(f"{path}: {reason}; give the folder that holds {holds}.")
    return path


def find(place: Path, patterns: str | Sequence[str], what: str) -> list[Path]:
    """The files in `place` that match one of the patterns, by name. Raises DataError, naming what is there, for none."""
    patterns = [patterns] if isinstance(patterns, str) else patterns
    found = sorted({file for pattern in patterns for file in place.glob(pattern) if file.is_file()})
    if not found:
        there = ", ".join(sorted(file.name for file in place.iterdir())[:10]) or "nothing"
        raise DataError(f"{place}: {' or '.join(patterns)} with {what} is missing (the folder holds: {there}).")
    return found


def find_one(place: Path, patterns: str | Sequence[str], what: str) -> Path:
    """The one file that matches. Raises DataError for none and for several."""
    found = find(place, patterns, what)
    if len(found) > 1:
        raise DataError(f"{place}: {len(found)} files match {patterns if isinstance(patterns, str) else ' or '.join(patterns)} "
                        f"({', '.join(file.name for file in found)}); keep one in the folder.")  # fmt: skip
    return found[0]
