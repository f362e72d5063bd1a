"""Periods, prequential rows, shares and reloads against brute force and closed forms."""

from __future__ import annotations

import datetime

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data.sequences import SequenceStore
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.studies.replay.periods import check_period, period_numbers
from recbole_precise.studies.replay.prequential import cases_of, items_of_windows, windows_of
from recbole_precise.studies.replay.scene import Scene
from recbole_precise.studies.replay.shares import exposure_share, reload

DAY = 86_400


@given(
    st.lists(st.integers(0, 400 * DAY), min_size=2, max_size=30),
    st.integers(1, 40),
    st.sampled_from(["s", "ms"]),
)
def test_periods_count_days_from_the_first_midnight(seconds, length, unit):
    seconds = [*seconds, max(seconds) + length * DAY]
    number, names = period_numbers(
        np.array(seconds) * (1000 if unit == "ms" else 1), str(length), unit
    )
    first = datetime.date(1970, 1, 1) + datetime.timedelta(days=min(seconds) // DAY)
    for moment, found in zip(seconds, number):
        day = datetime.date(1970, 1, 1) + datetime.timedelta(days=moment // DAY)
        assert found == (day - first).days // length
        assert names[found] == str(first + datetime.timedelta(days=int(found) * length))


@given(
    st.lists(
        st.dates(datetime.date(1995, 1, 1), datetime.date(2030, 1, 1)), min_size=2, max_size=20
    )
)
def test_months_are_those_of_the_calendar(days):
    days = [*days, datetime.date(2031, 5, 3)]
    times = np.array([(day - datetime.date(1970, 1, 1)).days * DAY + 86_399 for day in days])
    number, names = period_numbers(times, "month")
    first = min(days)
    assert number.tolist() == [
        (day.year - first.year) * 12 + day.month - first.month for day in days
    ]
    assert [names[n] for n in number] == [f"{day:%Y-%m}" for day in days]


@pytest.mark.parametrize("period", ["fortnight", "0", "-1", "1.5", ""])
def test_a_period_that_is_none(period):
    with pytest.raises(ConfigError, match="--period is day, week, month"):
        check_period(period)


def test_times_of_another_unit_are_refused():
    milliseconds = np.array([1.6e12, 1.7e12])
    with pytest.raises(DataError, match="--time_unit"):
        period_numbers(milliseconds, "week")
    with pytest.raises(ConfigError, match="one period"):
        period_numbers(milliseconds / 1000, "36500")
    with pytest.raises(ConfigError, match="Did you mean 'ms'"):
        period_numbers(milliseconds, "week", "mss")


@st.composite
def histories(draw):
    """Ascending periods of a few users, and their items."""
    users = draw(
        st.lists(
            st.lists(st.integers(0, 5), min_size=1, max_size=12).map(sorted), min_size=1, max_size=6
        )
    )
    offsets = np.cumsum([0, *map(len, users)])
    period = np.concatenate([np.array(user) for user in users])
    items = np.array(draw(st.lists(st.integers(1, 9), min_size=len(period), max_size=len(period))))
    return users, offsets, period, items


@given(histories(), st.integers(0, 5))
def test_cases_are_the_period_s_events_with_a_past(history, now):
    users, offsets, period, _ = history
    expected, first = [], []
    for begin, user in zip(offsets, users):
        mine = [begin + place for place, when in enumerate(user) if when == now and place > 0]
        expected += mine
        first += [event for event in mine if period[event - 1] < now]
    assert cases_of(offsets, period, now).tolist() == expected
    assert cases_of(offsets, period, now, first_only=True).tolist() == first
    assert len({int(np.searchsorted(offsets, event, "right")) for event in first}) == len(first)


@given(histories(), st.integers(0, 5), st.integers(0, 5), st.integers(1, 5), st.data())
def test_windows_train_each_target_of_their_periods_once_and_nothing_younger(
    history, low, high, length, data
):
    users, offsets, period, items = history
    stride = data.draw(st.integers(1, length))
    end, supervised = windows_of(offsets, period, low, high, length, stride)
    store = SequenceStore(
        {"item": torch.from_numpy(items)},
        torch.from_numpy(np.repeat(np.arange(len(users)), np.diff(offsets))),
    )
    inputs = store.history_length(end, length)
    trained = [
        event
        for last, n in zip(end.tolist(), supervised.tolist())
        for event in range(last - n + 1, last + 1)
    ]
    expected = [
        begin + place
        for begin, user in zip(offsets, users)
        for place, when in enumerate(user)
        if place > 0 and low <= when <= high
    ]
    assert sorted(trained) == expected
    assert bool((supervised >= 1).all()) and bool((supervised <= inputs).all())
    held = {
        event
        for last, n in zip(end.tolist(), inputs.tolist())
        for event in range(last - n, last + 1)
    }
    assert all(period[event] <= high for event in held)
    assert set(items_of_windows(items, end, inputs).tolist()) == {
        int(items[event]) for event in held
    }
    # What a later period asks has not been trained.
    assert not held & {
        event for later in range(high + 1, 6) for event in cases_of(offsets, period, later)
    }


@given(st.lists(st.integers(1, 9), max_size=20), st.sets(st.integers(1, 9)))
def test_shares_by_event_and_by_item(items, seen):
    trained = np.isin(np.arange(10), list(seen))
    found = exposure_share(np.array(items, dtype=np.int64), trained)
    if not items:
        assert found == {"events": None, "items": None}
    else:
        assert found["events"] == pytest.approx(sum(item in seen for item in items) / len(items))
        assert found["items"] == pytest.approx(len(set(items) & seen) / len(set(items)))


@given(st.floats(0.01, 1.0))
def test_a_reload_mixes_what_both_have_and_keeps_the_rest(blend):
    torch.manual_seed(0)
    model = torch.nn.ModuleDict({"shared": torch.nn.Linear(2, 3), "head": torch.nn.Linear(3, 3)})
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    universal = {
        name: torch.randn_like(tensor)
        for name, tensor in before.items()
        if name.startswith("shared")
    }
    assert reload(model, universal, blend) == ["shared.weight", "shared.bias"]
    for name, tensor in model.state_dict().items():
        expected = (
            before[name]
            if name.startswith("head")
            else (1 - blend) * before[name] + blend * universal[name]
        )
        assert torch.allclose(tensor, expected, atol=1e-6)
    reload(model, universal, 1)
    assert all(torch.equal(model.state_dict()[name], tensor) for name, tensor in universal.items())


def test_the_target_scene_keeps_the_order_of_its_events():
    marked = torch.tensor([True, False, True, True, False])
    store = SequenceStore(
        {"item": torch.arange(1, 6)}, torch.tensor([1, 1, 1, 2, 3]), np.arange(5.0), marked
    )
    scene = Scene(store, np.array([0, 0, 1, 1, 2]), "item").target()
    assert (scene.items.tolist(), scene.offsets.tolist(), scene.period.tolist()) == (
        [1, 3, 4],
        [0, 2, 3],
        [0, 1, 1],
    )
