"""For every user the users who read alike: their texts are near (LLM-ESR, arXiv 2405.20646)."""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from recbole_precise.nn.nearest import nearest


class SimilarUsers:
    """The training sequences of the users who are nearest to a user.

    Nearest by the mean of their items' text vectors.

    Args:
        items, offsets, user_ids: the training sequences: user_ids[r] has items[offsets[r] :
            offsets[r + 1]].
        vectors: float `[items of the catalogue, hidden]`, of texts; zeros without text.
        count: users that are near. length: of a sequence at most; its last items are kept.
    """

    def __init__(
        self,
        items: np.ndarray,
        offsets: np.ndarray,
        user_ids: np.ndarray,
        vectors: np.ndarray,
        count: int,
        length: int,
    ) -> None:
        self.items = np.asarray(items, dtype=np.int64)
        self.offsets = np.asarray(offsets, dtype=np.int64)
        self.users = np.asarray(user_ids, dtype=np.int64)
        self.length = length
        taken = sp.csr_matrix(
            (np.ones(len(self.items), dtype=np.float32), self.items, self.offsets),
            shape=(len(self.users), len(vectors)),
        )
        self.near = nearest(taken @ np.asarray(vectors, dtype=np.float32), count)
        self.row_of = np.full(int(self.users.max(initial=0)) + 1, -1)
        self.row_of[self.users] = np.arange(len(self.users))

    def sequences(self, users: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Find what the users near to `users [batch]` took in training, each of them once.

        Returns: int64 (right-padded items `[n, length]`, lengths `[n]`, their users `[n]`; and for
            every near pair, owner `[m]`: which of
        `users`, and place `[m]`: which of the n).
        """
        asked = users.cpu().numpy()
        row = np.where(
            asked < len(self.row_of), self.row_of[np.minimum(asked, len(self.row_of) - 1)], -1
        )
        near = np.where(row[:, None] >= 0, self.near[row], -1)
        owner, _ = np.nonzero(near >= 0)
        near, pair = np.unique(near[near >= 0], return_inverse=True)
        end = self.offsets[near + 1]
        lengths = np.minimum(np.diff(self.offsets)[near], self.length)
        place = np.arange(self.length)
        items = np.where(
            place < lengths[:, None],
            self.items[np.minimum((end - lengths)[:, None] + place, len(self.items) - 1)],
            0,
        )
        device = users.device
        return (
            torch.from_numpy(items).to(device),
            torch.from_numpy(lengths).to(device),
            torch.from_numpy(self.users[near]).to(device),
            torch.from_numpy(owner).to(device),
            torch.from_numpy(pair.reshape(-1)).to(device),
        )
