"""InfoNCE: each row of one set should be nearest to its own partner in the other (PAD Sec. 4.5, Eq. 16)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def info_nce(x: Tensor, y: Tensor, temperature: float = 0.1) -> Tensor:
    """Mean over i of `-log softmax_j(cos(x_i, y_j) / temperature)` at j = i: the other rows of y are the negatives, in one direction.

    Unlike MMD it pairs: row i of x belongs to row i of y. A repeated item is a negative of itself, so rows should be
    unique items (`alignment_rows`). PAD's released code gives it the weight 0.01; 0.1 is its library's temperature.

    Args: x, y: `[n, width]`. temperature: positive.

    Returns: scalar. Raises ValueError for shapes that differ or a temperature that is not positive.
    """
    if x.dim() != 2 or x.shape != y.shape or not len(x):
        raise ValueError(f"x and y must be [n, width] of equal shape with at least one row, not {tuple(x.shape)} and {tuple(y.shape)}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    cosines = F.normalize(x, dim=1) @ F.normalize(y, dim=1).t()
    return F.cross_entropy(cosines / temperature, torch.arange(len(x), device=x.device))
