"""Floors against the same scores written out one case at a time."""

import itertools
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.evaluation.floors import (
    GRAPH_VARIANTS,
    Graph,
    GraphHeuristic,
    Popularity,
    Transition,
    last_items,
)

N_ITEMS, WIDTH = 12, 6


def table(sequences):
    """(items, offsets) of lists of items."""
    return np.array(
        [item for sequence in sequences for item in sequence], dtype=np.int64
    ), np.cumsum([0, *map(len, sequences)])


def padded(histories, length):
    out = np.zeros((len(histories), length), dtype=np.int64)
    for row, history in enumerate(histories):
        out[row, : len(history)] = history
    return out, np.array([len(history) for history in histories])


def vectors(seed=0):
    text = np.random.default_rng(seed).normal(size=(N_ITEMS, WIDTH)).astype(np.float32)
    text[[0, 5]] = 0  # the padding and an item without text
    return text


def cosine(text, a, b):
    norm = np.linalg.norm(text[a]) * np.linalg.norm(text[b])
    return float(text[a] @ text[b]) / norm if norm else 0.0


items = st.integers(1, N_ITEMS - 1)
sequences = st.lists(st.lists(items, min_size=1, max_size=9), min_size=1, max_size=12)
histories = st.lists(st.lists(items, min_size=1, max_size=6), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(sequences, histories)
def test_popularity_and_transitions_are_counts(train, history):
    count = Counter(item for sequence in train for item in sequence)
    follows = defaultdict(Counter)
    for sequence in train:
        for a, b in itertools.pairwise(sequence):
            follows[a][b] += 1
    seen, lengths = padded(history, 8)
    popularity = Popularity(*table(train), N_ITEMS).scores(seen, lengths)
    transition = Transition(*table(train), N_ITEMS).scores(seen, lengths)
    most = max(count.values())
    for row, past in enumerate(history):
        assert popularity[row].tolist() == [count[item] for item in range(N_ITEMS)]
        expected = [follows[past[-1]][item] + 1e-3 * count[item] / most for item in range(N_ITEMS)]
        assert transition[row] == pytest.approx(expected)


@settings(max_examples=40, deadline=None)
@given(
    sequences,
    histories,
    st.integers(1, 4),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from(["flat", "inverse"]),
    st.sampled_from(["log1p", "raw"]),
)
def test_the_formula_of_the_graph(train, history, window, backward, distance, counts):
    text = vectors()
    graph = Graph(
        window=window, backward=backward, distance=distance, counts=counts, text_weight=2.0
    )
    seen, lengths = padded(history, 6)
    scores = GraphHeuristic(*table(train), text, graph=graph).scores(seen, lengths)
    count = Counter(item for sequence in train for item in sequence)
    for row, past in enumerate(history):
        a = past[-1]
        for b in range(1, N_ITEMS):
            total = 0.0
            for sequence in train:
                for i, x in enumerate(sequence):
                    for j in range(i + 1, min(i + window, len(sequence) - 1) + 1):
                        weight = 1 / (j - i) if distance == "inverse" else 1
                        total += weight * (
                            (x == a and sequence[j] == b) + backward * (x == b and sequence[j] == a)
                        )
            expected = (
                (np.log1p(total) if counts == "log1p" else total)
                + 2 * cosine(text, a, b)
                + 1e-3 * count[b] / max(count.values())
            )
            assert scores[row, b] == pytest.approx(expected, abs=1e-4)


def ring_list(train, past, rings, text, skip):
    """The list of ten, written out: breadth-first hops, then quotas that overflow."""
    follows = defaultdict(Counter)
    for sequence in train:
        for a, b in itertools.pairwise(sequence):
            if a != b:
                follows[a][b] += 1

    def hops_from(anchor):
        distance, frontier = {anchor: 0}, [anchor]
        while frontier:
            frontier = [
                b
                for a in frontier
                for b in follows[a]
                if distance.setdefault(b, distance[a] + 1) == distance[a] + 1
            ]
            frontier = list(dict.fromkeys(frontier))
        return distance

    chosen, due = [], 0
    for back, hops, places in rings:
        due += places
        if len(past) < back:
            continue
        anchor = past[-back]
        distance = hops_from(anchor)
        largest = max([np.log1p(c) for c in follows[anchor].values()], default=1)
        ring = [b for b, h in distance.items() if h == hops and b not in chosen and b not in skip]

        def score(b):
            return cosine(text, anchor, b) + (
                0.5 * np.log1p(follows[anchor][b]) / largest if hops == 1 else 0
            )

        chosen += sorted(ring, key=score, reverse=True)[: due - len(chosen)]
    rest = sorted(
        (b for b in range(1, N_ITEMS) if b not in chosen),
        key=lambda b: cosine(text, past[-1], b),
        reverse=True,
    )
    return chosen, rest


@settings(max_examples=80, deadline=None)
@given(sequences, histories, st.sampled_from(["tgh1", "tgh2"]), st.booleans(), st.integers(0, 5))
def test_the_lists_of_the_published_heuristics(train, history, variant, mask, seed):
    rings = {
        "tgh1": ((1, 1, 7), (1, 2, 2), (1, 3, 1)),
        "tgh2": ((1, 1, 5), (1, 2, 1), (2, 1, 3), (2, 2, 1)),
    }[variant]
    text = (
        np.random.default_rng(seed).normal(size=(N_ITEMS, WIDTH)).astype(np.float32)
    )  # no two equal cosines
    text[0] = 0
    seen, lengths = padded(history, 6)
    row, place = np.nonzero(seen)
    skip = (row, seen[row, place]) if mask else None
    scores = GraphHeuristic(*table(train), text, variant=variant).scores(seen, lengths, skip)
    for row, past in enumerate(history):
        chosen, rest = ring_list(train, past, rings, text, set(past) if mask else set())
        order = (np.argsort(-scores[row, 1:], kind="stable") + 1).tolist()
        assert order[: len(chosen)] == chosen
        assert [item for item in order[len(chosen) :] if not mask or item not in past] == [
            item for item in rest if not mask or item not in past
        ]


def test_short_histories_and_padding():
    seen, lengths = padded([[3], [1, 2], []], 4)
    assert last_items(seen, lengths).tolist() == [3, 2, 0]
    assert last_items(seen, lengths, 2).tolist() == [0, 1, 0]
    for variant in GRAPH_VARIANTS:
        scores = GraphHeuristic(*table([[1, 2, 3], [3, 4]]), vectors(), variant=variant).scores(
            seen, lengths
        )
        assert (
            scores.shape == (3, N_ITEMS)
            and scores.dtype == np.float32
            and np.isfinite(scores).all()
        )


def test_events_of_two_users_never_meet():
    scores = Transition(*table([[1, 2], [3], [4, 5]]), N_ITEMS).scores(*padded([[2], [3], [1]], 1))
    assert scores[0].max() < 1 and scores[1].max() < 1 and scores[2].argmax() == 2


def test_mistakes():
    with pytest.raises(ValueError, match="variant must be one of"):
        GraphHeuristic(*table([[1]]), vectors(), variant="tgh3")
    with pytest.raises(ValueError, match="window"):
        Graph(window=0)
    with pytest.raises(ValueError, match="flat or inverse"):
        Graph(distance="linear")
    with pytest.raises(ValueError, match="item 40 lies outside the catalogue of 12"):
        Popularity(*table([[40]]), N_ITEMS)
