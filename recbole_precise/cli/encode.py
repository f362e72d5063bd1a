"""`encode`: fill the cache of token states."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from recbole_precise.cli.commands import need_recbole, run_options
from recbole_precise.system.interrupts import report


def main(arguments: Sequence[str]) -> None:
    """Encode the item texts of a data set, and say how many there are."""
    options, rest = run_options(arguments)
    need_recbole()
    from recbole_precise.plugin.config import Config, command_line
    from recbole_precise.plugin.preparation import create_dataset

    options["model"] = options["model"] or "PRECISE-UT"
    with command_line(rest):
        config = Config(**options)
    try:
        tokens = create_dataset(config).token_states()
    except KeyboardInterrupt as interrupt:
        command = shlex.join(["recbole-precise", "encode", *arguments])
        report(
            interrupt,
            f"Interrupted. The same command goes on with the texts that are left: {command}",
        )
        raise
    with_text = int((tokens.lengths > 0).sum())
    print(
        f"{config['dataset']}: {with_text} texts, {int(tokens.lengths.sum())} tokens of width "
        f"{tokens.hidden_size}, read by {tokens.encoder['name']}"
    )
