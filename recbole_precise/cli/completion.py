"""`completion`: a script that lets a shell complete commands, options and their values.

The script is made from the parsers of the commands, so it knows what they take. Data sets alone are
looked up when a word is completed: those of the folder `dataset`.
"""

from __future__ import annotations

import shlex
from argparse import Namespace
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from recbole_precise.cli import commands
from recbole_precise.cli.parser import CommandParser, is_switch
from recbole_precise.cli.settings import BUNDLED, data_sets
from recbole_precise.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class _Option:
    """An option of a command: what it means, and its values where they are known.

    `data_sets`: the values are the data sets at hand.
    """

    help: str
    values: tuple[str, ...] = ()
    data_sets: bool = False


@dataclass(frozen=True)
class _Command:
    """A command: what it does, its options by name, and names that may follow it."""

    help: str
    options: dict[str, _Option]
    names: tuple[str, ...] = ()


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        'print a script that completes the command line; for bash: eval "$(recbole-precise '
        'completion bash)"'
    )
    parser.add_argument("shell", nargs="?", metavar="|".join(_SCRIPTS))
    parser.suggestions["shell"] = lambda: _SCRIPTS


def main(args: Namespace) -> None:
    """Print the script of a shell."""
    shells = ", ".join(_SCRIPTS)
    if args.shell is None:
        raise ConfigError(f"completion needs the name of a shell: {shells}.")
    if args.shell not in _SCRIPTS:
        raise ConfigError(
            f"completion knows no shell '{args.shell}'.{did_you_mean(args.shell, _SCRIPTS)} It "
            f"knows {shells}."
        )
    print(_SCRIPTS[args.shell](_table()), end="")


def _table() -> dict[str, _Command]:
    """Return what can be completed, by command."""
    table = {name: _command(commands.parser_of(name)) for name in commands.COMMANDS}
    table["help"] = _Command("list the options of a command", {}, commands.COMMANDS)
    return table


def _command(parser: CommandParser) -> _Command:
    options = {}
    for key, action in parser.options.items():
        suggest = parser.suggestions.get(key)
        values: Iterable[str] = map(str, action.choices or ())
        if suggest is data_sets:
            options[key] = _Option(action.help or "", data_sets=True)
            continue
        if suggest is not None:
            values = suggest()
        elif is_switch(action):
            values = ("True", "False")
        options[key] = _Option(action.help or "", tuple(values))
    for key in sorted(parser.setting_names):
        options.setdefault(key, _Option("a setting of a run"))
    names: list[str] = []
    for action in parser.positionals[:1]:
        suggest = parser.suggestions.get(action.dest)
        names += suggest() if suggest is not None else ()
    return _Command(parser.description or "", options, tuple(names))


def _bash(table: dict[str, _Command]) -> str:
    values = _cases(table, lambda option: f"values={shlex.quote(' '.join(option.values))}")
    words = "\n".join(
        f"        {name}) names={shlex.quote(' '.join(command.names))}; "
        f"options={shlex.quote(' '.join(f'--{key}=' for key in command.options))} ;;"
        for name, command in table.items()
    )
    return f"""\
# Completion of recbole-precise for bash: eval "$(recbole-precise completion bash)"

_recbole_precise() {{
    local commands={shlex.quote(" ".join(table))}
    local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}"
    local command=run option="" begin="" values="" names="" options="" file
    [[ " $commands " == *" ${{COMP_WORDS[1]}} "* ]] && command="${{COMP_WORDS[1]}}"
    # Most often bash takes the sign in --key=value for a word of its own.
    if [[ $word == --*=* ]]; then
        option="${{word%%=*}}"
        begin="$option="
        word="${{word#*=}}"
    elif [[ $word == "=" ]]; then
        option="$before"
        word=""
    elif [[ $before == "=" ]]; then
        option="${{COMP_WORDS[COMP_CWORD-2]}}"
    elif [[ $before == --* && $word != -* ]]; then
        option="$before"
    fi
    COMPREPLY=()
    case "$command $option" in
{values}
    esac
    case "$command" in
{words}
    esac
    if [[ $values == "@data_sets" ]]; then
        values={BUNDLED}
        for file in dataset/*/*.inter; do
            [[ -e $file ]] && file="${{file%/*}}" && values+=" ${{file##*/}}"
        done
    fi
    if [[ -n $values ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$begin" -W "$values" -- "$word" | sort -u)
    elif [[ -z $option && $word == -* ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$options" -- "$word")
        compopt -o nospace 2> /dev/null
    elif [[ $COMP_CWORD == 1 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$word")
    elif [[ -z $option && -n $names && $COMP_CWORD == 2 ]]; then
        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$word")
    fi
    if [[ ${{#COMPREPLY[@]}} == 0 && -z $values && $word != -* ]]; then
        mapfile -t COMPREPLY < <(compgen -P "$begin" -f -- "$word")
        compopt -o filenames 2> /dev/null
    fi
}}

complete -F _recbole_precise recbole-precise
"""


def _zsh(table: dict[str, _Command]) -> str:
    values = _cases(table, lambda option: f"values=({_quoted(option.values)})")
    words = "\n".join(
        f"        {name}) names=({_quoted(command.names)}); "
        f"options=({_quoted(f'--{key}=' for key in command.options)}) ;;"
        for name, command in table.items()
    )
    about = "\n".join(
        f"        {shlex.quote(f'{name}:{command.help}')}" for name, command in table.items()
    )
    return f"""\
#compdef recbole-precise
# Completion of recbole-precise for zsh: source <(recbole-precise completion zsh)

_recbole_precise() {{
    local command=run option=''
    local -a commands values names options
    commands=(
{about}
    )
    if (( CURRENT == 2 )) && [[ $PREFIX != -* ]]; then
        _describe command commands
        return
    fi
    [[ $words[2] != -* ]] && command=$words[2]
    if [[ $PREFIX == --*=* ]]; then
        option=${{PREFIX%%=*}}
        compset -P 1 '*='
    elif [[ $words[CURRENT-1] == --* && $words[CURRENT-1] != *=* && $PREFIX != -* ]]; then
        option=$words[CURRENT-1]
    fi
    case "$command $option" in
{values}
    esac
    case "$command" in
{words}
    esac
    if [[ $values == '@data_sets' ]]; then
        values=({BUNDLED} dataset/*/*.inter(N:h:t))
    fi
    if (( $#values )); then
        compadd -- $values
    elif [[ -z $option && $PREFIX == -* ]]; then
        compadd -S '' -- $options
    elif [[ -z $option ]] && (( $#names && CURRENT == 3 )); then
        compadd -- $names
    else
        _files
    fi
}}

compdef _recbole_precise recbole-precise
"""


def _fish(table: dict[str, _Command]) -> str:
    begin = "complete -c recbole-precise"
    lines = [
        "# Completion of recbole-precise for fish: recbole-precise completion fish | source",
        "",
        "function __recbole_precise_data_sets",
        f"    echo {BUNDLED}",
        "    for file in dataset/*/*.inter",
        "        basename (dirname $file)",
        "    end",
        "end",
        "",
    ]
    for name, command in table.items():
        about = _fish_text(command.help)
        lines.append(f"{begin} -f -n __fish_use_subcommand -a {name} -d {about}")
    for name, command in table.items():
        if command.names:
            words = _fish_text(" ".join(command.names))
            lines.append(f"{begin} -f -n {_fish_seen([name], table)} -a {words}")
    for (key, option), names in _options_of_commands(table).items():
        values = "-r -F"
        if option.data_sets:
            values = "-x -a '(__recbole_precise_data_sets)'"
        elif option.values:
            values = f"-x -a {_fish_text(' '.join(option.values))}"
        about = _fish_text(option.help)
        lines.append(f"{begin} -n {_fish_seen(names, table)} -l {key} {values} -d {about}")
    return "\n".join(lines) + "\n"


_SCRIPTS: dict[str, Callable[[dict[str, _Command]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
}


def _cases(table: dict[str, _Command], assign: Callable[[_Option], str]) -> str:
    """Write the branches of a `case` over "command --option", for bash and zsh."""
    patterns: dict[str, list[str]] = {}
    for name, command in table.items():
        for key, option in command.options.items():
            if option.data_sets:
                option = _Option(option.help, ("@data_sets",))
            if option.values:
                patterns.setdefault(assign(option), []).append(f"'{name} --{key}'")
    return "\n".join(
        f"        {' | '.join(options)}) {assignment} ;;"
        for assignment, options in patterns.items()
    )


def _options_of_commands(table: dict[str, _Command]) -> dict[tuple[str, _Option], list[str]]:
    """Options by name and meaning, with the commands that take them."""
    options: dict[tuple[str, _Option], list[str]] = {}
    for name, command in table.items():
        for key, option in command.options.items():
            options.setdefault((key, option), []).append(name)
    return options


def _fish_seen(names: Iterable[str], table: dict[str, _Command]) -> str:
    """Write the condition under which one of some commands is written; `run` may be left out."""
    chosen = set(names)
    if "run" not in chosen:
        return f"'__fish_seen_subcommand_from {' '.join(sorted(chosen))}'"
    return f"'not __fish_seen_subcommand_from {' '.join(sorted(set(table) - chosen))}'"


def _quoted(words: Iterable[str]) -> str:
    return " ".join(map(shlex.quote, words))


def _fish_text(text: str) -> str:
    """Quote a text as fish reads it: a backslash alone keeps a quote."""
    escaped = text.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
