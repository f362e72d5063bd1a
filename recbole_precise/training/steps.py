"""The inside of a training step.

Autocast, loss scaling, clipping, and the sum of losses without waiting for the device.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_

from recbole_precise.errors import ConfigError

AMP_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NAN_STRIDE = 100  # steps between two looks at a GPU's losses


class DivergedError(ConfigError, ValueError):
    """Training has produced NaN. RecBole raises a ValueError here, so this is one too."""


class Stepper:
    """Makes training steps with one optimizer.

    Args:
        model, optimizer: what is trained.
        device: where the batches are.
        amp_dtype: `bf16` or `fp16` for autocast, None for full precision.
        clip: arguments of `clip_grad_norm_` (`{max_norm: 5.0}`), or None.
        scaler_state: of a `GradScaler` to go on with.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        device: torch.device,
        *,
        amp_dtype: str | None = None,
        clip: Mapping[str, Any] | None = None,
        scaler_state: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.optimizer = optimizer
        self.device = device
        self.clip = clip
        self.dtype = AMP_DTYPES[amp_dtype] if amp_dtype else None
        # bf16 has float32's range and needs no scaling; fp16 does.
        self.scaler = grad_scaler(device) if self.dtype == torch.float16 else None
        if scaler_state:
            self.load_scaler(scaler_state)

    def step(
        self, loss_function: Callable[[Any], Tensor | tuple[Tensor, ...]], batch: Any
    ) -> Tensor | tuple[Tensor, ...]:
        """One step on a batch; returns what `loss_function(batch)` gave."""
        self.optimizer.zero_grad()
        with torch.autocast(
            device_type=self.device.type, dtype=self.dtype, enabled=self.dtype is not None
        ):
            losses = loss_function(batch)
        loss: Any = sum(losses) if isinstance(losses, tuple) else losses
        if self.scaler is None:
            loss.backward()
            self._clip()
            self.optimizer.step()
            return losses
        self.scaler.scale(loss).backward()
        if self.clip:
            self.scaler.unscale_(self.optimizer)
            self._clip()
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return losses

    def _clip(self) -> None:
        if self.clip:
            clip_grad_norm_(self.model.parameters(), **self.clip)

    def load_scaler(self, state: Mapping[str, Any]) -> None:
        """Take over the scaler's state of a checkpoint, where there is a scaler."""
        if self.scaler is not None:
            self.scaler.load_state_dict(dict(state))

    def scaler_state(self) -> dict[str, Any] | None:
        """Return the scaler's state for a checkpoint, None without one."""
        return None if self.scaler is None else self.scaler.state_dict()


class LossSum:
    """Sum of the losses of an epoch, kept on the device: `total()` alone waits for it.

    Args:
        device: of the losses.
        about: the state of training, for the message when a loss is NaN.
        parts: sums to go on with, from `state()`.
    """

    def __init__(
        self, device: torch.device, about: str, state: Mapping[str, Any] | None = None
    ) -> None:
        # The sum of RecBole: Python floats, which are float64. Apple's GPUs have none.
        self._dtype = torch.float32 if device.type == "mps" else torch.float64
        self._device = device
        self._about = about
        self._parts: list[Tensor] | None = None
        self._tuple = False
        self._steps = 0
        if state:
            self._tuple = state["tuple"]
            self._steps = state["steps"]
            if state["parts"] is not None:
                self._parts = [
                    torch.tensor(part, dtype=self._dtype, device=device) for part in state["parts"]
                ]

    def add(self, losses: Tensor | tuple[Tensor, ...]) -> None:
        """Add the losses of a step."""
        parts = losses if isinstance(losses, tuple) else (losses,)
        self._tuple = isinstance(losses, tuple)
        values = [loss.detach().to(self._dtype) for loss in parts]
        self._parts = (
            values
            if self._parts is None
            else [total + value for total, value in zip(self._parts, values)]
        )
        self._steps += 1
        if self._device.type == "cpu" or self._steps % _NAN_STRIDE == 0:
            self.check()

    def check(self) -> None:
        """Raise DivergedError when a loss so far was NaN (a sum stays NaN once it is)."""
        if self._parts is not None and bool(
            torch.isnan(torch.stack([part.reshape(()) for part in self._parts])).any()
        ):
            raise DivergedError(
                f"The training loss became NaN in {self._about}, at step {self._steps} or "
                "shortly before. A lower learning_rate or clip_grad_norm: {max_norm: 5} may "
                "help."
            )

    def total(self) -> float | tuple[float, ...] | None:
        """Return the sum over the epoch, one for each part of the loss where there are several.

        None before any step.
        """
        if self._parts is None:
            return None
        self.check()
        totals = tuple(float(part) for part in self._parts)
        return totals if self._tuple else totals[0]

    def state(self) -> dict[str, Any]:
        """For a checkpoint; the numbers are exact."""
        self.check()
        parts = None if self._parts is None else [float(part) for part in self._parts]
        return {"tuple": self._tuple, "steps": self._steps, "parts": parts}


def grad_scaler(device: torch.device) -> Any:
    """Torch's GradScaler under the name that the version at hand gives it."""
    if hasattr(torch, "amp") and hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type)
    return torch.cuda.amp.GradScaler()


class EarlyStopping:
    """RecBole's rule of early stopping.

    A tie is an improvement, and training stops at more than `patience` evaluations without one.
    """

    def __init__(self, patience: int, bigger: bool = True) -> None:
        self.patience = patience
        self.bigger = bigger
        self.best = -math.inf if bigger else math.inf
        self.waited = 0

    def update(self, score: float) -> tuple[bool, bool]:
        """(whether `score` is the best so far, whether to stop)."""
        if score >= self.best if self.bigger else score <= self.best:
            self.best = score
            self.waited = 0
            return True, False
        self.waited += 1
        return False, self.waited > self.patience
