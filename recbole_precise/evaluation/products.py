"""Products of user and item vectors, and the checks that what comes out of a model are numbers."""

from __future__ import annotations

import torch
from torch import Tensor

from recbole_precise.errors import DivergedError

# oneDNN's product is about twice as fast as MKL's on AMD processors, and level on Intel's.
_ONEDNN = None
if torch.backends.mkldnn.is_available():
    _ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def product(users: Tensor, items: Tensor) -> Tensor:
    """`users [b, d] @ items [t, d]^T -> [b, t]`, a fresh tensor."""
    on_cpu = users.device.type == "cpu" and users.dtype == torch.float32
    if _ONEDNN is not None and on_cpu and torch.backends.mkldnn.enabled:
        return _ONEDNN(users, items, None, "none", [], "")
    return users @ items.t()


def largest(vectors: Tensor, name: str) -> float:
    """Return the largest absolute value; raise when there is NaN or infinity.

    No copy is made.
    """
    if not vectors.numel():
        return 0.0
    low, high = torch.aminmax(vectors)
    value = max(-float(low), float(high))
    if not value < float("inf"):
        raise not_finite(name)
    return value


def not_finite(name: str) -> DivergedError:
    """Return the error for vectors that are not finite."""
    return DivergedError(
        f"the {name} hold NaN or infinite values: the model has diverged, "
        "or one of its inputs is not finite. Lower learning_rate."
    )


def nan_error() -> DivergedError:
    """Return the error for a score that is no number, or larger than the largest."""
    return DivergedError(
        "a score is NaN: the model has diverged, or one of its inputs is not finite. "
        "Lower learning_rate."
    )
