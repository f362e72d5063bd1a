"""Which cases a run was tested on: a digest for result.json, and what differs between two runs.

A test case is a user, a target and the number of the user's events before the target. The number is
not cut at MAX_ITEM_LIST_LENGTH and counts the events of all scenes, so that models that read more
or less of one history have the same cases, while events that are missing from a data set change
them.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class TestCases:
    """The rows of a test split, by token.

    Attributes:
        user, item: str `[rows]`.
        history: int64 `[rows]`, events of the user before the target; None where it is not known.
    """

    __test__ = False  # not a class of tests, whatever its name says to pytest

    user: np.ndarray
    item: np.ndarray
    history: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.user)

    def digest(self) -> dict[str, Any]:
        """Return what result.json keeps.

        `rows`, `history_length` (whether it is part of the digest), `sha256` of all that is known,
        and `user_item_sha256` without the history, which every run has.
        """
        pairs = _sha256(self._rows(with_history=False))
        whole = pairs if self.history is None else _sha256(self._rows(with_history=True))
        known = self.history is not None
        return {
            "rows": len(self),
            "history_length": known,
            "sha256": whole,
            "user_item_sha256": pairs,
        }

    def _rows(self, with_history: bool) -> list[tuple]:
        columns = [self.user.tolist(), self.item.tolist()]
        if with_history:
            assert self.history is not None, "no history is known"
            columns.append(self.history.tolist())
        return list(zip(*columns, strict=True))

    def difference(self, other: TestCases, name: str, other_name: str) -> str | None:
        """How the cases of two runs differ, in words; None when they are the same.

        Where one of them does not know the history, users and targets alone are compared.
        """
        both = self.history is not None and other.history is not None
        mine, theirs = (Counter(cases._rows(with_history=both)) for cases in (self, other))
        if mine == theirs:
            return None
        here = sorted((mine - theirs).elements())
        there = sorted((theirs - mine).elements())
        text = (
            f"{len(here)} of {len(self)} test cases of {name} and {len(there)} of "
            f"{len(other)} of {other_name} differ"
        )
        pairs = {(user, item): rest for user, item, *rest in there}
        moved = next((case for case in here if both and case[:2] in pairs), None)
        if moved is not None:
            user, item, events = moved
            return (
                f"{text}, such as user {user} with target {item}: {events} earlier events and "
                f"{pairs[user, item][0]}"
            )
        user, item, *_ = (here or there)[0]
        return (
            f"{text}, such as user {user} with target {item}, which "
            f"{name if here else other_name} alone has"
        )


def same_cases(first: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether two digests are of the same cases, as far as both know them."""
    key = "sha256" if first["history_length"] and other["history_length"] else "user_item_sha256"
    return first["rows"] == other["rows"] and first[key] == other[key]


def _sha256(rows: list[tuple]) -> str:
    digest = hashlib.sha256()
    for row in sorted(rows):
        # A token holds neither a tab nor a line end: it was a cell of a file with tabs and lines.
        digest.update(("\t".join(map(str, row)) + "\n").encode("utf-8", "surrogatepass"))
    return digest.hexdigest()
