"""Options of a verb, as words of the command line: each reader gives a value or a ConfigError of
one sentence.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import TypeVar

from recbole_precise.errors import ConfigError, did_you_mean, shown

_Default = TypeVar("_Default")


def whole_number(
    options: Mapping[str, str], key: str, default: _Default, least: int = 1, other: str = ""
) -> int | _Default:
    """`options[key]` as a whole number from `least` on.

    `other`: what else the sentence allows (" or 'all'").
    """
    if key not in options:
        return default
    text = options[key].strip()
    if not text.isdecimal() or int(text) < least:
        raise ConfigError(
            f"--{key} must be a whole number "
            f"{'above 0' if least == 1 else f'from {least} on'}{other}, not '{options[key]}'."
        )
    return int(text)


def whole_numbers(options: Mapping[str, str], key: str) -> list[int] | None:
    """`options[key]` as different whole numbers, with blanks or commas between them.

    None where it is missing.
    """
    if key not in options:
        return None
    words = options[key].replace(",", " ").strip("[] ").split()
    if (
        not words
        or not all(word.isdecimal() for word in words)
        or len(set(map(int, words))) < len(words)
    ):
        raise ConfigError(
            f"--{key} must be different whole numbers, as in --{key}='2020 2021', not "
            f"'{options[key]}'."
        )
    return [int(word) for word in words]


def number(
    options: Mapping[str, str],
    key: str,
    default: _Default,
    *,
    above: float | None = None,
    below: float = math.inf,
    most: float = math.inf,
) -> float | _Default:
    """`options[key]` as a finite number above `above` (from 0 on where that is None), below `below`
    and at most `most`.
    """
    if key not in options:
        return default
    try:
        value = float(options[key])
    except ValueError:
        value = math.nan
    if not (value >= 0 if above is None else value > above) or not (
        value < below and value <= most
    ):
        ends = [
            f"above {above:g}" if above is not None else "from 0 on",
            *([f"below {below:g}"] if below < math.inf else []),
            *([f"at most {most:g}"] if most < math.inf else []),
        ]
        raise ConfigError(f"--{key} must be a number {' and '.join(ends)}, not '{options[key]}'.")
    return value


def switch(options: Mapping[str, str], key: str, default: bool) -> bool:
    """`options[key]` as True or False."""
    text = options.get(key, str(default))
    if text.lower() not in ("true", "false"):
        raise ConfigError(
            f"--{key} must be True or False, not '{text}'.{did_you_mean(text, ('True', 'False'))}"
        )
    return text.lower() == "true"


def one_of(
    options: Mapping[str, str], key: str, choices: Sequence[str], default: str | None = None
) -> str:
    """`options[key]` among `choices`; the first of them, or `default`, where it is missing."""
    value = options.get(key, default or choices[0])
    if value not in choices:
        raise ConfigError(
            f"--{key} must be one of {', '.join(choices)}, not "
            f"'{value}'.{did_you_mean(value, choices)}"
        )
    return value


#: A name in quotes, or one without blanks, which may have a quote inside.
_WORD = re.compile(r"""(?:"([^"]*)"|'([^']*)'|([^\s"']\S*))(?:\s+|$)""")


def words(text: str, key: str) -> list[str]:
    """The names in an option: with blanks between them, in quotes where a name has blanks, or as a
    JSON list.

    `u1 u2` and `"u 1" 'u 2'` are two names each, and so is `["u 1", "u 2"]`.

    Args:
        text: what was given.
        key: the option, for messages.

    Raises:
        ConfigError: for quotes or a JSON list that do not end, for what is no name in a list, and
            for no name at all.
    """
    plain = text.strip()
    if plain.startswith("["):
        try:
            found = json.loads(plain)
        except (ValueError, RecursionError):
            found = None
        if found is not None:
            names = [
                str(name) if isinstance(name, int) and not isinstance(name, bool) else name
                for name in found
            ]
            if not names or not all(isinstance(name, str) and name for name in names):
                raise ConfigError(f'--{key} must be names, as in ["a b", "c"], not {shown(text)}.')
            return names
    names, place = [], 0
    while place < len(plain):
        match = _WORD.match(plain, place)
        if match is None:
            raise ConfigError(
                f"--{key}: {shown(plain[place:])} begins with a quote that does not end before a "
                "blank; a name that begins with a quote is "
                'written in a JSON list, as in ["\'a"].'
            )
        names.append(next(part for part in match.groups() if part is not None))
        place = match.end()
    if not names or not all(names):
        raise ConfigError(
            f"--{key} must name at least one, with blanks between them, and quotes around a name "
            f"with blanks, not {shown(text)}."
        )
    return names
