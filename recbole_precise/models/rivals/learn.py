"""LEARN: frozen content vectors of a language model, and no ID at all.

Under a causal transformer.

Reference:
    Jian Jia et al. "LEARN: Knowledge Adaptation from Large Language Model to Recommendation for
    Practical Industrial Application." AAAI 2025, arXiv 2405.03988.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.models.text_items import frozen_text_items
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.item_tower import OneItemTower
from recbole_precise.nn.losses import sampled_softmax_loss
from recbole_precise.nn.losses.sampled_softmax import own_item_mask
from recbole_precise.nn.next_item import NextItems, later_targets
from recbole_precise.nn.scaled_input import unpacked
from recbole_precise.nn.sequence_encoders import PackedEncoder, Projected


class LEARN(NextItemRecommender):
    """A user tower over content vectors, and the same weights on one item as item tower.

    User tower: content vectors of the history, a linear map, a causal transformer, a projection.

    Loss (dense all-action): from some positions of a row several of the items that come later, not
    the next alone, against the targets of other rows. The paper's sizes are not public; those here
    are small.
    """

    def build_items(self, config, dataset) -> ItemEncoder:
        """Build the items from the text alone: frozen vectors behind a linear map."""
        return frozen_text_items(self, config, dataset, config["embedding_size"])

    def build_sequence_encoder(self, config) -> PackedEncoder:
        """Build a causal transformer and the online projection."""
        return Projected(super().build_sequence_encoder(config), self.width)

    def build_objective(self, config, dataset) -> None:
        """Draw positions and targets of a row at each step."""
        self.full_softmax = False
        self.learn_positions = config["learn_positions"]
        self.learn_targets = config["learn_targets"]

    @property
    def target_items(self) -> OneItemTower:
        """The item tower, which has no weights of its own."""
        return OneItemTower(self.item_encoder, self.sequence_encoder)

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """Compute the softmax of each drawn target against all targets drawn in the batch.

        But those of the row's own items.
        """
        row, position, targets = later_targets(batch, self.learn_positions, self.learn_targets)
        pool = torch.unique(targets)
        vectors = self.score.item(self.target_items(pool))
        recall = self.recalled(batch, row, position)
        return sampled_softmax_loss(
            self.score.user(unpacked(states, batch.trained)[row, position]),
            vectors[torch.searchsorted(pool, targets)],
            vectors,
            forbidden=own_item_mask(batch.item_seq, batch.targets, pool)[row],
            bonus=None if recall is None else (recall.at(targets[:, None])[:, 0], recall.at(pool)),
        )
