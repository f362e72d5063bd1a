"""Items that were held out of training, ranked among themselves.

Does a model know anything of an item that nobody has had?

Candidates are the held-out items alone, because against trained items a model may win or lose by
how much it trusts new items at all. Scores that are equal share their places: the metric of a case
is its mean over all orders of the tied items, so that a model that says the same of every new item
is exactly at chance.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.significance import paired_test

#: Scores nearer than this share of the row's largest are equal: products of equal vectors differ in
#: their last bits.
_EQUAL = 1e-6


@dataclass(frozen=True)
class ColdCases:
    """Events on held-out items, with what the user had before.

    Attributes:
        user: int64 `[cases]`, ids. target: int64 `[cases]`, held-out items.
        history: int64 `[cases, length]`, events (indices into the store) before the case, oldest
            first, padded on the right with -1.
        had: (case, item) int64 `[pairs]` each: held-out items that the user had before the case.
    """

    user: np.ndarray
    target: np.ndarray
    history: np.ndarray
    had: tuple[np.ndarray, np.ndarray]

    def __len__(self) -> int:
        return len(self.target)

    @property
    def lengths(self) -> np.ndarray:
        """int64 `[cases]`."""
        return (self.history >= 0).sum(1)


def cold_cases(
    items: np.ndarray,
    offsets: np.ndarray,
    user_ids: np.ndarray,
    held: np.ndarray,
    length: int,
    events: np.ndarray | None = None,
) -> ColdCases:
    """Collect every user's first event on each held-out item.

    With the last `length` kept items before it; events without any are no case.

    Args:
        items: int64 `[events]`, users one after the other, each in the order of time. offsets:
            int64 `[users + 1]`.
        held: bool `[items]`.
        events: int64 indices of the events that may be cases; default: all.
    """
    items = np.asarray(items)
    offsets = np.asarray(offsets)
    owner = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
    cold = held[items]
    first_time = np.zeros(len(items), dtype=bool)
    first_time[np.unique(owner * np.int64(len(held)) + items, return_index=True)[1]] = True
    kept = np.flatnonzero(~cold)
    before = np.cumsum(~cold) - ~cold  # kept events before each event, of all users
    begin = before[offsets[:-1]]  # every user has events
    wanted = (
        np.ones(len(items), dtype=bool)
        if events is None
        else np.isin(np.arange(len(items)), events)
    )
    case = np.flatnonzero(cold & first_time & wanted & (before > begin[owner]))
    size = np.minimum(before[case] - begin[owner[case]], length)
    step = np.arange(length)
    place = np.where(step < size[:, None], (before[case] - size)[:, None] + step, 0)
    history = (
        np.where(step < size[:, None], kept[place], -1)
        if len(case)
        else np.zeros((0, length), dtype=np.int64)
    )
    return ColdCases(
        np.asarray(user_ids)[owner[case]],
        items[case],
        history,
        _had_before(items, owner, cold & first_time, case),
    )


def _had_before(
    items: np.ndarray, owner: np.ndarray, cold: np.ndarray, case: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """(case, item) of the held-out items that the case's user had before it."""
    events = np.flatnonzero(cold)
    first = np.searchsorted(owner[events], owner[case])
    count = np.searchsorted(events, case) - first
    row = np.repeat(np.arange(len(case)), count)
    within = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    return row, items[events[first[row] + within]]


@dataclass(frozen=True)
class ColdRanks:
    """Where each case's target is among the held-out items.

    Attributes:
        ahead: int64 `[cases]`, candidates that score higher. tied: int64 `[cases]`, those that
            score the same, the target included.
        candidates: int64 `[cases]`.
    """

    user: np.ndarray
    target: np.ndarray
    ahead: np.ndarray
    tied: np.ndarray
    candidates: np.ndarray

    def values(self, metric: str) -> np.ndarray:
        """Compute recall@k (hit@k) or ndcg@k of every case: float64 `[cases]`.

        Each is the mean over all orders of the tied items.
        """
        return expected_metric(metric, self.ahead, self.tied)

    def chance(self, metric: str) -> np.ndarray:
        """float64 `[cases]`: what a random order of the candidates reaches in the mean."""
        return expected_metric(metric, np.zeros_like(self.ahead), self.candidates)


def expected_metric(metric: str, ahead: np.ndarray, tied: np.ndarray) -> np.ndarray:
    """Average a metric over the places that a tied target may take: float64 `[cases]`.

    The target is equally likely at each place ahead + 1 .. ahead + tied.
    """
    name, _, cut = metric.lower().partition("@")
    if name not in ("recall", "hit", "ndcg") or not cut.isdigit() or int(cut) < 1:
        raise ConfigError(
            f"metric '{metric}' is none of recall@k, hit@k and ndcg@k, which cold items are "
            "measured by."
        )
    k = int(cut)
    gain = np.ones(k) if name != "ndcg" else 1 / np.log2(np.arange(2, k + 2))
    total = np.concatenate(([0.0], np.cumsum(gain)))
    low = np.minimum(ahead, k)
    high = np.minimum(ahead + tied, k)
    return (total[high] - total[low]) / np.maximum(tied, 1)


def rank_cold(
    cases: ColdCases,
    held: np.ndarray,
    score: Callable[[np.ndarray, np.ndarray], np.ndarray],
    batch: int,
    mask_history: bool,
) -> ColdRanks:
    """Rank each case's target among the held-out items.

    Args:
        score: (cases lo .. hi as indices, candidates) -> `[cases, candidates]`.
        batch: cases scored at once.
        mask_history: held-out items that the user had before are no candidates.
    """
    candidates = np.flatnonzero(held)
    place = np.zeros(len(held), dtype=np.int64)
    place[candidates] = np.arange(len(candidates))
    ahead, tied, count = (np.zeros(len(cases), dtype=np.int64) for _ in range(3))
    for lo in range(0, len(cases), batch):
        rows = np.arange(lo, min(lo + batch, len(cases)))
        scores = np.asarray(score(rows, candidates), dtype=np.float64)
        if not np.isfinite(scores).all():
            raise ValueError(
                "a score is NaN or infinite: the model has diverged, or one of its inputs is not "
                "finite"
            )
        free = np.ones(scores.shape, dtype=bool)
        if mask_history:
            first, last = np.searchsorted(cases.had[0], [lo, lo + len(rows)])
            free[cases.had[0][first:last] - lo, place[cases.had[1][first:last]]] = False
        margin = _EQUAL * np.abs(scores).max(1, initial=0, keepdims=True)
        difference = scores - scores[np.arange(len(rows)), place[cases.target[rows]]][:, None]
        ahead[rows] = ((difference > margin) & free).sum(1)
        tied[rows] = ((np.abs(difference) <= margin) & free).sum(1)
        count[rows] = free.sum(1)
    return ColdRanks(cases.user, cases.target, ahead, tied, count)


class TextLikeness:
    """The floor: cosine of an item's mean token states with the history's.

    With the last item's, or with the mean direction of the whole history.
    """

    def __init__(self, vectors: np.ndarray, whole_history: bool) -> None:
        """`vectors [items, d]`, zeros for an item without text."""
        length = np.linalg.norm(vectors, axis=1, keepdims=True)
        self.unit = vectors / np.where(length > 0, length, 1)
        self.whole_history = whole_history

    def scores(
        self, histories: np.ndarray, lengths: np.ndarray, candidates: np.ndarray
    ) -> np.ndarray:
        """Score the candidates: `[batch, candidates]`.

        From int64 histories `[batch, length]`, padded on the right with 0.
        """
        last = histories[np.arange(len(histories)), np.maximum(lengths - 1, 0)]
        query = (
            self.unit[histories].sum(1) / np.maximum(lengths, 1)[:, None]
            if self.whole_history
            else self.unit[last]
        )
        return query @ self.unit[candidates].T


def cold_table(
    ranks: Mapping[str, ColdRanks | Sequence[ColdRanks]],
    metrics: Sequence[str],
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict[str, dict]:
    """Tabulate mean and 95% interval of every metric, with a row `chance`.

    {name: {metric: {"mean", "low", "high"}}}.

    Intervals are bootstraps over users (and over seeds where a name has several ranks), as in
    `significance`.
    """
    table: dict[str, dict] = {}
    for name, runs in ranks.items():
        runs = [runs] if isinstance(runs, ColdRanks) else list(runs)
        table[name] = {
            metric: _interval(
                [_by_user(run, run.values(metric)) for run in runs], n_resamples, seed
            )
            for metric in metrics
        }
        table.setdefault(
            "chance", {metric: {"mean": float(runs[0].chance(metric).mean())} for metric in metrics}
        )
    return table


def compare_cold(
    a: ColdRanks | Sequence[ColdRanks],
    b: ColdRanks | Sequence[ColdRanks] | None,
    metric: str,
    *,
    n_resamples: int = 2000,
    seed: int = 0,
) -> dict:
    """Paired comparison of `a` with `b`, or with chance where `b` is None, over the same cases.

    See `significance.Comparison`.
    """
    a = [a] if isinstance(a, ColdRanks) else list(a)
    if b is not None:
        b = [b] if isinstance(b, ColdRanks) else list(b)
    for run in (b or [])[:] + a[1:]:
        if not (np.array_equal(run.user, a[0].user) and np.array_equal(run.target, a[0].target)):
            raise ValueError("the models were not ranked on the same cases")
    ours = [_by_user(run, run.values(metric)) for run in a]
    theirs = (
        [_by_user(a[0], a[0].chance(metric))]
        if b is None
        else [_by_user(run, run.values(metric)) for run in b]
    )
    return paired_test(
        [m for m, _ in ours],
        [m for m, _ in theirs],
        weights=ours[0][1],
        n_resamples=n_resamples,
        seed=seed,
    ).to_dict()


def _by_user(ranks: ColdRanks, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(mean of the values of each user, number of its cases), users in the order of their ids."""
    _, owner, count = np.unique(ranks.user, return_inverse=True, return_counts=True)
    return np.bincount(owner, weights=values) / count, count


def _interval(
    runs: Sequence[tuple[np.ndarray, np.ndarray]], n_resamples: int, seed: int
) -> dict[str, float]:
    means = [mean for mean, _ in runs]
    weights = runs[0][1]
    test = paired_test(
        means, np.zeros((1, len(weights))), weights=weights, n_resamples=n_resamples, seed=seed
    )
    return {"mean": test.mean_a, "low": test.low, "high": test.high}
