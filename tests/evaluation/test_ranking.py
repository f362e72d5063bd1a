"""Exact ranks against brute force, ties and exclusions included, in any tiling."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.evaluation import ranking
from recbole_precise.evaluation.ranking import (
    Ranks,
    VectorRanker,
    rank_by_scores,
    rank_by_vectors,
    rank_rows,
)


@pytest.fixture(autouse=True)
def _same_numbers_every_time():
    torch.manual_seed(0)


def brute(scores, targets, excluded=()):
    """The definition, one comparison at a time."""
    excluded, n_items = set(excluded), scores.shape[1]
    ranks = []
    for row, target in enumerate(targets.tolist()):
        if (row, target) in excluded:
            ranks.append(n_items)
            continue
        others = [
            item for item in range(1, n_items) if item != target and (row, item) not in excluded
        ]
        ranks.append(1 + sum(bool(scores[row, item] >= scores[row, target]) for item in others))
    return torch.tensor(ranks)


@settings(max_examples=100, deadline=None)
@given(
    case=st.deferred(lambda: cases()),
    tile=st.sampled_from([(512, 1024), (2, 64), (3, 128)]),
    data=st.data(),
)
def test_a_bonus_is_added_to_its_pairs_alone(case, tile, data):
    users, vectors, targets, bias, excluded = case
    pairs = data.draw(
        st.lists(
            st.tuples(st.integers(0, len(users) - 1), st.integers(0, len(vectors) - 1)),
            unique=True,
            max_size=40,
        )
    )
    values = torch.tensor(
        data.draw(st.lists(st.integers(-3, 3), min_size=len(pairs), max_size=len(pairs))),
        dtype=torch.float32,
    )
    row, item = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).t()
    scores = users @ vectors.t() + (0 if bias is None else bias)
    scores[row, item] += values
    before = ranking._CPU_TILE
    ranking._CPU_TILE = tile
    try:
        ranks = VectorRanker(vectors, bias).rank(
            users, targets, pairs_to_tensors(excluded), (row, item, values)
        )
    finally:
        ranking._CPU_TILE = before
    assert ranks.tolist() == brute(scores, targets, excluded).tolist()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_bonus_that_is_no_number_is_refused(value):
    with pytest.raises(ValueError, match="finite value"):
        VectorRanker(torch.ones(4, 2)).rank(
            torch.ones(1, 2),
            torch.tensor([1]),
            None,
            (torch.tensor([0]), torch.tensor([2]), torch.tensor([value])),
        )


def pairs_to_tensors(pairs):
    pairs = torch.tensor(sorted(pairs), dtype=torch.int64).view(-1, 2)
    return pairs[:, 0], pairs[:, 1]


@st.composite
def cases(draw):
    """Whole-number vectors: every product is exact, so ties are plenty and the brute force is the
    truth.
    """
    rows, items, width = draw(st.integers(1, 6)), draw(st.integers(2, 40)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    users = torch.randint(-2, 3, (rows, width), generator=generator).float()
    vectors = torch.randint(-2, 3, (items, width), generator=generator).float()
    targets = torch.randint(1, items, (rows,), generator=generator)
    bias = (
        torch.randint(-1, 2, (items,), generator=generator).float() if draw(st.booleans()) else None
    )
    excluded = draw(
        st.sets(st.tuples(st.integers(0, rows - 1), st.integers(0, items - 1)), max_size=30)
    )
    return users, vectors, targets, bias, excluded


@settings(max_examples=150, deadline=None)
@given(cases(), st.sampled_from([(512, 1024), (2, 64), (64, 64), (3, 128)]))
def test_ranks_are_the_definition(case, tile):
    users, vectors, targets, bias, excluded = case
    before = ranking._CPU_TILE
    ranking._CPU_TILE = tile
    try:
        scores = users @ vectors.t() + (0 if bias is None else bias)
        expected = brute(scores, targets, excluded)
        pairs = pairs_to_tensors(excluded)
        assert (
            rank_by_vectors(users, vectors, targets, excluded=pairs, item_bias=bias).tolist()
            == expected.tolist()
        )
        kept = scores.clone()
        assert rank_by_scores(scores, targets, excluded=pairs).tolist() == expected.tolist()
        assert torch.equal(scores, kept), "the caller's scores were changed"
    finally:
        ranking._CPU_TILE = before


@pytest.mark.parametrize("width", [1, 7, 64, 100, 384])
@pytest.mark.parametrize("items", [33, 1025, 3000])
def test_the_same_vector_twice_is_a_tie(width, items):
    """Bits of a score must not depend on where the item stands: a copy of the target counts against
    it.
    """
    generator = torch.Generator().manual_seed(width * items)
    vectors = torch.randn(items, width, generator=generator)
    order = torch.randperm(items - 1, generator=generator) + 1
    half = (items - 1) // 2
    originals, copies = order[:half], order[half : 2 * half]
    vectors[copies] = vectors[originals]
    users = torch.randn(half, width, generator=generator)
    ranks = rank_by_vectors(users, vectors, originals)
    exact = users.double() @ vectors.double().t()
    own = exact.gather(1, originals[:, None])
    clearly_above = (exact[:, 1:] > own + 1e-4 * width).sum(1)
    assert (ranks >= clearly_above + 2).all()
    assert torch.equal(ranks, rank_by_vectors(users, vectors, copies))


def test_constant_scores_are_worthless():
    users, vectors = torch.zeros(5, 8), torch.randn(100, 8)
    assert rank_by_vectors(users, vectors, torch.arange(1, 6)).tolist() == [99] * 5
    assert rank_by_scores(torch.ones(5, 100), torch.arange(1, 6)).tolist() == [99] * 5


def test_budget_and_batch_do_not_change_ranks():
    users, vectors, targets = (
        torch.randn(1200, 16),
        torch.randn(5000, 16),
        torch.randint(1, 5000, (1200,)),
    )
    whole = rank_by_vectors(users, vectors, targets)
    assert torch.equal(whole, rank_by_vectors(users, vectors, targets, budget_bytes=1 << 16))
    parts = [
        rank_by_vectors(users[i : i + 7], vectors, targets[i : i + 7]) for i in range(0, 70, 7)
    ]
    assert torch.equal(torch.cat(parts), whole[:70])
    assert torch.equal(whole, rank_by_vectors(users, vectors, targets, budget_bytes=1))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_types_of_vectors(dtype):
    users, vectors = torch.randint(-2, 3, (9, 5)).to(dtype), torch.randint(-2, 3, (70, 5)).to(dtype)
    targets = torch.randint(1, 70, (9,))
    scores = users.double() @ vectors.double().t()
    assert torch.equal(rank_by_vectors(users, vectors, targets), brute(scores, targets))
    assert torch.equal(rank_by_scores(scores.to(dtype), targets), brute(scores, targets))


def test_minus_infinity_is_a_score_like_another():
    scores = torch.tensor([[0.0, -torch.inf, 1.0, -torch.inf], [-torch.inf, 3.0, -torch.inf, 2.0]])
    targets = torch.tensor([1, 3])
    assert rank_by_scores(scores, targets).tolist() == [3, 2]
    assert rank_by_scores(
        scores, targets, excluded=(torch.tensor([0]), torch.tensor([3]))
    ).tolist() == [2, 2]
    bias = torch.tensor([0.0, -torch.inf, 1.0, 2.0])
    assert rank_by_vectors(
        torch.zeros(1, 2), torch.zeros(4, 2), torch.tensor([1]), item_bias=bias
    ).tolist() == [3]


def test_what_is_not_a_number_is_refused():
    users, vectors, targets = torch.randn(4, 3), torch.randn(9, 3), torch.tensor([1, 2, 3, 4])
    scores = users @ vectors.t()
    scores[2, 5] = torch.nan
    with pytest.raises(ValueError, match="NaN"):
        rank_by_scores(scores, targets)
    scores[2, 5], scores[:, 0] = 1.0, torch.nan
    rank_by_scores(scores, targets)  # the padding column is nobody's business
    for bad in (torch.nan, torch.inf):
        broken = vectors.clone()
        broken[3, 1] = bad
        with pytest.raises(ValueError, match="item vectors"):
            rank_by_vectors(users, broken, targets)
        broken = users.clone()
        broken[3, 1] = bad
        with pytest.raises(ValueError, match="user vectors"):
            rank_by_vectors(broken, vectors, targets)
    huge = torch.tensor([[3e38, -3e38]])
    with pytest.raises(ValueError, match="NaN"):
        rank_by_vectors(huge, torch.tensor([[0.0, 0.0], [1.0, 1.0], [3.0, 3.0]]), torch.tensor([1]))


@pytest.mark.parametrize("target", [0, -1, 9])
def test_targets_must_be_items(target):
    with pytest.raises(ValueError, match="outside 1 .. 8"):
        rank_by_vectors(torch.randn(1, 3), torch.randn(9, 3), torch.tensor([target]))
    with pytest.raises(ValueError, match="outside 1 .. 8"):
        rank_by_scores(torch.randn(1, 9), torch.tensor([target]))


@pytest.mark.parametrize("pair", [([2], [1]), ([0], [9]), ([-1], [1])])
def test_excluded_pairs_must_exist(pair):
    pair = tuple(torch.tensor(x) for x in pair)
    with pytest.raises(ValueError, match="an excluded (row|item) lies outside"):
        rank_by_vectors(torch.randn(2, 3), torch.randn(9, 3), torch.tensor([1, 2]), excluded=pair)


class TwoSided(torch.nn.Module):
    """A model with user and item vectors; counts how often the items are encoded."""

    def __init__(self, users, items, bias=None):
        super().__init__()
        self.users, self.items, self.item_bias, self.encoded, self.largest = (
            users,
            items,
            bias,
            0,
            0,
        )
        self.n_items = len(items)

    def item_vectors(self):
        self.encoded += 1
        return self.items

    def user_vectors(self, rows):
        assert not self.training
        self.largest = max(self.largest, len(rows))
        return self.users[rows]


class Scores(torch.nn.Module):
    """RecBole's interface alone."""

    def __init__(self, scores):
        super().__init__()
        self.scores, self.n_items, self.largest = scores, scores.shape[1], 0

    def full_sort_predict(self, rows):
        assert not self.training
        self.largest = max(self.largest, len(rows))
        return self.scores[rows].flatten()


def test_both_kinds_of_models_get_the_same_ranks():
    users, items = torch.randint(-3, 4, (50, 6)).float(), torch.randint(-3, 4, (200, 6)).float()
    bias, targets = torch.randint(0, 2, (200,)).float(), torch.randint(1, 200, (50,))
    excluded = {(row, item) for row in range(50) for item in (row, row + 1)}

    def batches(lo, hi):
        pairs = [(row - lo, item) for row, item in excluded if lo <= row < hi]
        return torch.arange(lo, hi), targets[lo:hi], pairs_to_tensors(pairs)

    scores = users @ items.t() + bias
    expected = brute(scores, targets, excluded)
    two_sided, by_scores, seen = TwoSided(users, items, bias).train(), Scores(scores).train(), []
    a = rank_rows(two_sided, np.arange(50) + 7, batches, progress=seen.append)
    assert (
        a.rank.tolist() == expected.tolist()
        and a.user_id.tolist() == list(range(7, 57))
        and a.target.tolist() == targets.tolist()
    )
    assert (
        two_sided.encoded == 1 and two_sided.largest == 128 and two_sided.training and seen == [50]
    )
    b = rank_rows(by_scores, np.arange(50) + 7, batches, budget_bytes=8 * 200 * 5)
    assert b.rank.tolist() == expected.tolist() and by_scores.largest == 128 and by_scores.training
    c = rank_rows(two_sided, np.arange(50), batches, score=lambda rows: scores[rows])
    assert c.rank.tolist() == expected.tolist()


def test_scores_of_the_wrong_size_are_named():
    with pytest.raises(
        ValueError, match=r"Scores gave scores of shape \(512,\) for 128 rows and 5 items"
    ):
        rank_rows(
            Scores(torch.zeros(3, 4)),
            np.arange(3),
            lambda lo, hi: (torch.arange(lo, hi), torch.ones(hi - lo), None),
            n_items=5,
        )


def test_weights_that_are_being_trained_can_be_ranked():
    users, items = torch.randn(4, 3, requires_grad=True), torch.nn.Parameter(torch.randn(9, 3))
    targets = torch.tensor([1, 2, 3, 4])
    bias = torch.nn.Parameter(torch.zeros(9))
    ranks = rank_by_vectors(users, items, targets, item_bias=bias)
    assert (
        torch.equal(ranks, rank_by_scores(users @ items.t() + bias, targets))
        and not ranks.requires_grad
    )


def test_no_rows():
    assert rank_by_vectors(
        torch.zeros(0, 3), torch.zeros(5, 3), torch.zeros(0, dtype=torch.int64)
    ).shape == (0,)
    assert rank_by_scores(torch.zeros(0, 5), torch.zeros(0, dtype=torch.int64)).shape == (0,)


def test_memory_stays_small():
    """100,000 items and 2,000 users are 800 MB of scores; the largest tensor made is a few MB."""
    vectors = torch.randn(100_000, 8)
    ranker = VectorRanker(vectors)
    sizes = []

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            out = function(*args, **(kwargs or {}))
            if isinstance(out, torch.Tensor):
                sizes.append(out.numel() * out.element_size())
            return out

    with Watch():
        ranker.rank(torch.randn(600, 8), torch.randint(1, 100_000, (600,)))
    own = sorted(size for size in sizes if size != vectors.numel() * 4)
    assert own[-1] <= 4 << 20


def test_ranks_travel(tmp_path):
    ranks = Ranks([5, 6, 7], [1, 2, 3], [10, 1, 400])
    ranks.save(tmp_path / "ranks.npz")
    again = Ranks.load(tmp_path / "ranks.npz")
    assert (
        (again.user_id == ranks.user_id).all()
        and (again.target == ranks.target).all()
        and (again.rank == ranks.rank).all()
    )
    assert [path.name for path in tmp_path.iterdir()] == ["ranks.npz"]
    assert again.select(np.array([True, False, True])).rank.tolist() == [10, 400]
    Ranks(np.array(["u1", "u2"]), np.array(["a", "b"]), [3, 4]).save(tmp_path / "ranks.npz")
    assert Ranks.load(tmp_path / "ranks.npz").user_id.tolist() == ["u1", "u2"]
    with pytest.raises(ValueError, match="one length"):
        Ranks([1], [1, 2], [1, 2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_gpu_agrees():
    users, items = (
        torch.randint(-3, 4, (3000, 6)).float(),
        torch.randint(-3, 4, (20_000, 6)).float(),
    )
    targets = torch.randint(1, 20_000, (3000,))
    excluded = (torch.arange(3000), torch.randint(0, 20_000, (3000,)))
    here = rank_by_vectors(users, items, targets, excluded=excluded)
    there = rank_by_vectors(users.cuda(), items.cuda(), targets, excluded=excluded)
    assert torch.equal(here, there.cpu())
