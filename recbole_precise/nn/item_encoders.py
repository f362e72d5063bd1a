"""Item encoders: internal item ids to vectors.

From an ID table, from text tokens, or from both side by side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn

#: Token states, token ids and offsets of items, as `TextEncoder` takes them.
Words = tuple[np.ndarray, np.ndarray, np.ndarray]

JOINS = ("concat", "sum")
UNSEEN_IDS = ("initial", "zero", "mean")
TOKEN_MODES = ("vocab", "frozen_states", "item_states")
VOCAB_INITS = ("context_mean", "random")


def principal_projection(rows: Tensor, width: int, row_weight: Tensor | None = None) -> Tensor:
    """Project onto the leading principal directions of centred `rows [n, columns]`.

    Gives an orthonormal `[columns, width]`.

    Signs are fixed (largest entry of a direction is positive), so that the result does not depend
    on the solver.
    """
    weight = (
        torch.ones(len(rows), dtype=torch.float64) if row_weight is None else row_weight.double()
    )
    weight = weight / weight.sum()
    centred = rows.double() - (weight @ rows.double())
    _, directions = torch.linalg.eigh(centred.t() @ (centred * weight[:, None]))
    leading = directions.flip(1)[:, :width]
    if (
        leading.shape[1] < width
    ):  # an encoder narrower than the model: the missing directions are empty
        leading = torch.cat([leading, leading.new_zeros(len(leading), width - leading.shape[1])], 1)
    largest = leading.gather(0, leading.abs().argmax(0, keepdim=True))
    return (leading * torch.where(largest < 0, -1.0, 1.0)).float()


def standardised(vectors: Tensor, std: float) -> Tensor:
    """Centre `vectors` and scale them as a whole to mean square `std`^2.

    Directions keep their relative weight.
    """
    centred = vectors - vectors.mean(0)
    return centred * (std / centred.pow(2).mean().sqrt().clamp_min(1e-12))


Member = TypeVar("Member", bound=nn.Module)


def members(modules: Iterable[nn.Module], kind: type[Member]) -> Iterator[Member]:
    """Iterate over a `ModuleList` whose members are all of one `kind`."""
    for module in modules:
        assert isinstance(module, kind), f"{type(module).__name__} is no {kind.__name__}"
        yield module


class ItemPart(nn.Module):
    """Base of what gives vectors of items: an ID table, a text encoder, a view of frozen text.

    Attributes:
        width: of the vectors.
    """

    width: int

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Encode `item_ids [n]`, or the whole catalogue for None: `[n, width]`."""
        raise NotImplementedError

    def extend(self, count: int, words: Words | None = None) -> Tensor | None:
        """Add `count` items that were never trained.

        Args:
            count: number of new items.
            words: their texts, for parts that read texts.

        Returns:
            bool `[count]`, which of them have a text now; None where the part reads no text, or
            leaves it to the `FrozenText` that it looks at.
        """
        raise NotImplementedError


class IdEncoder(ItemPart):
    """One trainable vector per item; row 0 is padding and stays zero (docs/methods.md 1, step 1).

    With `dropout` an item's whole ID vector is absent from a training step with that probability,
    as a new item's would be: what is left, its text, must then carry it. The vectors are not
    rescaled.

    Args:
        unseen: what stands for the vector of an item without training events when the encoder is
            not training: `initial`, its own row, which was drawn at random and has at most been
                pushed away from users; `zero`; or `mean` of the trained rows.
        trained: bool `[n_items]`, items with training events; None: all.
    """

    trained: Tensor

    def __init__(
        self,
        n_items: int,
        width: int,
        std: float,
        dropout: float = 0.0,
        unseen: str = "initial",
        trained: Tensor | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= dropout < 1:
            raise ValueError(f"id_dropout must be at least 0 and below 1, not {dropout}")
        if unseen not in UNSEEN_IDS:
            raise ValueError(f"unseen_id must be one of {UNSEEN_IDS}, not {unseen!r}")
        self.dropout = dropout
        self.unseen = unseen
        trained = torch.ones(n_items, dtype=torch.bool) if trained is None else trained.clone()
        trained[0] = False
        self.register_buffer("trained", trained, persistent=False)
        self.width = width
        self.first_new = n_items  # ids from here on were added after training
        self.table = nn.Embedding(n_items, width, padding_idx=0)
        nn.init.normal_(self.table.weight, std=std)
        with torch.no_grad():
            self.table.weight[0] = 0

    def know(self, trained: Tensor) -> None:
        """Replace the items with training events by bool `trained [n_items]`."""
        trained = trained.to(self.trained.device).clone()
        trained[0] = False
        self.trained = trained

    def rows(self, item_ids: Tensor | None, absent: Tensor | None = None) -> Tensor:
        """Vectors of `item_ids [n]`, or of the whole catalogue for None: `[n, width]`.

        Zeros for those that are `absent` (bool `[n]`).
        """
        rows = self.values(item_ids)
        if self.training and self.dropout:
            dropped = torch.rand(len(rows), device=rows.device) < self.dropout
            absent = dropped if absent is None else absent | dropped
        if absent is not None:
            rows = rows * ~absent[:, None]
        return rows if self.training else self._neutral(rows, item_ids)

    def values(self, item_ids: Tensor | None) -> Tensor:
        """Return what the items have of their own, as `rows`."""
        return self.table.weight if item_ids is None else self.table(item_ids)

    def _neutral(self, rows: Tensor, item_ids: Tensor | None) -> Tensor:
        """`rows` with what stands for items that were never trained in their places."""
        ids = torch.arange(len(rows), device=rows.device) if item_ids is None else item_ids
        replaced = (
            (ids >= self.first_new) if self.unseen == "initial" else ~self.trained[ids] & (ids > 0)
        )
        if not replaced.any():
            return rows
        neutral = (
            self.table.weight[self.trained].mean(0)
            if self.unseen == "mean" and self.trained.any()
            else rows.new_zeros(rows.shape[1])
        )
        return torch.where(replaced[:, None], neutral, rows)

    def extend(self, count: int, words: Words | None = None) -> Tensor | None:
        """Add `count` items that were never trained; their texts are not read.

        Under `initial`, which they never had, they are zero.
        """
        weight = self.table.weight
        self.table = nn.Embedding.from_pretrained(
            torch.cat([weight.detach(), weight.new_zeros(count, weight.shape[1])]),
            freeze=False,
            padding_idx=0,
        )
        self.trained = torch.cat([self.trained, self.trained.new_zeros(count)])
        return None


class TextEncoder(ItemPart):
    """Token vectors of each item, pooled.

    docs/methods.md 1, steps 2 to 5, and 2 for what a token vector is.

    Args:
        states: contextual token states, one row a token, `[tokens, hidden]` (float16, may be
            memory-mapped).
        token_ids: int `[tokens]` vocabulary ids. offsets: int64 `[items + 1]`; item 0 has no
            tokens.
        width: width of the pooled vector.
        pooling: module called with (table, token_index, offsets), built for `table_width(...)`.
        mode: `vocab`: one trainable row per token of the vocabulary in use; `item_states`: one
            trainable row per token of every item; `frozen_states`: the encoder's states as they
            are, behind a trainable projection.
        vocab_init: rows of `vocab` start as the mean contextual state of the token, or random.
        std: root mean square of a trainable table's initial values.
    """

    offsets: Tensor
    has_text: Tensor
    token_index: Tensor
    vocabulary: Tensor

    def __init__(
        self,
        states: np.ndarray,
        token_ids: np.ndarray,
        offsets: np.ndarray,
        *,
        width: int,
        pooling: nn.Module,
        mode: str = "vocab",
        vocab_init: str = "context_mean",
        std: float = 0.05,
    ) -> None:
        super().__init__()
        if mode not in TOKEN_MODES:
            raise ValueError(f"token_mode must be one of {TOKEN_MODES}, not {mode!r}")
        self.mode = mode
        self.width = width
        self.pooling = pooling
        offsets_tensor = torch.from_numpy(np.asarray(offsets, dtype=np.int64))
        self.register_buffer("offsets", offsets_tensor)
        self.register_buffer("has_text", offsets_tensor[1:] > offsets_tensor[:-1])
        self.no_text = nn.Parameter(torch.zeros(width))
        self.project: nn.Module = nn.Identity()
        if mode == "vocab":
            used, index = np.unique(np.asarray(token_ids), return_inverse=True)
            token_index = torch.from_numpy(index.astype(np.int64).reshape(-1))
            if vocab_init == "random":
                table = torch.randn(max(len(used), 1), width) * std
            else:
                table = standardised(
                    self._context_means(states, token_index, len(used), width), std
                )
            self.table = nn.Parameter(table)
            self.register_buffer("vocabulary", torch.from_numpy(used.astype(np.int64)))
        else:
            token_index = torch.arange(len(token_ids))
            frozen = torch.from_numpy(np.ascontiguousarray(states))
            if mode == "item_states":
                sample = frozen[:: max(1, len(frozen) // 100_000)].float()
                projection = principal_projection(sample, width)
                table = (
                    torch.cat([part.float() @ projection for part in frozen.split(65536)])
                    if len(frozen)
                    else torch.zeros(1, width)
                )
                self.table = nn.Parameter(standardised(table, std))
                # how states become first values: the rows of items that come after training stay at
                # theirs
                self.first_values = (
                    projection,
                    table.mean(0),
                    std / (table - table.mean(0)).pow(2).mean().sqrt().clamp_min(1e-12),
                )
            else:
                # not a buffer: neither saved with the weights nor broadcast at every step
                self.frozen = frozen
                self.project = nn.Linear(frozen.shape[1], width, bias=False)
                sample = frozen[:: max(1, len(frozen) // 100_000)].float()
                with torch.no_grad():
                    direction = principal_projection(sample, width)
                    self.project.weight.copy_(
                        direction.t() * (std / (sample @ direction).std().clamp_min(1e-12))
                    )
        self.register_buffer("token_index", token_index)
        self.trained_rows = len(token_index) if mode == "frozen_states" else len(self.table)

    @staticmethod
    def table_width(mode: str, width: int, hidden_size: int) -> int:
        """Return the width of the rows that the pooling sees.

        The encoder's own for `frozen_states`, the model's otherwise.
        """
        return hidden_size if mode == "frozen_states" else width

    @staticmethod
    def _context_means(states: np.ndarray, token_index: Tensor, n_used: int, width: int) -> Tensor:
        """Average the contextual states of each token in use: `[used, width]`.

        The means are projected on their principal directions.
        """
        total = torch.zeros(max(n_used, 1), states.shape[1])
        for start in range(0, len(token_index), 65536):
            part = torch.from_numpy(np.ascontiguousarray(states[start : start + 65536])).float()
            total.index_add_(0, token_index[start : start + 65536], part)
        count = torch.bincount(token_index, minlength=max(n_used, 1)).clamp_min(1)
        mean = total / count[:, None]
        return mean @ principal_projection(mean, width, count)

    def _source(self, device: torch.device, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Table and index into it for the wanted token rows."""
        if self.mode != "frozen_states":
            return self.table, self.token_index[rows]
        picked = self.frozen[rows.to(self.frozen.device)].to(device, torch.float32)
        return picked, torch.arange(len(rows), device=device)

    def rows(self, item_ids: Tensor | None) -> Tensor:
        """Pool the texts of `item_ids [n]`, or of the whole catalogue for None: `[n, width]`."""
        if item_ids is None:
            offsets = self.offsets
            has_text = self.has_text
            rows = torch.arange(len(self.token_index), device=offsets.device)
        else:
            begin = self.offsets[item_ids]
            lengths = self.offsets[item_ids + 1] - begin
            offsets = torch.cat([lengths.new_zeros(1), lengths.cumsum(0)])
            rows = torch.arange(int(offsets[-1]), device=offsets.device) + torch.repeat_interleave(
                begin - offsets[:-1], lengths
            )
            has_text = self.has_text[item_ids]
        table, index = self._source(offsets.device, rows)
        # items added after training must not move those that were there
        fixed = len(table) > self.trained_rows and (
            item_ids is None or self.mode != "frozen_states"
        )
        pooled = self.project(
            self.pooling(table, index, offsets, table[: self.trained_rows] if fixed else None)
        )
        return torch.where(has_text[:, None], pooled, self.no_text)

    def extend(self, count: int, words: Words | None = None) -> Tensor:
        """Add items that were never trained, by their texts.

        In `vocab` mode tokens that no item had in training have no row and are left out; an item
        with none but such tokens counts as without text.

        Args:
            count: number of new items.
            words: as the constructor's first arguments, without an item 0.

        Returns:
            bool `[count]`, which of them have a text now.
        """
        assert words is not None, "a text encoder is extended by texts"
        states, token_ids, offsets = words
        device = self.offsets.device
        lengths = torch.from_numpy(np.diff(np.asarray(offsets, dtype=np.int64)))
        if self.mode == "vocab":
            ids = torch.from_numpy(np.asarray(token_ids).astype(np.int64))
            vocabulary = self.vocabulary.cpu()
            place = torch.searchsorted(vocabulary, ids).clamp_max(max(len(vocabulary) - 1, 0))
            known = (
                vocabulary[place] == ids
                if len(vocabulary)
                else torch.zeros(len(ids), dtype=torch.bool)
            )
            owner = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
            lengths = torch.bincount(owner[known], minlength=len(lengths))
            index = place[known]
        else:
            new = torch.from_numpy(np.ascontiguousarray(states))
            index = torch.arange(len(new)) + len(self.token_index)
            if self.mode == "item_states":
                projection, mean, scale = self.first_values
                values = ((new.float() @ projection - mean) * scale).to(device)
                self.table = nn.Parameter(torch.cat([self.table.detach(), values]))
            else:
                self.frozen = torch.cat([self.frozen, new.to(self.frozen)])
        self.token_index = torch.cat([self.token_index, index.to(device)])
        self.offsets = torch.cat([self.offsets, self.offsets[-1] + lengths.cumsum(0).to(device)])
        self.has_text = torch.cat([self.has_text, (lengths > 0).to(device)])
        return lengths > 0


class ItemEncoder(nn.Module):
    """e_v = [a_v ; c_v]: the parts' vectors side by side, or their sum.

    PRECISE Eq. 4; docs/methods.md 1, step 5.

    Args:
        parts: encoders with `rows(item_ids | None)` and `width`; one part alone gives PRECISE-ID or
            PRECISE-LLM.
        n_items: catalogue rows, row 0 = padding.
        join: `concat` (side by side) or `sum`, of parts of one width.
    """

    def __init__(self, parts: Sequence[ItemPart], n_items: int, join: str = "concat") -> None:
        super().__init__()
        if not parts:
            raise ValueError("an item encoder needs at least one part")
        if join not in JOINS:
            raise ValueError(f"parts are joined by one of {JOINS}, not {join!r}")
        widths = [part.width for part in parts]
        if join == "sum" and len(set(widths)) > 1:
            raise ValueError(f"parts of the widths {widths} have no sum")
        self.width = widths[0] if join == "sum" else sum(widths)
        self.parts = nn.ModuleList(parts)
        self.join = join
        self.n_items = n_items

    def _rows(self, item_ids: Tensor | None) -> Tensor:
        # the weighted token sums want one type for all they add; they are too small a share of a
        # step to gain from bf16
        device = next(self.parameters()).device
        with torch.autocast(device_type=device.type, enabled=False):
            rows = [part.rows(item_ids) for part in members(self.parts, ItemPart)]
            return torch.cat(rows, -1) if self.join == "concat" else torch.stack(rows).sum(0)

    def forward(self, item_ids: Tensor) -> Tensor:
        """int64 `item_ids [...]` -> `[..., width]`.

        Every item is encoded once, however often it occurs.
        """
        unique, inverse = torch.unique(item_ids, return_inverse=True)
        return self._rows(unique)[inverse]

    def all_items(self) -> Tensor:
        """Vectors of the whole catalogue: `[items, width]`."""
        return self._rows(None)

    def extend(
        self,
        count: int,
        states: np.ndarray | None = None,
        token_ids: np.ndarray | None = None,
        offsets: np.ndarray | None = None,
    ) -> Tensor:
        """Add `count` items that were never trained, known by their texts alone.

        The texts are as for `TextEncoder.extend`.

        Returns:
            bool `[count]`, which of them have a text now; none does where no part reads text.
        """
        words = None
        if states is not None and token_ids is not None and offsets is not None:
            words = (states, token_ids, offsets)
        with_text = torch.zeros(count, dtype=torch.bool)
        for part in members(self.parts, ItemPart):
            readable = part.extend(count, words)
            if readable is not None:
                with_text = readable
        self.n_items += count
        return with_text
