"""Semantic codes: an item's text as a few entries of small code books with trained vectors.

docs/methods.md 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from recbole_precise.nn.item_encoders import ItemPart, Words
from recbole_precise.nn.text_vectors import FrozenText, pooled_states, scaled_projection

_ROUNDS = 30  # of Lloyd's algorithm
_FITTED = 50_000  # rows that it looks at
_BLOCK = 8192  # rows compared at once


def nearest_centre(rows: Tensor, centres: Tensor) -> Tensor:
    """Find the nearest of `centres [k, d]` for each of `rows [n, d]`: int64 `[n]`.

    The first of equal ones.
    """
    length = centres.square().sum(1)
    return (
        torch.cat([(length - 2 * (some @ centres.t())).argmin(1) for some in rows.split(_BLOCK)])
        if len(rows)
        else torch.zeros(0, dtype=torch.int64)
    )


def k_means(rows: Tensor, k: int, generator: torch.Generator) -> Tensor:
    """Compute centres `[k, d]` of `rows [n, d]`: k-means++ and Lloyd's algorithm.

    A centre without rows moves to the row that is worst served.

    With no more distinct rows than k the centres are those rows, and some occur twice.
    """
    first = torch.randint(len(rows), (1,), generator=generator)
    centres = rows[first]
    gap = (rows - rows[first]).square().sum(1)
    while len(centres) < k:  # each next one far from those before
        pick = torch.multinomial(gap, 1, generator=generator) if bool((gap > 0).any()) else first
        centres = torch.cat([centres, rows[pick]])
        gap = torch.minimum(gap, (rows - rows[pick]).square().sum(1))
    before = None
    for _ in range(_ROUNDS):
        owner = nearest_centre(rows, centres)
        if before is not None and torch.equal(owner, before):
            break
        before = owner
        count = torch.bincount(owner, minlength=k)
        centres = torch.zeros_like(centres).index_add_(0, owner, rows) / count.clamp_min(1)[:, None]
        lonely = torch.nonzero(count == 0).squeeze(1)
        if len(lonely):
            worst = (
                (rows - centres[owner]).square().sum(1).topk(min(len(lonely), len(rows))).indices
            )
            centres[lonely[: len(worst)]] = rows[worst]
    return centres


class CodeVectors(ItemPart):
    """`sum over levels l of T_l[c_l(v)]`, a part of an `ItemEncoder`.

    The codes come from residual k-means of the text vectors; T is trained.

    Level 0 is the nearest centre of the text, each further level that of what the levels before
    leave over. T begins as the centres on the texts' principal directions, so that an item begins
    near `TextVectors`; an item without text has a trained vector in its place. Codes and centres
    follow from the texts alone; they are saved with the weights.

    Args:
        levels, codes: `levels` books of `codes` entries: levels x codes x width trained numbers,
            whatever the catalogue. std: root mean square of first vectors.
    """

    centres: Tensor
    codes: Tensor
    has_text: Tensor

    def __init__(
        self, text: FrozenText, *, width: int, levels: int, codes: int, std: float
    ) -> None:
        super().__init__()
        self.width = width
        self.text = text.without_items()
        some = text.vectors[text.has_text]
        generator = torch.Generator().manual_seed(0)
        fitted = (
            some[torch.randperm(len(some), generator=generator)[:_FITTED]]
            if len(some) > _FITTED
            else some
        )
        rest = fitted
        centres: list[Tensor] = []
        for _ in range(levels):
            centres.append(
                k_means(rest, codes, generator)
                if len(rest)
                else torch.zeros(codes, text.hidden_size)
            )
            rest = rest - centres[-1][nearest_centre(rest, centres[-1])]
        self.register_buffer("centres", torch.stack(centres))
        self.register_buffer("codes", self._coded(text.vectors))
        self.register_buffer("has_text", text.has_text.clone())
        table = self.centres.flatten(0, 1)
        self.table = nn.Parameter(
            table @ scaled_projection(some, width, std)
            if len(some)
            else torch.zeros(len(table), width)
        )
        self.no_text = nn.Parameter(torch.zeros(width))

    def _coded(self, vectors: Tensor) -> Tensor:
        """int64 `[n, levels]`, as rows of the table."""
        codes = []
        rest = vectors
        for level, centres in enumerate(self.centres):
            found = nearest_centre(rest, centres)
            rest = rest - centres[found]
            codes.append(found + level * len(centres))
        return torch.stack(codes, 1)

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Vectors of `item_ids [n]`, or of the whole catalogue for None: `[n, width]`."""
        codes = self.codes if item_ids is None else self.codes[item_ids]
        has_text = self.has_text if item_ids is None else self.has_text[item_ids]
        return torch.where(has_text[:, None], F.embedding(codes, self.table).sum(1), self.no_text)

    def extend(self, count: int, words: Words | None = None) -> Tensor:
        """Add items that were never trained, from their token states; see `TextEncoder.extend`."""
        assert words is not None, "codes of new items are made from their texts"
        states, _, offsets = words
        vectors, has_text = self.text.new_rows(pooled_states(states, offsets))
        self.codes = torch.cat([self.codes, self._coded(vectors)])
        self.has_text = torch.cat([self.has_text, has_text])
        return has_text.cpu()
