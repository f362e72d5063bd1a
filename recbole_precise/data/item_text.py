"""Item texts in the order of the item ids, and their token states."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise.errors import TextError
from recbole_precise.text.cache import encode_cached
from recbole_precise.text.corpus import align, read_table, read_text_file, render
from recbole_precise.text.states import TokenStates

logger = logging.getLogger("recbole_precise")

Records = dict[str, dict[str, str]]


def read_records(
    item_file: Path,
    text_file: str | Path | None,
    id_column: str,
    separator: str = "\t",
    encoding: str = "utf-8",
) -> Records:
    """Item token -> {column: text}, from `text_file` when one is given, else from `.item`.

    Raises TextError when there is no file to read; DataError when it is malformed.
    """
    if text_file is not None:
        return read_text_file(text_file, id_column=id_column, encoding=encoding)
    if not item_file.is_file():
        raise TextError(
            f"There are no item texts: {item_file} does not exist. Add it, or name a file with "
            "item texts with the key text_file."
        )
    return read_table(item_file, separator=separator, encoding=encoding).by(id_column)


def default_template(records: Records, id_column: str) -> str | None:
    """Return the one column of a text file beside its ids; None when the user must choose."""
    columns = dict.fromkeys(
        name for record in records.values() for name in record if name != id_column
    )
    return next(iter(columns)) if len(columns) == 1 else None


def texts_by_id(
    records: Records,
    template: str | Sequence[str],
    tokens: Sequence[str],
    where: str,
    log: bool = True,
) -> list[str]:
    """Texts aligned with the item ids: text i belongs to `tokens[i]`, that of the padding is empty.

    Raises TextError when no item has a text, ConfigError for a wrong template.
    """
    texts = dict(zip(records, render(template, list(records.values()))))
    aligned, report = align(texts, tokens)
    if not report.with_text:
        raise TextError(
            f"{where}: none of the {report.items} items has a text under item_text {template!r}. "
            f"Items are called {', '.join(map(repr, report.without_text_examples[:3]))}, rows of "
            "the file "
            f"{', '.join(map(repr, list(records)[:3])) or 'not at all'}."
        )
    if log:
        level = logging.WARNING if report.without_text else logging.INFO
        logger.log(level, "Item text of %s: %s.", where, report)
    return aligned


@dataclass(frozen=True)
class TextSettings:
    """Which texts the items of a data set have, and how they are encoded.

    Attributes:
        model: that reads them, for messages.
        dataset: its name, for messages.
        item_file: the .item file.
        item_field: column of the items' names.
        template: over the columns of the file, as `item_text`; None where there is none.
        text_file: read in the place of the .item file, None for that one.
        separator: between the columns of the .item file.
        file_encoding: of the file.
        encoding: arguments of `encode_cached`.
        progress: show a bar while texts are encoded.
    """

    model: str
    dataset: str
    item_file: Path
    item_field: str
    template: str | Sequence[str] | None = None
    text_file: str | Path | None = None
    separator: str = "\t"
    file_encoding: str = "utf-8"
    encoding: Mapping[str, Any] = field(default_factory=dict)
    progress: bool = False


class ItemTexts:
    """The texts of a data set's items and their token states, read when they are asked for.

    Args:
        settings: which texts, and how they are encoded.
        known: texts by item id that a finished run has kept, in the place of the files'.
    """

    def __init__(self, settings: TextSettings, known: Sequence[str] | None = None) -> None:
        self.settings = settings
        self._known = known
        self._states: dict[int | None, TokenStates] = {}

    def records(self, names: Sequence[str]) -> list[dict[str, str]]:
        """Each item's columns as text, by item id.

        Args:
            names: of the items by their ids, the padding first.

        Returns:
            `{}` for the padding and for items without a row.

        Raises:
            TextError: there is no file with item texts.
            DataError: the file is malformed.
        """
        records = self._read()
        return [{}, *(records.get(str(name), {}) for name in names[1:])]

    def states(self, names: Sequence[str], below: int | None = None) -> TokenStates:
        """Return encoded texts by item id, row 0 empty.

        They are encoded at most once, through the cache on disk.

        Args:
            names: of the items by their ids, the padding first.
            below: states as they enter this layer of the encoder, counted from 0; None: as they
                leave the last that is read.

        Raises:
            TextError: no text is configured, or no item has one.
        """
        if below not in self._states:
            options = {**self.settings.encoding, "progress": self.settings.progress}
            if below is not None:
                options.update(layers=below, raw=True)
            self._states[below] = encode_cached(self.texts(names, report=True), **options)
        return self._states[below]

    def texts(self, names: Sequence[str], report: bool = False) -> list[str]:
        """Each item's text by item id, empty for the padding and for items without one.

        Args:
            names: of the items by their ids, the padding first.
            report: log how many items have a text.

        Raises:
            TextError: no text is configured, or no item has one.
        """
        if self._known is not None:
            return list(self._known)
        settings = self.settings
        records = None
        template = settings.template
        if template is None and settings.text_file is not None:
            records = self._read()
            template = default_template(records, settings.item_field)
        if template is None:
            raise TextError(
                f"{settings.model} reads item texts, but {settings.dataset} says nothing of "
                "them: set item_text to a template over the "
                'columns of .item, for example item_text: "{title}".'
            )
        records = self._read() if records is None else records
        where = str(settings.text_file or settings.item_file)
        return texts_by_id(records, template, names, where, report)

    def _read(self) -> Records:
        settings = self.settings
        return read_records(
            settings.item_file,
            settings.text_file,
            settings.item_field,
            settings.separator,
            settings.file_encoding,
        )
