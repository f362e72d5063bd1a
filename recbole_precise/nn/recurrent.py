"""A GRU over item vectors (GRU4Rec.

Hidasi et al. 2016, arXiv 1511.06939), with a linear map back to the width of the items.
"""

from __future__ import annotations

from torch import Tensor, nn

from recbole_precise.nn.dropout import Dropout
from recbole_precise.nn.sequence_encoders import PackedEncoder


class Recurrent(PackedEncoder):
    """Dropout, GRU layers without bias and a linear map, as RecBole's GRU4Rec has them.

    Args:
        width: of item vectors and states. hidden_size: of the GRU. n_layers: GRU layers. dropout:
            on the input.
    """

    causal = True
    draws_weights = True

    def __init__(self, width: int, *, hidden_size: int, n_layers: int, dropout: float) -> None:
        super().__init__()
        self.dropout = Dropout(dropout)
        self.gru = nn.GRU(width, hidden_size, n_layers, bias=False, batch_first=True)
        self.out = nn.Linear(hidden_size, width)
        for name, weight in self.gru.named_parameters():
            if name.startswith("weight"):
                nn.init.xavier_uniform_(weight)

    def packed_states(self, item_vectors: Tensor, mask: Tensor, **context: Tensor) -> Tensor:
        """States of the real positions alone, row by row: `[positions, width]`."""
        # rows are padded on the right: no real position comes after padding
        return self.out(self.gru(self.dropout(item_vectors))[0][mask])
