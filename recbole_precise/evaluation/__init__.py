"""One judge for every model: exact ranks, metrics, slices, significance, and the floors that a claim must beat."""

from recbole_precise.evaluation.metrics import RANK_METRICS, metrics_from_ranks, per_case
from recbole_precise.evaluation.ranking import Ranks, VectorRanker, rank_by_scores, rank_by_vectors, rank_rows

__all__ = [
    "RANK_METRICS",
    "Ranks",
    "VectorRanker",
    "metrics_from_ranks",
    "per_case",
    "rank_by_scores",
    "rank_by_vectors",
    "rank_rows",
]
