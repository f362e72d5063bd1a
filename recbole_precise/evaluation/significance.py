"""Is the difference between two models more than luck?

Paired over users, with several seeds of each model.

The unit is the user: both models rank the same cases of the same users, so the differences per user
are what varies. The interval resamples users and, when a model has several seeds, its seeds too;
the p-value flips the sign of whole users' differences.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TypeVar

import numpy as np

from recbole_precise.evaluation.metrics import per_case
from recbole_precise.evaluation.ranks import Ranks

Key = TypeVar("Key", bound=Hashable)

_CHUNK_NUMBERS = 1 << 22  # random numbers at hand at a time
_SAME_TEST = {"recall": "hit", "precision": "hit", "map": "mrr"}


@dataclass(frozen=True)
class Comparison:
    """The difference between two models, with its interval and p-value.

    `difference` = mean of a - mean of b, `low .. high` its bootstrap interval at `confidence`,
    `p_value` two-sided.
    """

    mean_a: float
    mean_b: float
    difference: float
    low: float
    high: float
    p_value: float
    confidence: float
    users: int
    seeds_a: int
    seeds_b: int

    @property
    def significant(self) -> bool:
        """Whether the interval excludes 0 and the p-value is below 1 - confidence.

        Seeds and users then agree on the sign.
        """
        return self.p_value < 1 - self.confidence and (self.low > 0 or self.high < 0)

    def to_dict(self) -> dict:
        """Return the fields as a dictionary, with whether the difference is significant."""
        return {**asdict(self), "significant": self.significant}


def compare(
    ranks_a: Ranks | Sequence[Ranks],
    ranks_b: Ranks | Sequence[Ranks],
    metric: str,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare two models by `metric` (such as `ndcg@10`).

    Each is given as the ranks of one or more seeds.

    All must have ranked the same targets of the same users, in any order; otherwise a ValueError
    says what differs. A user with several test rows counts with all of them, and stays one unit.
    """
    runs_a, runs_b = (
        [ranks] if isinstance(ranks, Ranks) else list(ranks) for ranks in (ranks_a, ranks_b)
    )
    if not runs_a or not runs_b:
        raise ValueError("each model needs the ranks of at least one seed")
    ordered = [
        (name, number, *_in_order(run))
        for name, runs in (("a", runs_a), ("b", runs_b))
        for number, run in enumerate(runs)
    ]
    user_id, target = ordered[0][2:4]
    for name, number, other_user, other_target, _ in ordered[1:]:
        if len(other_user) != len(user_id):
            raise ValueError(
                f"the models were not ranked on the same rows: seed 0 of a has {len(user_id)} "
                f"rows, seed {number} of {name} has {len(other_user)}"
            )
        differs = (other_user != user_id) | (other_target != target)
        if differs.any():
            at = int(np.argmax(differs))
            raise ValueError(
                f"the models were not ranked on the same rows: {int(differs.sum())} of "
                f"{len(user_id)} differ, first user {user_id[at]} with target "
                f"{target[at]} in seed 0 of a against user {other_user[at]} with target "
                f"{other_target[at]} in seed {number} of {name}"
            )
    users, rows_of = np.unique(user_id, return_counts=True)
    start = np.concatenate(([0], np.cumsum(rows_of)[:-1])) if len(users) else np.zeros(0, np.int64)
    means: dict[str, list[np.ndarray]] = {"a": [], "b": []}
    for name, _, _, _, rank in ordered:
        means[name].append(np.add.reduceat(per_case(rank, metric), start) / rows_of)
    return paired_test(
        means["a"],
        means["b"],
        weights=rows_of,
        confidence=confidence,
        n_resamples=n_resamples,
        seed=seed,
    )


def paired_test(
    a: np.ndarray | Sequence,
    b: np.ndarray | Sequence,
    *,
    weights: np.ndarray | None = None,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> Comparison:
    """Compare paired values per user.

    Args:
        a, b: `[users]`, or `[seeds, users]`; the numbers of seeds may differ, the users are the
            same in the same order.
        weights: `[users]`, rows behind each user's value; by default 1.
        confidence: of the percentile bootstrap interval.
        n_resamples: of the bootstrap, and of the sign flips where they are too many to try them
            all.
        seed: of the resampling.
    """
    a, b = (np.atleast_2d(np.asarray(x, dtype=np.float64)) for x in (a, b))
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(
            f"a and b need values of the same users, [users] or [seeds, users], got {a.shape} "
            f"and {b.shape}"
        )
    n_users = a.shape[1]
    if n_users == 0:
        raise ValueError("there are no users to compare")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("a value to compare is NaN or infinite")
    weights = np.ones(n_users) if weights is None else np.asarray(weights, dtype=np.float64)
    if weights.shape != (n_users,) or not (weights > 0).all():
        raise ValueError(f"{n_users} users need {n_users} weights above 0")
    rng = np.random.default_rng(seed)
    total = weights.sum()
    mean_a, mean_b = ((x @ weights / total).mean() for x in (a, b))
    low, high = _bootstrap_interval(a * weights, b * weights, weights, confidence, n_resamples, rng)
    p_value = _sign_flip_p(weights * (a.mean(0) - b.mean(0)), n_resamples, rng)
    return Comparison(
        float(mean_a),
        float(mean_b),
        float(mean_a - mean_b),
        low,
        high,
        p_value,
        confidence,
        n_users,
        len(a),
        len(b),
    )


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Adjust the p-value of every test of a family by Holm's method (Holm 1979).

    Below alpha for any wrong finding with a chance of at most alpha.

    With p_(1) <= ... <= p_(m), the i-th becomes max over j <= i of min(1, (m - j + 1) p_(j)). SciPy
    has corrections for the false discovery rate alone.
    """
    for key, p in p_values.items():
        if not 0 <= p <= 1:
            raise ValueError(f"the p-value of {key} is {p}, not in 0 .. 1")
    adjusted = {}
    highest = 0.0
    for place, key in enumerate(sorted(p_values, key=p_values.__getitem__)):
        highest = max(highest, min(1.0, (len(p_values) - place) * p_values[key]))
        adjusted[key] = highest
    return {key: adjusted[key] for key in p_values}


def one_test(metric: str) -> str:
    """Return the same text for metrics that ask the same question.

    With one target per row recall, hit and precision at k differ by a constant factor, and mrr and
    map not at all, so that a family counts them once.
    """
    name, _, cut = metric.lower().partition("@")
    return f"{_SAME_TEST.get(name, name)}@{cut}"


def _bootstrap_interval(
    a: np.ndarray,
    b: np.ndarray,
    weights: np.ndarray,
    confidence: float,
    n_resamples: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Compute a percentile interval of mean(a) - mean(b).

    Users are resampled with replacement, and each model's seeds too.

    With one seed there is nothing to draw; with few, the interval is somewhat too narrow, as every
    bootstrap of few.
    """
    n_users = a.shape[1]
    stacked = np.concatenate([a, b, weights[None]])
    draws = []
    step = max(1, _CHUNK_NUMBERS // n_users)
    for lo in range(0, n_resamples, step):
        size = min(step, n_resamples - lo)
        cells = rng.integers(n_users, size=(size, n_users)) + np.arange(size)[:, None] * n_users
        times = (
            np.bincount(cells.ravel(), minlength=size * n_users)
            .reshape(size, n_users)
            .astype(np.float64)
        )
        sums = times @ stacked.T
        means = sums[:, :-1] / sums[:, -1:]
        parts = []
        for columns in (means[:, : len(a)], means[:, len(a) :]):
            chosen = rng.integers(columns.shape[1], size=columns.shape)
            parts.append(np.take_along_axis(columns, chosen, axis=1).mean(1))
        draws.append(parts[0] - parts[1])
    tail = (1 - confidence) / 2
    low, high = np.quantile(np.concatenate(draws), [tail, 1 - tail])
    return float(low), float(high)


def _sign_flip_p(differences: np.ndarray, n_resamples: int, rng: np.random.Generator) -> float:
    """Two-sided p-value of the sum of `differences [users]` when the sign of each is a coin's.

    Exact when all sign patterns are at most `n_resamples`, else by chance with the pattern at hand
    counted in. Users without a difference change no sum, and are left out.
    """
    differences = differences[
        np.abs(differences) > 1e-12 * np.abs(differences).max(initial=0.0)
    ]  # means over seeds of equal values differ in their last bits
    n = len(differences)
    if n == 0:
        return 1.0
    # Sums in another order differ in their last bits: what is equal must count as at least as
    # extreme.
    threshold = abs(differences.sum()) - 1e-12 * np.abs(differences).sum()
    if n < 63 and 2**n <= n_resamples:
        patterns = (np.arange(2**n)[:, None] >> np.arange(n)) & 1
        return float(np.mean(np.abs((2 * patterns - 1) @ differences) >= threshold))
    extreme = 0
    step = max(1, _CHUNK_NUMBERS // n)
    for lo in range(0, n_resamples, step):
        size = min(step, n_resamples - lo)
        bits = np.unpackbits(
            rng.integers(256, size=(size, -(-n // 8)), dtype=np.uint8), axis=1, count=n
        )
        # sum of signs * d = 2 * sum of chosen d - sum of d
        sums = 2 * (bits.astype(np.float64) @ differences) - differences.sum()
        extreme += int((np.abs(sums) >= threshold).sum())
    return (extreme + 1) / (n_resamples + 1)


def _in_order(ranks: Ranks) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Users, targets and ranks sorted by user, then target; repeats of both keep their order."""
    order = np.lexsort((ranks.target, ranks.user_id))
    return ranks.user_id[order], ranks.target[order], ranks.rank[order]
