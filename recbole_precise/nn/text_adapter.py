"""Frozen text vectors that know what is consumed together.

An adapter over them is trained before a model is (docs/methods.md 2).

The idea is LLM2Rec's (KDD 2025, arXiv 2506.21579), which trains a language model on what users
took; here a small layer behind one that stays as it is, so that vectors of all items, also of those
that nobody has taken yet, come out of their texts alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.evaluation.floors import Graph, window_edges
from recbole_precise.nn.losses.info_nce import similarities

_BLOCK = 16_384  # rows that go through the adapter at once
_PAIRS = 512  # of a step
_TINY = 1e-12


@dataclass(frozen=True)
class Tuning:
    """How an adapter is trained.

    `steps` steps of Adam on 512 pairs each, at a rate that falls linearly to 0.

    The defaults were chosen on Prime Pantry's validation targets, ranked by the cosine to the last
    item: with many more steps targets that training knows well still gain, and cold and unseen ones
    fall below the plain vectors.

    Attributes:
        window: places between two events of a sequence that still make them a pair. width: of the
            hidden layer.
    """

    window: int = 2
    temperature: float = 0.15
    steps: int = 400
    learning_rate: float = 0.003
    width: int = 512


class Pairs(NamedTuple):
    """Items that stood near each other in training.

    int64 `before [n]`, `after [n]`, no pair twice, and float64 `weight [n]`.
    """

    before: Tensor
    after: Tensor
    weight: Tensor


def nearby_pairs(
    items: np.ndarray, offsets: np.ndarray, has_text: np.ndarray, window: int
) -> Pairs:
    """Count the pairs of two different items with text, b after a.

    Weighed `sum over k = 1 .. window of n_k(a, b) / k`.

    n_k(a, b): how often b comes k places after a in a sequence, counted as the floors and the
    memory count it.

    Args:
        items, offsets: training sequences: user u's events are items[offsets[u] : offsets[u + 1]].
            has_text: bool `[items of the catalogue]`.
    """
    counts = window_edges(
        items,
        offsets,
        len(has_text),
        Graph(window=window, backward=0.0, distance="inverse", counts="raw"),
    ).tocoo()
    kept = (counts.row != counts.col) & has_text[counts.row] & has_text[counts.col]
    return Pairs(
        before=torch.from_numpy(counts.row[kept].astype("int64")),
        after=torch.from_numpy(counts.col[kept].astype("int64")),
        weight=torch.from_numpy(counts.data[kept].astype("float64")),
    )


def pair_loss(
    x: Tensor,
    y: Tensor,
    before: Tensor,
    after: Tensor,
    log_before: Tensor,
    log_after: Tensor,
    temperature: float,
) -> Tensor:
    """Compute a symmetric InfoNCE on cosines, corrected for popularity.

    The other pairs of the batch are the negatives.

    The mean over i of `-log softmax_j(cos(x_i, y_j) / temperature - log p(after_j))` at j = i, and
    of the same from y to x; the mean of both. A candidate that is the row's own item or its partner
    again is no negative.

    Args:
        x, y: `[n, width]`, vectors of the items `before [n]` and `after [n]`. log_before,
            log_after: `[n]`, log of how likely each is drawn.
    """
    logits = similarities(x, y) / temperature
    own = torch.arange(len(x), device=x.device)
    other = own[:, None] != own
    no_after = other & ((after == after[:, None]) | (after == before[:, None]))
    no_before = other & ((before == before[:, None]) | (before == after[:, None]))
    there = F.cross_entropy((logits - log_after).masked_fill(no_after, -torch.inf), own)
    back = F.cross_entropy((logits.t() - log_before).masked_fill(no_before, -torch.inf), own)
    return (there + back) / 2


class TextAdapter(nn.Module):
    """Map centred text vectors x to `size * stretch * (z + W2 gelu(W1 z + b) - shift)`.

    Here `z = x / size`. At first W2 is 0, which leaves x as it is. `size` is the root mean square
    of the catalogue's vectors when it was trained, and shift and stretch leave those centred and of
    that size. All of it are buffers: saved with a model and never trained with it.
    """

    inner: Tensor
    bias: Tensor
    outer: Tensor
    shift: Tensor
    size: Tensor
    stretch: Tensor

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        shapes = {
            "inner": (width, hidden),
            "bias": (width,),
            "outer": (hidden, width),
            "shift": (hidden,),
        }
        for name, shape in shapes.items():
            self.register_buffer(name, torch.zeros(shape))
        for name in ("size", "stretch"):
            self.register_buffer(name, torch.ones(()))

    @torch.no_grad()
    def forward(self, rows: Tensor) -> Tensor:
        """Tune `rows [n, hidden]`; same shape back."""
        # computed once, perhaps by whoever asks first inside a step
        with torch.autocast(device_type=rows.device.type, enabled=False):
            parts = [
                self.stretch
                * (_adapted(part / self.size, self.inner, self.bias, self.outer) - self.shift)
                for part in rows.split(_BLOCK)
            ]
            return self.size * torch.cat(parts)

    @torch.no_grad()
    def take(self, values: Mapping[str, Tensor]) -> bool:
        """Copy saved values.

        False, and nothing is changed, when they are not an adapter's of this shape.
        """
        own = self.state_dict()
        if any(
            name not in values or values[name].shape != tensor.shape for name, tensor in own.items()
        ):
            return False
        for name, tensor in own.items():
            tensor.copy_(values[name])
        return True

    def fit(self, rows: Tensor, pairs: Pairs, tuning: Tuning, seed: int) -> tuple[float, float]:
        """Train on pairs drawn by their weights, then set shift and stretch.

        Gives the loss of the first tenth of the steps, and of the last.

        Only `rows` of items in pairs are looked at, but for size, shift and stretch. The same
        arguments give the same values, whatever torch's global generator has drawn.

        Args:
            rows: `[items, hidden]`, centred; rows of zeros are items without text.

        Raises ValueError when there are no pairs, or when the loss is not finite.
        """
        if not len(pairs.weight):
            raise ValueError("there is no pair of two items with text to learn from")
        generator = torch.Generator().manual_seed(seed)
        some = rows[rows.abs().sum(1) > 0]
        with torch.no_grad():
            self.size.copy_(_root_mean_square(some))
            self.inner.copy_(
                torch.randn(self.inner.shape, generator=generator) / self.inner.shape[1] ** 0.5
            )
            for buffer in (self.bias, self.outer, self.shift):
                buffer.zero_()
            self.stretch.fill_(1.0)
        layers = (self.inner, self.bias, self.outer)
        inner, bias, outer = weights = [layer.clone().requires_grad_() for layer in layers]
        optimizer = torch.optim.Adam(weights, lr=tuning.learning_rate)
        log_before, log_after = (
            _log_share(part, pairs.weight, len(rows)) for part in (pairs.before, pairs.after)
        )
        reach = pairs.weight.cumsum(0)
        losses: list[float] = []
        for step in range(tuning.steps):
            optimizer.param_groups[0]["lr"] = tuning.learning_rate * (1 - step / tuning.steps)
            drawn = torch.searchsorted(
                reach,
                torch.rand(_PAIRS, dtype=reach.dtype, generator=generator) * reach[-1],
                right=True,
            ).clamp_max(len(reach) - 1)
            before = pairs.before[drawn]
            after = pairs.after[drawn]
            wanted = rows[torch.cat([before, after])] / self.size
            x, y = _adapted(wanted, inner, bias, outer).chunk(2)
            loss = pair_loss(
                x, y, before, after, log_before[before], log_after[after], tuning.temperature
            )
            losses.append(loss.item())
            if not np.isfinite(losses[-1]):
                raise ValueError(
                    f"the loss of the pairs is {losses[-1]} at step {step + 1}; a smaller "
                    "learning rate or a higher temperature may help"
                )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        with torch.no_grad():
            for layer, values in zip(layers, weights):
                layer.copy_(values)
            tuned = torch.cat(
                [
                    _adapted(part / self.size, self.inner, self.bias, self.outer)
                    for part in some.split(_BLOCK)
                ]
            )
            self.shift.copy_(tuned.mean(0))
            self.stretch.copy_(1 / _root_mean_square(tuned - self.shift))
        tenth = max(1, tuning.steps // 10)
        return float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))


def _adapted(rows: Tensor, inner: Tensor, bias: Tensor, outer: Tensor) -> Tensor:
    return rows + F.gelu(F.linear(rows, inner, bias)) @ outer.t()


def _root_mean_square(rows: Tensor) -> Tensor:
    return rows.pow(2).mean().sqrt().clamp_min(_TINY)


def _log_share(items: Tensor, weight: Tensor, n_items: int) -> Tensor:
    """float32 `[n_items]`: log of each item's share of the weight."""
    total = torch.zeros(n_items, dtype=weight.dtype).index_add_(0, items, weight)
    return (total / weight.sum()).clamp_min(_TINY).log().float()
