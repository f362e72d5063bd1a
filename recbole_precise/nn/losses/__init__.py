"""Training objectives, one a file; each takes states and item vectors, never a config."""

from .bpr import bpr_loss, draw_pair_negatives
from .full_softmax import full_softmax_loss
from .gbce import gbce_beta, gbce_loss
from .sampled_softmax import NegativeSampler, sampled_softmax_loss

__all__ = ["NegativeSampler", "bpr_loss", "draw_pair_negatives", "full_softmax_loss", "gbce_beta", "gbce_loss", "sampled_softmax_loss"]
