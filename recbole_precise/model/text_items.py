"""Items that are known by their texts' vectors: frozen behind a linear map, or as semantic codes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_precise.model.sequential import require
from recbole_precise.model.tuned_text import text_vectors
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.residual_codes import CodeVectors
from recbole_precise.nn.text_vectors import TextVectors

if TYPE_CHECKING:
    from recbole_precise.model.next_item import NextItemRecommender


def frozen_text_part(model: NextItemRecommender, config, dataset, width: int) -> TextVectors | CodeVectors:
    """The mean token state of each item as `text_form` says, `width` wide; tells `model.text_encoder` where it comes from."""
    tokens = require(dataset, "token_states", config["model"])().without_special()
    codes = config["text_form"] == "codes"
    model.text_encoder = {**tokens.encoder, "token_mode": "codes" if codes else "pooled"}
    text = text_vectors(model, config, dataset, tokens.pooled())
    if codes:
        return CodeVectors(text, width=width, levels=config["code_levels"], codes=config["code_size"], std=config["token_init_std"])
    return TextVectors(text, width=width, std=config["token_init_std"])


def frozen_text_items(model: NextItemRecommender, config, dataset, width: int) -> ItemEncoder:
    """An item encoder of that part alone."""
    return ItemEncoder([frozen_text_part(model, config, dataset, width)], model.n_items)
