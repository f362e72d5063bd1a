"""Several experts' scores of an item, weighed by a gate and folded into one inner product.

PAD, Sec. 3.3; docs/pad.md.

Expert k scores item v for a user as `u_k . x_k(v)`, and the model as `sum_k w_k(b(v)) u_k .
x_k(v)`, b(v) being the item's frequency bucket. Where the weights depend on the bucket alone, this
is `[u_1; ..; u_K] . [w_1 x_1(v); ..; w_K x_K(v)]`. Where they depend on the user too, the user's
vector has such a block for each bucket and the item's is zero outside its own.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from recbole_precise.nn.gates import ExpertOutputGate, TableGate
from recbole_precise.nn.item_encoders import Words, members
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.nn.towers import ItemTower

_LOGITS_BYTES = 64 << 20  # of one block of logits where weights depend on the user


class GatedItems(nn.Module):
    """Item towers, one an expert, behind a gate.

    Args:
        towers: name -> tower with `rows(item_ids | None) -> [n, width]`; all that is trained at any
            time.
        experts: names of those that the gate weighs, in its order.
        gate: of `nn/gates.py`. bucket: int64 `[items]`, 0 for the padding, 1 (most frequent) ..
            n_buckets.
        text: what the towers read; None when none does.
        id_dropout: share of items whose ID vectors are left out of a training step, of all experts
            at once, where texts speak too: an item's text must then carry it, as it must carry a
                new item.

    Attributes:
        active: names of the experts that make the score now. One alone speaks without a gate.
    """

    bucket: Tensor
    active: tuple[str, ...]

    def __init__(
        self,
        towers: Mapping[str, ItemTower],
        experts: tuple[str, ...],
        gate: TableGate | ExpertOutputGate,
        bucket: Tensor,
        text: FrozenText | None,
        id_dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.towers = nn.ModuleDict(towers)
        self.gate = gate
        self.text = text
        self.experts = self.active = tuple(experts)
        self.id_dropout = id_dropout
        self.n_buckets = int(bucket.max()) if len(bucket) else 0
        self.register_buffer("bucket", bucket, persistent=False)

    @property
    def gated(self) -> bool:
        """Return whether all experts are active, so that the gate weighs them."""
        return self.active == self.experts

    @property
    def by_user(self) -> bool:
        """Whether the weights depend on the user."""
        return self.gated and isinstance(self.gate, ExpertOutputGate)

    def stacked(self, item_ids: Tensor | None) -> Tensor:
        """Encode `item_ids [n]`, or all items for None, by the active experts.

        Returns:
            `[n, experts, width]`.
        """
        device = self.bucket.device
        absent = None
        if self.training and self.id_dropout and self.text is not None and self.active != ("id",):
            absent = (
                torch.rand(len(self.bucket) if item_ids is None else len(item_ids), device=device)
                < self.id_dropout
            )
        active = members((self.towers[name] for name in self.active), ItemTower)
        # too small a share of a step to gain from bf16, as in `ItemEncoder`
        with torch.autocast(device_type=device.type, enabled=False):
            return torch.stack([tower.rows(item_ids, absent) for tower in active], 1)

    def weights(self, bucket: Tensor, states: Tensor | None = None) -> Tensor:
        """Weights `[..., experts]` for int64 `bucket [...]`.

        `states` as for the gate, needed where weights depend on the user.
        """
        if not self.gated:
            return torch.ones((*bucket.shape, len(self.active)), device=bucket.device)
        return self.gate(bucket, states)

    def user_weights(self, states: Tensor) -> Tensor:
        """Weigh the experts for each user and bucket, where weights depend on the user.

        Args:
            states: `[users, experts, width]`.

        Returns:
            `[users, n_buckets + 1, experts]`.
        """
        assert isinstance(self.gate, ExpertOutputGate), "weights do not depend on the user"
        return self.gate.table(states)

    def fold_items(self, vectors: Tensor, bucket: Tensor) -> Tensor:
        """Fold items to one vector each, for inner products with `fold_users`.

        Takes `vectors [n, experts, width]` of items of `bucket [n]`.
        """
        if not self.by_user:
            return (vectors * self.weights(bucket)[..., None]).flatten(1)
        blocks = vectors.new_zeros(len(vectors), self.n_buckets + 1, vectors[0].numel())
        blocks[torch.arange(len(vectors), device=vectors.device), bucket] = vectors.flatten(1)
        return blocks[:, 1:].flatten(1)

    def fold_users(self, states: Tensor) -> Tensor:
        """`states [n, experts, width]` of users -> one vector each."""
        if not self.by_user:
            return states.flatten(1)
        return (self.user_weights(states)[:, 1:, :, None] * states[:, None]).flatten(1)

    def pair_scores(self, states: Tensor, vectors: Tensor, bucket: Tensor) -> Tensor:
        """Score m items for each of n users: `[n, m]`.

        Takes `states [n, experts, width]`, `vectors [n, m, experts, width]` and `bucket [n, m]`.
        """
        return (torch.einsum("nkd,nmkd->nmk", states, vectors) * self.weights(bucket, states)).sum(
            -1
        )

    def all_items(self) -> Tensor:
        """Folded vectors of the whole catalogue `[items, folded width]`."""
        return self.fold_items(self.stacked(None), self.bucket)

    def forward(self, item_ids: Tensor) -> Tensor:
        """int64 `item_ids [...]` -> folded vectors `[..., folded width]`."""
        unique, inverse = torch.unique(item_ids, return_inverse=True)
        return self.fold_items(self.stacked(unique), self.bucket[unique])[inverse]

    def extend(self, count: int, vectors: np.ndarray, words: Words) -> Tensor:
        """Add `count` items that were never trained, in the rarest bucket, by their texts.

        Takes their vectors `[count, hidden]` and their tokens.

        Returns: bool `[count]`, which of them have a text that a tower reads.
        """
        with_text = (
            torch.zeros(count, dtype=torch.bool) if self.text is None else self.text.extend(vectors)
        )
        for tower in members(self.towers.values(), ItemTower):
            readable = tower.extend(count, None if self.text is None else words)
            with_text = with_text if readable is None else readable
        self.bucket = torch.cat([self.bucket, self.bucket.new_full((count,), self.n_buckets)])
        return with_text


def user_gated_softmax_loss(
    items: GatedItems, states: Tensor, vectors: Tensor, bucket: Tensor, targets: Tensor
) -> Tensor:
    """Compute the cross entropy over the catalogue where weights depend on the user.

    The mean over rows; row 0 of the catalogue is no class.

    Costs what the folded form costs where they do not: each bucket's items meet the users' vectors
    for that bucket.

    Args:
        states: `[n, experts, width]`. vectors: `[items, experts, width]`. bucket: int64 `[items]`.
            targets: int64 `[n]`.
    """
    flat = vectors.flatten(1)
    groups = [torch.nonzero(bucket == b).squeeze(1) for b in range(items.n_buckets + 1)]
    place = torch.argsort(torch.cat(groups[1:] + groups[:1]))

    def block(some: Tensor, wanted: Tensor) -> Tensor:
        weights = items.user_weights(some)
        parts = [
            (weights[:, b, :, None] * some).flatten(1) @ flat[groups[b]].t()
            for b in range(1, items.n_buckets + 1)
        ]
        parts.append(some.new_full((len(some), len(groups[0])), -torch.inf))
        return F.cross_entropy(torch.cat(parts, 1), place[wanted], reduction="sum")

    step = max(1, _LOGITS_BYTES // (4 * len(vectors)))
    total = states.new_zeros(())
    for some, wanted in zip(states.split(step), targets.split(step)):
        total = total + checkpoint(block, some, wanted, use_reentrant=False)
    return total / max(len(states), 1)
