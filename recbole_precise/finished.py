"""A finished run, loaded to be asked: its model and data, and perhaps items that came after its training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from logging import getLogger
from typing import Any

import numpy as np

from recbole_precise.config import command_line
from recbole_precise.data.item_text import encoding_options
from recbole_precise.errors import ConfigError, TextError
from recbole_precise.quick_start import load_data_and_model
from recbole_precise.serving.new_items import read_new_items
from recbole_precise.text.corpus import render

#: Settings that a finished run may be asked with: none of them changes what was trained.
ASKABLE = frozenset(
    "metrics topk slices mask_history score_budget_mb eval_batch_size unseen_id neighbour_transitions neighbour_texts data_path gpu_id use_gpu threads "
    "show_progress text_batch_size text_dtype text_device text_cache_dir metric_decimal_place trust_pickle".split()
)


@dataclass
class FinishedRun:
    """`tokens`: item names by id, new ones at the end; `readable`: bool `[new items]`, whether the model can read their text."""

    config: Any
    model: Any
    dataset: Any
    loaders: tuple
    tokens: np.ndarray
    readable: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    new_texts: list[str] = field(default_factory=list)

    @property
    def first_new(self) -> int:
        """Id of the first new item."""
        return len(self.tokens) - len(self.readable)

    def texts(self) -> list[str]:
        """The text of every item, by id; empty where the data set says nothing of texts."""
        template = self.config["item_text"]
        known = [""] * self.first_new
        if template is not None and hasattr(self.dataset, "item_records"):
            try:
                known = render(template, self.dataset.item_records())
            except (TextError, ConfigError):
                pass  # a run without text needs no texts to be asked
        return known + self.new_texts


def load_finished(run_dir: str, settings: Mapping[str, Any], items: str | None = None) -> FinishedRun:
    """Load a run directory; `items` is a file with new items (see `read_new_items`), which then stand behind the others.

    Raises CheckpointError (no finished run there), ConfigError (a model that reads no text cannot rank new items), and
    those of `read_new_items`.
    """
    with command_line([]):
        config, model, dataset, *loaders = load_data_and_model(run_dir, dict(settings))
    model.eval()
    known = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=str)
    run = FinishedRun(config, model, dataset, tuple(loaders), known)
    if items is None:
        return run
    if not hasattr(model, "extend_catalogue") or getattr(model, "text_encoder", None) is None:
        raise ConfigError(f"{config['model']} reads no text, so it knows nothing of new items: --items needs a run of a model with text, such as PRECISE-UT.")
    new = read_new_items(items, dataset.iid_field, set(known.tolist()), config["item_text"], **encoding_options(config))
    run.readable = model.extend_catalogue(new.states)
    run.tokens, run.new_texts = np.concatenate([known, np.asarray(new.tokens, dtype=str)]), new.texts
    blind = int((~run.readable).sum())
    if blind:
        getLogger("recbole_precise").warning(
            "%s: %s of %s items have no text that the model knows a word of; it treats them as items without text.", items, blind, len(new.tokens)
        )
    return run
