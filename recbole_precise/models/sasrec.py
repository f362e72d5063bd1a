"""SASRec under two losses: controls beside SASRec as its authors trained it.

PRECISE's and PAD's tables want them.

Reference:
    Wang-Cheng Kang and Julian McAuley. "Self-Attentive Sequential Recommendation." ICDM 2018, arXiv
    1808.09781.
"""

from __future__ import annotations

from torch import Tensor

from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.query_norm import QueryNormTransformer
from recbole_precise.nn.sequence_encoders import PackedEncoder


class SASRecCE(NextItemRecommender):
    """SASRec with the full softmax at all positions, trained on windows.

    RecBole's SASRec, weight for weight.

    With `decouple_tables` (SASRec-Decoupled) the table that the encoder reads is not the one that
    is scored, as in DARE (Ningya Feng et al. "Long-Sequence Recommendation Models Need Decoupled
    Embeddings." ICLR 2025, arXiv 2410.02604): the control for what tables alone bring, without
    text.
    """


class SASRecSampled(NextItemRecommender):
    """SASRec as HSTU's authors run it beside HSTU.

    arXiv 2402.17152 and their public configurations.

    Items scaled by the root of their width, the original block (the query alone is normalised),
    cosine over a temperature of 0.05, and a softmax against uniform negatives, of which those that
    are the target do not compete.
    """

    def build_sequence_encoder(self, config) -> PackedEncoder:
        """Build the original blocks; one dropout for all places."""
        return QueryNormTransformer(
            self.width,
            self.max_seq_length,
            n_layers=config["n_layers"],
            n_heads=config["n_heads"],
            inner_size=config["inner_size"] or self.width,
            dropout=config["hidden_dropout_prob"],
        )

    def forbidden(self, batch: NextItems, negatives: Tensor) -> Tensor:
        """Forbid the target alone: other items of the row do compete."""
        return batch.targets[batch.trained][:, None] == negatives
