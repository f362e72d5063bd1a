"""What is known of two items without training, added to a score when items are ranked.

docs/methods.md 6.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor


class Neighbours:
    """A bonus for items that are near the history's last item.

    Near in training sequences, or in the meaning of their texts.

    Transitions: `weight * log1p(sum over k of n_k(a, b) / k)` for single pairs, n_k(a, b) being how
    often b comes k places after a in a training sequence. Texts: `weight * cos(a, b)` of mean token
    states, an inner product, so that it joins the two vectors of a score and costs no second
    search.
    """

    def __init__(self, transitions: sp.csr_matrix | None, texts: np.ndarray | None) -> None:
        """Keep the two kinds of bonus.

        Args:
            transitions: float `[items, items]`, the bonus of b after a at (a, b), with its weight.
            texts: float `[items, d]` whose inner products are the bonus, with its weight; zeros for
                an item without text.
        """
        self.transitions = None if transitions is None else transitions.tocsr().astype(np.float32)
        self.texts = None if texts is None else torch.as_tensor(np.asarray(texts, dtype=np.float32))

    def pairs(self, last: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
        """(row, item, value) of what follows the items `last [batch]`; None without transitions."""
        if self.transitions is None:
            return None
        some = self.transitions[last.cpu().numpy()].tocoo()
        return (
            torch.as_tensor(some.row.astype(np.int64), device=last.device),
            torch.as_tensor(some.col.astype(np.int64), device=last.device),
            torch.as_tensor(some.data, device=last.device),
        )

    def of_items(self, vectors: Tensor) -> Tensor:
        """Scoring vectors of the catalogue `[items, width]`, widened by the texts."""
        if self.texts is None:
            return vectors
        return torch.cat([vectors, self._texts(self.texts, vectors)], 1)

    def of_users(self, vectors: Tensor, last: Tensor) -> Tensor:
        """Widen scoring vectors of users `[batch, width]` by the text of each one's last item."""
        if self.texts is None:
            return vectors
        return torch.cat([vectors, self._texts(self.texts, vectors)[last]], 1)

    def extend(self, count: int, texts: np.ndarray | None) -> None:
        """Add `count` items that no training sequence holds.

        `texts [count, d]` as in the constructor.
        """
        if self.transitions is not None:
            size = self.transitions.shape[0] + count
            self.transitions.resize((size, size))
        if self.texts is not None:
            self.texts = torch.cat(
                [self.texts, torch.as_tensor(texts, dtype=torch.float32).to(self.texts)]
            )

    def _texts(self, texts: Tensor, like: Tensor) -> Tensor:
        """Bring the texts to the device of `like` once, and to its type."""
        if texts.device != like.device:
            texts = self.texts = texts.to(like.device)
        return texts.to(like.dtype)
