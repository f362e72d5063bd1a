"""Users who read alike, against brute force; and fine-grained InfoNCE by hand."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.nn import nearest as nearest_rows
from recbole_precise.nn.alignment import Alignment
from recbole_precise.nn.losses import info_nce
from recbole_precise.nn.losses.info_nce import similarities
from recbole_precise.nn.nearest import nearest
from recbole_precise.nn.similar_users import SimilarUsers


@given(st.integers(1, 30), st.integers(1, 8), st.integers(0, 9999))
def test_nearest_is_the_sorted_cosine(n, count, seed):
    rng = np.random.default_rng(seed)
    vectors = rng.normal(size=(n, 4)).astype(np.float32)
    vectors[rng.random(n) < 0.3] = 0
    allowed = rng.random(n) < 0.8
    original, nearest_rows._TILE_BYTES = nearest_rows._TILE_BYTES, 4 * n * 3  # tiles of three rows
    try:
        found, limited = (
            nearest(vectors, count),
            nearest(vectors, count, among=vectors, allowed=allowed),
        )
    finally:
        nearest_rows._TILE_BYTES = original
    for row in range(n):
        cosine = (
            vectors
            @ vectors[row]
            / np.maximum(np.linalg.norm(vectors, axis=1) * np.linalg.norm(vectors[row]), 1e-12)
        )
        others = [
            other
            for other in np.argsort(-cosine, kind="stable")
            if other != row and vectors[other].any() and vectors[row].any()
        ][:count]
        assert found.shape == (n, count)
        assert found[row].tolist() == [*others, *[-1] * (count - len(others))]
        some = [
            other
            for other in np.argsort(-cosine, kind="stable")
            if allowed[other] and vectors[other].any() and vectors[row].any()
        ][:count]
        assert limited[row].tolist() == [*some, *[-1] * (count - len(some))]


def test_sequences_are_the_last_items_of_near_users():
    vectors = np.zeros((6, 3), dtype=np.float32)
    vectors[1], vectors[2], vectors[3], vectors[4] = (
        [1, 0, 0],
        [0.9, 0.1, 0],
        [0, 1, 0],
        [0, 0.9, 0.1],
    )
    items, offsets, users = (
        np.array([1, 1, 2, 2, 1, 2, 3, 4, 3, 5]),
        np.array([0, 2, 6, 8, 9, 10]),
        np.array([3, 4, 7, 8, 9]),
    )
    similar = SimilarUsers(items, offsets, users, vectors, count=1, length=3)
    rows, lengths, owners, owner, place = similar.sequences(
        torch.tensor([8, 4, 9, 1, 99, 4])
    )  # 9 took an item without text, 1 and 99 nothing
    assert (
        rows.tolist() == [[1, 1, 0], [3, 4, 0]]
        and lengths.tolist() == [2, 2]
        and owners.tolist() == [3, 7]
    )  # each near user once
    assert owner.tolist() == [0, 1, 5] and place.tolist() == [1, 0, 0]
    rows, lengths, owners, _, _ = similar.sequences(torch.tensor([3]))
    assert rows.tolist() == [[2, 1, 2]] and owners.tolist() == [4]  # the last three of four


def test_fine_grained_similarity_by_hand():
    x, y = torch.randn(5, 3, 4), torch.randn(5, 3, 4)
    x1, y1 = F.normalize(x, dim=2), F.normalize(y, dim=2)
    expected = torch.tensor(
        [
            [
                sum(max(float(x1[i, a] @ y1[j, b]) for b in range(3)) for a in range(3))
                for j in range(5)
            ]
            for i in range(5)
        ]
    )
    torch.testing.assert_close(similarities(x, y), expected)
    both = [
        F.cross_entropy(similarities(*pair) / 0.2, torch.arange(5)) for pair in ((x, y), (y, x))
    ]
    torch.testing.assert_close(info_nce(x, y, 0.2, symmetric=True), sum(both) / 2)
    torch.testing.assert_close(info_nce(x, y, 0.2), both[0])
    torch.testing.assert_close(
        info_nce(x[:, :1], y[:, :1]), info_nce(x[:, 0], y[:, 0])
    )  # one sub-vector is the vector


def test_sub_vectors_are_of_pairs_and_share_the_width():
    aligned = Alignment("infonce", "biased", "mean", 0.1, sub_vectors=2, width=6)
    x, y = torch.randn(4, 6), torch.randn(4, 6)
    parts = [layer(side).view(4, 2, 3) for layer, side in zip(aligned.maps, (x, y))]
    torch.testing.assert_close(aligned(x, y), info_nce(*parts))
    for kernel, width in (("gaussian", 6), ("infonce", 5)):
        with pytest.raises(
            ValueError, match="2 sub-vectors need infonce and a width that they share evenly"
        ):
            Alignment(kernel, "biased", "mean", 0.1, sub_vectors=2, width=width)
