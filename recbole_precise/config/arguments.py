"""`--key=value` and `--key value` as settings, still as text."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_precise.config import schema
from recbole_precise.config.verb_options import is_verb_switch
from recbole_precise.errors import ConfigError

_BOOLEANS = {"true", "false"}


def is_switch(key: str) -> bool:
    """Whether a key takes True or False alone, so that `--key` means `--key=True`."""
    entry = schema.known_key(key)
    return is_verb_switch(key) or (entry is not None and entry.types == ("bool",))


def parse_arguments(arguments: Sequence[str], strict: bool) -> dict[str, str]:
    """Read the settings in a command line.

    A value may contain '='. A switch may stand without a value. Not `strict`, for the arguments of
    a script that is not ours: what does not look like a setting is passed over, and `--key value`
    is only taken for keys that are known.
    """
    settings: dict[str, str] = {}
    position = 0
    while position < len(arguments):
        argument = arguments[position]
        position += 1
        if not argument.startswith("--") or len(argument) == 2:
            if strict:
                raise ConfigError(
                    f"Unexpected argument '{argument}': settings are written --key=value or "
                    "--key value."
                )
            continue
        key, equals, value = argument[2:].partition("=")
        if not equals:
            following = arguments[position] if position < len(arguments) else "--"
            has_value = not following.startswith("--")
            if is_switch(key) and not (has_value and following.lower() in _BOOLEANS):
                value = "True"
            elif has_value and (
                strict or schema.known_key(key) is not None or key in schema.RECBOLE_UNLISTED
            ):
                value = following
                position += 1
            elif strict:
                raise ConfigError(f"--{key} needs a value: write --{key}=value.")
            else:
                continue
        if not key:
            raise ConfigError(f"'{argument}' names no key: settings are written --key=value.")
        if settings.get(key, value) != value:
            raise ConfigError(f"--{key} is given twice, as '{settings[key]}' and as '{value}'.")
        settings[key] = value
    return settings


def positional(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Separate what is neither a `--key` nor the value behind one from the rest, in their order."""
    named: list[str] = []
    rest: list[str] = []
    takes = switched = False
    for argument in arguments:
        if argument.startswith("--"):
            switched = "=" not in argument and is_switch(argument[2:])
            takes = "=" not in argument and not switched
            rest.append(argument)
            continue
        is_value = takes or (switched and argument.lower() in _BOOLEANS)
        (rest if is_value else named).append(argument)
        takes = switched = False
    return named, rest
