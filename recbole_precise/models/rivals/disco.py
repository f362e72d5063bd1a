"""DisCo: what ID and text share and what each has alone, in four parts of an item.

Reference:
    Kounianhua Du et al. "DisCo: Towards Harmonious Disentanglement and Collaboration between
    Tabular and Semantic Space for Recommendation." KDD 2024, arXiv 2406.00011, in the form that
    PAD's authors compare with (arXiv 2412.04107): items in the place of samples, two ID tables and
    two MLPs of the frozen text.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from recbole_precise.models.experts import ExpertsRecommender, Step
from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.losses import alignment_rows, info_nce
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.nn.towers import DisentangledTower, ItemTower


class DisCo(ExpertsRecommender):
    """One encoder over items of four parts, and three terms beside the recommendation loss.

    Sufficiency: each part alone must recommend. Disentanglement: what is one side's alone must not
    be what it shares (squared cosine). Sharing: what both share must agree (InfoNCE). How the paper
    estimates mutual information for click logs does not carry over to items; these three forms are
    ours.
    """

    made_of = ("aligned",)

    def build_tower(self, name: str, text: FrozenText | None, dataset) -> ItemTower:
        """Build two tables and two views of the text, four projections, one layer."""
        assert text is not None, "items have a part of the text"
        return DisentangledTower(
            [self.id_table(dataset) for _ in range(2)],
            [self.text_view(text, dataset) for _ in range(2)],
        )

    def next_item_loss(
        self, items: GatedItems, states: Tensor, vectors: Tensor, step: Step
    ) -> Tensor:
        """With the three terms, over the step's distinct items."""
        config = self.config
        tower = items.towers["aligned"]
        assert isinstance(tower, DisentangledTower)
        loss = super().next_item_loss(items, states, vectors, step)
        for part in tower.parts(step.wanted).split(1, dim=1):
            loss = loss + config["sufficiency_weight"] * super().next_item_loss(
                items, states, part, step
            )
        id_unique, id_shared, text_unique, text_shared = tower.parts(
            alignment_rows(step.items())
        ).unbind(1)
        overlap = F.cosine_similarity(id_unique, id_shared).square().mean()
        overlap = overlap + F.cosine_similarity(text_unique, text_shared).square().mean()
        agreement = info_nce(
            id_shared, text_shared, config["infonce_temperature"], config["infonce_symmetric"]
        )
        return loss + config["disentangle_weight"] * overlap + config["sharing_weight"] * agreement
