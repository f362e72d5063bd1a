"""`convert`: raw downloads to atomic files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from recbole_precise.errors import ConfigError, DataError, did_you_mean
from recbole_precise.settings.arguments import parse_arguments
from recbole_precise.verbs import VERBS


def main(arguments: Sequence[str]) -> None:
    """Convert what `--input` holds, and print what came out, what was left out, and how to run it.

    A data set that is there already is only replaced with `--overwrite=True`.
    """
    from recbole_precise.data.convert import SOURCES
    from recbole_precise.data.convert.options import switch

    given = parse_arguments(arguments, strict=True)
    for key in ("source", "input", "output"):
        if key not in given:
            raise ConfigError(f"convert needs --{key}: recbole-precise {VERBS['convert'].usage}. The sources are {', '.join(SOURCES)}.")
    source, path, output = given.pop("source"), given.pop("input"), Path(given.pop("output"))
    if source not in SOURCES:
        raise ConfigError(f"Unknown source '{source}'.{did_you_mean(source, SOURCES)} The sources are {', '.join(SOURCES)}.")
    overwrite = switch("overwrite", given.pop("overwrite", "False"))
    name = output.resolve().name
    if (output / f"{name}.inter").exists() and not overwrite:
        raise DataError(f"{output / f'{name}.inter'}: the data set is there already; choose another --output, or replace it with --overwrite=True.")
    print(SOURCES[source](path, output, **given))
    print(f"Run: recbole-precise --model=PRECISE-UT --dataset={name} --data_path={output.parent} --config_files={output / f'{name}.yaml'}")
