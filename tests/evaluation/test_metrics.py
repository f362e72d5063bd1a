"""Metrics from ranks against RecBole's own metric classes, and against their definitions."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.metrics import (
    RANK_METRICS,
    is_rank_metric,
    metrics_from_ranks,
    per_case,
)

TOPK = [1, 3, 5, 10, 20]


def recbole_metrics(ranks, decimals):
    """What RecBole prints when the targets stand at these ranks."""
    from recbole.evaluator.collector import DataStruct
    from recbole.evaluator.metrics import MAP, MRR, NDCG, Hit, Precision, Recall

    config = {"metric_decimal_place": decimals, "topk": TOPK}
    hits = torch.tensor(ranks)[:, None] == torch.arange(1, max(TOPK) + 1)
    struct = DataStruct()
    struct.set(
        "rec.topk", torch.cat([hits.int(), torch.ones(len(ranks), 1, dtype=torch.int)], dim=1)
    )
    printed = {}
    for metric in (Recall, Hit, NDCG, MRR, Precision, MAP):
        printed.update(metric(config).calculate_metric(struct))
    return printed


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=60), st.sampled_from([4, 12]))
def test_equal_to_recbole(ranks, decimals):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "float", float, raising=False)  # RecBole was written for an older NumPy
        expected = recbole_metrics(ranks, decimals)
    ours = metrics_from_ranks(
        np.array(ranks), ["Recall", "Hit", "NDCG", "MRR", "Precision", "MAP"], TOPK
    )
    assert list(ours) == list(expected)
    assert {name: round(value, decimals) for name, value in ours.items()} == pytest.approx(
        expected, abs=2e-12
    )


def test_definitions():
    rank = np.array([1, 2, 10, 11, 10**9])
    assert (
        per_case(rank, "recall@10").tolist() == [1, 1, 1, 0, 0] == per_case(rank, "Hit@10").tolist()
    )
    assert per_case(rank, "NDCG@10") == pytest.approx([1, 1 / np.log2(3), 1 / np.log2(11), 0, 0])
    assert per_case(rank, "mrr@2").tolist() == [1, 0.5, 0, 0, 0] == per_case(rank, "map@2").tolist()
    assert per_case(rank, "precision@5").tolist() == [0.2, 0.2, 0, 0, 0]
    assert metrics_from_ranks(rank, ["ndcg"], 10) == {
        "ndcg@10": pytest.approx(per_case(rank, "ndcg@10").mean())
    }
    assert all(is_rank_metric(name.upper()) for name in RANK_METRICS) and not is_rank_metric("gauc")


def test_mistakes_are_sentences():
    with pytest.raises(ConfigError, match="Did you mean 'recall'"):
        metrics_from_ranks(np.array([1]), ["recal"], 10)
    for bad in ("ndcg", "ndcg@", "ndcg@0", "ndcg@x"):
        with pytest.raises(ConfigError, match="cut-off"):
            per_case(np.array([1]), bad)
    with pytest.raises(ValueError, match="start at 1"):
        per_case(np.array([0]), "hit@1")
    with pytest.raises(ValueError, match="no rows"):
        metrics_from_ranks(np.array([]), ["hit"], 10)
