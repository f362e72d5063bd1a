"""Item texts: tables read without losing a character, templates, alignment with item ids.

pandas is not used on purpose: it reads a title `None` or `NA` as a missing value and takes a single
quote mark for the beginning of a quoted field. Here a field is the text between two separators,
nothing else.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from recbole_precise.errors import ConfigError, DataError, did_you_mean

FIELD_TYPES = ("token", "token_seq", "float", "float_seq")
PADDING_TOKEN = "[PAD]"  # RecBole's name of item 0
_SHOWN = 5  # faults or examples named in one message
_PLACE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_GAP = "\x00"  # stands for an empty value until the brackets around it are removed
_EMPTY_BRACKETS = re.compile(rf"[ ]*(?:\({_GAP}\)|\[{_GAP}\])")
_GAP_AND_SPACE = re.compile(rf"[ ]*{_GAP}")


@dataclass
class Table:
    """A table of texts: unpacks as `(columns, rows)`.

    `rows` holds one dict column -> text per line; `lines` the line number of each row, for
    messages.
    """

    path: Path
    columns: list[str]
    rows: list[dict[str, str]]
    lines: list[int] = field(default_factory=list)

    def __iter__(self) -> Iterator[list]:
        return iter((self.columns, self.rows))

    def by(self, id_column: str) -> dict[str, dict[str, str]]:
        """Index the rows by `id_column`, in file order.

        Raises DataError when the column does not exist, an id is empty or two rows have the same
        id.
        """
        if id_column not in self.columns:
            raise DataError(
                f"{self.path}: there is no column '{id_column}' (columns: "
                f"{', '.join(self.columns)})."
                f"{did_you_mean(id_column, self.columns)}"
            )
        keyed: dict[str, dict[str, str]] = {}
        first_line: dict[str, int] = {}
        faults = []
        for row, line in zip(self.rows, self.lines):
            key = row[id_column]
            if not key:
                faults.append(f"line {line} has no {id_column}")
            elif key in first_line:
                faults.append(
                    f"lines {first_line[key]} and {line} both describe {id_column} '{key}'"
                )
            else:
                first_line[key] = line
                keyed[key] = row
        _raise_faults(self.path, faults, "Keep one row for each item.")
        return keyed


@dataclass(frozen=True)
class AlignReport:
    """How many items have text, which have none, which texts belong to no item.

    This is what `align` found.
    """

    items: int
    with_text: int
    without_text: int
    without_text_examples: tuple[str, ...]
    unknown: int
    unknown_examples: tuple[str, ...]

    def __str__(self) -> str:
        parts = [f"{self.with_text} of {self.items} items have text"]
        if self.without_text:
            parts.append(
                f"{self.without_text} have none "
                f"({_examples(self.without_text_examples, self.without_text)})"
            )
        if self.unknown:
            parts.append(
                f"{self.unknown} texts belong to no item of the data set "
                f"({_examples(self.unknown_examples, self.unknown)})"
            )
        return "; ".join(parts)


def read_table(path: str | Path, *, separator: str = "\t", encoding: str = "utf-8") -> Table:
    r"""Read a separated table whose fields are never quoted, such as RecBole's atomic files.

    The header may carry types (`title:token_seq`); they are dropped from the column names. Lines
    end with `\n` or `\r\n`; other characters that Unicode counts as line ends stay in their
    field. Blank lines are skipped.

    Raises DataError (file, line, how to fix it) when the file is missing, not text or has rows with
    a wrong number of fields; all faults of the file come in one message.
    """
    path = Path(path)
    lines = _decoded(path, encoding).split("\n")
    header = lines[0].rstrip("\r")
    if not header.strip():
        raise DataError(
            f"{path}: the first line is empty; it must name the columns (for example "
            "`item_id:token`)."
        )
    columns = _column_names(path, header.split(separator))
    rows = []
    numbers = []
    faults = []
    for number, line in enumerate(lines[1:], start=2):
        line = line[:-1] if line.endswith("\r") else line
        if not line:
            continue
        fields = line.split(separator)
        if len(fields) != len(columns):
            faults.append(f"line {number} has {_fields(len(fields))}")
            continue
        rows.append(dict(zip(columns, fields)))
        numbers.append(number)
    name = {"\t": "tab", ",": "comma", " ": "space"}.get(separator, f"'{separator}'")
    _raise_faults(
        path,
        faults,
        f"The header has {_fields(len(columns))} ({', '.join(columns)}), separated by a {name}; "
        "remove that separator from the texts or add what is missing.",
    )
    return Table(path, columns, rows, numbers)


def read_text_file(
    path: str | Path, *, id_column: str = "item_id", encoding: str = "utf-8"
) -> dict[str, dict[str, str]]:
    """Read item texts from a file of their own.

    The file is `.jsonl`, `.csv` (quoted) or `.tsv`/`.item` (never quoted).

    Returns a dict item token -> {column: text} in file order. Raises DataError as `read_table` and
    `Table.by`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson"):
        table = _read_jsonl(path, encoding)
    elif suffix == ".csv":
        table = _read_csv(path, encoding)
    elif suffix in (".tsv", ".txt", ".item", ".text"):
        table = read_table(path, encoding=encoding)
    else:
        raise DataError(f"{path}: the ending '{suffix}' is not known; use .jsonl, .tsv or .csv.")
    return table.by(id_column)


def render(item_text: str | Sequence[str], records: Sequence[Mapping[str, str]]) -> list[str]:
    """One text for each record.

    Args:
        item_text: a template (`"{title} ({year})"`, braces doubled to be kept), the name of one
            column, or a list of columns whose non-empty values are joined by a space.
        records: dicts column -> text; an empty dict (the padding item) gives `""`.

    An empty value also removes the brackets around it; a record whose values are all empty gives
    `""`. The values themselves are not changed, but for white space at the ends of the result.

    Raises ConfigError for an unknown column or a malformed template.
    """
    columns: dict[str, None] = {}
    for record in records:
        columns.update(dict.fromkeys(record))
    parts = _parse(item_text, list(columns))
    wanted = [part for is_column, part in parts if is_column]
    if columns:
        for name in wanted:
            if name not in columns:
                raise ConfigError(
                    f"item_text: there is no column '{name}' (columns: {', '.join(columns)})."
                    f"{did_you_mean(name, columns)}"
                )
    return [_fill(parts, wanted, record) for record in records]


def align(
    texts_by_token: Mapping[str, str], tokens: Sequence[str], *, padding: str | None = PADDING_TOKEN
) -> tuple[list[str], AlignReport]:
    """Order texts as the vocabulary `tokens`, and report what did not match.

    `""` where there is no text.

    The token `padding` gets `""` and is not counted as an item.
    """
    tokens = [str(token) for token in tokens]
    texts = ["" if token == padding else texts_by_token.get(token, "") for token in tokens]
    without = [token for token, text in zip(tokens, texts) if token != padding and not text.strip()]
    known = set(tokens)
    unknown = [token for token in texts_by_token if token not in known]
    items = sum(token != padding for token in tokens)
    report = AlignReport(
        items=items,
        with_text=items - len(without),
        without_text=len(without),
        without_text_examples=tuple(without[:_SHOWN]),
        unknown=len(unknown),
        unknown_examples=tuple(unknown[:_SHOWN]),
    )
    return texts, report


def _parse(item_text: str | Sequence[str], columns: Sequence[str]) -> list[tuple[bool, str]]:
    """Parse the template into parts `(is_column, column or literal text)`."""
    if not isinstance(item_text, str):
        if not isinstance(item_text, Sequence) or not all(
            isinstance(name, str) for name in item_text
        ):
            raise ConfigError(
                f"item_text must be a template or a list of columns, not {item_text!r}."
            )
        names = list(item_text)
        if not names:
            raise ConfigError(
                f"item_text is an empty list; name at least one column of: {', '.join(columns)}."
            )
        parts = [(True, names[0])]
        for name in names[1:]:
            parts += [(False, " "), (True, name)]
        return parts
    if "{" not in item_text and "}" not in item_text:
        return [(True, item_text.strip())]
    parts = []
    end = 0
    for match in _PLACE.finditer(item_text):
        parts.append((False, item_text[end : match.start()]))
        end = match.end()
        if match.group() in ("{{", "}}"):
            parts.append((False, match.group()[0]))
        elif match.group(1) is None:
            raise ConfigError(
                f"item_text: '{match.group()}' at character {match.start() + 1} of {item_text!r} "
                "has no partner; "
                "write {{ or }} for a brace that belongs to the text."
            )
        elif not match.group(1).strip():
            raise ConfigError(f"item_text: {item_text!r} has braces without a column name.")
        else:
            parts.append((True, match.group(1).strip()))
    parts.append((False, item_text[end:]))
    if not any(is_column for is_column, _ in parts):
        raise ConfigError(
            f"item_text: {item_text!r} names no column, so all items would have the same text."
        )
    return parts


def _fill(parts: list[tuple[bool, str]], wanted: list[str], record: Mapping[str, str]) -> str:
    if not any(record.get(name, "").strip() for name in wanted):
        return ""
    filled = "".join(
        (record.get(part, "").replace(_GAP, "").strip() or _GAP) if is_column else part
        for is_column, part in parts
    )
    if _GAP in filled:
        filled = _GAP_AND_SPACE.sub("", _EMPTY_BRACKETS.sub("", filled))
    return filled.strip()


def _decoded(path: Path, encoding: str) -> str:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        near = (
            sorted(p.name for p in path.parent.glob("*") if p.is_file())
            if path.parent.is_dir()
            else []
        )
        there = did_you_mean(path.name, near) or (
            f" The folder holds: {', '.join(near[:_SHOWN])}."
            if near
            else " Its folder does not exist or is empty."
        )
        raise DataError(f"{path}: there is no such file.{there}") from None
    except OSError as error:
        raise DataError(f"{path}: the file cannot be read ({error.strerror}).") from None
    if not data.strip():
        raise DataError(f"{path}: the file is empty; it must begin with the names of its columns.")
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not {encoding}; "
            f"convert the file (for example `iconv -f latin1 -t utf-8`) or set its encoding."
        ) from None
    return text.removeprefix("\ufeff")


def _column_names(path: Path, header: Iterable[str]) -> list[str]:
    names = []
    for name in header:
        head, colon, kind = name.rpartition(":")
        names.append(head if colon and kind in FIELD_TYPES else name)
    doubled = sorted({name for name in names if names.count(name) > 1})
    if doubled:
        raise DataError(
            f"{path}, line 1: the column '{doubled[0]}' stands there twice; give each column its "
            "own name."
        )
    return names


def _read_csv(path: Path, encoding: str) -> Table:
    csv.field_size_limit(2**31 - 1)  # descriptions may be longer than the module's limit of 128 KiB
    reader = csv.reader(io.StringIO(_decoded(path, encoding), newline=""), strict=True)
    rows: list[dict[str, str]] = []
    numbers: list[int] = []
    faults: list[str] = []
    columns: list[str] = []
    start = 1
    try:
        for fields in reader:
            line = start
            start = reader.line_num + 1
            if not fields:
                continue
            if not columns:
                columns = _column_names(path, fields)
            elif len(fields) != len(columns):
                faults.append(f"line {line} has {_fields(len(fields))}")
            else:
                rows.append(dict(zip(columns, fields)))
                numbers.append(line)
    except csv.Error as error:
        raise DataError(
            f'{path}, line {start}: {error}; a quote inside a quoted field must be doubled ("").'
        ) from None
    _raise_faults(
        path,
        faults,
        f"The header has {_fields(len(columns))} ({', '.join(columns)}); quote the fields that "
        "hold a comma.",
    )
    return Table(path, columns, rows, numbers)


def _read_jsonl(path: Path, encoding: str) -> Table:
    columns: dict[str, None] = {}
    rows = []
    numbers = []
    faults = []
    for number, line in enumerate(_decoded(path, encoding).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            faults.append(f"line {number} is not JSON ({error.msg} at character {error.colno})")
            continue
        except (ValueError, RecursionError):
            faults.append(f"line {number} is JSON with too many levels or digits")
            continue
        if not isinstance(record, dict):
            faults.append(f"line {number} is not an object")
            continue
        row = {}
        for name, value in record.items():
            text = _as_text(value)
            if text is None:
                faults.append(f"line {number}: '{name}' is an object, not text")
            else:
                row[name] = text
        columns.update(dict.fromkeys(row))
        rows.append(row)
        numbers.append(number)
    _raise_faults(
        path, faults, 'Each line must be one object such as {"item_id": "1", "title": "..."}.'
    )
    return Table(
        path,
        list(columns),
        [{name: row.get(name, "") for name in columns} for row in rows],
        numbers,
    )


def _as_text(value: object) -> str | None:
    """Convert a JSON value to text: lists joined by a space, null empty, objects None."""
    if value is None:
        return ""
    if isinstance(value, list):
        texts = [_as_text(part) for part in value]
        return None if None in texts else " ".join(text for text in texts if text)
    if isinstance(value, dict):
        return None
    text = value if isinstance(value, str) else json.dumps(value)
    # Half a surrogate pair ("\\ud83d" alone) is legal JSON but no text: no tokenizer takes it.
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _fields(count: int) -> str:
    return f"{count} field" + ("" if count == 1 else "s")


def _examples(examples: Sequence[str], total: int) -> str:
    return ", ".join(f"'{example}'" for example in examples) + (
        ", ..." if total > len(examples) else ""
    )


def _raise_faults(path: Path, faults: list[str], advice: str) -> None:
    if faults:
        more = f" and {len(faults) - _SHOWN} more such faults" if len(faults) > _SHOWN else ""
        raise DataError(f"{path}: {'; '.join(faults[:_SHOWN])}{more}. {advice}")
