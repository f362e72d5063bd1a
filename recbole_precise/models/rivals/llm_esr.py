"""LLM-ESR: two views of an item under one encoder, and users who teach users that read alike.

Reference:
    Qidong Liu et al. "LLM-ESR: Large Language Models Enhancement for Long-tailed Sequential
    Recommendation." NeurIPS 2024, arXiv 2405.20646.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.models.backbones import Backbone, Histories
from recbole_precise.models.base import require
from recbole_precise.models.experts import ExpertsRecommender, Step
from recbole_precise.nn.cross_attention import CrossAttention
from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.similar_users import SimilarUsers
from recbole_precise.nn.text_vectors import FrozenText, principal_linear
from recbole_precise.nn.towers import FrozenView, IdTower, ItemTower, TextTower


class LLMESR(ExpertsRecommender):
    """Dual-view modelling (Sec. 3.2) and retrieval augmented self-distillation (Sec. 3.3).

    The collaborative view is an ID table that begins as the principal components of the texts, the
    semantic view the frozen text through two linear layers. Each view's sequence is asked by the
    other's (cross-attention), both go through the same encoder, and the score is that of both side
    by side. A row's last state is drawn to the mean of those of the users whose texts are nearest.

    The released code trains all positions without a causal mask, in the cross-attention and in its
    SASRec alike, so that a position reads its own target; here the cross-attention is causal where
    the encoder is.
    """

    made_of = ("id", "text")

    def __init__(self, config, dataset, **given) -> None:
        super().__init__(config, dataset, **given)
        self.ids_asked, self.text_asked = (
            CrossAttention(self.width, config["cross_heads"]) for _ in range(2)
        )
        self.similar: SimilarUsers | None = None
        if config["distill_weight"]:
            items, offsets, user_ids = require(dataset, "train_sequences", config["model"])()
            text = self.item_encoder.text
            assert text is not None, "one of the two views is the text"
            self.similar = SimilarUsers(
                np.asarray(items),
                np.asarray(offsets),
                np.asarray(user_ids),
                text.vectors.numpy(),
                config["similar_users"],
                self.max_seq_length,
            )

    def encoder_names(self, built: tuple[str, ...]) -> tuple[str, ...]:
        """One encoder for both views."""
        return ("shared",)

    def encoder_of(self, name: str) -> Backbone:
        """Return the one encoder."""
        return super().encoder_of("shared")

    def build_tower(self, name: str, text: FrozenText | None, dataset) -> ItemTower:
        """Build a view of an item, which begins as principal components of its text."""
        assert text is not None, "both views begin as principal components of the text"
        config = self.config
        some = text.vectors[text.has_text]
        if name == "text":
            inner = principal_linear(some, max(text.hidden_size // 2, 1), 1.0)
            return TextTower(
                FrozenView(
                    text,
                    nn.Sequential(
                        inner,
                        principal_linear(inner(some).detach(), self.width, config["text_init_std"]),
                    ),
                )
            )
        table = self.id_table(dataset)
        with torch.no_grad():
            table.table.weight[text.has_text] = principal_linear(
                some, self.width, config["id_init_std"]
            )(some)
        return IdTower(table)

    def encoded(
        self, vectors: Tensor, histories: Histories, trained: Tensor | None = None
    ) -> Tensor:
        """Each view asked by the other, then encoded."""
        ids, text = vectors.unbind(2)
        mask = histories.mask
        mixed = (
            self.ids_asked(text, ids, mask, self.causal),
            self.text_asked(ids, text, mask, self.causal),
        )
        return super().encoded(torch.stack(mixed, 2), histories, trained)

    def next_item_loss(
        self, items: GatedItems, states: Tensor, vectors: Tensor, step: Step
    ) -> Tensor:
        """With the distillation of the rows' last states."""
        loss = super().next_item_loss(items, states, vectors, step)
        if self.similar is None:
            return loss
        return loss + self.config["distill_weight"] * self._distillation(self.similar, states, step)

    def _distillation(self, similar: SimilarUsers, states: Tensor, step: Step) -> Tensor:
        """Compare each row's last trained state with the mean of its teachers'.

        The mean squared difference; teachers learn nothing from it.
        """
        count = step.batch.trained.sum(1)
        own = states[(count.cumsum(0) - 1).clamp_min(0)].flatten(1)
        items, lengths, users, owner, place = similar.sequences(step.histories.users)
        owner_has = torch.bincount(owner, minlength=len(own))
        taught = (count > 0) & (owner_has > 0)
        if not taught.any():
            return own.sum() * 0.0
        with torch.no_grad():
            teachers = self.last_states(items, lengths, users).flatten(1)
            mean = (
                torch.zeros_like(own).index_add(0, owner, teachers.to(own.dtype)[place])
                / owner_has.clamp_min(1)[:, None]
            )
        return F.mse_loss(own[taught], mean[taught])
