"""`recommend`: the top items of users, or of a history, from a finished run."""

from __future__ import annotations

import json
from argparse import ArgumentTypeError, Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import add_new_items, add_run_dir, check_settings, need_recbole
from recbole_precise.cli.values import file, names, switch, whole_number
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.files import write_atomically

COLUMNS = ("user", "rank", "item", "score", "new", "text")


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "top items of users or of a history, also among items that have a text and were never "
        "trained"
    )
    add_run_dir(parser)
    asked = parser.add_mutually_exclusive_group(required=True)
    asked.add_argument(
        "--users",
        type=names,
        metavar='"u1 u2"',
        help="users by name; a name with blanks in quotes, or all as a JSON list",
    )
    asked.add_argument("--users_file", type=_lines, metavar="FILE", help="a user a line")
    asked.add_argument(
        "--history",
        type=names,
        metavar='"i1 i2"',
        help="items instead of a user, the oldest first; names as for --users",
    )
    parser.add_argument("--topk", type=whole_number(), default=10, help="items for each user")
    add_new_items(parser)
    parser.add_argument(
        "--only_new", type=switch, default=False, help="rank the new items among themselves"
    )
    parser.add_argument(
        "--seen",
        choices=("exclude", "include"),
        default="exclude",
        help="items of the history: exclude, or include",
    )
    parser.add_argument(
        "--output",
        type=_table,
        metavar="FILE",
        help="write .tsv or .jsonl instead of printing",
    )


def main(args: Namespace) -> None:
    """Print the top items, or write them to `--output`."""
    need_recbole()
    check_settings(args, "recommend")
    if args.only_new and args.items is None:
        raise ConfigError("--only_new needs --items, the file with the new items.")
    from recbole_precise.serving.recommendation import recommend
    from recbole_precise.studies.text_tables import text_table

    found = recommend(
        args.run_dir,
        users=args.users or args.users_file,
        history=args.history,
        topk=args.topk,
        items=args.items,
        only_new=args.only_new,
        seen=args.seen,
        **args.settings,
    )
    if found.difference is not None:
        print(found.difference.in_words())
    rows = found.to_dicts()
    if args.output is None:
        print(text_table(list(COLUMNS), [_shown(row) for row in rows]))
    else:
        _write(args.output, rows)
        print(f"Written: {args.output} ({len(rows)} rows)")


def _shown(row: Mapping[str, Any]) -> list[str]:
    return [str(row[column]) if column != "score" else f"{row[column]:.6g}" for column in COLUMNS]


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the rows as JSON lines, or as a table with tabs."""
    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        plain = str.maketrans("\t\r\n", "   ")
        columns = [*COLUMNS, *(["data"] if any("data" in row for row in rows) else [])]
        cells = ([str(row[column]).translate(plain) for column in columns] for row in rows)
        lines = ["\t".join(line) for line in (columns, *cells)]
    text = "\n".join(lines) + "\n"
    write_atomically(
        path,
        lambda partial: partial.write_text(text, encoding="utf-8"),
        "the recommendations",
    )


def _table(text: str) -> Path:
    path = file()(text)
    if path.suffix not in (".tsv", ".jsonl"):
        raise ArgumentTypeError(f"must end in .tsv or .jsonl, not '{text}'.")
    return path


def _lines(text: str) -> list[str]:
    try:
        lines = Path(text).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"--users_file '{text}' cannot be read: {error}.") from error
    found = [line.strip() for line in lines if line.strip()]
    if not found:
        raise ArgumentTypeError("names nobody.")
    return found
