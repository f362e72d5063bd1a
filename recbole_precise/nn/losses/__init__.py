"""Training objectives, one a file; each takes states and item vectors, never a config."""

from .full_softmax import full_softmax_loss
from .sampled_softmax import NegativeSampler, sampled_softmax_loss

__all__ = ["NegativeSampler", "full_softmax_loss", "sampled_softmax_loss"]
