"""Copies of a data set without the faults that can be fixed; the originals are only read."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from recbole_precise.data.workplace import workplace
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.plugin.checks.rules import BUNDLED
from recbole_precise.studies.doctor.examine import Examination
from recbole_precise.studies.doctor.findings import KINDS, Findings
from recbole_precise.studies.doctor.plan import SUFFIXES, DescribedData
from recbole_precise.studies.doctor.rows import Layout, read_rows


@dataclass
class Mended:
    """What was done to a file.

    It counts rows read, dropped (`repeats` of them because they repeat an earlier row), and fixed
    in place.
    """

    file: str
    rows: int = 0
    dropped: int = 0
    repeats: int = 0
    mended: int = 0
    header: bool = False

    def __str__(self) -> str:
        done = [
            f"{self.dropped:,} dropped ({self.repeats:,} of them repeats)",
            f"{self.mended:,} mended",
            f"{self.rows - self.dropped:,} written",
        ]
        return f"{self.file}: {self.rows:,} rows read, {', '.join(done)}" + (
            "; line 1 mended" if self.header else ""
        )


def target_of(plan: DescribedData, folder: Path) -> Path:
    """Where the copy of a data set goes: `<folder>/<name>`.

    Raises ConfigError when something is there already, or when the data set cannot be read from
    elsewhere.
    """
    _check_place(folder)
    target = folder / plan.name
    if plan.name == BUNDLED:
        raise ConfigError(
            f"--fix: RecBole reads {BUNDLED} from its own folder alone, so a copy would never be "
            "read; copy it under another name first."
        )
    if os.path.lexists(target) or target.resolve() == plan.folder.resolve():
        raise ConfigError(
            f"--fix: '{target}' exists already and is not overwritten; name another folder."
        )
    return target


def _check_place(folder: Path) -> None:
    """Raise a ConfigError for a path that no folder can have."""
    text = str(folder)
    shown = text if len(text) <= 120 else f"{text[:120]}..."
    try:
        text.encode("utf-8")
        place = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), None)
        if place is not None:
            Path(place).stat()  # a link that leads nowhere
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            os.lstat(folder)  # a name that is too long
    except UnicodeEncodeError:
        raise ConfigError("--fix: the name of the folder holds bytes that are no text.") from None
    except OSError as error:
        raise ConfigError(
            f"--fix: '{shown}' is no place for a folder ({error.strerror or error})."
        ) from None
    if place is not None and not place.is_dir():
        raise ConfigError(f"--fix: '{place}' is no folder.")


def mend(seen: Examination, folder: Path) -> tuple[DescribedData, list[Mended], list[str]]:
    """Write the data set again into `<folder>/<name>`, which appears when it is complete.

    Rows without a fault are copied character by character; files of other kinds (`.link`, `.kg`,
    ...) as they are.

    Returns: the plan of the copy; what was done to each file; what was done about each finding, in
        words.
    Raises ConfigError when `<folder>/<name>` exists, DataError when a file cannot be written.
    """
    plan = seen.plan
    target = target_of(plan, folder)
    done = []
    try:
        with workplace(folder, "doctor") as place:
            partial = place / "copy"
            partial.mkdir()
            for file in sorted(plan.folder.iterdir()):
                suffix = next((suffix for suffix in SUFFIXES if file == plan.file(suffix)), None)
                if suffix in seen.layouts:
                    done.append(
                        _mend_file(
                            plan,
                            seen.layouts[suffix],
                            seen.repeats.get(suffix, ()),
                            partial / file.name,
                        )
                    )
                elif file.is_file():
                    shutil.copyfile(file, partial / file.name)
            partial.rename(target)
    except OSError as error:
        # Only the place is of use in a message: the folder of the copy is gone by then.
        reason = error.strerror or error
        raise DataError(f"--fix: {target}: cannot be written ({reason}).") from error
    ways = [
        f"{f.file}{f', column {f.column}' if f.column else ''}: {f.count:,} x {f.kind}: "
        f"{KINDS[f.kind].mending}"
        for f in seen.found
        if KINDS[f.kind].mending
    ]
    return replace(plan, folder=target), done, ways


def _mend_file(plan: DescribedData, layout: Layout, repeats: Iterable[int], output: Path) -> Mended:
    """Write one file again without the lines `repeats` (ascending)."""
    done = Mended(layout.path.name, header=layout.changed)
    separator = plan.separator
    left = iter(np.asarray(repeats, dtype=np.int64).tolist())
    skip = next(left, None)
    with Path(output).open("w", encoding=plan.encoding, newline="") as file:
        file.write(layout.header)
        for line, fields, end, changed in read_rows(plan, layout, Findings()):
            done.rows += 1
            if line == skip:
                skip = next(left, None)
                done.repeats = done.repeats + 1
                fields = None
            if fields is None:
                done.dropped += 1
                continue
            done.mended += changed
            file.write(separator.join(fields) + (end or "\n"))
    return done
