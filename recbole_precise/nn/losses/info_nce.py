"""InfoNCE: each row of one set should be nearest to its own partner in the other.

PAD Sec. 4.5, Eq. 16; CTRL, arXiv 2306.02841.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def similarities(x: Tensor, y: Tensor) -> Tensor:
    """`[n, m]` of every row of x with every row of y.

    Cosines for `x [n, width]` and `y [m, width]`. For rows of k sub-vectors, `[n, k, width]` and
    `[m, k, width]`, CTRL's fine-grained form: each sub-vector of x takes the largest cosine among
    those of y, and these are summed; it is not symmetric in x and y.
    """
    x = F.normalize(x, dim=-1)
    y = F.normalize(y, dim=-1)
    if x.dim() == 2:
        return x @ y.t()
    flat = y.flatten(0, 1).t()
    first, *others = ((x[:, a] @ flat).view(len(x), len(y), -1).amax(2) for a in range(x.shape[1]))
    return sum(others, start=first)


def info_nce(x: Tensor, y: Tensor, temperature: float = 0.1, symmetric: bool = False) -> Tensor:
    """Compute InfoNCE: the mean over i of `-log softmax_j(similarity(x_i, y_j) / temperature)`.

    Taken at j = i: the other rows of y are the negatives.

    Unlike MMD it pairs: row i of x belongs to row i of y. A repeated item is a negative of itself,
    so rows should be unique items (`alignment_rows`). PAD's released code gives it the weight 0.01;
    0.1 is its library's temperature.

    Args:
        x, y: `[n, width]`, or `[n, k, width]` for rows of k sub-vectors; see `similarities`.
            temperature: positive.
        symmetric: the mean of both directions (CTRL's) instead of x to y alone (PAD's).

    Returns: scalar. Raises ValueError for shapes that differ or a temperature that is not positive.
    """
    if x.dim() not in (2, 3) or x.shape != y.shape or not len(x):
        raise ValueError(
            "x and y must be [n, width] of equal shape with at least one row, not "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, not {temperature}")
    own = torch.arange(len(x), device=x.device)
    loss = F.cross_entropy(similarities(x, y) / temperature, own)
    if not symmetric:
        return loss
    return (loss + F.cross_entropy(similarities(y, x) / temperature, own)) / 2
