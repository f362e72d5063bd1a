"""The audit's parts against brute force, closed forms and other people's libraries."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import sem

from recbole_precise.evaluation import floors
from recbole_precise.evaluation.ranking import rank_by_scores
from recbole_precise.studies.audit import Histories, chance, describe, order, text, transitions

N_ITEMS = 9
HISTORIES = st.lists(
    st.lists(st.integers(1, N_ITEMS - 1), min_size=2, max_size=10), min_size=1, max_size=12
)


def build(histories, times=None) -> Histories:
    return Histories.leave_one_out(histories, N_ITEMS, times)


# --- Ranks and counts -------------------------------------------------------------------------


@given(HISTORIES, st.booleans(), st.sampled_from([0, 1, 2, 4]))
def test_ranks_are_those_of_the_floors_over_all_items(histories, mask, last):
    """Popularity (last = 0), Transition (1), and sums over the last items, each scored densely and
    ranked by the judge.
    """
    data = build(histories)
    train = data.items[data.is_training]
    length = max(map(len, histories))
    padded, lengths = (
        np.zeros((len(histories), length), dtype=np.int64),
        np.array([len(h) - 1 for h in histories]),
    )
    for row, history in enumerate(histories):
        padded[row, : len(history) - 1] = history[:-1]
    if last == 0:
        scores, rows = (
            floors.Popularity(train, data.training_offsets, N_ITEMS).scores(padded, lengths),
            None,
        )
    else:
        scores = floors.Transition(train, data.training_offsets, N_ITEMS).scores(padded, lengths)
        for back in range(2, last + 1):
            scores = (
                scores
                + floors.transition_counts(train, data.training_offsets, N_ITEMS, back)[
                    floors.last_items(padded, lengths, back)
                ].toarray()
            )
        rows = transitions.rows_of_last(
            data, [transitions.following(data, k) for k in range(1, last + 1)]
        )
    excluded = None
    if mask:
        row, place = np.nonzero(padded)
        excluded = torch.from_numpy(row), torch.from_numpy(padded[row, place])
    wanted = rank_by_scores(
        torch.from_numpy(scores), torch.tensor([h[-1] for h in histories]), excluded=excluded
    ).numpy()
    got = transitions.ranks(data, rows, mask)
    hit = np.array([not mask or h[-1] not in h[:-1] for h in histories])
    assert got[hit].tolist() == wanted[hit].tolist()
    assert (got[~hit] == N_ITEMS).all()


@given(HISTORIES)
def test_ranks_do_not_depend_on_the_size_of_blocks(histories):
    data = build(histories)
    rows = transitions.rows_of_last(data, [transitions.following(data)])
    whole = transitions.ranks(data, rows, True)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transitions, "_ENTRIES_AT_ONCE", 2)
        assert transitions.ranks(data, rows, True).tolist() == whole.tolist()


@given(HISTORIES)
def test_branching_as_counted_by_hand(histories):
    successors = {
        item: {b for h in histories for a, b in itertools.pairwise(h[:-2]) if a == item}
        for item in range(N_ITEMS)
    }
    data = build(histories)
    size, inside = transitions.branching(data, transitions.following(data))
    assert size.tolist() == [len(successors[h[-2]]) for h in histories]
    assert inside.tolist() == [h[-1] in successors[h[-2]] for h in histories]


# --- Copies -----------------------------------------------------------------------------------


@given(
    st.lists(
        st.lists(
            st.tuples(st.integers(1, N_ITEMS - 1), st.integers(0, 2)), min_size=2, max_size=10
        ),
        min_size=1,
        max_size=8,
    ),
    st.integers(0, 9),
)
def test_copies_keep_what_they_must(rows, seed):
    rows = [sorted(row, key=lambda event: event[1]) for row in rows]
    data = build(
        [[item for item, _ in row] for row in rows], [[time for _, time in row] for row in rows]
    )
    rng = np.random.default_rng(seed)
    for within in (False, True):
        copy = data.shuffled(rng, within_ties=within)
        groups = data.tie_group if within else data.owner
        for group in np.unique(groups):
            assert sorted(copy.items[groups == group]) == sorted(data.items[groups == group])
        assert (
            copy.counts().sum() == data.counts().sum()
            and copy.counts().tolist()
            == np.bincount(copy.items[copy.is_training], minlength=N_ITEMS).tolist()
        )
    part = data.some_users(len(data.items) // 2, rng)
    assert part.users >= 1 and (len(part.items) <= len(data.items) // 2 or part.users == 1)
    kept = list(_lists(part))
    assert all(history in _lists(data) for history in kept)
    assert [h[-1] for h in kept] == part.items[part.test].tolist()


def _lists(data: Histories) -> list[list[int]]:
    return [part.tolist() for part in np.split(data.items, data.offsets[1:-1])]


def test_every_order_of_a_history_is_as_likely():
    data = build([[1, 2, 3]])
    rng = np.random.default_rng(0)
    orders, counts = np.unique(
        [data.shuffled(rng).items for _ in range(6000)], axis=0, return_counts=True
    )
    assert len(orders) == 6 and np.abs(counts - 1000).max() < 150  # five standard deviations


# --- Order of the catalogue -------------------------------------------------------------------


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, N_ITEMS - 1), st.integers(0, 3)), min_size=1, max_size=9),
        min_size=1,
        max_size=8,
    ),
    st.permutations(range(1, N_ITEMS)),
)
def test_ascending_shares_as_counted_by_hand(rows, place):
    rows = [sorted(row, key=lambda event: event[1]) for row in rows]
    data = build(
        [[item for item, _ in row] for row in rows], [[time for _, time in row] for row in rows]
    )
    place = np.array([0, *place])
    place[3] = -1  # an item that the order does not know
    found = order.Ascending(data, place)

    def pairs(distance):
        return [
            (place[a], place[b], s == t)
            for row in rows
            for (a, s), (b, t) in zip(row, row[distance:])
            if place[a] > 0 and place[b] > 0
        ]

    for tied in (False, True):
        wanted = [a < b for a, b, same in pairs(1) if same or not tied]
        assert found.index(data.items, tied) == (
            pytest.approx(np.mean(wanted)) if wanted else pytest.approx(math.nan, nan_ok=True)
        )
        estimate = found.index_estimate(data.items, tied)
        assert estimate.n == len(wanted) and (
            not wanted or estimate.value == pytest.approx(np.mean(wanted))
        )
    near, far = (
        [a < b for k in distances for a, b, _ in pairs(k) if a != b]
        for distances in ((1,), (2, 3, 4, 5))
    )
    if near and far:
        sign = 1 if np.mean(near) >= 0.5 else -1
        assert found.surplus(data.items) == pytest.approx(sign * (np.mean(near) - np.mean(far)))
        assert found.surplus_estimate(data.items).value == pytest.approx(found.surplus(data.items))


def test_orders_of_a_catalogue():
    assert order.token_order(["[PAD]", "10", "9", "100"]).tolist() == [0, 2, 1, 3]
    assert order.token_order(["[PAD]", "b10", "b9", "a"]).tolist() == [0, 2, 3, 1]
    assert order.file_order(["[PAD]", "a", "b", "c"], ["c", "x", "a"]).tolist() == [0, 3, -1, 1]
    tokens = ["[PAD]", *map(str, range(1, 200))]
    assert list(order.orders_of(tokens, None)) == ["item id"]
    assert list(order.orders_of(tokens, tokens[1:])) == ["row of .item"]
    assert list(order.orders_of(tokens, tokens[:0:-1])) == ["row of .item", "item id"]
    assert list(order.orders_of(tokens, ["elsewhere"])) == ["item id"]


# --- Text -------------------------------------------------------------------------------------


def test_word_vectors_are_scikit_learns():
    from sklearn.feature_extraction.text import TfidfVectorizer

    texts = [
        "Milk chocolate, 5 oz",
        "dark Chocolate chocolate 5 oz",
        "tuna in water",
        "",
        "Œufs & café",
        "...",
    ]
    ours = text.word_vectors(texts)
    theirs = TfidfVectorizer(token_pattern=r"(?u)\w+").fit_transform(texts)
    assert np.allclose((ours @ ours.T).toarray(), (theirs @ theirs.T).toarray(), atol=1e-6)


def test_likeness_leaves_out_equal_items_and_items_without_text():
    vectors = np.array([[0, 0], [1, 0], [0, 1], [0.6, 0.8], [0, 0]])
    data = Histories.leave_one_out([[1, 1, 3, 4, 2], [2, 3]], 5)
    for given_vectors in (vectors, text.sp.csr_matrix(vectors)):
        likeness = text.Likeness(data, given_vectors, np.random.default_rng(0))
        estimate, cosines = likeness.consecutive_estimate(data.items)
        assert (
            cosines.tolist() == pytest.approx([0.6, 0.8])
            and estimate.n == 2
            and estimate.value == pytest.approx(0.7)
        )
        dealt = likeness.dealt_anew()
        assert dealt[[0, 4]].tolist() == [0, 4] and sorted(dealt) == [0, 1, 2, 3, 4]


# --- Chance -----------------------------------------------------------------------------------


@given(st.lists(st.floats(-5, 5), min_size=3, max_size=40))
def test_one_case_a_user_gives_the_textbook_interval(values):
    values = np.array(values)
    if (
        len(set(values)) < len(values)
        or np.ptp(values) < 1e-3
        or not (values != values.mean()).all()
    ):
        return
    estimate = chance.mean(values)
    assert estimate.value == pytest.approx(values.mean(), abs=1e-9)
    assert estimate.high - estimate.value == pytest.approx(1.959964 * sem(values), rel=1e-5)


def test_intervals_hold_what_they_promise_for_users_with_many_pairs():
    """Pairs of a user are alike: the interval over users covers the truth about 95 times in 100,
    one over pairs would not.
    """
    rng, covered, narrow = np.random.default_rng(0), 0, 0
    for _ in range(400):
        owner = np.repeat(np.arange(150), rng.integers(1, 20, 150))
        level = rng.beta(2, 2, 150)
        hit = rng.random(len(owner)) < level[owner]
        estimate = chance.interval(*chance.per_user(hit, np.ones(len(hit)), owner, 150), len(hit))
        covered += estimate.low <= 0.5 <= estimate.high
        naive = chance.share(hit)
        narrow += naive.low <= 0.5 <= naive.high
    assert 363 <= covered <= 395 and narrow < 340


@settings(max_examples=30)
@given(st.lists(st.integers(0, 20), min_size=5, max_size=30, unique=True))
def test_p_values_count_the_data_among_the_copies(values):
    """Whichever of exchangeable values is the data, the p-values of all choices are 1/n, 2/n, ...
    n/n: exact at every level.
    """
    values = [float(value) for value in values]
    n = len(values)
    p = [
        chance.beside(value, values[:place] + values[place + 1 :], "", "greater").p
        for place, value in enumerate(values)
    ]
    assert sorted(p) == pytest.approx([(place + 1) / n for place in range(n)])
    both = [
        chance.beside(value, values[:place] + values[place + 1 :], "", "two").p
        for place, value in enumerate(values)
    ]
    assert all(np.mean(np.array(both) <= level) <= level + 1e-9 for level in (0.1, 0.2, 0.5))
    assert chance.beside(1.0, values, "", None).p is None


# --- Descriptions -----------------------------------------------------------------------------


def test_descriptions():
    data = build(
        [[1, 2, 3, 4], [1, 1, 2, 5]],
        [[86_400 * 20_000] * 2 + [86_400 * 20_001] * 2, [86_400 * 20_000] * 3 + [86_400 * 20_003]],
    )
    assert describe.sizes(data) == {
        "users": 2, "items in the catalogue": 8, "items with events": 5,
        "items with training events": 2, "events": 8, "training events": 4,
        "test targets": 2, "density": 0.5,
    }  # fmt: skip
    times = describe.times(data)
    assert (
        times["resolution"],
        times["share of events in ties"],
        times["events of the largest tie"],
    ) == ("day", 7 / 8, 3)
    assert not times["are places"] and times["share of users with one time for all"] == 0
    frequencies = describe.frequencies(data)  # counts 3, 1, and six items without any
    assert frequencies["Gini coefficient"] == pytest.approx(
        sum(abs(a - b) for a in (3, 1, 0, 0, 0, 0, 0, 0) for b in (3, 1, 0, 0, 0, 0, 0, 0))
        / (2 * 8 * 4)
    )
    assert frequencies["share of events of the most frequent 20% of the items seen"] == 0.75
    assert sum(frequencies["share of test targets in each bucket"]) == pytest.approx(1)
    assert describe.times(build([[1, 2], [3, 4, 5]]))["are places"]
    assert (
        describe.resolution(np.array([0.0, 1.0])) is None
        and describe.resolution(np.array([60.0 * 20_000_001])) == "minute"
    )
