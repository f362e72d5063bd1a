"""`convert`: raw downloads to atomic files."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.cli.commands import VERBS
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError, DataError, did_you_mean


def main(arguments: Sequence[str]) -> None:
    """Convert what `--input` holds, and print what came out, what was left out, and how to run it.

    A data set that is there already is only replaced with `--overwrite=True`.
    """
    from recbole_precise.convert import SOURCES
    from recbole_precise.convert.options import switch
    from recbole_precise.convert.output import check_output, files_of
    from recbole_precise.data.workplace import stopped_like_interrupted

    given = parse_arguments(arguments, strict=True)
    for key in ("source", "input", "output"):
        if key not in given:
            raise ConfigError(
                f"convert needs --{key}: recbole-precise {VERBS['convert'].usage}. The sources are "
                f"{', '.join(SOURCES)}."
            )
    source = given.pop("source")
    path = given.pop("input")
    if source not in SOURCES:
        raise ConfigError(
            f"Unknown source '{source}'.{did_you_mean(source, SOURCES)} The sources are "
            f"{', '.join(SOURCES)}."
        )
    if not path:
        raise ConfigError(
            f"--input is empty: with --source={source} it is {SOURCES[source].holds}."
        )
    output = check_output(given.pop("output"))
    overwrite = switch("overwrite", given.pop("overwrite", "False"))
    there = [file for file in files_of(output) if file.exists()]
    if there and not overwrite:
        raise DataError(
            f"{there[0]}: the data set is there already; choose another --output, or replace it "
            "with --overwrite=True."
        )
    with stopped_like_interrupted():
        done = SOURCES[source](path, output, **given)
    print(done)
    print(f"Run: {_next_command(output)}")


def _next_command(output: Path) -> str:
    """The command that runs a model on the data set, ready for a shell."""
    name = output.name
    folder = str(output.parent)
    recipe = str(output / f"{name}.yaml")
    begin = ""
    if any(sign.isspace() for sign in folder):
        # config_files takes several files with blanks between them, so no path in it can
        # hold a blank.
        begin = f"cd {shlex.quote(folder)} && "
        folder = "."
        recipe = f"{name}/{name}.yaml"
    command = [
        "--model=PRECISE-UT",
        f"--dataset={name}",
        f"--data_path={folder}",
        f"--config_files={recipe}",
    ]
    return f"{begin}recbole-precise {' '.join(map(shlex.quote, command))}"
