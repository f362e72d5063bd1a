"""Paired tests against full enumeration, SciPy, and what they promise on average."""

from itertools import combinations, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from recbole_precise.evaluation.metrics import per_case
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.evaluation.significance import compare, holm, one_test, paired_test

values = st.integers(0, 4).map(lambda x: x / 4)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(values, values), min_size=1, max_size=8))
def test_p_value_is_the_share_of_all_sign_patterns(pairs):
    a, b = np.array(pairs).T
    d = a - b
    sums = [abs(np.dot(signs, d)) for signs in product((-1, 1), repeat=len(d))]
    expected = np.mean(np.array(sums) >= abs(d.sum()) - 1e-9)
    assert paired_test(a, b, n_resamples=300).p_value == pytest.approx(expected)


def test_sampled_p_value_and_interval_agree_with_scipy():
    rng = np.random.default_rng(1)
    a = rng.random(60)
    b = a - rng.normal(0.03, 0.12, 60)
    ours = paired_test(a, b)

    def mean(x, axis):
        return x.mean(axis=axis)

    p = stats.permutation_test(
        (a - b,),
        mean,
        permutation_type="samples",
        n_resamples=9999,
        vectorized=True,
        random_state=2,
    ).pvalue
    interval = stats.bootstrap(
        (a - b,), mean, method="percentile", n_resamples=9999, vectorized=True, random_state=2
    ).confidence_interval
    assert ours.p_value == pytest.approx(p, abs=0.01)
    assert (ours.low, ours.high) == pytest.approx((interval.low, interval.high), abs=0.003)
    assert (
        ours.difference == pytest.approx((a - b).mean()) and ours.low < ours.difference < ours.high
    )
    assert ours.significant == (p < 0.05 and (interval.low > 0 or interval.high < 0))


def test_interval_is_the_enumerated_one():
    """Three users, all 27 resamples known: the quantiles of the bootstrap are theirs."""
    a, b = np.array([1.0, 0.0, 5.0]), np.zeros(3)
    exact = np.array([np.mean(a[list(rows)]) for rows in product(range(3), repeat=3)])
    ours = paired_test(a, b, n_resamples=20_000, confidence=0.8)
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(exact, [0.1, 0.9])), abs=0.01)


def test_false_alarms_are_as_rare_as_promised():
    rng = np.random.default_rng(0)
    found = [
        paired_test(rng.random(200), rng.random(200), n_resamples=499).p_value < 0.05
        for _ in range(300)
    ]
    assert 4 <= sum(found) <= 28  # 15 expected


def test_seeds_widen_the_interval_when_they_disagree():
    rng = np.random.default_rng(0)
    users = rng.random(500)
    steady = users + np.zeros((3, 1))
    shaky = users + np.array([[-0.2], [0.0], [0.2]])
    narrow, wide = paired_test(steady, users - 0.05), paired_test(shaky, users - 0.05)
    assert narrow.difference == pytest.approx(0.05) == pytest.approx(wide.difference)
    assert narrow.significant and not wide.significant and wide.high - wide.low > 0.2
    assert (wide.seeds_a, wide.seeds_b, wide.users) == (3, 1, 500)


def test_no_difference_is_certain():
    same = paired_test(np.ones(30), np.ones(30))
    assert (same.difference, same.low, same.high, same.p_value, same.significant) == (
        0,
        0,
        0,
        1,
        False,
    )


def test_a_constant_factor_changes_no_p_value():
    """Recall and precision ask one question.

    Their means over seeds differ in the last bits, also where there is no difference.
    """
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2, (3, 400)).astype(float), rng.integers(0, 2, (1, 400)).astype(float)
    whole, tenth = paired_test(a, b, n_resamples=999), paired_test(a / 10, b / 10, n_resamples=999)
    assert whole.p_value == tenth.p_value < 1


def test_compare_pairs_users_in_any_order_and_keeps_a_user_one_unit():
    user = np.array([3, 1, 1, 2, 3])
    target = np.array([9, 8, 7, 6, 5])
    rank_a, rank_b = np.array([1, 2, 30, 4, 1]), np.array([5, 2, 3, 40, 1])
    order = np.array([4, 2, 0, 1, 3])
    result = compare(
        Ranks(user, target, rank_a),
        [Ranks(user[order], target[order], rank_b[order])],
        "ndcg@10",
        n_resamples=500,
    )
    by_row = per_case(rank_a, "ndcg@10") - per_case(rank_b, "ndcg@10")
    assert result.difference == pytest.approx(by_row.mean()) and result.users == 3
    sums = np.array([by_row[user == u].sum() for u in (1, 2, 3)])
    exact = np.mean(
        [abs(np.dot(s, sums)) >= abs(sums.sum()) - 1e-12 for s in product((-1, 1), repeat=3)]
    )
    assert result.p_value == pytest.approx(exact)
    assert result.to_dict()["significant"] is False


def test_compare_refuses_other_rows():
    ranks = Ranks([1, 2, 3], [4, 5, 6], [1, 2, 3])
    with pytest.raises(ValueError, match="seed 0 of a has 3 rows, seed 1 of b has 2"):
        compare(ranks, [ranks, ranks.select(np.array([0, 1]))], "hit@10")
    with pytest.raises(
        ValueError,
        match=r"1 of 3 differ, first user 2 with target 5 in seed 0 of a against user 2 with "
        r"target 9",
    ):
        compare([ranks], [Ranks([1, 2, 3], [4, 9, 6], [1, 2, 3])], "hit@10")
    with pytest.raises(ValueError, match="at least one seed"):
        compare([], [ranks], "hit@10")


def test_bad_values_are_refused():
    with pytest.raises(ValueError, match="same users"):
        paired_test(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="no users"):
        paired_test(np.ones(0), np.ones(0))
    with pytest.raises(ValueError, match="NaN"):
        paired_test([np.nan], [1.0])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.one_of(st.floats(0, 1), st.sampled_from([0.01, 0.02, 0.5])), min_size=1, max_size=6)
)
def test_holm_is_closed_testing_with_bonferroni(p_values):
    """The adjusted p-value of a test is the largest Bonferroni p-value of all families that hold
    it.
    """
    number = len(p_values)
    families = [
        family for size in range(1, number + 1) for family in combinations(range(number), size)
    ]
    bonferroni = {
        family: min(1.0, len(family) * min(p_values[i] for i in family)) for family in families
    }
    expected = [max(p for family, p in bonferroni.items() if i in family) for i in range(number)]
    assert holm(dict(enumerate(p_values))) == pytest.approx(dict(enumerate(expected)))


def test_holm_keeps_keys_and_refuses_what_is_no_p_value():
    assert holm({}) == {}
    assert holm({"b": 0.04, "a": 0.01, "c": 0.03}) == pytest.approx(
        {"b": 0.06, "a": 0.03, "c": 0.06}
    )
    with pytest.raises(ValueError, match="the p-value of x is 1.5"):
        holm({"x": 1.5})


@pytest.mark.parametrize(
    ("metric", "other"), [("recall@10", "hit@10"), ("precision@10", "Hit@10"), ("map@5", "mrr@5")]
)
def test_metrics_that_are_one_test_have_one_p_value(metric, other):
    rng = np.random.default_rng(4)
    a, b = (Ranks(np.arange(80), np.arange(80), rng.integers(1, 30, 80)) for _ in range(2))
    assert one_test(metric) == one_test(other)
    assert (
        compare(a, b, metric, n_resamples=999).p_value
        == compare(a, b, other, n_resamples=999).p_value
    )
    assert one_test("ndcg@10") != one_test("recall@10") != one_test("recall@5")
