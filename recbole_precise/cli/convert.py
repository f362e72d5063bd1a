"""`convert`: raw downloads to atomic files."""

from __future__ import annotations

import shlex
from argparse import Namespace
from pathlib import Path

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.values import switch
from recbole_precise.errors import ConfigError, DataError, did_you_mean

_SOURCES = (
    "amazon-2014, amazon-2018, amazon-2023, kaggle-books, mind, movielens, pad, csv or parquet"
)


def add_arguments(parser: CommandParser) -> None:
    """Declare the options; `convert` reads and checks the values of most of them."""
    parser.description = (
        "turn a raw download (Amazon, MIND, MovieLens, a CSV or Parquet file, ...) into "
        "RecBole's atomic files"
    )
    add = parser.add_argument
    add("--source", required=True, metavar="NAME", help=_SOURCES)
    parser.suggestions["source"] = lambda: _SOURCES.replace(" or ", ", ").split(", ")
    add(
        "--input",
        required=True,
        metavar="DOWNLOAD",
        help="the raw files: a folder, or one file for csv and parquet",
    )
    add(
        "--output",
        required=True,
        metavar="dataset/NAME",
        help="folder of the atomic files and the data set's YAML",
    )
    add("--overwrite", type=switch, default=False, help="replace a data set that is there already")
    add("--preset", metavar="NAME", help="a paper's rules: pad or precise-books")
    parser.suggestions["preset"] = lambda: ("pad", "precise-books")
    _add_filters(parser)
    _add_source_options(parser)


def _add_filters(parser: CommandParser) -> None:
    """Declare what decides which events are kept; the defaults are those of a source."""
    add = parser.add_argument
    add(
        "--known_items",
        default=False,
        help="leave out events of items without metadata",
    )
    add("--min_rating", metavar="NUMBER", help="leave out lower ratings")
    add("--min_user_events", default="1", help="leave out users with fewer events")
    add("--min_item_events", default="1", help="leave out items with fewer events")
    add("--last_events", metavar="N", help="a user's latest events alone")
    add(
        "--last_of_longer",
        metavar="N",
        help="so many of a user who has more than last_events",
    )
    add(
        "--items",
        default="interacted",
        help="items that are written: interacted, or all",
    )
    parser.suggestions["items"] = lambda: ("interacted", "all")
    add("--tie_break", default="random", help="events of one user and one time: random, or file")
    parser.suggestions["tie_break"] = lambda: ("random", "file")
    add("--tie_seed", default="2020", help="seed of that order")
    add("--scene", metavar="COLUMN", help="what becomes the scene of an event")
    add(
        "--scene_rating",
        default="4.0",
        help="rating from which on the scene is high, for scene: rating",
    )
    add(
        "--skip_bad_rows",
        default=False,
        help="leave out rows that cannot be used, and list them, instead of refusing the files",
    )


def _add_source_options(parser: CommandParser) -> None:
    """Declare the options of single sources."""
    add = parser.add_argument
    add("--clicks", default="history", help="mind: history, or impressions")
    parser.suggestions["clicks"] = lambda: ("history", "impressions")
    add(
        "--unescape",
        default=True,
        help="pad: turn HTML entities in titles into characters",
    )
    add("--user", metavar="COLUMN", help="csv, parquet: the users")
    add("--item", metavar="COLUMN", help="csv, parquet: the items")
    add("--time", metavar="COLUMN", help="csv, parquet: the times")
    add("--rating", metavar="COLUMN", help="csv, parquet: ratings")
    add("--text", metavar="COLUMNS", help="csv, parquet: the items' texts, such as title,brand")
    add(
        "--scene_column",
        metavar="COLUMN",
        help="csv, parquet: scenes, written as the column scene",
    )
    add("--item_file", metavar="FILE", help="csv, parquet: a table of the items")
    add(
        "--separator",
        metavar="CHARACTER",
        help="csv: between columns; default: a comma, in .tsv a tab",
    )
    add("--encoding", metavar="NAME", help="csv: of the files, such as latin-1; default: utf-8")
    add(
        "--time_format",
        metavar="FORMAT",
        help="csv, parquet: of times that are text, such as %d/%m/%Y",
    )


def main(args: Namespace) -> None:
    """Convert what `--input` holds, and print what came out, what was left out, and how to run it.

    A data set that is there already is only replaced with `--overwrite=True`.
    """
    from recbole_precise.convert import SOURCES
    from recbole_precise.convert.output import check_output, files_of
    from recbole_precise.data.workplace import stopped_like_interrupted

    if args.source not in SOURCES:
        raise ConfigError(
            f"Unknown source '{args.source}'.{did_you_mean(args.source, SOURCES)} The sources are "
            f"{', '.join(SOURCES)}."
        )
    if not args.input:
        raise ConfigError(
            f"--input is empty: with --source={args.source} it is {SOURCES[args.source].holds}."
        )
    output = check_output(args.output)
    there = [file for file in files_of(output) if file.exists()]
    if there and not args.overwrite:
        raise DataError(
            f"{there[0]}: the data set is there already; choose another --output, or replace it "
            "with --overwrite=True."
        )
    rules = dict(args.given)
    for key in ("source", "input", "output", "overwrite"):
        rules.pop(key, None)
    with stopped_like_interrupted():
        done = SOURCES[args.source](args.input, output, **rules)
    print(done)
    print(f"Run: {_next_command(output)}")


def _next_command(output: Path) -> str:
    """Write the command that runs a model on the data set, ready for a shell."""
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
