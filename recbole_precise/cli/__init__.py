"""The command: `recbole-precise [COMMAND] --key=value ...`.

Exit status 0 on success, 2 on a mistake of the user (its message alone on stderr), 1 on a fault of
the package; after a signal that ends commands 128 and its number: 130 for Ctrl-C, 143 for SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import recbole_precise
from recbole_precise.cli.commands import (
    check_command,
    execute,
    help_of,
    list_models,
    overview,
)
from recbole_precise.errors import UserError
from recbole_precise.files import is_disk_fault, sentence_of
from recbole_precise.system import interrupts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    interrupts.end_with_starter()
    try:
        with interrupts.signals_interrupt():
            _run(given)
            sys.stdout.flush()
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except BrokenPipeError:
        _discard_output()  # who read the output has enough of it
        return 141
    except OSError as error:
        if not is_disk_fault(error):
            raise
        print(sentence_of(error), file=sys.stderr)
        _discard_output()
        return 2
    except KeyboardInterrupt as interrupt:
        interrupts.report(interrupt, "Interrupted.")
        return interrupts.status_of(interrupt)
    return 0


def _run(words: list[str]) -> None:
    first = words[:1]
    if first == ["--version"]:
        print(f"recbole_precise {recbole_precise.__version__}")
        return
    if "--list_models" in words[:2]:
        print(list_models(), end="")
        return
    if first in (["-h"], ["--help"]) or words == ["help"]:
        print(overview(), end="")
        return
    if first == ["help"]:
        print(help_of(check_command(words[1]), words[2:]), end="")
        return
    command = "run"
    if first and not words[0].startswith("-"):
        command = check_command(words.pop(0))
    if {"-h", "--help"} & set(words):
        print(help_of(command, words), end="")
        return
    execute(command, words)


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere: Python would complain of it at its end."""
    ours = sys.__stdout__
    if ours is None or sys.stdout is not ours:
        return  # none, or somebody's own stream
    try:
        descriptor = ours.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
