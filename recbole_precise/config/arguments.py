"""`--key=value` and `--key value` as settings, still as text."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from recbole_precise.config import schema
from recbole_precise.errors import ConfigError

_BOOLEANS = {"true", "false"}


def is_switch(key: str, switches: Collection[str] = ()) -> bool:
    """Whether a key takes True or False alone, so that `--key` means `--key=True`.

    Args:
        key: the key.
        switches: options of a command that are such switches.
    """
    entry = schema.known_key(key)
    return key in switches or (entry is not None and entry.types == ("bool",))


def parse_arguments(
    arguments: Sequence[str], strict: bool, switches: Collection[str] = ()
) -> dict[str, str]:
    """Read the settings in a command line.

    A value may contain '='. A switch may stand without a value.

    Args:
        arguments: of the command line.
        strict: whether everything must be a setting. If not, for the arguments of a script that is
            not ours, what does not look like a setting is passed over, and `--key value` is only
            taken for keys that are known.
        switches: options of a command that take True or False alone.
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
            if is_switch(key, switches) and not (has_value and following.lower() in _BOOLEANS):
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


def positional(
    arguments: Sequence[str], switches: Collection[str] = ()
) -> tuple[list[str], list[str]]:
    """Return (what is neither a `--key` nor the value behind one, the rest), in their order."""
    named: list[str] = []
    rest: list[str] = []
    takes_value = False
    takes_boolean = False
    for argument in arguments:
        if argument.startswith("--"):
            takes_boolean = "=" not in argument and is_switch(argument[2:], switches)
            takes_value = "=" not in argument and not takes_boolean
            rest.append(argument)
            continue
        is_value = takes_value or (takes_boolean and argument.lower() in _BOOLEANS)
        (rest if is_value else named).append(argument)
        takes_value = False
        takes_boolean = False
    return named, rest
