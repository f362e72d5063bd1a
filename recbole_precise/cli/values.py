"""What an option of a command takes: each reader turns the text of one option into its value.

They are the `type` of an argument of argparse. The parser puts the name of the option before what a
reader says of a text that it does not take.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from argparse import ArgumentTypeError
from collections.abc import Callable
from pathlib import Path

from recbole_precise.errors import ConfigError, did_you_mean, shown
from recbole_precise.files import output_file, output_folder


def whole_number(least: int = 1, other: str = "") -> Callable[[str], int]:
    """Make a reader of whole numbers from `least` on.

    Args:
        least: the smallest number that is taken.
        other: what else the sentence allows (" or 'all'").
    """
    range_ = "above 0" if least == 1 else f"from {least} on"

    def read(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise ArgumentTypeError(f"must be a whole number {range_}{other}, not '{text}'.")
        return int(text)

    return read


def whole_numbers(text: str) -> list[int]:
    """Read the numbers of `--seeds`: different, with blanks or commas between them."""
    parts = text.replace(",", " ").strip("[] ").split()
    numbers = [int(part) for part in parts if part.isdecimal()]
    if not parts or len(numbers) < len(parts) or len(set(numbers)) < len(numbers):
        raise ArgumentTypeError(
            f"must be different whole numbers, as in --seeds='2020 2021', not '{text}'."
        )
    return numbers


def number(
    *, above: float | None = None, below: float = math.inf, most: float = math.inf
) -> Callable[[str], float]:
    """Make a reader of finite numbers.

    Args:
        above: the number must be larger; None: from 0 on.
        below: the number must be smaller.
        most: the number must not be larger.
    """
    ends = ["from 0 on" if above is None else f"above {above:g}"]
    if below < math.inf:
        ends.append(f"below {below:g}")
    if most < math.inf:
        ends.append(f"at most {most:g}")

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        large_enough = value >= 0 if above is None else value > above
        if not (large_enough and value < below and value <= most and math.isfinite(value)):
            raise ArgumentTypeError(f"must be a number {' and '.join(ends)}, not '{text}'.")
        return value

    return read


def switch(text: str) -> bool:
    """Read True or False."""
    if text.lower() not in ("true", "false"):
        near = did_you_mean(text, ("True", "False"))
        raise ArgumentTypeError(f"must be True or False, not '{text}'.{near}")
    return text.lower() == "true"


def folder(text: str) -> Path:
    """Read the name of a folder that is to be written into; see `files.output_folder`."""
    try:
        return output_folder(text, "")
    except ConfigError as error:
        raise ArgumentTypeError(str(error).strip()) from error


def file(replaces: str | None = None) -> Callable[[str], Path]:
    """Make a reader of names of files that are to be written; see `files.output_file`."""

    def read(text: str) -> Path:
        try:
            return output_file(text, "", replaces=replaces)
        except ConfigError as error:
            raise ArgumentTypeError(str(error).strip()) from error

    return read


def words(text: str) -> list[str]:
    """Read different words with blanks or commas between them."""
    found = text.replace(",", " ").strip("[] ").split()
    if not found:
        raise ArgumentTypeError("names nothing.")
    return list(dict.fromkeys(found))


def metrics(text: str) -> list[str]:
    """Read names of metrics with blanks or commas between them."""
    found = text.lower().replace(",", " ").split()
    if not found:
        raise ArgumentTypeError(
            "names no metric; write one or several, as in --metric='ndcg@10 recall@10', or leave "
            "it out."
        )
    return list(dict.fromkeys(found))


def quoted_words(text: str) -> list[str]:
    """Read words with blanks between them, as a shell does: in quotes where a name has blanks."""
    try:
        found = shlex.split(text)
    except ValueError:
        raise ArgumentTypeError(
            f": a quote in {text} is never closed; a name with a blank stands in quotes, as in "
            "\"Pop 'two words'\"."
        ) from None
    if not found or not all(found):
        raise ArgumentTypeError("names nothing; leave it out for all of the plan's.")
    return list(dict.fromkeys(found))


#: A name in quotes, or one without blanks, which may have a quote inside.
_NAME = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s"']\S*))(?:\s+|$)""")


def names(text: str) -> list[str]:
    """Read names of users or items.

    Blanks stand between them, quotes around a name with blanks; a JSON list works too. `u1 u2` and
    `"u 1" 'u 2'` are two names each, and so is `["u 1", "u 2"]`.
    """
    plain = text.strip()
    listed = _json_names(plain)
    if listed is not None:
        return listed
    found = []
    place = 0
    while place < len(plain):
        match = _NAME.match(plain, place)
        if match is None:
            raise ArgumentTypeError(
                f": {shown(plain[place:])} begins with a quote that does not end before a blank; a "
                'name that begins with a quote is written in a JSON list, as in ["\'a"].'
            )
        found.append(next(part for part in match.groups() if part is not None))
        place = match.end()
    if not found or not all(found):
        raise ArgumentTypeError(
            "must name at least one, with blanks between them, and quotes around a name with "
            f"blanks, not {shown(text)}."
        )
    return found


def _json_names(text: str) -> list[str] | None:
    """Return the names in a JSON list; None for what is no JSON list."""
    if not text.startswith("["):
        return None
    try:
        listed = json.loads(text)
    except (ValueError, RecursionError):
        return None
    found = [str(name) if type(name) is int else name for name in listed]
    if not found or not all(isinstance(name, str) and name for name in found):
        raise ArgumentTypeError(f'must be names, as in ["a b", "c"], not {shown(text)}.')
    return found
