"""Rows that cannot be used.

They are counted, remembered by file and line, and an error unless the user asked to leave them out.
"""

from __future__ import annotations

from pathlib import Path
from typing import NoReturn

from recbole_precise.convert.encodings import encoding_advice
from recbole_precise.convert.readers import UNDECODABLE, printable
from recbole_precise.errors import DataError

_SHOWN = 5  # faults of a file named in one message
HOPELESS = 1000  # bad rows after which a file without a good one is given up


class BadRow(ValueError):
    """A row that cannot be used; the message says why and names the value."""


class Faults:
    """The bad rows of a conversion.

    Args:
        skip: whether bad rows are left out instead of being an error.
        listing: file that takes one line `file, line, reason` for each bad row.

    Attributes:
        total: bad rows so far.
    """

    def __init__(self, skip: bool, listing: Path) -> None:
        self.skip, self.listing, self.total = skip, listing, 0
        self._shown: dict[Path, list[str]] = {}
        self._count: dict[Path, int] = {}
        self._undecodable: dict[Path, int] = {}
        self._encoding: dict[Path, str | None] = {}
        # close() closes it.
        self._file = Path(listing).open("w", encoding="utf-8", newline="\n")  # noqa: SIM115
        self._file.write("file\tline\treason\n")

    def add(
        self,
        path: Path,
        line: int,
        reason: str,
        *,
        good: int = 1,
        unit: str = "line",
        encoding: str | None = None,
    ) -> None:
        """Remember a bad row; `good` counts the good rows of the file so far.

        Rows that are not text in the file's `encoding` (None: the source has no option for it) are
        shown once and explained together.

        Raises DataError when the file has had nothing but bad rows for long.
        """
        reason = printable(reason)
        self.total += 1
        self._count[path] = self._count.get(path, 0) + 1
        shown = self._shown.setdefault(path, [])
        again = False
        if reason.startswith(UNDECODABLE):
            again = path in self._undecodable
            self._undecodable[path] = self._undecodable.get(path, 0) + 1
            self._encoding[path] = encoding
        if len(shown) < _SHOWN and not again:
            shown.append(f"{unit} {line}: {reason}")
        self._file.write(f"{path.name}\t{line}\t{' '.join(reason.split())}\n")
        if not good and self._count[path] >= HOPELESS:
            self.hopeless(path)

    def hopeless(self, path: Path) -> NoReturn:
        """Raise the DataError of a file without a single good row."""
        if path not in self._count:
            raise DataError(f"{path}: holds no rows.")
        what = self._explain(path) or "Is --source the right one?"
        raise DataError(
            f"{path}: none of the first {self._count[path]} rows can be used "
            f"({'; '.join(self._shown[path][:2])}). {what}"
        )

    def check(self) -> None:
        """Raise DataError with the faults of all files, unless they are to be left out."""
        if not self.total or self.skip:
            return
        parts = []
        for path, shown in self._shown.items():
            more = self._count[path] - len(shown)
            part = f"{path}: {'; '.join(shown)}{f'; and {more} more' if more else ''}"
            explained = self._explain(path)
            parts.append(f"{part}. {explained.removesuffix('.')}" if explained else part)
        rows = f"{self.total} row{'s' * (self.total > 1)}"
        raise DataError(
            f"{'. '.join(parts)}. Correct or remove {rows}, or leave them out with "
            "--skip_bad_rows=True."
        )

    def summary(self) -> list[str]:
        """One line for each file with bad rows."""
        lines = []
        for path, count in self._count.items():
            more = ", ..." if count > len(self._shown[path]) else ""
            lines.append(
                f"skipped {count} bad row{'s' * (count > 1)} of {path.name} "
                f"({'; '.join(self._shown[path])}{more})"
            )
            if path in self._undecodable:
                lines.append(f"of {path.name} {self._explain(path).removesuffix('.')}")
        return lines

    def _explain(self, path: Path) -> str:
        """Say what to do about the rows of a file that are not text in its encoding.

        The advice is empty when there are no such rows.
        """
        if path not in self._undecodable:
            return ""
        count = self._undecodable[path]
        rows = "1 row is" if count == 1 else f"{count} rows are"
        encoding = self._encoding[path]
        named = (encoding or "utf-8").replace("utf-8", "UTF-8")
        return f"{rows} not {named} text; {encoding_advice(path, encoding)}."

    def close(self) -> None:
        """Close the file."""
        self._file.close()
