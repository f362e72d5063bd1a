"""The command: `recbole-precise [verb] --key=value ...`.

Exit status 0 on success, 2 on a mistake of the user (its message alone on stderr), 1 on a fault of
the package; after a signal that ends commands 128 and its number: 130 for Ctrl-C, 143 for SIGTERM.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import recbole_precise
from recbole_precise.cli.commands import VERBS, list_models, usage
from recbole_precise.errors import ConfigError, UserError, did_you_mean
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


def _run(arguments: list[str]) -> None:
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        print(usage(), end="")
        return
    if arguments[:1] == ["--version"]:
        print(f"recbole_precise {recbole_precise.__version__}")
        return
    if "--list_models" in arguments[:2]:
        print(list_models(), end="")
        return
    verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "run"
    if verb not in VERBS:
        raise ConfigError(
            f"Unknown verb '{verb}'.{did_you_mean(verb, VERBS)} The verbs are {', '.join(VERBS)}."
        )
    if {"-h", "--help"} & set(arguments):
        print(VERBS[verb].manual())
        return
    VERBS[verb].run(arguments)


def _discard_output() -> None:
    """Let what is still buffered for stdout go nowhere: Python would complain of it at its end."""
    if sys.stdout is not sys.__stdout__:
        return  # somebody's own stream
    try:
        descriptor = sys.stdout.fileno()
    except (OSError, ValueError, AttributeError):
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
