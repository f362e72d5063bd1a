import itertools

import pytest

from recbole_precise.training.schedule import learning_rate_factor


@pytest.mark.parametrize("schedule", ["cosine", "linear"])
def test_falls_from_one_to_zero_without_rising(schedule):
    factors = [learning_rate_factor(schedule, step, 100) for step in range(101)]
    assert factors[0] == 1 and abs(factors[-1]) < 1e-12
    assert all(a >= b for a, b in itertools.pairwise(factors))
    assert abs(factors[50] - 0.5) < 1e-12


def test_warms_up_linearly_and_then_stays():
    assert [learning_rate_factor("constant", step, 100, 4) for step in range(6)] == [
        0.25,
        0.5,
        0.75,
        1,
        1,
        1,
    ]


def test_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="cosin'"):
        learning_rate_factor("cosin", 0, 1)
