"""ID vectors of rare items, drawn towards those of the items whose texts are nearest.

docs/methods.md 1.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from recbole_precise.nn.item_encoders import IdEncoder, Words
from recbole_precise.nn.nearest import nearest
from recbole_precise.nn.text_vectors import FrozenText, pooled_states

#: First values of the shares before the sigmoid, from the most frequent bucket to the rarest: 2%
#: to a half.
_FIRST = (-4.0, 0.0)


class SmoothedIdEncoder(IdEncoder):
    """`(1 - s_b) E[v] + s_b mean of E[n]` over the trained items n nearest to v by text.

    s_b is learned for v's frequency bucket b.

    A short form of UniRec's item enhancement (CIKM 2024, arXiv 2406.18470). An item without
    training events keeps to its own row while others are trained, and stands for the mean of its
    neighbours when items are ranked; without a text it is what `unseen` says.

    Args:
        text: vectors of all items, kept to find the neighbours of new ones. neighbours: how many.
            bucket: int64 `[items]`, 1 (most frequent) and on, 0 for the padding. The others as for
                `IdEncoder`.
    """

    near: Tensor
    bucket: Tensor

    def __init__(
        self,
        n_items: int,
        width: int,
        std: float,
        dropout: float,
        unseen: str,
        trained: Tensor,
        *,
        text: FrozenText,
        neighbours: int,
        bucket: Tensor,
    ) -> None:
        super().__init__(n_items, width, std, dropout, unseen, trained)
        self.share = nn.Parameter(torch.linspace(*_FIRST, int(bucket.max()) + 1))
        self.text = text
        self.count = neighbours
        vectors = text.vectors.numpy()
        allowed = self.trained.numpy()
        self.register_buffer(
            "near",
            torch.from_numpy(nearest(vectors, neighbours, allowed=allowed)),
            persistent=False,
        )
        self.register_buffer("bucket", bucket, persistent=False)

    def know(self, trained: Tensor, bucket: Tensor | None = None) -> None:
        """Replace the trained items, and with them the neighbours and buckets.

        Args:
            trained: bool `[n_items]`.
            bucket: int64 `[n_items]`, as in the constructor, of as many buckets at most; None:
                the buckets stay as they are.
        """
        super().know(trained)
        near = nearest(
            self.text.vectors.cpu().numpy(), self.count, allowed=self.trained.cpu().numpy()
        )
        self.near = torch.from_numpy(near).to(self.near)
        if bucket is not None:
            self.bucket = bucket.to(self.bucket)

    def values(self, item_ids: Tensor | None) -> Tensor:
        """Mix the trained items' own rows with what they borrow."""
        ids = (
            torch.arange(len(self.near), device=self.near.device) if item_ids is None else item_ids
        )
        own = super().values(item_ids)
        mean, some = self._neighbours(ids)
        share = torch.sigmoid(self.share)[self.bucket[ids]] * (some & self.trained[ids])
        return own + share[:, None] * (mean - own)

    def _neighbours(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return the mean row of the neighbours `[n, width]` and whether there are any `[n]`."""
        near = self.near[ids]
        known = near >= 0
        rows = self.table(near.clamp_min(0)) * known[..., None]
        return rows.sum(1) / known.sum(1).clamp_min(1)[:, None], known.any(1)

    def _neutral(self, rows: Tensor, item_ids: Tensor | None) -> Tensor:
        ids = torch.arange(len(rows), device=rows.device) if item_ids is None else item_ids
        mean, some = self._neighbours(ids)
        return torch.where(
            (some & ~self.trained[ids])[:, None], mean, super()._neutral(rows, item_ids)
        )

    def extend(self, count: int, words: Words | None = None) -> Tensor:
        """Add items that were never trained, from their token states; see `TextEncoder.extend`."""
        assert words is not None, "neighbours of new items are found by their texts"
        states, _, offsets = words
        allowed = self.trained.cpu().numpy()
        before = len(self.near)
        with_text = self.text.extend(pooled_states(states, offsets))
        super().extend(count)
        vectors = self.text.vectors.cpu().numpy()
        near = torch.from_numpy(
            nearest(vectors[before:], self.count, among=vectors[:before], allowed=allowed)
        ).to(self.near)
        self.near = torch.cat([self.near, near])
        self.bucket = torch.cat(
            [self.bucket, self.bucket.new_full((len(near),), int(self.bucket.max()))]
        )
        return with_text
