"""`doctor`: all faults of a data set at once, and copies of its files without them."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.cli.commands import need_recbole, run_options
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError, DataError


def main(arguments: Sequence[str]) -> None:
    """Print what is wrong with the files of a data set; with `--fix=FOLDER` write mended copies
    into FOLDER/<data set>.

    Raises DataError when there are errors, or when the mended copies still have some.
    """
    given = parse_arguments(arguments, strict=True)
    fix = given.pop("fix", None)
    options, rest = run_options([f"--{key}={value}" for key, value in given.items()])
    if options["model"] is not None:
        raise ConfigError("doctor takes no --model: it looks at the data alone.")
    if fix == "":
        raise ConfigError("--fix needs a folder for the mended copies: --fix=FOLDER.")
    need_recbole()
    from recbole_precise.data.workplace import stopped_like_interrupted
    from recbole_precise.studies.doctor import examine, mend, read_plan
    from recbole_precise.studies.doctor.mend import target_of

    try:
        plan = read_plan(options, rest)
        if fix is not None:
            target_of(plan, Path(fix))  # refuse before minutes of reading
        seen = examine(plan)
    except OSError as error:
        raise DataError(
            f"{error.filename or options['dataset']}: cannot be read ({error.strerror or error})."
        ) from error
    print(seen.to_text())
    if fix is None:
        if seen.errors:
            raise DataError(
                f"{plan.name}: {_errors(seen.errors)}. --fix=FOLDER writes mended copies of the "
                "files."
            )
        return
    with stopped_like_interrupted():
        copy, done, ways = mend(seen, Path(fix))
    again = examine(copy)
    print(
        "\n".join(
            [
                "",
                f"Mended copies: {copy.folder}",
                *(f"  {part}" for part in [*done, *ways]),
                "",
                again.to_text(),
            ]
        )
    )
    if again.errors:
        raise DataError(
            f"{copy.folder}: {_errors(again.errors)} left that cannot be mended by dropping or "
            "changing rows."
        )
    print(f"\nUse it with --dataset={shlex.quote(plan.name)} --data_path={shlex.quote(fix)}")


def _errors(count: int) -> str:
    return f"{count} error{'s' * (count > 1)}"
