"""Training objectives, one a file; each takes states and item vectors, never a config."""

from .alignment_rows import alignment_rows
from .bpr import bpr_loss, draw_pair_negatives
from .full_softmax import full_softmax_loss
from .gbce import gbce_beta, gbce_loss
from .info_nce import info_nce
from .mmd import MultiKernelMMD
from .sampled_softmax import NegativeSampler, sampled_softmax_loss

__all__ = [
    "MultiKernelMMD",
    "NegativeSampler",
    "alignment_rows",
    "bpr_loss",
    "draw_pair_negatives",
    "full_softmax_loss",
    "gbce_beta",
    "gbce_loss",
    "info_nce",
    "sampled_softmax_loss",
]
