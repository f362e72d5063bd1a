"""Item texts in the order of the item ids, and their token states."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
    """The one column of a text file beside its ids, or None when the choice is the user's."""
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


def encoding_options(config: Any) -> dict[str, Any]:
    """Arguments of `encode_cached` from the settings of a run."""
    names = ("max_tokens", "batch_size", "dtype", "layers", "cache_dir")
    given = {name: config[f"text_{name}"] for name in names if config[f"text_{name}"] is not None}
    return {
        "encoder": config["text_encoder"] or "auto",
        "device": config["text_device"] or config["device"],
        **given,
    }


class ItemTexts:
    """Mixed into RecBole's Dataset: its items' texts by item id.

    Attributes:
        _states: the encoded texts once they were asked for, by the layer that they enter; a dict,
            so that the parts of a split share it.
    """

    _states: dict[int | None, TokenStates]

    def item_records(self) -> list[dict[str, str]]:
        """Each item's columns as text, by item id; `{}` for the padding and for items without a
        row.

        Raises TextError when there is no file with item texts, DataError when it is malformed.
        """
        records = self._records()
        return [
            {},
            *(records.get(str(token), {}) for token in self.field2id_token[self.iid_field][1:]),
        ]

    def token_states(self, below: int | None = None) -> TokenStates:
        """Encoded item texts by item id, row 0 empty; encoded at most once, through the cache on
        disk.

        Args:
            below: states as they enter this layer of the encoder, counted from 0; None: as they
                leave the last that is read.

        Raises TextError when no text is configured or no item has one.
        """
        if below not in self._states:
            layers = {} if below is None else {"layers": below, "raw": True}
            encoding = {**encoding_options(self.config), **layers}
            encoding["progress"] = bool(self.config["show_progress"])
            self._states[below] = encode_cached(self.item_texts(report=True), **encoding)
        return self._states[below]

    def item_texts(self, report: bool = False) -> list[str]:
        """Each item's text by item id, empty for the padding and for items without one.

        Args:
            report: log how many items have a text.

        Raises TextError when no text is configured or no item has one.
        """
        known = getattr(self, "known", None)
        if known is not None and known.texts is not None:
            return list(known.texts)
        config, records = self.config, None
        template = config["item_text"]
        if template is None and config["text_file"] is not None:
            records = self._records()
            template = default_template(records, self.iid_field)
        if template is None:
            raise TextError(
                f"{config['model']} reads item texts, but {self.dataset_name} says nothing of "
                "them: set item_text to a template over the "
                'columns of .item, for example item_text: "{title}".'
            )
        records = self._records() if records is None else records
        where = str(config["text_file"] or self._item_file)
        tokens = self.field2id_token[self.iid_field]
        return texts_by_id(records, template, tokens, where, report)

    @property
    def _item_file(self) -> Path:
        return Path(self.dataset_path, f"{self.dataset_name}.item")

    def _records(self) -> dict[str, dict[str, str]]:
        config = self.config
        return read_records(
            self._item_file,
            config["text_file"],
            self.iid_field,
            config["field_separator"],
            config["encoding"] or "utf-8",
        )
