"""`encode`: fill the cache of token states."""

from __future__ import annotations

from argparse import Namespace

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    add_model,
    as_words,
    check_run_settings,
    need_recbole,
    run_of,
)
from recbole_precise.system.interrupts import report


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "read the item texts with the text encoder and cache its output; runs then load no "
        "language model"
    )
    add_model(parser, default="PRECISE-UT")
    add_data_set(parser)


def main(args: Namespace) -> None:
    """Encode the item texts of a data set, and say how many there are."""
    need_recbole()
    check_run_settings(args, args.model)
    from recbole_precise.plugin.config import Config
    from recbole_precise.plugin.preparation import create_dataset

    config = Config(**run_of(args), command_line=as_words(args.settings))
    try:
        tokens = create_dataset(config).token_states()
    except KeyboardInterrupt as interrupt:
        report(
            interrupt,
            "Interrupted. The same command goes on with the texts that are left: "
            f"{args.command_line}",
        )
        raise
    with_text = int((tokens.lengths > 0).sum())
    print(
        f"{config['dataset']}: {with_text} texts, {int(tokens.lengths.sum())} tokens of width "
        f"{tokens.hidden_size}, read by {tokens.encoder['name']}"
    )
