"""gSASRec: SASRec with many negatives and a calibrated binary cross entropy.

Reference:
    Aleksandr Petrov and Craig Macdonald. "gSASRec: Reducing Overconfidence in Sequential
    Recommendation Trained with Negative Sampling." RecSys 2023, arXiv 2308.07192.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_precise.models.base import require
from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.losses import NegativeSampler, gbce_beta, gbce_loss
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.scaled_input import unpacked


class GSASRec(NextItemRecommender):
    """The encoder of SASRec-CE under gBCE, so that the loss alone differs.

    With `n_negatives` uniform negatives a position.

    `share_negatives` draws them once for all positions of a row, which a product of matrices
    scores; the authors draw for each position.
    """

    def build_objective(self, config, dataset) -> None:
        """Uniform negatives and the weight of the positive that they ask for."""
        self.full_softmax = False
        counts = torch.as_tensor(require(dataset, "train_item_counts", config["model"])())
        self.sampler = NegativeSampler(
            self.n_items,
            config["n_negatives"],
            "uniform",
            counts,
            getattr(dataset, "held_out", None),
        )
        drawn = self.n_items - 1 if self.sampler.kept is None else len(self.sampler.kept)
        self.beta = gbce_beta(config["n_negatives"], drawn, config["gbce_t"])
        self.share_negatives = config["share_negatives"]

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """GBCE at the trained positions; a negative that is the target itself does not count."""
        states = self.score.user(states)
        targets = batch.targets[batch.trained]
        row = batch.trained.nonzero()[:, 0]
        draws = len(batch.mask) if self.share_negatives else len(targets)
        count = self.sampler.n_negatives
        negatives = self.sampler.uniform(draws * count, targets.device).view(draws, count)
        vectors, place = self.vectors_of(torch.cat([targets, negatives.flatten()]))
        others = vectors[place[len(targets) :]].view(draws, count, -1)
        if self.share_negatives:
            negatives = negatives[row]
            scores = (unpacked(states, batch.trained) @ others.transpose(1, 2))[batch.trained]
        else:
            scores = torch.einsum("pw,pkw->pk", states, others)
        positive = (states * vectors[place[: len(targets)]]).sum(-1)
        recall = self.recalled(batch)
        if recall is not None:
            positive = positive + recall.at(targets[:, None])[:, 0]
            scores = scores + recall.at(negatives)
        return gbce_loss(positive, scores, self.beta, negatives == targets[:, None])
