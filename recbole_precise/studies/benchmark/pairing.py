"""Compare finished runs.

It decides which may be compared, and makes the paired tests of every metric from their ranks.npz.
"""

from __future__ import annotations

import glob
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise.config import read_settings
from recbole_precise.errors import CheckpointError, ConfigError, DataError, did_you_mean
from recbole_precise.evaluation.list_metrics import is_list_metric
from recbole_precise.evaluation.metrics import RANK_METRICS, is_rank_metric
from recbole_precise.evaluation.ranks import Ranks
from recbole_precise.evaluation.significance import Comparison, compare, holm, one_test
from recbole_precise.evaluation.test_cases import TestCases, same_cases
from recbole_precise.runs.checked import CheckedRun, read_checked
from recbole_precise.runs.identity import settings_identity
from recbole_precise.runs.result import RANKS, RESULT

#: No list is longer.
LARGEST_CUT = 10**9


@dataclass(frozen=True)
class Runs:
    """The runs of one model, one for each seed.

    Their directories, their result.json, the ranks of one split by token, and the test cases.
    """

    folders: tuple[Path, ...]
    results: tuple[dict[str, Any], ...]
    ranks: tuple[Ranks, ...]
    cases: tuple[TestCases | None, ...]

    @property
    def model(self) -> str:
        """Return the name of the model."""
        return self.results[0]["model"]

    @property
    def seeds(self) -> list[int]:
        """Return the seeds of the runs."""
        return [result["seed"] for result in self.results]


def find_runs(text: str) -> list[Path]:
    """Return the run directories of a comma list of paths and patterns.

    A pattern is, for example, `saved/benchmark/ml-100k/SASRec-1a2b3c4d/seed-*`.

    A pattern takes the finished runs among what it matches; a path named in full must be one.
    """
    folders: list[Path] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        if Path(part).exists() or not glob.has_magic(part):
            folders.append(Path(part))
            continue
        matches = glob.glob(part)  # noqa: PTH207 - absolute patterns too, as in a shell
        found = sorted(path for path in map(Path, matches) if (path / RESULT).is_file())
        if not found:
            raise CheckpointError(
                f"'{part}' matches no finished run (a directory with a {RESULT})."
            )
        folders += found
    if not folders:
        raise ConfigError("A side of the comparison names no run directory.")
    twice = [
        folder
        for number, folder in enumerate(folders)
        if folder.resolve() in [other.resolve() for other in folders[:number]]
    ]
    if twice:
        raise ConfigError(f"'{twice[0]}' is named twice on one side of the comparison.")
    return folders


def read_runs(folders: Sequence[Path], split: str = "test") -> Runs:
    """Results and ranks of runs of one model.

    A sentence for one that is not finished, has no ranks, or is of another model or settings.
    """
    runs: list[CheckedRun] = []
    for folder in folders:
        if not (folder / RESULT).is_file():
            state = (
                "is no finished run"
                if folder.is_dir()
                else "does not exist"
                if not folder.exists()
                else "is a file, not a run directory"
            )
            raise CheckpointError(f"'{folder}' {state}: there is no '{folder / RESULT}'.")
        if not (folder / RANKS).is_file():
            raise CheckpointError(
                f"'{folder}' holds no ranks.npz: its run was not ranked exactly (evaluator: "
                "exact) and cannot be paired."
            )
        runs.append(read_checked(folder))
        results = runs[0].result, runs[-1].result
        if (results[0]["model"], results[0]["recipe"]) != (
            results[1]["model"],
            results[1]["recipe"],
        ):
            first, other = (
                f"'{at}' is {result['model']} (recipe {result['recipe']})"
                for at, result in zip((folders[0], folder), results, strict=True)
            )
            raise ConfigError(
                f"One side of a comparison is one model with several seeds, but {first} and "
                f"{other}."
            )
    _check_one_setting(folders)
    for run in runs:
        if split not in run.ranks:
            raise CheckpointError(f"'{run.folder / RANKS}' holds no ranks of the split '{split}'.")
    return Runs(
        tuple(folders),
        tuple(run.result for run in runs),
        tuple(run.ranks[split] for run in runs),
        tuple(run.cases for run in runs),
    )


def _check_one_setting(folders: Sequence[Path]) -> None:
    """Check that runs of one side have the same settings but for the seed.

    Raises:
        ConfigError: it names the first setting in which they differ (by their config.yaml).
    """
    settings = [
        (folder, _decisive_settings(folder))
        for folder in folders
        if (folder / "config.yaml").is_file()
    ]
    for folder, other in settings[1:]:
        at, first = settings[0]
        for key in dict.fromkeys((*first, *other)):
            if first.get(key) != other.get(key):
                raise ConfigError(
                    f"The runs of one side must differ in their seed alone, but '{at}' has "
                    f"{key}: {first.get(key)} and '{folder}' has {key}: {other.get(key)}."
                )


def _decisive_settings(folder: Path) -> dict[str, Any]:
    """Return what decides a run's result but its seed.

    In the place of `warm_start` are the same settings of the run that it names, where that is at
    hand: runs of several seeds may each begin after a run of their own seed.
    """
    settings = settings_identity(read_settings(folder / "config.yaml"))
    settings.pop("seed", None)
    begun = settings.get("warm_start")
    if begun and (Path(begun) / "config.yaml").is_file():
        del settings["warm_start"]
        settings |= {
            f"(of its warm_start) {key}": value
            for key, value in _decisive_settings(Path(begun)).items()
        }
    return settings


def check_comparable(a: Runs, b: Runs) -> None:
    """Check that any two runs have the same data set, protocol and test cases.

    Raises:
        DataError: it names the first difference.
    """
    first_folder = a.folders[0]
    first = a.results[0]
    for folder, result in zip((*a.folders, *b.folders), (*a.results, *b.results), strict=True):
        if result["dataset"] != first["dataset"]:
            raise DataError(
                f"These runs cannot be compared: '{first_folder}' is of the data set "
                f"{first['dataset']}, '{folder}' of {result['dataset']}."
            )
        difference = protocol_difference(first["protocol"], result["protocol"])
        if difference:
            key, left, right = difference
            raise DataError(
                "These runs cannot be compared: they were ranked under different protocols, "
                f"'{first_folder}' with {key} {left}, '{folder}' with {key} {right}."
            )
    for folder, result, cases in zip(
        (*a.folders, *b.folders), (*a.results, *b.results), (*a.cases, *b.cases), strict=True
    ):
        text = cases_difference(
            first, result, a.cases[0], cases, f"'{first_folder}'", f"'{folder}'"
        )
        if text is not None and "test_cases" in first and "test_cases" in result:
            raise DataError(
                f"These runs cannot be compared: they were not tested on the same cases. {text}."
            )


def cases_difference(
    first: dict[str, Any],
    other: dict[str, Any],
    cases: TestCases | None,
    other_cases: TestCases | None,
    name: str,
    other_name: str,
) -> str | None:
    """Say in words how the test cases of two runs differ.

    Returns None when they are the same, or nothing is known of them.

    Args:
        first, other: the content of their result.json, whose digests decide where both have one.
        cases, other_cases: their rows by token, where they have ranks.
        name, other_name: what the sentence calls them.
    """
    mine = first.get("test_cases")
    theirs = other.get("test_cases")
    if mine is not None and theirs is not None and same_cases(mine, theirs):
        return None
    if cases is not None and other_cases is not None:
        return cases.difference(other_cases, name, other_name)
    if mine is None or theirs is None:
        return None
    return (
        f"{name} has {mine['rows']} test cases and {other_name} {theirs['rows']}, and not the same"
    )


def protocol_difference(
    first: dict[str, Any], other: dict[str, Any]
) -> tuple[str, Any, Any] | None:
    """Return the first key of two protocols that differs, with both values; None when equal."""
    for key in dict.fromkeys((*first, *other)):
        if first.get(key) != other.get(key):
            return key, first.get(key), other.get(key)
    return None


def rank_metrics(results: Sequence[dict[str, Any]], split: str = "test") -> list[str]:
    """Return the metrics that every result has and that follow from ranks.

    They are in the order of the first result.
    """
    return [
        name
        for name in results[0][split]
        if is_rank_metric(name.partition("@")[0])
        and all(name in result[split] for result in results)
    ]


def compare_runs(
    a: Runs,
    b: Runs,
    metrics: Sequence[str],
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int = 0,
) -> dict[str, Comparison]:
    """Paired tests of `a` against `b` for every metric.

    A DataError when they did not rank the same test rows.
    """
    check_comparable(a, b)
    for metric in metrics:
        name, _, cut = metric.partition("@")
        if not is_rank_metric(name) or not cut.isdecimal() or not 1 <= int(cut) <= LARGEST_CUT:
            why = (
                "is of all rows together and has no value a user"
                if is_list_metric(name)
                else "is none of ranks"
            )
            raise ConfigError(
                f"metric '{metric}' {why}: write one of {', '.join(RANK_METRICS)} with a "
                f"cut-off, as in ndcg@10.{did_you_mean(name, RANK_METRICS)}"
            )
    try:
        return {
            metric: compare(
                a.ranks, b.ranks, metric, confidence=confidence, n_resamples=n_resamples, seed=seed
            )
            for metric in metrics
        }
    except ValueError as error:
        if "same rows" not in str(error):
            raise
        raise DataError(
            f"These runs cannot be compared (a: '{a.folders[0]}', b: '{b.folders[0]}'): {error}."
        ) from error


def corrected(tests: dict[tuple, float]) -> dict[tuple, float]:
    """Holm's p-values of a family of tests keyed by (..., metric).

    Metrics that ask the same question count once.
    """
    family = {(*key[:-1], one_test(key[-1])): p for key, p in tests.items()}
    adjusted = holm(family)
    return {key: adjusted[(*key[:-1], one_test(key[-1]))] for key in tests}
