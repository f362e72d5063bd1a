"""HLLM in its cached form: an item model that is read once and never trained, and a user model from scratch.

Reference:
    Junyi Chen et al. "HLLM: Enhancing Sequential Recommendations via Hierarchical Large Language Models for Item and User
    Modeling." arXiv 2409.12740. There both models are language models and both are trained; what is here is the form for
    cached vectors, and its name in tables says so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_precise.model.next_item import NextItemRecommender
from recbole_precise.model.text_items import frozen_text_items
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.scoring import LearnedScale

_SAME = 0.99  # cosine above which a negative counts as the target itself


class HLLMCached(NextItemRecommender):
    """Frozen text vectors behind a linear map, a causal transformer, InfoNCE on cosines with a learned scale, uniform negatives.

    Without the language model as the user's, this is MoRec with InfoNCE in place of binary cross entropy.
    """

    def build_items(self, config, dataset) -> ItemEncoder:
        """The text alone: frozen vectors behind a linear map."""
        return frozen_text_items(self, config, dataset, config["embedding_size"])

    def build_objective(self, config, dataset) -> None:
        """The softmax over items, under cosines of a learned scale that begins at 1 / temperature."""
        super().build_objective(config, dataset)
        self.score = LearnedScale(config["temperature"])

    def forbidden(self, batch: NextItems, negatives: Tensor) -> Tensor:
        """Negatives that are the target, or that are almost it: a cosine above 0.99."""
        targets = batch.targets[batch.trained]
        with torch.no_grad():
            vectors, place = self.vectors_of(torch.cat([targets, negatives]))
            near = vectors[place[: len(targets)]] @ vectors[place[len(targets) :]].t() > _SAME
        return near | (targets[:, None] == negatives)
