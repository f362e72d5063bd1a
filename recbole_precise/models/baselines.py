"""Training-free floors as models: they are in every table.

A claim must beat them.

The tables are counted in `recbole_precise.evaluation.floors` when the model is built, from the
training sequences alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from recbole.utils import InputType
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation import floors
from recbole_precise.models.base import require
from recbole_precise.training.phases import Phase


class Floor(SequentialRecommender):
    """A scorer without parameters in RecBole's interface: nothing is trained, all is ranked."""

    input_type = InputType.POINTWISE
    #: No training row is ever read, and windows are the fewest.
    trains_on_windows = True
    needs_text = False

    @property
    def cold_items(self) -> str:
        """What an item that was never trained is ranked by.

        Its `text`, or `nothing`, and so behind all others.
        """
        return "text" if self.needs_text else "nothing"

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        sequences = require(dataset, "train_sequences", config["model"])()
        items, offsets, _ = (np.asarray(x) for x in sequences)
        self.scorer = self.build(config, dataset, items, offsets)

    def build(self, config, dataset, items: np.ndarray, offsets: np.ndarray) -> Any:
        """Build the scorer of training sequences `items [events]`, `offsets [users + 1]`."""
        raise NotImplementedError

    def phases(self) -> list[Phase]:
        """None: there is nothing to train."""
        return []

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """There is none."""
        raise ConfigError(
            f"{type(self).__name__} has nothing to train: run it with recbole_precise's trainer, "
            "which evaluates it right away."
        )

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of each row's user for every item: `[batch, items]`."""
        sequence = interaction[self.ITEM_SEQ]
        scores = self.scores(sequence.cpu().numpy(), interaction[self.ITEM_SEQ_LEN].cpu().numpy())
        return torch.from_numpy(scores).to(sequence.device)

    def scores(self, histories: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """`[batch, items]` from int64 histories `[batch, length]`, padded on the right."""
        return self.scorer.scores(histories, lengths)

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each row's user for its item: `[batch]`."""
        return self.full_sort_predict(interaction).gather(1, interaction[self.ITEM_ID][:, None])[
            :, 0
        ]


class Pop(Floor):
    """Popularity: the number of training events of an item."""

    def build(self, config, dataset, items: np.ndarray, offsets: np.ndarray) -> floors.Popularity:
        """Build the floor that ranks items by popularity."""
        return floors.Popularity(items, offsets, self.n_items)


class Transition(Floor):
    """How often an item came right after the user's last one in training.

    Popularity orders equal counts.
    """

    def build(self, config, dataset, items: np.ndarray, offsets: np.ndarray) -> floors.Transition:
        """Build the floor that ranks items by counts of transitions."""
        return floors.Transition(items, offsets, self.n_items)


class GraphHeuristic(Floor):
    """Transitions joined with the likeness of item texts.

    docs/methods.md 5, after arXiv 2605.07125.
    """

    needs_text = True

    def build(
        self, config, dataset, items: np.ndarray, offsets: np.ndarray
    ) -> floors.GraphHeuristic:
        """Build the floor of the graph heuristic over the items' texts."""
        states = require(dataset, "token_states", config["model"])()
        self.text_encoder = dict(states.encoder)
        self.skips_history = bool(config["mask_history"])
        variant = config["graph_variant"]
        graph = None
        if variant not in floors.GRAPH_VARIANTS:
            raise ConfigError(
                f"graph_variant must be one of {', '.join(floors.GRAPH_VARIANTS)}, not {variant!r}."
            )
        if variant in floors.GRAPHS:
            wanted = {
                field.name: config[f"graph_{field.name}"]
                for field in dataclasses.fields(floors.Graph)
            }
            try:
                graph = dataclasses.replace(
                    floors.GRAPHS[variant],
                    **{name: value for name, value in wanted.items() if value is not None},
                )
            except ValueError as error:
                raise ConfigError(f"graph_{error}.") from error
        return floors.GraphHeuristic(
            items,
            offsets,
            states.pooled(),
            variant=variant,
            graph=graph,
            transition_weight=config["graph_transition_weight"],
        )

    def scores(self, histories: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """As `Floor.scores`.

        Where the history is masked it takes no place in the rings' lists either.
        """
        skip = None
        if self.skips_history:
            row, place = np.nonzero(histories)
            skip = row, histories[row, place]
        return self.scorer.scores(histories, lengths, skip)
