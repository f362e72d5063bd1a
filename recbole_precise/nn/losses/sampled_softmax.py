"""Sampled softmax with one pool of negatives for the step, and the logQ corrections."""

from __future__ import annotations

import torch
from torch import Tensor

SOURCES = ("other_sequences", "uniform", "mixed")
LOGQ = ("none", "standard", "corrected")


class NegativeSampler:
    """The step's pool of negative items and their log probabilities (docs/methods.md 3).

    Args:
        n_items: catalogue rows with row 0 = padding.
        n_negatives: size of the pool.
        source: `other_sequences` (items of the batch, drawn as often as they occur in it),
            `uniform` over the catalogue, or `mixed` (half and half).
        item_counts: int `[items]` training frequencies: the expected distribution of in-batch
            draws, needed by the logQ correction of `other_sequences` and `mixed`.
        held_out: bool `[items]`, items that are never drawn because they do not exist for the
            training; None: all are drawn.
    """

    def __init__(
        self,
        n_items: int,
        n_negatives: int,
        source: str,
        item_counts: Tensor,
        held_out: Tensor | None = None,
    ) -> None:
        if source not in SOURCES:
            raise ValueError(f"negative_source must be one of {SOURCES}, not {source!r}")
        self.n_items = n_items
        self.n_negatives = n_negatives
        self.source = source
        counts = item_counts.double().clamp_min(0)
        counts[0] = 0
        popular = counts / counts.sum().clamp_min(1)
        drawable = torch.ones(n_items, dtype=torch.bool) if held_out is None else ~held_out
        drawable[0] = False
        self.kept = None if held_out is None else torch.nonzero(drawable).squeeze(1)
        uniform = drawable.double() / drawable.sum().clamp_min(1)
        share = {"other_sequences": 1.0, "uniform": 0.0, "mixed": 0.5}[source]
        mixture = share * popular + (1 - share) * uniform
        # an item of the batch without training events (never the case on RecBole's splits) still
        # has a finite value
        self.log_probability = mixture.clamp_min(1e-12).log().float()

    def draw(self, batch_items: Tensor) -> Tensor:
        """Pool of negatives, int64 `[n_negatives]`, from torch's global generator.

        Args:
            batch_items: int64 `[m]`, all real item ids of the batch's sequences with repeats.
        """
        n_batch = {
            "other_sequences": self.n_negatives,
            "uniform": 0,
            "mixed": self.n_negatives // 2,
        }[self.source]
        device = batch_items.device
        drawn = [self.uniform(self.n_negatives - n_batch, device)]
        if n_batch:
            drawn.append(batch_items[torch.randint(0, len(batch_items), (n_batch,), device=device)])
        return torch.cat(drawn)

    def uniform(self, count: int, device: torch.device) -> Tensor:
        """int64 `[count]`, each of the items that can be drawn as likely as the others."""
        if self.kept is None:
            return torch.randint(1, self.n_items, (count,), device=device)
        self.kept = self.kept.to(device)
        return self.kept[torch.randint(len(self.kept), (count,), device=device)]


def own_item_mask(item_seq: Tensor, targets_by_row: Tensor, negatives: Tensor) -> Tensor:
    """Mark negatives that occur in the row's own sequence or among its targets.

    bool `[batch, negatives]`.

    Args:
        item_seq: int64 `[batch, length]`; targets_by_row: int64 `[batch, length]`; negatives: int64
            `[negatives]`.
    """
    own = torch.cat([item_seq, targets_by_row], 1).sort(1).values
    wanted = negatives.expand(len(own), -1).contiguous()
    at = torch.searchsorted(own, wanted).clamp_max(own.shape[1] - 1)
    return own.gather(1, at) == wanted


def sampled_softmax_loss(
    states: Tensor,
    target_vectors: Tensor,
    negative_vectors: Tensor,
    *,
    forbidden: Tensor | None = None,
    log_probability: Tensor | None = None,
    logq: str = "none",
    bonus: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """Compute the mean of -log softmax of the target against the pool of negatives.

    PRECISE Sec. IV-C, Eq. 5.

    `logq="standard"` subtracts log Q from the negatives' logits, which is right only up to the
    target, present with probability 1. `logq="corrected"` (Zhelnin et al. 2025, arXiv 2507.09331)
    samples the competitors of the target alone: the loss is (1 - p) (logsumexp of the corrected
    negatives - target logit) with p, the target's estimated probability, detached. With the whole
    catalogue as pool its gradient is exactly that of the full softmax.

    Args:
        states: `[positions, width]`. target_vectors: `[positions, width]`. negative_vectors:
            `[negatives, width]`.
        forbidden: bool `[positions, negatives]`, True where a negative must not compete.
        log_probability: `[negatives]`, log Q of each negative; needed unless `logq` is `none`.
        logq: `none`, `standard` or `corrected`.
        bonus: what is added to the scores of the targets `[positions]` and of the negatives
            `[positions, negatives]`.

    Returns:
        scalar.
    """
    positive = (states * target_vectors).sum(-1)
    negative = states @ negative_vectors.t()
    if bonus is not None:
        positive = positive + bonus[0]
        negative = negative + bonus[1]
    if logq != "none":
        if log_probability is None:
            raise ValueError("logq needs log_probability")
        negative = negative - (
            log_probability + torch.log(torch.tensor(float(len(log_probability))))
        ).to(negative)
    if forbidden is not None:
        negative = negative.masked_fill(forbidden, -torch.inf)
    if logq == "corrected":
        usable = torch.ones_like(positive)
        if (
            forbidden is not None
        ):  # a position whose every negative is forbidden has nothing to learn from
            lonely = forbidden.all(1, keepdim=True)
            negative = negative.masked_fill(lonely, 0.0)
            usable = usable.masked_fill(lonely[:, 0], 0.0)
        gap = torch.logsumexp(negative, 1) - positive
        return (usable * torch.sigmoid(gap).detach() * gap).mean()
    return (torch.logsumexp(torch.cat([positive[:, None], negative], 1), 1) - positive).mean()
