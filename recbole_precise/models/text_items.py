"""Items that are known by their texts' vectors.

Frozen behind a linear map, as semantic codes, or from a language model that is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from recbole_precise.models.base import require
from recbole_precise.models.text_tuning import text_vectors
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.learning_text import LearningItems, LearningText, LearningTextVectors
from recbole_precise.nn.residual_codes import CodeVectors
from recbole_precise.nn.text_vectors import TextVectors
from recbole_precise.plugin.data_settings import encoding_options
from recbole_precise.text.encoder import HfEncoder
from recbole_precise.text.language_model import load_language_model
from recbole_precise.text.sources import resolve_encoder

if TYPE_CHECKING:
    from recbole_precise.models.next_item import NextItemRecommender


def frozen_text_part(
    model: NextItemRecommender, config, dataset, width: int
) -> TextVectors | CodeVectors:
    """Build the part of each item's mean token state as `text_form` says, `width` wide.

    Says in `model.text_encoder` where it comes from.
    """
    tokens = require(dataset, "token_states", config["model"])().without_special()
    codes = config["text_form"] == "codes"
    model.text_encoder = {**tokens.encoder, "token_mode": "codes" if codes else "pooled"}
    text = text_vectors(model, config, dataset, tokens.pooled())
    if codes:
        return CodeVectors(
            text,
            width=width,
            levels=config["code_levels"],
            codes=config["code_size"],
            std=config["token_init_std"],
        )
    return TextVectors(text, width=width, std=config["token_init_std"])


def frozen_text_items(model: NextItemRecommender, config, dataset, width: int) -> ItemEncoder:
    """Build an item encoder of that part alone."""
    return ItemEncoder([frozen_text_part(model, config, dataset, width)], model.n_items)


def learning_text_items(
    model: NextItemRecommender, config, dataset, width: int, top: int | None
) -> LearningItems:
    """Build an item encoder of the same linear map over a language model that is trained.

    Its last `top` layers are trained, or all of it for None.

    Raises TextError, ConfigError and ValueError as `load_language_model` and `LearningText`.
    """
    states = require(dataset, "token_states", config["model"])
    tokens = states()
    options = encoding_options(config)
    source = resolve_encoder(options["encoder"], options.get("cache_dir"))
    language, layer = load_language_model(source, top, options.get("layers"))

    def read_below(texts: Sequence[np.ndarray]) -> np.ndarray:
        encoder = HfEncoder(source, options.get("dtype", "float32"), layers=layer, raw=True)
        size = config["text_batch_size"]
        return np.concatenate(
            [
                encoder.encode_batch(texts[first : first + size])
                for first in range(0, len(texts), size)
            ]
        )

    model.text_encoder = {
        **tokens.encoder,
        "token_mode": "tuned",
        "tuned_layers": "all" if top is None else top,
    }
    batch = config["text_max_tokens"] * config["text_batch_size"]
    text = LearningText(
        tokens, language, None if layer is None else states(below=layer), read_below, batch=batch
    )
    return LearningItems(
        LearningTextVectors(text, width=width, std=config["token_init_std"]), model.n_items
    )
