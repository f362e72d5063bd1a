"""Do texts of consecutive items resemble each other? Then text can help.

Word overlap shows it without a language model.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp

from recbole_precise.evaluation.floors import unit_rows
from recbole_precise.studies.audit.chance import Estimate, interval, per_user
from recbole_precise.studies.audit.histories import Histories

_WORD = re.compile(r"\w+")
_PAIRS = 20_000  # pairs looked at, at most


def word_vectors(texts: Sequence[str]) -> sp.csr_matrix:
    """float32 `[texts, words]`: TF-IDF of the words in lower case, rows of length 1.

    A text without words is a row of zeros.
    """
    vocabulary: dict[str, int] = {}
    columns: list[int] = []
    starts = [0]
    for text in texts:
        columns.extend(
            vocabulary.setdefault(word, len(vocabulary)) for word in _WORD.findall(text.lower())
        )
        starts.append(len(columns))
    counts = sp.csr_matrix(
        (np.ones(len(columns), dtype=np.float32), columns, starts),
        shape=(len(texts), max(len(vocabulary), 1)),
    )
    counts.sum_duplicates()
    in_texts = np.bincount(counts.indices, minlength=counts.shape[1])
    weighted = counts @ sp.diags(np.log((1 + len(texts)) / (1 + in_texts)) + 1)
    return unit_rows(weighted.tocsr())


class Likeness:
    """Cosines of the texts of pairs of events.

    Pairs of one item, and of items without text, are left out.
    """

    def __init__(
        self, data: Histories, vectors: np.ndarray | sp.csr_matrix, rng: np.random.Generator
    ) -> None:
        """`vectors [n_items, width]` with rows of length 1 or 0.

        `rng` chooses the pairs that are looked at.
        """
        self.data = data
        self.vectors = vectors
        if isinstance(vectors, np.ndarray):
            length = (vectors**2).sum(axis=1)
        else:
            length = vectors.multiply(vectors).sum(axis=1)
        self.has_text = np.asarray(length).ravel() > 0
        consecutive = data.pairs(1)
        self.next = (
            np.sort(rng.choice(consecutive, _PAIRS, replace=False))
            if len(consecutive) > _PAIRS
            else consecutive
        )
        self.rng = rng

    def consecutive(self, items: np.ndarray) -> float:
        """Mean cosine of consecutive items."""
        cosines = self._consecutive(items)[0]
        return float(cosines.mean()) if len(cosines) else float("nan")

    def consecutive_estimate(self, items: np.ndarray) -> tuple[Estimate, np.ndarray]:
        """Return (the mean, the cosines float `[pairs]`)."""
        cosines, kept = self._consecutive(items)
        owner = self.data.owner[self.next[kept]]
        return interval(
            *per_user(cosines, np.ones(len(cosines)), owner, self.data.users), len(cosines)
        ), cosines

    def random_pairs(self, items: np.ndarray) -> np.ndarray:
        """Cosines float `[pairs]` of the items of random events of different users."""
        first, second = (self.rng.integers(len(items), size=_PAIRS) for _ in range(2))
        apart = self.data.owner[first] != self.data.owner[second]
        return self._cosines(items[first[apart]], items[second[apart]])[0]

    def dealt_anew(self) -> np.ndarray:
        """int64 `[n_items]`: which text each item has when texts are dealt to the items at random.

        For `items` of `consecutive`.
        """
        dealt = np.arange(len(self.has_text))
        with_text = np.flatnonzero(self.has_text)
        dealt[with_text] = self.rng.permutation(with_text)
        return dealt

    def _consecutive(self, items: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._cosines(items[self.next], items[self.next + 1])

    def _cosines(self, first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(cosines of the pairs that count, which ones count)."""
        kept = (first != second) & self.has_text[first] & self.has_text[second]
        left = self.vectors[first[kept]]
        right = self.vectors[second[kept]]
        if sp.issparse(self.vectors):
            return np.asarray(left.multiply(right).sum(axis=1)).ravel(), kept
        return np.einsum("ij,ij->i", left, right), kept
