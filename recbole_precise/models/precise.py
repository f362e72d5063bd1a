r"""PRECISE: pre-training sequential recommenders with collaborative and semantic information.

Reference:
    Chonggang Song et al. "PRECISE: Pre-training Sequential Recommenders with Collaborative and
    Semantic Information." arXiv 2412.06308.
"""

from __future__ import annotations

import re
from typing import Any, ClassVar

from torch import nn

from recbole_precise.models.base import require
from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.experts import ExpertPooling, MeanPooling
from recbole_precise.nn.item_encoders import ItemEncoder, ItemPart, TextEncoder
from recbole_precise.training.phases import Phase


class PRECISEUT(NextItemRecommender):
    """PRECISE after Universal Training (Sec. IV-B and IV-C).

    Fused items, a causal transformer, next-item loss.

    `variant` makes the paper's ablations: `id` (no text), `llm` (no ID), `pool` (mean instead of
    experts). With `match_width` the remaining part is widened, so that an ablation does not change
    the width as well.
    """

    #: The scenes that it learns from and sees: all (docs/scenes.md).
    #: A name, or a static method that gives it from the settings.
    scene_view: ClassVar[Any] = "universal"

    def build_items(self, config, dataset) -> ItemEncoder:
        """ID vector and text vector side by side, or one of them, as `variant` says."""
        id_size = config["embedding_size"]
        token_size = config["token_size"]
        variant = config["variant"]
        if variant in ("id", "llm"):
            kept = (
                id_size + token_size
                if config["match_width"]
                else (id_size if variant == "id" else token_size)
            )
            id_size, token_size = (kept, 0) if variant == "id" else (0, kept)
        parts: list[ItemPart] = []
        if id_size:
            parts.append(self.id_part(config, dataset, id_size, with_text=bool(token_size)))
        if token_size:
            parts.append(self._text_part(config, dataset, token_size, pooled=variant == "pool"))
        return ItemEncoder(parts, self.n_items)

    def phases(self) -> list[Phase]:
        """Return universal training.

        With `alternate` (Sec. IV-E) first with frozen token vectors, then with all.
        """
        return self._universal_phases()

    def _universal_phases(self, **data) -> list[Phase]:
        """Return the phases; `data`: what they see, as `Phase` names it."""
        config = self.config
        tokens = self._token_table()
        if not config["alternate"] or tokens is None:
            return [Phase(name="universal", epochs=self.epochs, **data)]
        frozen = (
            tokens
            if config["alternate_freeze"] == "tokens"
            else tokens.removesuffix("table") + ".*"
        )
        first = max(1, round(self.epochs * config["alternate_share"]))
        return [
            Phase(
                name="universal-ids",
                epochs=first,
                trainable=(f"(?!{frozen}$).*",),
                stopping_step=config["alternate_patience"],
                **data,
            ),
            Phase(
                name="universal",
                epochs=max(self.epochs - first, 1),
                rate_factors=((tokens, config["alternate_rate"]),),
                validate_start=True,
                **data,
            ),
        ]

    def _token_table(self) -> str | None:
        """Name of the trainable token vectors, as a regular expression.

        None where there are none.
        """
        tables = {
            id(part.table)
            for part in self.item_encoder.parts
            if isinstance(part, TextEncoder)
            and isinstance(getattr(part, "table", None), nn.Parameter)
        }
        return next(
            (
                re.escape(name)
                for name, parameter in self.named_parameters()
                if id(parameter) in tables
            ),
            None,
        )

    def _text_part(self, config, dataset, width: int, pooled: bool) -> TextEncoder:
        tokens = require(dataset, "token_states", config["model"])().without_special()
        self.text_encoder = {**tokens.encoder, "token_mode": config["token_mode"]}
        table_width = TextEncoder.table_width(config["token_mode"], width, tokens.hidden_size)
        pooling = (
            MeanPooling()
            if pooled
            else ExpertPooling(
                table_width,
                config["n_experts"],
                config["top_experts"],
                noise=config["gate_noise"],
                value_projection=config["expert_value_proj"],
            )
        )
        return TextEncoder(
            tokens.states,
            tokens.token_ids,
            tokens.offsets,
            width=width,
            pooling=pooling,
            mode=config["token_mode"],
            vocab_init=config["vocab_init"],
            std=config["token_init_std"],
        )
