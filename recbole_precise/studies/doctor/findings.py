"""What the doctor finds.

There is one finding for each kind of fault, file and column, with a count and the first lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

ERROR = "error"
WARNING = "warning"
NOTE = "note"
SHOWN = 5  # lines named for a finding


@dataclass(frozen=True)
class Kind:
    """A kind of fault.

    It has how grave it is, what it is in words, and what `--fix` does about it ("" when nothing).
    """

    severity: str
    text: str
    mending: str = ""


KINDS = {
    "missing file": Kind(ERROR, "the file is missing"),
    "unreadable": Kind(ERROR, "the file cannot be read"),
    "separator": Kind(ERROR, "the columns are not separated as the key field_separator says"),
    "header": Kind(
        ERROR,
        "line 1 must hold name:type for each column, each name once",
        "the name or type is set right",
    ),
    "missing column": Kind(ERROR, "the column is missing"),
    "type": Kind(ERROR, "the column has the wrong type", "the type is set right"),
    "field count": Kind(
        ERROR,
        "more or fewer fields than the header has columns",
        "the row is dropped; empty fields at its end are cut off",
    ),
    "encoding": Kind(
        ERROR,
        "bytes that are no text in the encoding",
        "a mark stands in their place; the row is dropped when it is an id or a time",
    ),
    "NUL": Kind(
        ERROR, "NUL characters", "they are removed; the row is dropped when it is an id or a time"
    ),
    "carriage return": Kind(
        ERROR,
        "a carriage return inside the row",
        "a space stands in its place; the row is dropped when it is an id or a time",
    ),
    "open quote": Kind(
        ERROR,
        "a quote mark opens the field and is not closed: what follows, over lines, can be read "
        "into it",
        "the quote mark is removed",
    ),
    "quoted id": Kind(
        WARNING,
        "the id stands in quote marks: RecBole reads it without them, item texts are looked up "
        "with them",
        "the quote marks are removed",
    ),
    "no id": Kind(
        ERROR,
        "no id (an empty field, or a word that pandas takes for a missing value)",
        "the row is dropped",
    ),
    "reserved id": Kind(ERROR, "[PAD] is RecBole's own name of the padding", "the row is dropped"),
    "no number": Kind(
        ERROR,
        "no finite number",
        "the row is dropped when it is the time, else the field is emptied",
    ),
    "no value": Kind(NOTE, "an empty number: RecBole fills in the mean of the column"),
    "row twice": Kind(ERROR, "the id was described by an earlier row", "the first row stays"),
    "no rows": Kind(ERROR, "no usable row"),
    "item_text": Kind(ERROR, "the texts cannot be made"),
    "no text": Kind(WARNING, "items without text"),
    "no texts": Kind(ERROR, "no item has a text"),
    "no words": Kind(NOTE, "no token_seq column and no item_text: there are no item texts"),
    "unknown id": Kind(WARNING, "events with an id that has no row in the other file"),
    "event twice": Kind(
        WARNING, "the same user, item and time as an earlier event", "the first event stays"
    ),
    "equal times": Kind(
        NOTE, "the same time as another event of the user: their order is that of tie_break"
    ),
    "short user": Kind(
        WARNING,
        "users with too few events to train, validate and test on (the line is that of the first "
        "event)",
    ),
    "empty part": Kind(ERROR, "the split leaves a part empty"),
}


@dataclass
class Finding:
    """`kind`: a key of KINDS.

    `file`: its name; `column`: a name or ""; `lines`: the first line numbers, ascending; `detail`:
        of the first.
    """

    severity: str
    kind: str
    file: str
    column: str
    count: int = 0
    lines: list[int] = field(default_factory=list)
    detail: str = ""

    def __str__(self) -> str:
        where = self.file + (f", column {self.column}" if self.column else "")
        lines = ""
        if self.lines:
            numbers = ", ".join(map(str, self.lines))
            more = ", ..." if self.count > len(self.lines) else ""
            lines = f" (line{'s' * (len(self.lines) > 1)} {numbers}{more})"
        detail = f": {self.detail}" if self.detail else ""
        times = f"{self.count:,} x " if self.lines else ""
        return f"{where}: {times}{KINDS[self.kind].text}{lines}{detail}"


class Findings:
    """Collects findings; its memory does not grow with the number of faults."""

    def __init__(self) -> None:
        self._found: dict[tuple, Finding] = {}

    def add(
        self,
        kind: str,
        file: str,
        column: str = "",
        line: int | None = None,
        detail: str = "",
        severity: str | None = None,
    ) -> None:
        """One more fault; lines must come in ascending order."""
        self.add_many(kind, file, column, 1, () if line is None else (line,), detail, severity)

    def add_many(
        self,
        kind: str,
        file: str,
        column: str,
        count: int,
        lines: Iterable[int],
        detail: str = "",
        severity: str | None = None,
    ) -> None:
        """Add `count` faults of one kind, with the numbers of the first of their lines.

        There are at least SHOWN of these numbers where there are so many lines.
        """
        if not count:
            return
        severity = severity or KINDS[kind].severity
        # Faults without a line differ in what they say, and must not be thrown together.
        lines = list(lines)
        key = (severity, kind, file, column, "" if lines else detail)
        finding = self._found.setdefault(key, Finding(severity, kind, file, column, detail=detail))
        finding.count += count
        finding.lines += [int(line) for line in lines[: SHOWN - len(finding.lines)]]

    def __iter__(self) -> Iterator[Finding]:
        return iter(
            sorted(
                self._found.values(),
                key=lambda f: ((ERROR, WARNING, NOTE).index(f.severity), f.file),
            )
        )

    def of(self, severity: str) -> list[Finding]:
        """Return the findings of a severity."""
        return [finding for finding in self if finding.severity == severity]

    def to_text(self) -> str:
        """Write the findings in groups, the gravest first."""
        blocks = []
        for severity, title in ((ERROR, "Errors"), (WARNING, "Warnings"), (NOTE, "Notes")):
            if found := self.of(severity):
                blocks.append("\n".join([title, *(f"  {finding}" for finding in found)]))
        return "\n\n".join(blocks)
