"""Moments to periods: days, weeks, months, or any number of days."""

from __future__ import annotations

import numpy as np

from recbole_precise.errors import ConfigError, DataError, did_you_mean

UNITS = {"s": 1, "ms": 1_000, "us": 1_000_000}
_NAMED = ("day", "week", "month")
_DAYS = {"day": 1, "week": 7}
_MOST = 5_000


def check_period(text: str) -> str:
    """`text` when it is day, week, month or a whole number of days; a ConfigError otherwise."""
    if text in _NAMED or (text.isdigit() and int(text) > 0):
        return text
    raise ConfigError(
        "--period is day, week, month or a whole number of days, not "
        f"'{text}'.{did_you_mean(text, _NAMED)}"
    )


def period_numbers(times: np.ndarray, period: str, unit: str = "s") -> tuple[np.ndarray, list[str]]:
    """Assign numbers to the periods from 0 on; one without events keeps its number.

    Args:
        times: `[events]`, since 1970-01-01 UTC in `unit` (s, ms or us). period: see `check_period`.
            Months are those of the calendar; all others are counted from the midnight (UTC) before
            the first event.

    Returns: int64 `[events]` numbers, and the first day of every period.

    Raises ConfigError for a period or unit that is none, DataError when the moments make no
    sensible calendar.
    """
    check_period(period)
    if unit not in UNITS:
        raise ConfigError(
            f"--time_unit is one of {', '.join(UNITS)}, not '{unit}'.{did_you_mean(unit, UNITS)}"
        )
    days = np.floor_divide(np.asarray(times, dtype=np.float64), 86_400 * UNITS[unit])
    if not len(days) or not np.isfinite(days).all() or np.abs(days).max() > 3_000_000:
        raise DataError(
            f"the times are no moments in '{unit}' since 1970 (largest: "
            f"{np.max(times) if len(times) else 'none'}): give --time_unit=s, ms or us."
        )
    days = days.astype(np.int64)
    if period == "month":
        months = days.astype("datetime64[D]").astype("datetime64[M]").astype(np.int64)
        first, number = months.min(), months - months.min()
        names = [
            str(np.datetime64(int(first + n), "M"))
            for n in range(min(int(number.max()) + 1, _MOST))
        ]
    else:
        length = _DAYS.get(period) or int(period)
        first, number = days.min(), (days - days.min()) // length
        names = [
            str(np.datetime64(int(first + n * length), "D"))
            for n in range(min(int(number.max()) + 1, _MOST))
        ]
    count = int(number.max()) + 1
    if count < 2:
        raise ConfigError(
            f"--period={period}: all events lie in one period; take a shorter one, or check "
            f"--time_unit ({unit})."
        )
    if count > _MOST:
        raise ConfigError(
            f"--period={period} makes {count:,} periods, more than {_MOST:,}; take a longer one, "
            f"or check --time_unit ({unit})."
        )
    return number, names
