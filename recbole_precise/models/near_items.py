"""Items near the last item, a part of any model whose score is an inner product.

docs/methods.md 6.
"""

from __future__ import annotations

import numpy as np

from recbole_precise.evaluation.floors import Graph, unit_rows, window_edges
from recbole_precise.models.base import TwoSidedRecommender, require
from recbole_precise.models.text_tuning import is_tuned, text_vectors
from recbole_precise.nn.neighbours import Neighbours
from recbole_precise.nn.text_vectors import FrozenText


def add_near_items(
    model: TwoSidedRecommender, config, dataset, text: FrozenText | None = None
) -> None:
    """Let near items join the model's score.

    Where `neighbour_transitions` or `neighbour_texts` say so; `text_encoder` must be set before.

    Args:
        text: vectors that the model reads, whose cosines are taken where they are tuned; default:
            made for this.
    """
    model.neighbour_texts = (config["neighbour_texts"] or 0.0) if model.text_encoder else 0.0
    near = None
    if model.neighbour_texts and is_tuned(config):
        text = (
            text_vectors(
                model,
                config,
                dataset,
                require(dataset, "token_states", config["model"])().without_special().pooled(),
            )
            if text is None
            else text
        )
        near = text.vectors.numpy()
        model.neighbour_rows = text.without_items()
    model.neighbours = neighbours_of(
        dataset,
        config["model"],
        model.n_items,
        transitions=config["neighbour_transitions"] or 0.0,
        texts=model.neighbour_texts,
        vectors=near,
    )


def neighbours_of(
    dataset,
    model: str,
    n_items: int,
    *,
    transitions: float,
    texts: float,
    vectors: np.ndarray | None = None,
) -> Neighbours | None:
    """Count the bonus of near items in the training sequences alone (docs/methods.md 6).

    None when both weights are 0.

    Args:
        vectors: float `[items, hidden]`, whose cosines are the likeness of texts; default: the mean
            token states.
    """
    edges = near = None
    if transitions:
        items, offsets, _ = (
            np.asarray(part) for part in require(dataset, "train_sequences", model)()
        )
        edges = transitions * window_edges(
            items, offsets, n_items, Graph(backward=0.0, distance="inverse", counts="log1p")
        )
    if texts:
        near = np.sqrt(texts) * unit_rows(
            require(dataset, "token_states", model)().pooled() if vectors is None else vectors
        )
    return None if edges is None and near is None else Neighbours(edges, near)
