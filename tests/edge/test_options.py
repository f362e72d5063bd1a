"""Options of the verbs: a value as it was meant, or one sentence that names the option and what was given."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError
from recbole_precise.verbs.options import number, one_of, switch, whole_number, whole_numbers


@given(st.integers(-5, 10**12), st.integers(0, 5))
def test_whole_numbers_from_the_least_on(value, least):
    if value >= least:
        assert whole_number({"k": f" {value} "}, "k", None, least=least) == value
    else:
        with pytest.raises(ConfigError, match=f"--k must be a whole number .*, not '{value}'"):
            whole_number({"k": str(value)}, "k", None, least=least)


@given(st.lists(st.integers(0, 99), min_size=1, max_size=5), st.sampled_from([" ", ",", ", "]))
def test_lists_of_whole_numbers(values, between):
    options = {"seeds": between.join(map(str, values))}
    if len(set(values)) == len(values):
        assert whole_numbers(options, "seeds") == values
    else:
        with pytest.raises(ConfigError, match="--seeds must be different whole numbers"):
            whole_numbers(options, "seeds")


@given(st.floats())
def test_numbers_within_their_bounds(value):
    for bounds, holds in (({}, value >= 0), ({"above": 0}, value > 0), ({"above": 0, "most": 1}, 0 < value <= 1), ({"above": 0, "below": 1}, 0 < value < 1)):
        if holds and value != float("inf"):
            assert number({"k": repr(value)}, "k", None, **bounds) == value
        else:
            with pytest.raises(ConfigError, match="--k must be a number "):
                number({"k": repr(value)}, "k", None, **bounds)


@pytest.mark.parametrize("text", ["", "1.5", "x", "1e3", "-1", "٣x"])
def test_what_is_no_whole_number(text):
    with pytest.raises(ConfigError):
        whole_number({"k": text}, "k", 1)
    with pytest.raises(ConfigError):
        whole_numbers({"k": text}, "k")


def test_what_is_missing_has_its_default():
    assert (whole_number({}, "k", 3), whole_numbers({}, "k"), number({}, "k", None), switch({}, "k", True), one_of({}, "k", ("a", "b"))) == (3, None, None, True, "a")
    assert one_of({}, "k", ("a", "b"), default="b") == "b" and switch({"k": "false"}, "k", True) is False
    with pytest.raises(ConfigError, match="--k must be one of test, valid, not 'vlid'. Did you mean 'valid'"):
        one_of({"k": "vlid"}, "k", ("test", "valid"))
