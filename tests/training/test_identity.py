"""Which settings make a run another run."""

from __future__ import annotations

import pytest

from recbole_precise.runs.identity import settings_identity


@pytest.mark.parametrize("key", ["worker", "eval_batch_size", "score_budget_mb"])
def test_what_changes_no_number_changes_no_identity(key: str) -> None:
    """Their harmlessness is tested over every model in tests/contract/test_evaluation.py."""
    first = settings_identity({"model": "SASRec", "learning_rate": 0.1, key: 0})
    assert first == settings_identity({"model": "SASRec", "learning_rate": 0.1, key: 7})
    assert first != settings_identity({"model": "SASRec", "learning_rate": 0.2, key: 0})


def test_runs_of_earlier_versions_without_workers_are_the_same_runs() -> None:
    assert settings_identity({"worker": 3})["worker"] == 0


def test_decimals_decide_where_recboles_evaluator_rounds_before_it_compares() -> None:
    def identity(evaluator: str | None, places: int) -> dict:
        return settings_identity({"evaluator": evaluator, "metric_decimal_place": places})

    assert identity("recbole", 4) != identity("recbole", 2)
    assert identity(None, 4) == identity(None, 2)
    assert "metric_decimal_place" not in identity("recbole", 4)  # as earlier versions wrote it
