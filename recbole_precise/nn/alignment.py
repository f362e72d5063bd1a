"""What PAD's second phase adds to the recommendation loss: how far an item's text is from its ID (PAD, Sec. 3.2; docs/pad.md)."""

from __future__ import annotations

from torch import Tensor, nn

from recbole_precise.nn.losses import MultiKernelMMD, info_nce


class Alignment(nn.Module):
    """Squared MMD of two clouds of vectors under one kind of kernel, or InfoNCE of their pairs.

    MMD compares the clouds as wholes: which text belongs to which ID it does not know, the recommendation loss beside it does.

    Args:
        kernel: a kernel of `MultiKernelMMD`, or `infonce`. estimator, bandwidth: of the MMD. temperature: of InfoNCE.
    """

    def __init__(self, kernel: str, estimator: str, bandwidth: str, temperature: float) -> None:
        super().__init__()
        self.temperature = temperature
        self.mmd = None if kernel == "infonce" else MultiKernelMMD(kernels=(kernel,), estimator=estimator, bandwidth=bandwidth)

    def forward(self, text: Tensor, ids: Tensor) -> Tensor:
        """`[n, width]` each, row i of both being item i's -> scalar; 0 for fewer than two items, which make no clouds."""
        if len(text) < 2:
            return (text.sum() + ids.sum()) * 0.0
        return info_nce(text.float(), ids.float(), self.temperature) if self.mmd is None else self.mmd(text, ids)
