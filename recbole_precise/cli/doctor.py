"""`doctor`: all faults of a data set at once, and copies of its files without them."""

from __future__ import annotations

import shlex
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    as_words,
    check_run_settings,
    need_recbole,
    refuse_model,
    run_of,
)
from recbole_precise.errors import DataError


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "all faults of a data set's files at once, with line numbers; --fix writes mended copies"
    )
    add_data_set(parser)
    parser.add_argument(
        "--fix", type=_folder, metavar="FOLDER", help="write mended copies into FOLDER/NAME"
    )


def main(args: Namespace) -> None:
    """Print what is wrong with the files of a data set, and write fixed copies with `--fix`.

    Raises:
        DataError: there are errors, or the fixed copies still have some.
    """
    refuse_model(args, "doctor", "it looks at the data alone")
    need_recbole()
    check_run_settings(args, "Transition")
    from recbole_precise.data.workplace import stopped_like_interrupted
    from recbole_precise.studies.doctor import examine, mend, read_plan
    from recbole_precise.studies.doctor.mend import target_of

    try:
        plan = read_plan(run_of(args), as_words(args.settings))
        if args.fix is not None:
            target_of(plan, args.fix)  # refuse before minutes of reading
        seen = examine(plan)
    except OSError as error:
        raise DataError(
            f"{error.filename or args.dataset}: cannot be read ({error.strerror or error})."
        ) from error
    print(seen.to_text())
    if args.fix is None:
        if seen.errors:
            raise DataError(
                f"{plan.name}: {_errors(seen.errors)}. --fix=FOLDER writes mended copies of the "
                "files."
            )
        return
    with stopped_like_interrupted():
        copy, done, ways = mend(seen, args.fix)
    again = examine(copy)
    lines = [f"\nMended copies: {copy.folder}", *(f"  {part}" for part in [*done, *ways])]
    print("\n".join([*lines, "", again.to_text()]))
    if again.errors:
        raise DataError(
            f"{copy.folder}: {_errors(again.errors)} left that cannot be mended by dropping or "
            "changing rows."
        )
    folder = shlex.quote(args.given["fix"])
    print(f"\nUse it with --dataset={shlex.quote(plan.name)} --data_path={folder}")


def _errors(count: int) -> str:
    return f"{count} error{'s' * (count > 1)}"


def _folder(text: str) -> Path:
    if not text:
        raise ArgumentTypeError("needs a folder for the mended copies: --fix=FOLDER.")
    return Path(text)
