"""GRU4Rec trained at all positions with the full softmax.

Reference:
    Balazs Hidasi et al. "Session-based Recommendations with Recurrent Neural Networks." ICLR 2016,
    arXiv 1511.06939, in the form of RecBole: one linear map from the GRU's states to the width of
        the items.
"""

from __future__ import annotations

from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.recurrent import Recurrent
from recbole_precise.nn.sequence_encoders import PackedEncoder


class GRU4RecCE(NextItemRecommender):
    """RecBole's GRU4Rec, weight for weight, trained on windows."""

    def build_sequence_encoder(self, config) -> PackedEncoder:
        """Build the GRU of `hidden_size`."""
        return Recurrent(
            self.width,
            hidden_size=config["hidden_size"],
            n_layers=config["n_layers"],
            dropout=config["hidden_dropout_prob"],
        )
