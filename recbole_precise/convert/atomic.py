"""Writing RecBole's atomic files so that both RecBole and this package read back what was meant."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from recbole_precise.data.scan import MISSING

_BREAKS = re.compile(r"[\x00\t\r\n\v\f\x1c-\x1e\x85\u2028\u2029]+")


@dataclass(frozen=True)
class Converted:
    """What a converter wrote."""

    users: int
    items: int
    interactions: int
    files: tuple[Path, ...]
    notes: tuple[str, ...] = ()  # what was left out or is missing, one sentence each

    def __str__(self) -> str:
        files = ", ".join(map(str, self.files))
        first = (
            f"{self.users} users, {self.items} items, {self.interactions} interactions -> {files}"
        )
        return "\n".join([first, *self.notes])


def text_field(text: str) -> str:
    """Return a text that fits into one field of an atomic file.

    It has no separators, and no quote mark where RecBole's reader would fail on it.

    RecBole's reader takes a quote mark at the beginning of a field for a quoted field and gives up
    when it is not one.
    """
    text = " ".join(_BREAKS.sub(" ", text).split(" ")).strip()
    return text.replace('"', "'") if text.startswith('"') else text


def bad_token(token: str) -> str | None:
    """Why `token` cannot be an id in an atomic file, or None when it can."""
    if token in MISSING:
        return f"'{token}' is read as a missing value by RecBole" if token else "it is empty"
    if _BREAKS.search(token):
        return "it contains a tab, a line break or a NUL byte"
    if token == "[PAD]":
        return "'[PAD]' is RecBole's name for no item at all"
    if token.startswith('"'):
        return "it begins with a quote mark"
    if not token.isascii() and any("\ud800" <= sign <= "\udfff" for sign in token):
        return "it holds bytes that are no text"
    return None
