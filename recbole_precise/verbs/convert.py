"""`convert`: raw downloads to atomic files."""

from __future__ import annotations

from collections.abc import Sequence

from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.verbs import own_options


def main(arguments: Sequence[str]) -> None:
    """Convert what `--input` holds, and print what came out."""
    from recbole_precise.data.convert import SOURCES

    settings = own_options("convert", arguments, required=("source", "input", "output"))
    source = settings["source"]
    if source not in SOURCES:
        raise ConfigError(f"Unknown source '{source}'.{did_you_mean(source, SOURCES)} The sources are {', '.join(SOURCES)}.")
    print(SOURCES[source](settings["input"], settings["output"]))
