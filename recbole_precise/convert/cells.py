"""What the cells of a table are to become, in SQL where that is plain, by `values` otherwise.

Each kind of field has SQL for the forms that nearly all cells have and that it reads just as the
functions of `values` do. It gives NULL for all others; these are read, each distinct one once, by
those functions, which also say what is wrong with them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from recbole_precise.convert import values
from recbole_precise.convert.store import quoted
from recbole_precise.data.scan import MISSING

_WHOLE = ("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER")
_BROKEN = ("DOUBLE", "FLOAT", "DECIMAL")
_INSTANTS = ("TIMESTAMP", "DATE")
_LARGEST = 9_000_000_000_000_000  # whole numbers up to it are floats without loss
_RESERVED = ", ".join(quoted(name) for name in sorted({*MISSING, "[PAD]"}))
#: Characters that stay as they are and are no blanks, in the syntax of RE2.
_INK = (
    r"!#-%'-~\x{a1}-\x{167f}\x{1681}-\x{1fff}\x{200b}-\x{2027}\x{2030}-\x{205e}\x{2060}-\x{2fff}"
    r"\x{3001}-\x{d7ff}\x{e000}-\x{10ffff}"
)
_TEXT = rf'([{_INK}]([{_INK} "]*[{_INK}"])?)?'
_TEXT_AS_IT_IS = _TEXT.replace("#-%'-~", "#-~")  # with the sign that begins an entity of HTML
_TOKEN = "[!#-~]([ -~]*[!-~])?"
_INTEGER = "0|-?[1-9][0-9]{0,17}"
_OFFSET = "[+-]([01][0-9]|2[0-3]):[0-5][0-9]"
#: Directives that DuckDB and Python read alike when the text is written in full.
_FORM = re.compile(r"(%[YmdHMS]|[ /.:T-])+")


class Sql(NamedTuple):
    """SQL for a cell: its value, or NULL where it is left to `values`.

    Attributes:
        value: the text of an id or a text, the whole part of a number.
        part: a number that is not whole.
        zone: the kind of a time; NULL for a text that is a number (see `zone_of_number`).
    """

    value: str
    part: str = "NULL::DOUBLE"
    zone: str = "NULL::VARCHAR"


@dataclass(frozen=True)
class Field:
    """What one column of a table is read as.

    Args:
        role: the column of `events` that it fills, or `text`.
        name: of the column in the file.
        kind: one of KINDS.
        form: strptime form of a `moment`.
        unescape: whether entities of HTML in a `text` become characters.
        skips: rows that are blank here are no mistake; what is counted for them.
    """

    role: str
    name: str
    kind: str
    form: str | None = None
    unescape: bool = True
    skips: str | None = None

    @property
    def is_number(self) -> bool:
        """Return whether the values are numbers, times among them."""
        return self.kind in ("number", "past", "moment")

    def sql(self, column: str, stored: str) -> Sql:
        """Write SQL for a column of a relation whose type is `stored`."""
        return KINDS[self.kind][0](self, column, stored)

    def read(self, cell: Any) -> tuple[Any, float | None, str | None]:
        """Return the value, part and zone of any cell; None for a blank one that is skipped.

        Raises:
            BadRow: it cannot be used.
        """
        if self.skips is not None and isinstance(cell, str) and not cell.strip():
            return None, None, None
        value = KINDS[self.kind][1](self, cell)
        zone = None
        if self.kind == "moment":
            value, zone = value
        if self.is_number:
            return *split_number(value), zone
        return value, None, None


def split_number(number: int | float) -> tuple[int, float | None]:
    """Return the whole part of a number, and the number itself where it is not whole."""
    return math.floor(number), None if isinstance(number, int) else number


def zone_of_number(value: str, part: str) -> str:
    """Write SQL for the kind of a time that is a whole number: whether it reads as YYYYMMDD."""
    compact = (
        f"{value} BETWEEN 19000101 AND 20991231 AND {value} // 100 % 100 BETWEEN 1 AND 12 "
        f"AND {value} % 100 BETWEEN 1 AND 31 AND {part} IS NULL"
    )
    return f"CASE WHEN {compact} THEN '{values.COMPACT}' ELSE '{values.NUMBER}' END"


# --- SQL for each kind ----------------------------------------------------------------------


def _token(field: Field, column: str, stored: str) -> Sql:
    if stored == "VARCHAR":
        plain = f"regexp_full_match({column}, {quoted(_TOKEN)})"
        return Sql(f"CASE WHEN {plain} AND {column} NOT IN ({_RESERVED}) THEN {column} END")
    return Sql(f"{column}::VARCHAR" if stored in _WHOLE else "NULL::VARCHAR")


def _text(field: Field, column: str, stored: str) -> Sql:
    if stored == "VARCHAR":
        pattern = quoted(_TEXT if field.unescape else _TEXT_AS_IT_IS)
        return Sql(f"CASE WHEN regexp_full_match({column}, {pattern}) THEN {column} END")
    return Sql(f"{column}::VARCHAR" if stored in _WHOLE else "NULL::VARCHAR")


def _listed(field: Field, column: str, stored: str) -> Sql:
    plain = _text(field, column, stored)
    return Sql(f"CASE WHEN NOT starts_with({column}, '[') THEN {plain.value} END")


def _number(field: Field, column: str, stored: str) -> Sql:
    if stored in _WHOLE:
        return Sql(f"CASE WHEN {column} > -9223372036854775808 THEN {column}::BIGINT END")
    if stored == "VARCHAR":
        real = f"TRY_CAST({column} AS DOUBLE)"
        whole = f"regexp_full_match({column}, {quoted(_INTEGER)})"
        # Written in full: DuckDB also reads texts that are no numbers to Python.
        broken = (
            f"contains({column}, '.') AND {real}::VARCHAR = {column} AND abs({real}) < {_LARGEST}"
        )
        return Sql(
            f"CASE WHEN {whole} THEN {column}::BIGINT WHEN {broken} THEN floor({real})::BIGINT END",
            f"CASE WHEN {broken} AND {real} <> floor({real}) THEN {real} END",
        )
    if stored.startswith(_BROKEN):
        real = f"{column}::DOUBLE"
        fits = f"abs({real}) < {_LARGEST}"
        return Sql(
            f"CASE WHEN {fits} THEN floor({real})::BIGINT END",
            f"CASE WHEN {fits} AND {real} <> floor({real}) THEN {real} END",
        )
    return Sql("NULL::BIGINT")


def _past(field: Field, column: str, stored: str) -> Sql:
    number = _number(field, column, stored)
    positive = f"coalesce({number.part}, {number.value}) > 0"
    return Sql(
        f"CASE WHEN {positive} THEN {number.value} END",
        f"CASE WHEN {positive} THEN {number.part} END",
    )


def _moment(field: Field, column: str, stored: str) -> Sql:
    if stored.startswith(_INSTANTS):
        zone = "+00:00" if "TIME ZONE" in stored else values.NO_ZONE
        micros = (
            f"epoch_us({column}::TIMESTAMP)" if zone == values.NO_ZONE else f"epoch_us({column})"
        )
        return Sql(
            f"CASE WHEN isfinite({column}) THEN floor({micros} / 1000000.0)::BIGINT END",
            f"CASE WHEN isfinite({column}) AND {micros} % 1000000 <> 0 "
            f"THEN {micros} / 1000000.0 END",
            f"CASE WHEN isfinite({column}) THEN '{zone}' END",
        )
    if field.form is not None:
        return _of_form(column, field.form) if stored == "VARCHAR" else Sql("NULL::BIGINT")
    number = _number(field, column, stored)
    if stored != "VARCHAR":
        return number._replace(zone=f"'{values.NUMBER}'")
    is_date = f"substr({column}, 5, 1) = '-'"
    seconds, zone = _iso(column)
    return Sql(
        f"CASE WHEN {is_date} THEN {seconds} ELSE {number.value} END",
        number.part,
        f"CASE WHEN {is_date} THEN {zone} END",
    )


def _iso(column: str) -> tuple[str, str]:
    """Write SQL for the seconds and the zone of an ISO 8601 time.

    That is `2024-01-31` or `2024-01-31T23:59:59`, the latter also with Z or an offset.
    """
    begin = f"replace(left({column}, 19), 'T', ' ')"
    end = f"substr({column}, 20)"
    instant = f"TRY_CAST({begin} AS TIMESTAMP)"
    day = f"TRY_CAST({column} AS DATE)"
    minutes = (
        f"(TRY_CAST(substr({end}, 2, 2) AS INTEGER) * 60 + TRY_CAST(right({end}, 2) AS INTEGER))"
    )
    signed = f"(CASE WHEN {end} LIKE '-%' THEN -{minutes} ELSE {minutes} END)"
    full = f"{instant}::VARCHAR = {begin}"
    offset = f"{full} AND regexp_full_match({end}, {quoted(_OFFSET)})"
    seconds = (
        f"CASE WHEN {day}::VARCHAR = {column} THEN epoch_us({day}) // 1000000 "
        f"WHEN {full} AND {end} IN ('', 'Z') THEN epoch_us({instant}) // 1000000 "
        f"WHEN {offset} THEN epoch_us({instant}) // 1000000 - 60 * {signed} END"
    )
    zone = (
        f"CASE WHEN {day}::VARCHAR = {column} OR {full} AND {end} = '' THEN '{values.NO_ZONE}' "
        f"WHEN {full} AND {end} = 'Z' OR {offset} AND {signed} = 0 THEN '+00:00' "
        f"WHEN {offset} THEN {end} END"
    )
    return seconds, zone


def _of_form(column: str, form: str) -> Sql:
    if not _FORM.fullmatch(form):
        return Sql("NULL::BIGINT")
    instant = f"try_strptime({column}, {quoted(form)})"
    same = f"strftime({instant}, {quoted(form)}) = {column}"
    # %Y of DuckDB takes more years than that of Python.
    same += f" AND year({instant}) BETWEEN 1000 AND 9999"
    return Sql(
        f"CASE WHEN {same} THEN epoch_us({instant}) // 1000000 END",
        zone=f"CASE WHEN {same} THEN '{values.NO_ZONE}' END",
    )


Reader = Callable[[Field, Any], Any]
KINDS: dict[str, tuple[Callable[[Field, str, str], Sql], Reader]] = {
    "token": (_token, lambda field, cell: values.token(cell, field.name)),
    "number": (_number, lambda field, cell: values.number(cell, field.name)),
    "past": (_past, lambda field, cell: values.past(cell, field.name)),
    "moment": (_moment, lambda field, cell: values.moment(cell, field.name, field.form)),
    "text": (_text, lambda field, cell: values.text(cell, field.unescape)),
    "listed": (_listed, lambda field, cell: values.text(values.listed(cell))),
}
