"""Two models compared by their finished runs: the numbers, a table and a file of them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recbole_precise.errors import ConfigError, not_one_of
from recbole_precise.evaluation.significance import Comparison
from recbole_precise.studies.benchmark.pairing import (
    Runs,
    check_comparable,
    compare_runs,
    corrected,
    find_runs,
    rank_metrics,
    read_runs,
)
from recbole_precise.studies.benchmark.summary import p_text
from recbole_precise.studies.text_tables import text_table

SPLITS = ("test", "valid")


@dataclass(frozen=True)
class PairedTests:
    """The paired tests of two sides.

    Attributes:
        a: the runs of the first side.
        b: the runs of the second side.
        split: `test` or `valid`.
        tests: metric -> its test, of A minus B.
        adjusted: metric -> its p-value, corrected for all metrics (Holm).
    """

    a: Runs
    b: Runs
    split: str
    tests: Mapping[str, Comparison]
    adjusted: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return what is written to a file: plain values."""
        content: dict[str, Any] = {"split": self.split}
        for name, runs in (("a", self.a), ("b", self.b)):
            content[name] = {
                "model": runs.model,
                "seeds": runs.seeds,
                "folders": [str(folder) for folder in runs.folders],
            }
        content["metrics"] = {
            metric: {**test.to_dict(), "p_holm": self.adjusted[metric]}
            for metric, test in self.tests.items()
        }
        return content

    def to_text(self) -> str:
        """Return a table of the tests."""
        any_test = next(iter(self.tests.values()))
        interval = f"{100 * any_test.confidence:g}% interval"
        rows = [
            [
                metric,
                f"{test.mean_a:.4f}",
                f"{test.mean_b:.4f}",
                f"{test.difference:+.4f}",
                f"{test.low:+.4f} to {test.high:+.4f}",
                p_text(test.p_value),
                p_text(self.adjusted[metric]),
            ]
            for metric, test in self.tests.items()
        ]
        head = (
            f"{self.a.results[0]['dataset']}, {self.split} split, {any_test.users:,} users\n"
            f"  A: {_side(self.a)}\n  B: {_side(self.b)}"
        )
        note = (
            f"{interval}: bootstrap over users and, where a side has several, its seeds; p: "
            "sign flips of whole users' differences; p (Holm): corrected for the "
            "metrics above, those that ask the same question counted once."
        )
        columns = ["metric", "A", "B", "A - B", interval, "p", "p (Holm)"]
        return f"{head}\n\n{text_table(columns, rows)}\n\n{note}"


def compare(
    a: str | os.PathLike[str],
    b: str | os.PathLike[str],
    *,
    metrics: Sequence[str] | None = None,
    split: str = "test",
    confidence: float = 0.95,
    resamples: int = 9999,
    seed: int = 0,
) -> PairedTests:
    """Test whether one model is better than another by their finished runs.

    Example:
        >>> recbole_precise.compare("runs/A/seed-*", "runs/B/seed-*").tests["ndcg@10"].p_value

    Args:
        a: a run directory, or a pattern of several that differ in their seed alone.
        b: the same of the other model.
        metrics: names such as `ndcg@10`; default: those of both sides.
        split: `test` or `valid`.
        confidence: of the intervals.
        resamples: random draws of each interval and test.
        seed: of these draws.

    Returns:
        A test of each metric.

    Raises:
        ConfigError: an argument is wrong.
        CheckpointError: there is no finished run, or it has no ranks.
        DataError: the runs cannot be compared.
    """
    if split not in SPLITS:
        raise ConfigError(f"split {not_one_of(split, SPLITS)}")
    first = read_runs(find_runs(str(a)), split)
    second = read_runs(find_runs(str(b)), split)
    check_comparable(first, second)
    asked = list(metrics or ())
    if metrics is None:
        asked = rank_metrics([*first.results, *second.results], split)
    if not asked:
        raise ConfigError(
            f"These runs have no metric of ranks of the {split} split in common; name one, as in "
            "--metric=ndcg@10."
        )
    tests = compare_runs(
        first, second, asked, confidence=confidence, n_resamples=resamples, seed=seed
    )
    adjusted = corrected({(metric,): test.p_value for metric, test in tests.items()})
    return PairedTests(first, second, split, tests, {key[0]: p for key, p in adjusted.items()})


def _side(runs: Runs) -> str:
    seeds = ", ".join(map(str, runs.seeds))
    count = len(runs.folders)
    plural = "s" if count > 1 else ""
    more = ", ..." if count > 1 else ""
    return f"{runs.model}, {count} run{plural} (seed{plural} {seeds}), {runs.folders[0]}{more}"
