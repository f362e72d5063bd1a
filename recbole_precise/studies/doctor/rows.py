"""Read atomic files line by line.

It finds what is wrong with a header or a row on its own, and sets the row right.

A line ends with a line feed, and a field is what is between two separators, as in
`text.corpus`: whatever quote marks do to a reader of CSV files is reported as a fault instead.
`examine` and `mend` read the same rows, so what is found and what is fixed cannot differ.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from recbole_precise.data.scan import MISSING, TYPES, ascii_compatible, read_header, why_no_number
from recbole_precise.errors import DataError, did_you_mean
from recbole_precise.studies.doctor.findings import WARNING, Findings
from recbole_precise.studies.doctor.plan import DescribedData
from recbole_precise.text.corpus import PADDING_TOKEN

_BAD_BYTES = re.compile("[\udc80-\udcff]+")
_NUMBERS = ("int", "integer", "double", "number", "numeric", "real", "float32", "float64", "int64")


@dataclass(frozen=True)
class Layout:
    """A file whose header could be made out.

    Attributes:
        columns: `(name, type)` of each column, set right; header: the first line as it should be,
            its end included.
        changed: whether `header` is another than the file's.
    """

    path: Path
    suffix: str
    columns: list[tuple[str, str]]
    header: str
    changed: bool

    @property
    def names(self) -> list[str]:
        """Return the names of the columns."""
        return [name for name, _ in self.columns]


def read_layout(plan: DescribedData, suffix: str, found: Findings) -> Layout | None:
    """Return the columns of a file, None when nothing can be made of it.

    Its faults are added to `found`.
    """
    path = plan.file(suffix)
    file = plan.file(suffix).name
    try:
        read_header(path, plan.separator, plan.encoding)
    except DataError as error:  # the first fault; those of single columns come below, all of them
        reason = str(error).removeprefix(f"{path}: ")
        if not str(error).startswith(f"{path}, line 1") and "is not text" not in reason:
            found.add("unreadable", file, detail=reason)
            return None
    line = next(iter(_lines(path, plan.encoding)), "")
    text, end = _ended(line)
    text = text.removeprefix("\ufeff")
    if "\r" in text or "\0" in text or not text.strip():
        found.add(
            "unreadable",
            file,
            detail="line 1 holds carriage returns or NUL characters; save the file as plain text "
            "with line feeds (is it UTF-16? then set the key `encoding`)",
        )
        return None
    cells = text.split(plan.separator)
    if len(cells) == 1:
        for other in ("\t", ",", ";", "|", " "):
            if (
                other != plan.separator
                and len(parts := text.split(other)) > 1
                and all(part.count(":") == 1 for part in parts)
            ):
                detail = (
                    f"line 1 has {other!r} between its columns, field_separator is "
                    f"{plan.separator!r}; set the key or convert the file"
                )
                found.add("separator", file, detail=detail)
                return None
    columns: list[tuple[str, str]] = []
    for place, cell in enumerate(cells, start=1):
        columns.append(_column(cell, place, [name for name, _ in columns], plan, suffix, found))
    names = [name for name, _ in columns]
    for name in dict.fromkeys([*plan.keys(suffix), *plan.named(suffix)]):
        if name not in names:
            found.add(
                "missing column",
                file,
                name,
                detail=f"the file has {', '.join(names)}.{did_you_mean(name, names)}",
            )
    header = plan.separator.join(f"{name}:{kind}" for name, kind in columns)
    changed = header != text
    return Layout(
        path,
        suffix,
        columns,
        (header if changed else line.removesuffix(end)) + (end or "\n"),
        changed,
    )


def _column(
    cell: str, place: int, earlier: list[str], plan: DescribedData, suffix: str, found: Findings
) -> tuple[str, str]:
    """Name and type of a cell of the header, set right where they can be."""
    file = plan.file(suffix).name
    keys = plan.keys(suffix)
    name, colon, kind = (part.strip() for part in cell.partition(":"))
    clean = _BAD_BYTES.sub("_", name).replace(":", "_") or f"column_{place}"
    needed = ("float" if clean == plan.time else "token") if clean in keys else None
    if kind in TYPES:
        right = kind
    else:
        right = needed or ("float" if kind.lower() in _NUMBERS or clean == plan.time else "token")
    unique = clean
    while unique in earlier:
        unique += "_again"
    if not colon or kind not in TYPES or unique != name or cell != f"{name}:{kind}":
        found.add(
            "header",
            file,
            clean,
            1,
            detail=f"'{_shown(cell)}' becomes '{unique}:{needed or right}' (types: "
            f"{', '.join(TYPES)})",
        )
    elif needed and kind != needed:
        found.add("type", file, name, 1, detail=f"{kind} instead of {needed}")
    return unique, (needed if unique == clean else None) or right


def read_rows(
    plan: DescribedData, layout: Layout, found: Findings
) -> Iterator[tuple[int, list[str] | None, str, bool]]:
    """Yield `(line number, fields, line end, whether they differ from the file's)` of each row.

    Blank rows are left out.

    The fields are set right, and None when the row has to go. Faults are added to `found`.
    """
    file = layout.path.name
    names = layout.names
    width = len(layout.columns)
    keys = [names.index(name) for name in plan.keys(layout.suffix) if name in names]
    ids = [place for place in keys if layout.columns[place][1] == "token"]
    numbers = [place for place, (_, kind) in enumerate(layout.columns) if kind == "float"]
    vectors = [place for place, (_, kind) in enumerate(layout.columns) if kind == "float_seq"]
    time = names.index(plan.time) if layout.suffix == "inter" and plan.time in names else None
    grave = [
        None if plan.loads(layout.suffix, name) or place == time else WARNING
        for place, name in enumerate(names)
    ]
    mark = (
        "\ufffd" if codecs.lookup(plan.encoding).name in ("utf-8", "utf-8-sig") else "?"
    )  # others cannot write it, or show faults by it
    bad_bytes = _BAD_BYTES if ascii_compatible(plan.encoding) else re.compile("\ufffd+")
    for number, line in enumerate(_lines(layout.path, plan.encoding), start=1):
        text, end = _ended(line)
        # Blanks alone are a blank line for pandas; the reader of item texts takes them for a field.
        if number == 1 or not text or (layout.suffix != "item" and not text.strip(" ")):
            continue
        fields = text.split(plan.separator)
        good = True
        changed = False
        if len(fields) != width:
            found.add("field count", file, "", number, f"{len(fields)} instead of {width}")
            if any(fields[width:]) or len(fields) < width:
                yield number, None, end, True
                continue
            del fields[width:]
            changed = True
        if (not text.isascii() and bad_bytes.search(text)) or "\0" in text or "\r" in text:
            good = _clean(fields, keys, names, file, number, mark, bad_bytes, found)
            changed = True
        if '"' in text:
            changed |= _unquote(fields, ids, names, file, number, found)
        for place in ids:
            value = fields[place]
            if value in MISSING or value.isspace():
                found.add("no id", file, names[place], number, f"'{value}'")
                good = False
            elif value == PADDING_TOKEN:
                found.add("reserved id", file, names[place], number)
                good = False
        for place in numbers:
            value = fields[place]
            if value.isascii() and value.isdigit() and len(value) < 19:
                continue
            reason = _no_number(value.strip(), place == time)
            if reason == "":
                found.add("no value", file, names[place], number)
            elif reason is not None:
                found.add("no number", file, names[place], number, reason, grave[place])
                changed = True
                good = good and place != time
                fields[place] = ""
        for place in vectors:
            reasons = [
                _no_number(value, True)
                for value in fields[place].split(plan.seq_separator)
                if value
            ]
            if reason := next(filter(None, reasons), None):
                found.add("no number", file, names[place], number, reason, grave[place])
                fields[place] = ""
                changed = True
        yield number, fields if good else None, end, changed or not good


def _no_number(value: str, needed: bool) -> str | None:
    """Why a value is no finite number.

    "" when it is missing and need not be there; None for a number.
    """
    if value in MISSING:
        return f"'{value}'" if needed else ""
    reason = why_no_number(value, True)
    if reason is None and value.lstrip("+-").isdigit() and not -(2**63) <= int(value) < 2**64:
        return f"'{value}' is too large"  # pandas reads it as text
    return reason


def _clean(
    fields: list[str],
    keys: list[int],
    names: list[str],
    file: str,
    line: int,
    mark: str,
    bad_bytes: re.Pattern,
    found: Findings,
) -> bool:
    """Take characters out of `fields` that no file should hold.

    Whether all `keys` were without them.
    """
    good = True
    for place, value in enumerate(fields):
        for kind, pattern, instead in (
            ("encoding", bad_bytes, mark),
            ("NUL", _NUL, ""),
            ("carriage return", _RETURN, " "),
        ):
            if pattern.search(value):
                found.add(kind, file, names[place], line, f"'{_shown(value)}'")
                value = fields[place] = pattern.sub(instead, value)
                good &= place not in keys
    return good


_NUL = re.compile("\0+")
_RETURN = re.compile("\r+")


def _unquote(
    fields: list[str], ids: list[int], names: list[str], file: str, line: int, found: Findings
) -> bool:
    """Take quote marks off that begin a field and stay open, and those around ids.

    Whether there were any.
    """
    changed = False
    for place, value in enumerate(fields):
        if not value.startswith('"'):
            continue
        still_open = value.count('"') % 2 == 1
        if still_open or place in ids:
            found.add(
                "open quote" if still_open else "quoted id", file, names[place], line, _shown(value)
            )
            fields[place] = value.strip('"') if place in ids else value.lstrip('"')
            changed = True
    return changed


def _lines(path: Path, encoding: str) -> Iterator[str]:
    """Lines with their ends.

    Bytes that are no text become surrogates (U+FFFD where separators are no single bytes).
    """
    with Path(path).open(
        encoding=encoding,
        errors="surrogateescape" if ascii_compatible(encoding) else "replace",
        newline="\n",
    ) as file:
        yield from file


def _ended(line: str) -> tuple[str, str]:
    """Split a line into the line without its end, and the end."""
    end = "\r\n" if line.endswith("\r\n") else line[-1:] if line.endswith(("\n", "\r")) else ""
    return line.removesuffix(end), end


def _shown(value: str) -> str:
    """Shorten a value for a message; it is printable whatever is in it."""
    value = value if len(value) <= 40 else value[:40] + "..."
    return _BAD_BYTES.sub("\ufffd", value).replace("\r", "\\r").replace("\0", "\\0")
