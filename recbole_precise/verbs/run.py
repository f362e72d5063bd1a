"""`run`: train and evaluate one model."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_precise import registry
from recbole_precise.verbs import need_recbole, run_options


def main(arguments: Sequence[str]) -> None:
    """Run the model that `arguments` name, as RecBole's run_recbole."""
    options, rest = run_options(arguments)
    need_recbole()
    if options["model"] is not None:
        registry.resolve(str(options["model"]))  # a misspelt name is told at once, not after seconds of imports
    from recbole_precise.config import command_line
    from recbole_precise.quick_start import run_recbole

    with command_line(rest):
        run_recbole(**options)
