"""The commands: one module each, which declares its options and runs it.

A module has `add_arguments(parser)`, which declares the options, and `main(args)`, which does the
work. A new command is a module and a name here.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from types import ModuleType

from recbole_precise import registry
from recbole_precise.cli.parser import SETTINGS_NOTE, SPELLING, CommandParser
from recbole_precise.config import written
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError, did_you_mean

#: Names of the commands; each is a module of this package, imported when it is asked for.
COMMANDS = (
    "run",
    "encode",
    "convert",
    "tune",
    "audit",
    "benchmark",
    "compare",
    "inspect",
    "replay",
    "evaluate",
    "recommend",
    "doctor",
    "demo",
    "completion",
)
_WIDTH = 116


def parser_of(name: str) -> CommandParser:
    """Make the parser of a command."""
    parser = CommandParser(name)
    _module(name).add_arguments(parser)
    return parser


def execute(name: str, words: Sequence[str]) -> None:
    """Do what the words behind a command's name ask for."""
    args = parser_of(name).parse(words)
    _module(name).main(args)


def check_command(name: str) -> str:
    """Return the name of a command; a ConfigError with the nearest one when there is none."""
    if name not in COMMANDS:
        raise ConfigError(
            f"Unknown command '{name}'.{did_you_mean(name, COMMANDS)} The commands are "
            f"{', '.join(COMMANDS)}."
        )
    return name


def help_of(command: str, words: Sequence[str]) -> str:
    """Return the help of a command, with the settings of the model that `words` name.

    Args:
        command: its name.
        words: of the command line; `--model=NAME` or `--model NAME` may be among them.

    Raises:
        ConfigError: there is no such model.
    """
    text = parser_of(command).format_help()
    model = parse_arguments([word for word in words if word not in ("-h", "--help")], strict=False)
    if "model" not in model:
        return text
    entry = registry.resolve(model["model"])
    settings = written.help_of(entry.settings)
    if not settings:
        return text
    return f"{text}\nsettings of {entry.name}, with their defaults:\n{settings}\n"


def overview() -> str:
    """Return the help text of all commands together."""
    parsers = [parser_of(name) for name in COMMANDS]
    begins = ["usage:", *["      "] * (len(parsers) - 1)]
    calls = [f"{begin} {parser.call}" for begin, parser in zip(begins, parsers, strict=True)]
    width = max(map(len, COMMANDS))
    about = [f"{parser.command.ljust(width)}  {parser.description}" for parser in parsers]
    notes = (
        "recbole-precise --model=... is short for recbole-precise run --model=...; "
        "recbole-precise help COMMAND lists\nthe options of a command."
    )
    parts = ["\n".join(calls), "\n".join(about), notes, _model_names()]
    return "\n\n".join([*parts, f"{SPELLING}\n{SETTINGS_NOTE}"]) + "\n"


def list_models() -> str:
    """Return what `--list_models` prints: every model under its group, ours with a line each."""
    blocks = []
    for heading, entries in registry.models_by_group().items():
        width = max((len(entry.name) for entry in entries), default=0)
        if any(entry.about for entry in entries):
            lines = [f"  {entry.name.ljust(width)}  {entry.about}" for entry in entries]
        else:
            lines = _wrapped(", ".join(entry.name for entry in entries), "  ")
        blocks.append("\n".join([f"{heading}:", *lines]))
    return "\n\n".join(blocks) + "\n"


def _model_names() -> str:
    """Return the models by name, as the help text of all commands shows them."""
    lines = ["models (--list_models says what they are):"]
    for heading, entries in registry.models_by_group().items():
        names = ", ".join(entry.name for entry in entries)
        lines += _wrapped(f"{heading}: {names}", "    ")
    return "\n".join(lines)


def _wrapped(text: str, indent: str) -> list[str]:
    return textwrap.wrap(
        text,
        _WIDTH,
        initial_indent="  ",
        subsequent_indent=indent,
        break_on_hyphens=False,
    )


def _module(name: str) -> ModuleType:
    return importlib.import_module(f"recbole_precise.cli.{name}")
