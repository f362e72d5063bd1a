"""From the states of a sequence to one user vector."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class ConcatHead(nn.Module):
    """All final states side by side, and an MLP (PRECISE Sec. IV-D).

    The MLP is `length * width -> 2 * width -> width`.

    A history's last state is always in the last place, so that each weight sees states of one
    age; places before a short history are zero. With `residual` the MLP, whose last layer begins at
    zero, is added to the last state: training then begins where next-item training ended, instead
    of at a random map.
    """

    def __init__(self, width: int, length: int, residual: bool) -> None:
        super().__init__()
        self.length = length
        self.residual = residual
        self.inner = nn.Linear(length * width, 2 * width)
        self.outer = nn.Linear(2 * width, width)
        if residual:
            nn.init.zeros_(self.outer.weight)
            nn.init.zeros_(self.outer.bias)

    def at_every_position(self, states: Tensor) -> Tensor:
        """Compute `forward` of every prefix in one convolution: `[batch, l, width]`.

        Takes right-padded `states [batch, l, width]`.
        """
        _batch, length, width = states.shape
        kernel = self.inner.weight.view(-1, self.length, width)[:, -length:].transpose(
            1, 2
        )  # what is older than the row is zero
        before = nn.functional.pad(states.transpose(1, 2), (kernel.shape[2] - 1, 0))
        inner = nn.functional.conv1d(before, kernel, self.inner.bias).transpose(1, 2)
        users = self.outer(nn.functional.gelu(inner))
        return users + states if self.residual else users

    def forward(self, states: Tensor, mask: Tensor) -> Tensor:
        """Reduce states to one user vector: `[batch, width]`.

        Takes `states [batch, l, width]`, right-padded as bool `mask [batch, l]` says, l at most
        `length`.
        """
        count = mask.sum(1, keepdim=True)
        place = torch.arange(self.length, device=mask.device) - (self.length - count)
        aligned = states.gather(
            1, place.clamp(0, states.shape[1] - 1)[..., None].expand(-1, -1, states.shape[2])
        )
        aligned = aligned * (place >= 0)[..., None]
        users = self.outer(nn.functional.gelu(self.inner(aligned.flatten(1))))
        return users + aligned[:, -1] if self.residual else users
