"""Item texts as one frozen vector each, and a trained linear map of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from recbole_precise.nn.cached_catalogue import CachedCatalogue
from recbole_precise.nn.item_encoders import ItemPart, Words, principal_projection
from recbole_precise.nn.text_adapter import TextAdapter

if TYPE_CHECKING:
    from typing_extensions import Self


class FrozenText(nn.Module):
    """One fixed vector per item, centred; zeros where there is no text.

    New items join by their texts (`extend`).

    Args:
        vectors: float `[items, hidden]`, row 0 the padding; rows of zeros are items without text.
        scaled: the entries are also scaled as a whole, to the mean square 1.

    Attributes:
        plain: float32 `[items, hidden]`, the vectors before an adapter changes them. has_text: bool
            `[items]`. Both move with the module, but are no buffers: they are neither saved with
                the weights nor broadcast to other processes at every step.
    """

    def __init__(self, vectors: np.ndarray, scaled: bool = True) -> None:
        super().__init__()
        values = torch.from_numpy(np.array(vectors, dtype=np.float32))
        self.has_text = values.abs().sum(1) > 0
        some = values[self.has_text]
        self.mean = some.mean(0) if len(some) else values.new_zeros(values.shape[1])
        self.scale = (
            (some - self.mean).pow(2).mean().sqrt().clamp_min(1e-12)
            if scaled and len(some)
            else values.new_ones(())
        )
        self.plain = self._placed(values, self.has_text)
        # a tuple, for a submodule would be saved once for every part that reads texts
        self._adapters: tuple[TextAdapter, ...] = ()
        self._tuned = CachedCatalogue()

    def _placed(self, values: Tensor, has_text: Tensor) -> Tensor:
        return torch.where(has_text[:, None], (values - self.mean) / self.scale, 0.0)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        super()._apply(fn, recurse)
        self.plain = fn(self.plain)
        self.has_text = fn(self.has_text)
        return self

    @property
    def hidden_size(self) -> int:
        """Return the width of the text vectors."""
        return self.plain.shape[1]

    def tune(self, adapter: TextAdapter) -> None:
        """Give all vectors through `adapter` from now on.

        It belongs to the model and is no submodule here.
        """
        self._adapters = (adapter,)
        self._tuned.forget()

    @property
    def is_tuned(self) -> bool:
        """Return whether the text vectors are tuned by adapters."""
        return bool(self._adapters)

    @property
    def vectors(self) -> Tensor:
        """float32 `[items, hidden]`: what models read."""
        if not self._adapters:
            return self.plain
        return self._tuned.get(
            self._adapters[0].buffers(),
            lambda: self._through_adapter(self.plain, self.has_text),
        )

    def _through_adapter(self, plain: Tensor, has_text: Tensor) -> Tensor:
        for adapter in self._adapters:
            plain = torch.where(has_text[:, None], adapter(plain), 0.0)
        return plain

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Vectors of `item_ids [n]`, or of all items for None: `[n, hidden]`."""
        return self.vectors if item_ids is None else self.vectors[item_ids]

    def new_rows(self, vectors: np.ndarray) -> tuple[Tensor, Tensor]:
        """Make vectors of other items by those of their texts; nothing is added.

        Gives the vectors `[new, hidden]`, and bool `[new]`: which of them have a text.
        """
        plain, has_text = self._new_plain(vectors)
        return self._through_adapter(plain, has_text), has_text

    def _new_plain(self, vectors: np.ndarray) -> tuple[Tensor, Tensor]:
        values = torch.from_numpy(np.array(vectors, dtype=np.float32))
        has_text = values.abs().sum(1) > 0
        return self._placed(values, has_text).to(self.plain), has_text.to(self.has_text)

    def extend(self, vectors: np.ndarray) -> Tensor:
        """Add items by their texts' vectors `[new, hidden]`.

        Bool `[new]`, which of them have a text.
        """
        plain, has_text = self._new_plain(vectors)
        if self._adapters:
            _ = self.vectors  # those of the items so far are not computed again
            self._tuned.append(self._through_adapter(plain, has_text))
        self.plain = torch.cat([self.plain, plain])
        self.has_text = torch.cat([self.has_text, has_text])
        return has_text.cpu()

    def without_items(self) -> FrozenText:
        """Return a copy for `new_rows` alone, without the catalogue's vectors."""
        twin = copy.copy(self)
        twin.plain = self.plain[:0].clone()
        twin.has_text = self.has_text[:0].clone()
        twin._tuned = CachedCatalogue()
        return twin


def scaled_projection(rows: Tensor, width: int, std: float) -> Tensor:
    """Scale the principal directions of centred `rows [n, hidden]`: `[hidden, width]`.

    So long that what they give for the rows has the root mean square `std`.
    """
    direction = principal_projection(rows, width)
    return direction * (std / (rows @ direction).pow(2).mean().sqrt().clamp_min(1e-12))


def principal_linear(rows: Tensor, width: int, std: float, bias: bool = True) -> nn.Linear:
    """Make a linear map `hidden -> width` that begins as a principal projection.

    That of centred `rows [n, hidden]`.

    What it gives for them has the root mean square `std` at first. Without rows it begins as torch
    draws it.
    """
    linear = nn.Linear(rows.shape[1], width, bias=bias)
    if len(rows):
        with torch.no_grad():
            linear.weight.copy_(scaled_projection(rows, width, std).t())
            if bias:
                linear.bias.zero_()
    return linear


def pooled_states(states: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """float32 `[items, hidden]`: the mean state of each item's tokens, zeros where there are none.

    Arguments as for `TextEncoder`.
    """
    lengths = torch.from_numpy(np.diff(np.asarray(offsets, dtype=np.int64)))
    owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
    total = torch.zeros(len(lengths), states.shape[1]).index_add_(
        0, owner, torch.from_numpy(np.array(states, dtype=np.float32))
    )
    return (total / lengths.clamp_min(1)[:, None]).numpy()


class TextVectors(ItemPart):
    """Frozen text through a linear map to `width`, a part of an `ItemEncoder`.

    The map begins as a `principal_linear` of the root mean square `std`; an item without text has a
    trained vector in its place.
    """

    def __init__(self, text: FrozenText, *, width: int, std: float) -> None:
        super().__init__()
        self.width = width
        self.text = text
        self.adapter = principal_linear(text.vectors[text.has_text], width, std, bias=False)
        self.no_text = nn.Parameter(torch.zeros(width))

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Text vectors of `item_ids [n]`, or of the whole catalogue for None: `[n, width]`."""
        has_text = self.text.has_text if item_ids is None else self.text.has_text[item_ids]
        return torch.where(has_text[:, None], self.adapter(self.text.rows(item_ids)), self.no_text)

    def extend(self, count: int, words: Words | None = None) -> Tensor:
        """Add items that were never trained, from their token states; see `TextEncoder.extend`."""
        assert words is not None, "vectors of new items are made from their texts"
        states, _, offsets = words
        return self.text.extend(pooled_states(states, offsets))
