"""Items that came after training, read from a file and encoded as the run's own items were."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise.data.item_text import default_template, texts_by_id
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.text.cache import encode_cached
from recbole_precise.text.corpus import PADDING_TOKEN, read_text_file
from recbole_precise.text.states import TokenStates


@dataclass(frozen=True)
class NewItems:
    """`tokens`: their names, in the order of the file. `texts`: what is read of each.

    `states`: the same, encoded.
    """

    tokens: list[str]
    texts: list[str]
    states: TokenStates


def read_new_items(
    path: str | Path,
    id_column: str,
    known: Collection[str],
    template: str | Sequence[str] | None,
    **encoding: Any,
) -> NewItems:
    """Read a RecBole .item file, or .tsv, .csv or .jsonl, with a row for each new item.

    Args:
        known: names that are taken. template: the run's item_text; None: the one column beside the
            ids.
        encoding: goes to `encode_cached`.

    Raises DataError (no such file, a name twice, empty or taken), TextError (no item has a text),
    ConfigError (unknown column).
    """
    records = read_text_file(path, id_column=id_column)
    if not records:
        raise DataError(f"{path}: there is no item in it.")
    taken = [token for token in records if token in known or token == PADDING_TOKEN]
    if taken:
        more = f" and {len(taken) - 3} more" if len(taken) > 3 else ""
        names = ", ".join(f"'{token}'" for token in taken[:3]) + more
        raise DataError(
            f"{path}: {names} {'is' if len(taken) == 1 else 'are'} in the catalogue of the run "
            "already; list new items alone, by names of their own."
        )
    template = template or default_template(records, id_column)
    if template is None:
        columns = dict.fromkeys(
            name for record in records.values() for name in record if name != id_column
        )
        raise ConfigError(
            f"{path}: the run has no item_text, so the file must have one column beside "
            f"'{id_column}', not {', '.join(columns) or 'none'}."
        )
    texts = texts_by_id(records, template, list(records), str(path))
    # The encoder was judged by the texts of its data set; a few new ones may well be beyond it.
    return NewItems(list(records), texts, encode_cached(texts, judge=False, **encoding))
