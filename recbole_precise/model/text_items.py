"""Items that are known by frozen text vectors alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_precise.model.sequential import require
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.text_vectors import FrozenText, TextVectors

if TYPE_CHECKING:
    from recbole_precise.model.next_item import NextItemRecommender


def frozen_text_part(model: NextItemRecommender, config, dataset, width: int) -> TextVectors:
    """The mean token state of each item behind a linear map to `width`; tells `model.text_encoder` where it comes from."""
    tokens = require(dataset, "token_states", config["model"])().without_special()
    model.text_encoder = {**tokens.encoder, "token_mode": "pooled"}
    return TextVectors(FrozenText(tokens.pooled(), scaled=False), width=width, std=config["token_init_std"])


def frozen_text_items(model: NextItemRecommender, config, dataset, width: int) -> ItemEncoder:
    """An item encoder of that part alone."""
    return ItemEncoder([frozen_text_part(model, config, dataset, width)], model.n_items)
