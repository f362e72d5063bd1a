"""Load a data set for the audit from its atomic files, through RecBole's settings.

It has the ids, filters and split of a run.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.data.scan import read_header
from recbole_precise.errors import ConfigError, UserError, did_you_mean
from recbole_precise.evaluation.floors import unit_rows
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.preparation import create_dataset
from recbole_precise.studies.audit.histories import Histories
from recbole_precise.studies.audit.order import orders_of
from recbole_precise.studies.audit.text import word_vectors
from recbole_precise.system.logs import log_to
from recbole_precise.text.corpus import read_table, render

TEXTS = ("words", "encoder", "none")


@dataclass
class Loaded:
    """A data set as `examine` takes it, and where it came from."""

    name: str
    data: Histories
    orders: dict[str, np.ndarray]
    text_vectors: Any
    text: str
    split: dict
    mask_history: bool
    seed: int
    folder: Path


def load(options: dict[str, Any], arguments: Sequence[str], text: str = "words") -> Loaded:
    """Read, filter and split a data set.

    Args:
        options: dataset, config_file_list. arguments: further settings, `--key=value`.
        text: words (TF-IDF), encoder (token states of the configured encoder) or none.

    Raises ConfigError, DataError, TextError.
    """
    if text not in TEXTS:
        raise ConfigError(
            f"text must be one of {', '.join(TEXTS)}, not '{text}'.{did_you_mean(text, TEXTS)}"
        )
    config = Config(**{**options, "model": "Transition"}, command_line=arguments)
    with log_to(None, "error"):
        dataset = create_dataset(config)
        train, _, test = dataset.build()
    tokens = [str(token) for token in dataset.field2id_token[dataset.iid_field]]
    item_file = Path(dataset.dataset_path, f"{dataset.dataset_name}.item")
    separator = config["field_separator"]
    encoding = config["encoding"] or "utf-8"
    in_file = (
        list(read_table(item_file, separator=separator, encoding=encoding).by(dataset.iid_field))
        if item_file.is_file()
        else None
    )
    vectors = None
    source = "none"
    if text == "words":
        vectors, source = _words(config, dataset, item_file, separator, encoding)
    elif text == "encoder":
        states = dataset.token_states()
        vectors = unit_rows(states.pooled())
        source = f"mean token states of {states.encoder['name']}"
    return Loaded(
        config["dataset"], _histories(dataset, train, test), orders_of(tokens, in_file), vectors,
        source, config["eval_args"]["split"], bool(config["mask_history"]),
        config["seed"], Path(config["checkpoint_dir"], f"audit-{config['dataset']}"),
    )  # fmt: skip


def _histories(dataset: Any, train: Any, test: Any) -> Histories:
    store = test.store
    _, offsets, users = (part.numpy() for part in train.train_sequences())
    trained = np.zeros(len(store.user_ids), dtype=np.int64)
    trained[np.searchsorted(store.user_ids.numpy(), users)] = np.diff(offsets)
    targets = np.sort(test.inter_feat.interaction.end.numpy())
    return Histories(
        store.fields[dataset.iid_field].numpy(),
        store.offsets.numpy(),
        dataset.item_num,
        trained,
        targets,
        np.asarray(store.times),
    )


def _words(
    config: Any, dataset: Any, item_file: Path, separator: str, encoding: str
) -> tuple[Any, str]:
    """Return (word vectors or None, what they were made of).

    They are made of the configured item text, else of all columns of words in `.item`.
    """
    template = config["item_text"]
    if template is None and item_file.is_file() and config["text_file"] is None:
        template = [
            name
            for name, kind in read_header(item_file, separator, encoding)
            if kind == "token_seq"
        ]
    if not template:
        return None, "none"
    try:
        records = dataset.item_records()
    except UserError:
        if config["item_text"] is not None and (
            item_file.is_file() or config["text_file"] is not None
        ):
            raise
        return (
            None,
            "none",
        )  # the protocol of a known data set names a text, but these files have none
    shown = template if isinstance(template, str) else " ".join(f"{{{name}}}" for name in template)
    texts = render(template, records)
    return (word_vectors(texts), f"words of {shown}") if any(texts) else (None, "none")
