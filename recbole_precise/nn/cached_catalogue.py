"""Vectors of the catalogue that are computed once and kept until a weight changes."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable

import torch
from torch import Tensor


class CachedCatalogue:
    """Vectors that follow from tensors, computed again when one of the tensors has changed.

    A change is a new value in place (a step of an optimizer, loaded weights) or a move to another
    device.

    Example:
        >>> cache = CachedCatalogue()
        >>> cache.get(encoder.parameters(), encoder.all_items)
    """

    def __init__(self) -> None:
        self._key: Hashable = None
        self._vectors: Tensor | None = None

    def get(
        self,
        tensors: Iterable[Tensor],
        compute: Callable[[], Tensor],
        *,
        also: Hashable = None,
        renew: bool = False,
    ) -> Tensor:
        """Return the vectors, from the cache where nothing has changed.

        Args:
            tensors: what the vectors follow from.
            compute: gives the vectors.
            also: a further value that they follow from.
            renew: compute them in any case.
        """
        key = (also, _state_of(tensors))
        if renew or self._vectors is None or self._key != key:
            self._vectors = compute()
            self._key = key
        return self._vectors

    def append(self, rows: Tensor) -> None:
        """Add the vectors of new items `[new, ...]` to those that are kept, if there are any."""
        if self._vectors is not None:
            self._vectors = torch.cat([self._vectors, rows])

    def forget(self) -> None:
        """Compute the vectors when they are asked for next."""
        self._key = None
        self._vectors = None


def _state_of(tensors: Iterable[Tensor]) -> tuple[tuple[torch.device, int], ...]:
    return tuple((tensor.device, tensor._version) for tensor in tensors)
