"""Ragged token states: an encoder's states of each token of each text.

They are read from disk only where they are used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property

import numpy as np

_CHUNK_BYTES = 64 << 20  # of float32 work space while pooling


class TokenStates:
    """The last hidden states of N texts, one after the other without padding.

    Attributes:
        states: float16 [total_tokens, hidden]; a memory map of the cache when the texts are there
            in this order.
        token_ids: int32 [total_tokens], the encoder's vocabulary ids.
        offsets: int64 [N + 1]; text i owns the rows offsets[i] .. offsets[i + 1] - 1, none when it
            is empty.
        lengths: int64 [N].
        hidden_size, vocab_size: the encoder's; every token id is below vocab_size.
        special_token_ids: ids that the tokenizer puts around texts (start, end, padding, mask), not
            the unknown word.
        encoder: name, sha256 and settings of the encoder, for reports.
    """

    def __init__(
        self,
        states: np.ndarray,
        token_ids: np.ndarray,
        starts: np.ndarray,
        lengths: np.ndarray,
        *,
        vocab_size: int,
        special_token_ids: Sequence[int] = (),
        encoder: Mapping[str, object] | None = None,
    ) -> None:
        """Text i owns rows starts[i] .. starts[i] + lengths[i] - 1 of `states`.

        Texts may share rows.
        """
        self._store = states
        self._store_ids = token_ids
        self._starts = np.asarray(starts, dtype=np.int64)
        self.lengths = np.asarray(lengths, dtype=np.int64)
        self.hidden_size = int(states.shape[1])
        self.vocab_size = int(vocab_size)
        self.special_token_ids = tuple(int(i) for i in special_token_ids)
        self.encoder = dict(encoder or {})

    def __len__(self) -> int:
        return len(self.lengths)

    def __repr__(self) -> str:
        return (
            f"TokenStates({len(self)} texts, {int(self.offsets[-1])} tokens, hidden size "
            f"{self.hidden_size})"
        )

    @cached_property
    def offsets(self) -> np.ndarray:
        """Return where the tokens of each text begin and end."""
        return np.concatenate(([0], np.cumsum(self.lengths)))

    @cached_property
    def states(self) -> np.ndarray:
        """Copied into memory only when the texts are not in the store one after the other."""
        return (
            self._store[self._span]
            if self._span is not None
            else self._store[self._rows(slice(None))]
        )

    @cached_property
    def token_ids(self) -> np.ndarray:
        """Return the ids of the tokens of all texts."""
        return (
            self._store_ids[self._span]
            if self._span is not None
            else self._store_ids[self._rows(slice(None))]
        )

    def tokens(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        """Token ids [t] and states [t, hidden] of text i."""
        rows = slice(self._starts[i], self._starts[i] + self.lengths[i])
        return self._store_ids[rows], self._store[rows]

    def padded(
        self, index: Sequence[int] | np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Texts `index` [B] as right-padded arrays of their longest length T.

        Returns states float16 [B, T, hidden] (0 in the padding), token ids int64 [B, T] (0) and
        mask bool [B, T].
        """
        index = np.asarray(index, dtype=np.int64)
        lengths = self.lengths[index]
        mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
        rows = self._rows(index)
        states = np.zeros((*mask.shape, self.hidden_size), dtype=self._store.dtype)
        ids = np.zeros(mask.shape, dtype=np.int64)
        states[mask] = self._store[rows]
        ids[mask] = self._store_ids[rows]
        return states, ids, mask

    def pooled(self) -> np.ndarray:
        """Mean over the tokens of each text, float32 [N, hidden]; zeros where there are none."""
        out = np.zeros((len(self), self.hidden_size), dtype=np.float32)
        step = max(1, _CHUNK_BYTES // (4 * self.hidden_size))
        full = np.flatnonzero(self.lengths)
        ends = np.cumsum(self.lengths[full])
        first = 0
        while first < len(full):
            done = ends[first - 1] if first else 0
            last = max(first + 1, int(np.searchsorted(ends, done + step, side="right")))
            index = full[first:last]
            states = self._store[self._rows(index)].astype(np.float32)
            sums = np.add.reduceat(states, ends[first:last] - self.lengths[index] - done, axis=0)
            out[index] = sums / self.lengths[index, None]
            first = last
        return out

    def select(self, index: Sequence[int] | np.ndarray) -> TokenStates:
        """Select the texts `index` (int [M], repeats allowed, -1 for a text without tokens).

        Or bool [N]); nothing is copied.
        """
        index = np.asarray(index)
        index = np.flatnonzero(index) if index.dtype == bool else index.astype(np.int64)
        if not len(self):
            return self._with(
                self._store, self._store_ids, np.zeros_like(index), np.zeros_like(index)
            )
        lengths = np.where(index < 0, 0, self.lengths[index])
        return self._with(self._store, self._store_ids, self._starts[index], lengths)

    def without_special(self) -> TokenStates:
        """Return the same texts without the tokens `special_token_ids`.

        Nothing is copied when these are at the ends.
        """
        keep = ~np.isin(self.token_ids, self.special_token_ids)
        before = np.concatenate(([0], np.cumsum(keep)))
        lengths = before[self.offsets[1:]] - before[self.offsets[:-1]]
        # Rows before the first kept token of each text, and whether the kept ones follow it without
        # a gap.
        kept = np.flatnonzero(keep)
        first = np.zeros(len(self), dtype=np.int64)
        gapless = True
        full = np.flatnonzero(lengths)
        if len(full):
            begin = kept[before[self.offsets[full]]]
            end = kept[before[self.offsets[full]] + lengths[full] - 1]
            first[full] = begin - self.offsets[full]
            gapless = bool(np.all(end - begin + 1 == lengths[full]))
        if gapless:
            return self._with(self._store, self._store_ids, self._starts + first, lengths)
        starts = np.concatenate(([0], np.cumsum(lengths)))[:-1]
        return self._with(self.states[keep], self.token_ids[keep], starts, lengths)

    @cached_property
    def _span(self) -> slice | None:
        """Return the rows of the store that hold the texts one after the other.

        None when they do not.
        """
        full = np.flatnonzero(self.lengths)
        if not len(full):
            return slice(0, 0)
        begin = self._starts[full[0]]
        if np.array_equal(self._starts[full], begin + self.offsets[:-1][full]):
            return slice(begin, begin + self.offsets[-1])
        return None

    def _rows(self, index: np.ndarray | slice) -> np.ndarray:
        """Rows of the store that belong to the texts `index`, in their order."""
        starts = self._starts[index]
        lengths = self.lengths[index]
        ends = np.cumsum(lengths)
        return np.repeat(starts - (ends - lengths), lengths) + np.arange(
            ends[-1] if len(ends) else 0
        )

    def _with(
        self, states: np.ndarray, ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray
    ) -> TokenStates:
        return TokenStates(
            states,
            ids,
            starts,
            lengths,
            vocab_size=self.vocab_size,
            special_token_ids=self.special_token_ids,
            encoder=self.encoder,
        )
