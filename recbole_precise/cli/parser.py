"""The parser of one command: argparse, with settings of a run beside the command's own options.

Options and settings are written `--key=value` or `--key value`; one whose value is True or False
may stand alone. Mistakes are a ConfigError of one sentence, never a usage text and an exit.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NoReturn

from recbole_precise.config.arguments import parse_arguments, positional
from recbole_precise.errors import ConfigError, did_you_mean, not_one_of

SPELLING = "--key value works too; a key whose value is True or False may stand alone."


class CommandParser(argparse.ArgumentParser):
    """The options of a command, declared with `add_argument`.

    An option's `metavar` stands for its value in the help; without one its default does.

    Attributes:
        command: its name.
        setting_names: settings of a run that may stand beside the options, for the completion of
            a shell; others are taken too. Empty where no setting is taken.
        suggestions: values of options for the completion of a shell, beside their `choices`.
    """

    def __init__(self, command: str) -> None:
        super().__init__(
            prog=f"recbole-precise {command}",
            add_help=False,
            allow_abbrev=False,
            exit_on_error=False,
        )
        self.command = command
        self.setting_names: Collection[str] = ()
        self.suggestions: dict[str, Callable[[], Iterable[str]]] = {}
        self._named: list[str] = []

    # --- Declaration --------------------------------------------------------------------------

    def name_in_usage(self, *keys: str) -> None:
        """Show options in the usage that a file of settings may hold in their place."""
        self._named += keys

    @property
    def takes_settings(self) -> bool:
        """Whether settings of a run may stand beside the options."""
        return bool(self.setting_names)

    @property
    def options(self) -> dict[str, argparse.Action]:
        """The declared options by name."""
        return {action.dest: action for action in self._actions if action.option_strings}

    @property
    def positionals(self) -> list[argparse.Action]:
        """The declared arguments that have no name."""
        return [action for action in self._actions if not action.option_strings]

    # --- Reading ------------------------------------------------------------------------------

    def parse(self, words: Sequence[str]) -> argparse.Namespace:
        """Read what follows the name of the command.

        Args:
            words: of the command line.

        Returns:
            The options, and beside them `settings` (what the command does not declare, as text),
            `given` (the texts of the options that were given), `options` (the names of all that it
            declares), and `command_line` (the command as it was written, for messages).

        Raises:
            ConfigError: of one sentence, for the first mistake.
        """
        switches = {key for key, action in self.options.items() if is_switch(action)}
        named: list[str] = []
        rest = list(words)
        if self.positionals:
            named, rest = positional(rest, switches)
        settings = parse_arguments(rest, strict=True, switches=switches)
        given = {key: settings.pop(key) for key in self.options if key in settings}
        self._check(given, settings)
        declared = [f"--{key}={value}" for key, value in given.items()]
        behind = ["--", *named] if named else []
        try:
            args = self.parse_args([*declared, *behind])
        except argparse.ArgumentError as error:
            between = "" if error.message.startswith(":") else " "
            raise ConfigError(f"{error.argument_name}{between}{error.message}") from None
        args.settings = settings
        args.given = given
        args.options = tuple(self.options)
        args.command_line = shlex.join([*self.prog.split(), *words])
        return args

    def _check(self, given: dict[str, str], settings: dict[str, str]) -> None:
        """Refuse options that are unknown, missing, or contradict each other."""
        for key in settings:
            if not self.takes_settings:
                raise ConfigError(
                    f"Unknown option '--{key}' of {self.command}."
                    f"{did_you_mean(key, self.options)} It takes "
                    f"{', '.join('--' + name for name in self.options)}."
                )
        for key, action in self.options.items():
            if action.required and key not in given:
                raise ConfigError(f"{self.command} needs --{key}: {self.call}.")
        for group in self._mutually_exclusive_groups:
            chosen = [action for action in group._group_actions if action.dest in given]
            if len(chosen) > 1 or (group.required and not chosen):
                choice = ", ".join(map(_written, group._group_actions))
                several = ", not several" if chosen else ""
                raise ConfigError(f"{self.command} needs one of {choice}{several}.")

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is not None and value not in action.choices:
            raise argparse.ArgumentError(action, not_one_of(value, map(str, action.choices)))

    def error(self, message: str) -> NoReturn:
        """Raise what argparse has to say as a ConfigError."""
        raise ConfigError(f"{self.command}: {message}.")

    # --- Help ---------------------------------------------------------------------------------

    @property
    def call(self) -> str:
        """How the command is written, with what it needs."""
        words = [self.prog, *(str(action.metavar) for action in self.positionals)]
        words += [
            _written(action)
            for key, action in self.options.items()
            if action.required or key in self._named
        ]
        words += [
            " | ".join(map(_written, group._group_actions))
            for group in self._mutually_exclusive_groups
            if group.required
        ]
        if self.options or self.takes_settings:
            words.append("[--key=value ...]")
        return " ".join(words)

    def format_usage(self) -> str:
        """Format the line that says how the command is written."""
        return f"usage: {self.call}\n"

    def format_help(self) -> str:
        """Format what `recbole-precise COMMAND --help` prints."""
        options = {_written(action): action.help or "" for action in self.options.values()}
        width = max(map(len, options), default=0)
        lines = [f"  {option.ljust(width)}  {help_}" for option, help_ in options.items()]
        notes = SPELLING if self.options else ""
        if self.takes_settings:
            notes = f"{SPELLING}\n{SETTINGS_NOTE}"
        parts = [self.format_usage().rstrip(), self.description or "", "\n".join(lines), notes]
        return "\n\n".join(part for part in parts if part) + "\n"


SETTINGS_NOTE = """\
Every key of a run, its default and its meaning stand in the YAML files of properties/; RecBole's
keys keep their meaning. Models are ours (PRECISE-UT, ...) and every model of RecBole; case,
hyphens and underscores do not matter."""


def is_switch(action: argparse.Action) -> bool:
    """Whether an option takes True or False alone, so that it may stand without a value."""
    return isinstance(action.default, bool)


def _written(action: argparse.Action) -> str:
    """Write an option with its value, as the help shows it: `--topk=10`."""
    value = action.default if action.metavar is None else action.metavar
    return f"--{action.dest}={value}"
