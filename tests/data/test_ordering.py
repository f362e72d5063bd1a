"""Digit sorting against NumPy's own sorts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from recbole_precise.data.ordering import sort_keys, stable_order

lengths = array_shapes(max_dims=1, min_side=0, max_side=60)
floats = st.floats(allow_nan=False, allow_infinity=False, width=64) | st.sampled_from(
    [0.0, -0.0, 1.5, 1e300, -1e-300]
)
integers = (
    st.integers(-(2**63), 2**63 - 1) | st.integers(-3, 3) | st.sampled_from([2**53, 2**53 + 1])
)


@given(arrays(np.float64, lengths, elements=floats))
def test_floats_sort_as_numpy_sorts_them(values):
    assert (stable_order([values]) == np.argsort(values, kind="stable")).all()


@given(arrays(np.int64, lengths, elements=integers))
def test_integers_sort_as_numpy_sorts_them(values):
    assert (stable_order([values]) == np.argsort(values, kind="stable")).all()


@given(st.data(), st.integers(0, 80))
def test_several_keys_sort_as_lexsort(data, n):
    keys = [
        data.draw(arrays(np.int64, n, elements=st.integers(0, 4))),
        data.draw(arrays(np.float32, n, elements=st.integers(-2, 2))),
    ]
    assert (stable_order(keys) == np.lexsort(keys)).all()


def test_the_first_order_decides_full_ties():
    start = np.array([3, 1, 0, 2])
    assert stable_order([np.zeros(4)], start).tolist() == [3, 1, 0, 2]
    assert stable_order([np.array([1, 0, 1, 0])], start).tolist() == [3, 1, 0, 2]


def test_values_beyond_sixteen_bits():
    values = np.random.default_rng(0).integers(-(10**12), 10**12, 5000)
    assert (stable_order([values]) == np.argsort(values, kind="stable")).all()
    assert (stable_order([values / 7]) == np.argsort(values / 7, kind="stable")).all()


def test_what_is_not_finite_has_no_order():
    with pytest.raises(ValueError, match="finite"):
        sort_keys(np.array([1.0, np.nan]))
