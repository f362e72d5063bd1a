"""An item as a user tower sees it when it is the whole history."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.sequence_encoders import PackedEncoder

_ITEMS_AT_ONCE = 8192


class OneItemTower:
    """LEARN's item tower (arXiv 2405.03988): the user tower on a sequence of one item.

    It holds no weights of its own.

    Takes the place of an item encoder where vectors are scored.
    """

    def __init__(self, items: ItemEncoder, sequences: PackedEncoder) -> None:
        self.items = items
        self.sequences = sequences

    @property
    def parts(self) -> nn.ModuleList:
        """Parts of the item encoder."""
        return self.items.parts

    def _states(self, vectors: Tensor) -> Tensor:
        return self.sequences.packed_states(
            vectors[:, None], torch.ones(len(vectors), 1, dtype=torch.bool, device=vectors.device)
        )

    def __call__(self, item_ids: Tensor) -> Tensor:
        """int64 `item_ids [n]` -> `[n, width]`."""
        return self._states(self.items(item_ids))

    def all_items(self) -> Tensor:
        """Vectors of the whole catalogue: `[items, width]`."""
        return torch.cat(
            [self._states(some) for some in self.items.all_items().split(_ITEMS_AT_ONCE)]
        )
