"""Residual k-means against planted clusters, brute force and SciPy.

And the vectors that are made of its codes.
"""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.vq import kmeans2

from recbole_precise.nn.residual_codes import CodeVectors, k_means, nearest_centre
from recbole_precise.nn.text_vectors import FrozenText


def cost(rows, centres):
    return torch.cdist(rows, centres).amin(1).square().sum().item()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 9999))
def test_centres_are_means_of_what_they_serve(n, k, seed):
    rows = torch.randn(n, 3, generator=torch.Generator().manual_seed(seed))
    centres = k_means(rows, k, torch.Generator().manual_seed(seed))
    owner = nearest_centre(rows, centres)
    assert centres.shape == (k, 3) and torch.equal(torch.cdist(rows, centres).argmin(1), owner)
    if n <= k:
        assert cost(rows, centres) < 1e-9
    for centre in owner.unique().tolist():
        torch.testing.assert_close(
            centres[centre], rows[owner == centre].mean(0), rtol=1e-4, atol=1e-5
        )


def test_planted_clusters_are_found():
    generator = torch.Generator().manual_seed(1)
    planted = 20 * torch.randn(8, 5, generator=generator)
    label = torch.arange(400) % 8
    rows = planted[label] + 0.1 * torch.randn(400, 5, generator=generator)
    owner = nearest_centre(rows, k_means(rows, 8, generator))
    assert len({(a, b) for a, b in zip(label.tolist(), owner.tolist())}) == 8


def test_it_serves_as_well_as_scipys():
    rows = torch.randn(600, 6, generator=torch.Generator().manual_seed(2))
    ours = np.mean(
        [cost(rows, k_means(rows, 12, torch.Generator().manual_seed(seed))) for seed in range(5)]
    )
    theirs = np.mean(
        [
            cost(
                rows, torch.from_numpy(kmeans2(rows.numpy(), 12, iter=30, minit="++", seed=seed)[0])
            )
            for seed in range(5)
        ]
    )
    assert ours < 1.03 * theirs


def vectors(n=60):
    values = np.random.default_rng(0).normal(2.0, 1.0, size=(n, 10)).astype(np.float32)
    values[[0, 5]] = 0
    return values


def test_codes_take_what_the_levels_before_leave():
    text = FrozenText(vectors(), scaled=False)
    part = CodeVectors(text, width=10, levels=3, codes=4, std=0.1)
    assert part.codes.shape == (60, 3) and part.table.shape == (12, 10)
    left = []
    for item in (1, 17, 59):
        rest = text.vectors[item]
        for level in range(3):
            gaps = (part.centres[level] - rest).square().sum(1)
            assert part.codes[item, level] == 4 * level + gaps.argmin()
            rest = rest - part.centres[level][gaps.argmin()]
            left.append(rest.norm())
    some = text.vectors[text.has_text]
    errors = [
        (
            some
            - sum(
                part.centres.flatten(0, 1)[part.codes[text.has_text, level]]
                for level in range(upto)
            )
        )
        .square()
        .mean()
        .item()
        for upto in (1, 2, 3)
    ]
    assert errors[0] > errors[1] > errors[2]


def test_rows_begin_as_the_coded_texts_and_only_the_table_is_trained():
    text = FrozenText(vectors(), scaled=False)
    part = CodeVectors(
        text, width=10, levels=2, codes=60, std=0.1
    )  # as many codes as items: nothing is lost, and a width that holds all
    rows, there = part.rows(None).detach(), text.has_text
    before, after = torch.pdist(text.vectors[there]), torch.pdist(rows[there])
    torch.testing.assert_close(after / after.mean(), before / before.mean(), rtol=1e-3, atol=1e-3)
    assert (
        rows[there].pow(2).mean().sqrt().item() == pytest.approx(0.1, rel=1e-3)
        and not rows[~there].any()
    )
    torch.testing.assert_close(part.rows(torch.tensor([3, 5, 3])), rows[[3, 5, 3]])
    assert set(dict(part.named_parameters())) == {"table", "no_text"} and set(
        part.state_dict()
    ) == {"table", "no_text", "centres", "codes", "has_text"}


def test_new_items_share_the_codes_of_their_texts():
    values = vectors()
    part = CodeVectors(FrozenText(values, scaled=False), width=4, levels=3, codes=4, std=0.1).eval()
    before = part.rows(None)
    words = (np.concatenate([values[[9]], values[[9]]]), np.zeros(2, int), np.array([0, 2, 2]))
    assert part.extend(2, words).tolist() == [True, False]
    after = part.rows(None)
    assert (
        torch.equal(after[:60], before)
        and torch.equal(after[60], before[9])
        and torch.equal(after[61], part.no_text)
    )


def test_codes_follow_from_the_texts_alone():
    text = FrozenText(vectors(), scaled=False)
    parts = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        parts.append(CodeVectors(text, width=4, levels=2, codes=5, std=0.1))
        assert torch.initial_seed() == seed and torch.equal(
            torch.rand(3), torch.rand(3, generator=torch.Generator().manual_seed(seed))
        )  # no draw of the run's own
    assert torch.equal(parts[0].codes, parts[1].codes) and torch.equal(
        parts[0].table, parts[1].table
    )
