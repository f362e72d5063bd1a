"""HLLM in three forms.

The item model is read once and never trained, or its last layers or all of it learn with the user
model.

Reference:
    Junyi Chen et al. "HLLM: Enhancing Sequential Recommendations via Hierarchical Large Language
    Models for Item and User Modeling." arXiv 2409.12740. There both models are decoders of a
    billion parameters and more, and both are trained: the item model reads a prompt, the text and a
        learned token [ITEM], whose last state is the item; the user model is a
    pretrained one too.

Ours in all forms: the item model is any encoder or decoder that reads item texts here, by default
all-MiniLM-L6-v2; an item is the mean of its tokens' last states, as that encoder was trained to be
read, behind a linear map, without a prompt or an [ITEM]; the user model is a small transformer from
scratch. Names in tables say the form, so no model here is called HLLM alone.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.models.text_items import frozen_text_items, learning_text_items
from recbole_precise.nn.item_encoders import ItemEncoder
from recbole_precise.nn.learning_text import LearningItems
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.scoring import LearnedScale
from recbole_precise.text.states import TokenStates
from recbole_precise.training.phases import Phase

_SAME = 0.99  # cosine above which a negative counts as the target itself


class HLLMCached(NextItemRecommender):
    """Frozen text vectors behind a linear map, and a causal transformer.

    InfoNCE on cosines with a learned scale, uniform negatives.

    Without the language model as the user's, this is MoRec with InfoNCE in place of binary cross
    entropy.
    """

    def build_items(self, config, dataset) -> ItemEncoder:
        """Build the items from the text alone: frozen vectors behind a linear map."""
        return frozen_text_items(self, config, dataset, config["embedding_size"])

    def build_objective(self, config, dataset) -> None:
        """Build the softmax over items, under cosines of a learned scale.

        The scale begins at 1 / temperature.
        """
        super().build_objective(config, dataset)
        self.score = LearnedScale(config["temperature"])

    def forbidden(self, batch: NextItems, negatives: Tensor) -> Tensor:
        """Negatives that are the target, or that are almost it: a cosine above 0.99."""
        targets = batch.targets[batch.trained]
        with torch.no_grad():
            vectors, place = self.vectors_of(torch.cat([targets, negatives]))
            near = vectors[place[: len(targets)]] @ vectors[place[len(targets) :]].t() > _SAME
        return near | (targets[:, None] == negatives)


class HLLMFull(HLLMCached):
    """The same with an item model that learns, all its layers and its embeddings.

    At `language_rate` times the learning rate.

    A step reads each item of its histories, targets and negatives once. When items are ranked the
    catalogue is read once.
    """

    def build_items(self, config, dataset) -> ItemEncoder:
        """Build the items from a language model's mean states behind a linear map."""
        name = config["model"]
        if config["text_form"] != "vectors":
            raise ConfigError(
                f"{name} trains the model that reads the texts, which text_form: "
                f"{config['text_form']} does not read: leave text_form out, or take HLLM-Cached."
            )
        if config["decouple_tables"]:
            raise ConfigError(
                f"{name} has one item model, and decouple_tables asks for two: leave it out."
            )
        return self.tuned_items(config, dataset)

    def tuned_items(self, config, dataset) -> ItemEncoder:
        """All layers are trained."""
        return learning_text_items(self, config, dataset, config["embedding_size"], None)

    def phases(self) -> list[Phase]:
        """One phase, in which the language model has a rate of its own."""
        if not isinstance(self.item_encoder, LearningItems):
            return super().phases()
        return [
            Phase(
                name="universal",
                epochs=self.epochs,
                rate_factors=(
                    (r"item_encoder\..*\.language\..*", float(self.config["language_rate"])),
                ),
            )
        ]

    def calculate_loss(self, interaction) -> Tensor:
        """As every model here; items are encoded once."""
        with (
            self.item_encoder.one_step()
            if isinstance(self.item_encoder, LearningItems)
            else contextlib.nullcontext()
        ):
            return super().calculate_loss(interaction)

    def read_tokens(self, tokens: TokenStates) -> TokenStates:
        """All tokens, those too that the tokenizer adds: the others see them."""
        return (
            tokens if isinstance(self.item_encoder, LearningItems) else super().read_tokens(tokens)
        )


class HLLMTop(HLLMFull):
    """The same with the last `tuned_layers` layers of the item model alone.

    The states that enter them are read once and cached.

    With `tuned_layers: 0` nothing of it is trained: that is HLLM-Cached.
    """

    def tuned_items(self, config, dataset) -> ItemEncoder:
        """Train the last layers."""
        if not config["tuned_layers"]:
            return frozen_text_items(self, config, dataset, config["embedding_size"])
        return learning_text_items(
            self, config, dataset, config["embedding_size"], config["tuned_layers"]
        )
