"""One judge for every model: exact ranks, metrics, slices, significance, and floors."""

from recbole_precise.evaluation.metrics import RANK_METRICS, metrics_from_ranks, per_case
from recbole_precise.evaluation.ranking import (
    VectorRanker,
    rank_by_scores,
    rank_by_vectors,
    rank_rows,
)
from recbole_precise.evaluation.ranks import Ranks
from recbole_precise.evaluation.significance import Comparison, compare, paired_test
from recbole_precise.evaluation.slices import Cases, item_slices, row_slices, slice_report

__all__ = [
    "RANK_METRICS",
    "Cases",
    "Comparison",
    "Ranks",
    "VectorRanker",
    "compare",
    "item_slices",
    "metrics_from_ranks",
    "paired_test",
    "per_case",
    "rank_by_scores",
    "rank_by_vectors",
    "rank_rows",
    "row_slices",
    "slice_report",
]
