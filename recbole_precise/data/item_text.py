"""Item texts in the order of the item ids, and their token states."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.errors import TextError
from recbole_precise.text.cache import encode_cached
from recbole_precise.text.corpus import align, read_table, read_text_file, render
from recbole_precise.text.states import TokenStates

logger = logging.getLogger("recbole_precise")

Records = dict[str, dict[str, str]]


def read_records(item_file: Path, text_file: str | Path | None, id_column: str, separator: str = "\t", encoding: str = "utf-8") -> Records:
    """Item token -> {column: text}, from `text_file` when one is given, else from `.item`.

    Raises TextError when there is no file to read; DataError when it is malformed.
    """
    if text_file is not None:
        return read_text_file(text_file, id_column=id_column, encoding=encoding)
    if not item_file.is_file():
        raise TextError(f"There are no item texts: {item_file} does not exist. Add it, or name a file with item texts with the key text_file.")
    return read_table(item_file, separator=separator, encoding=encoding).by(id_column)


def default_template(records: Records, id_column: str) -> str | None:
    """The one column of a text file beside its ids, or None when the choice is the user's."""
    columns = dict.fromkeys(name for record in records.values() for name in record if name != id_column)
    return next(iter(columns)) if len(columns) == 1 else None


def item_states(records: Records, template: str | Sequence[str], tokens: Sequence[str], where: str, **encoding: object) -> TokenStates:
    """Token states aligned with the item ids: row i belongs to `tokens[i]`, row 0 (padding) has no tokens.

    `encoding` goes to `encode_cached`. Raises TextError when no item has a text, ConfigError for a wrong template.
    """
    texts = dict(zip(records, render(template, list(records.values()))))
    aligned, report = align(texts, tokens)
    if not report.with_text:
        raise TextError(
            f"{where}: none of the {report.items} items has a text under item_text {template!r}. "
            f"Items are called {', '.join(map(repr, report.without_text_examples[:3]))}, rows of the file "
            f"{', '.join(map(repr, list(records)[:3])) or 'not at all'}."
        )
    logger.log(logging.WARNING if report.without_text else logging.INFO, "Item text of %s: %s.", where, report)
    return encode_cached(aligned, **encoding)
