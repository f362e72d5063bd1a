"""The command: `recbole-precise [verb] --key=value ...`.

Exit status 0 on success, 2 on a mistake of the user (its message alone on stderr), 1 on a fault of the package.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import recbole_precise
from recbole_precise.errors import ConfigError, UserError, did_you_mean
from recbole_precise.verbs import VERBS, usage


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        print(usage(), end="")
        return 0
    if arguments[:1] == ["--version"]:
        print(f"recbole_precise {recbole_precise.__version__}")
        return 0
    try:
        verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "run"
        if verb not in VERBS:
            raise ConfigError(f"Unknown verb '{verb}'.{did_you_mean(verb, VERBS)} The verbs are {', '.join(VERBS)}.")
        if {"-h", "--help"} & set(arguments):
            print(VERBS[verb].manual())
            return 0
        VERBS[verb].run(arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0
