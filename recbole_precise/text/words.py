"""How many words of the texts at hand a tokenizer knows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recbole_precise.errors import TextError

#: Share of the words of all texts above which an encoder that does not know them is refused.
MOST_UNKNOWN = 0.5
_SHOWN = 3


@dataclass
class WordCounts:
    """What a tokenizer made of the words of N texts.

    Attributes:
        words: int64 [N], words that were read of each text, known or not.
        unknown: int64 [N], those of which no part is known.
        examples: some unknown words.
    """

    words: np.ndarray
    unknown: np.ndarray
    examples: list[str] = field(default_factory=list)

    def check(self, name: str, hint: str) -> None:
        """Refuse an encoder that does not know most of the words.

        Args:
            name: of the encoder, for the message.
            hint: what to do about it.

        Raises:
            TextError: more than half of the words are unknown.
        """
        words = int(self.words.sum())
        unknown = int(self.unknown.sum())
        if unknown <= MOST_UNKNOWN * words:
            return
        shown = ", ".join(f"'{word}'" for word in self.examples[:_SHOWN])
        raise TextError(
            f"{name} does not know {unknown:,} of the {words:,} words of these texts"
            f"{f' (such as {shown})' if shown else ''}, so it cannot tell items apart by them; "
            f"it must know at least half. {hint}"
        )


class WordCounter:
    """Counts, text by text, the words that a tokenizer reads and those of which it knows no part.

    A tokenizer that does not say which tokens make up a word has its tokens counted instead.

    Args:
        tokenizer: of transformers.
        special: ids of the tokens that it puts around texts.
    """

    def __init__(self, tokenizer: Any, special: Sequence[int]) -> None:
        self._unknown_id = getattr(tokenizer, "unk_token_id", None)
        self._special = frozenset(special)
        # What SentencePiece puts in the place of a blank does not describe the word behind it.
        blank = tokenizer.convert_tokens_to_ids("\u2581")
        self._silent = {blank} if isinstance(blank, int) and blank != self._unknown_id else set()
        self._words: list[int] = []
        self._unknown: list[int] = []
        self._examples: dict[str, None] = {}

    def add(self, texts: Sequence[str], encoded: Any) -> None:
        """Count the words of texts as the tokenizer has encoded them."""
        by_word = bool(getattr(encoded, "is_fast", False))
        for i, (text, row) in enumerate(zip(texts, encoded["input_ids"], strict=True)):
            if self._special.issuperset(row):
                words = text.split()
                self._add(max(1, len(words)), max(1, len(words)), words)
            elif self._unknown_id is None:
                self._add(1, 0, ())
            elif by_word:
                self._add_row(text, row, encoded.word_ids(i), encoded, i)
            else:
                self._add_row(text, row, (), encoded, i)

    def _add_row(
        self, text: str, row: Sequence[int], word_ids: Sequence[int | None], encoded: Any, i: int
    ) -> None:
        words = {word for word in word_ids if word is not None}
        if not words or (len(words) == 1 and len(row) > 3):
            # This tokenizer tells no words apart, or there is one in several parts: each token
            # counts.
            silent = self._special | self._silent
            tokens = [token for token in row if token not in silent]
            n_unknown = sum(token == self._unknown_id for token in tokens)
            self._add(len(tokens), n_unknown, [text] if n_unknown else ())
            return
        if self._unknown_id not in row:
            self._add(max(1, len(words)), 0, ())
            return
        known = set()
        for token, word in zip(row, word_ids, strict=True):
            if token != self._unknown_id and token not in self._silent:
                known.add(word)
        unknown = words - known
        examples = []
        if len(self._examples) < _SHOWN:
            spans = [encoded.word_to_chars(i, word) for word in sorted(unknown)[:_SHOWN]]
            examples = [text[span.start : span.end] for span in spans]
        self._add(max(1, len(words)), len(unknown), examples)

    def _add(self, words: int, unknown: int, examples: Iterable[str]) -> None:
        self._words.append(words)
        self._unknown.append(unknown)
        if len(self._examples) < _SHOWN:
            self._examples.update(dict.fromkeys(word[:40] for word in examples))

    def counts(self) -> WordCounts:
        """Return what was counted so far."""
        words = np.asarray(self._words, dtype=np.int64)
        unknown = np.asarray(self._unknown, dtype=np.int64)
        return WordCounts(words, unknown, list(self._examples))
