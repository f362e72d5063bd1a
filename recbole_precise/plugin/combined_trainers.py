"""RecBole's trainers of single models, over another base than RecBole's Trainer."""

from __future__ import annotations

import functools
import io
from pathlib import Path
from typing import Any

import torch
from recbole.trainer import Trainer

from recbole_precise.runs.checkpoint import write_atomically


@functools.cache
def put_over(own: type, base: type) -> type:
    """Put a trainer of RecBole's over `base` instead of over RecBole's Trainer.

    A trainer that is no Trainer (XGBoost, LightGBM) stays what it is.
    """
    if own is Trainer:
        return base
    if issubclass(own, base) or not issubclass(own, Trainer):
        return own
    members: dict[str, Any] = {"__doc__": f"{own.__name__} of RecBole over {base.__name__}."}
    if hasattr(own, "save_pretrained_model"):
        members["save_pretrained_model"] = _save_pretrained_model
    return type(f"Precise{own.__name__}", (own, base), members)


def _save_pretrained_model(self: Any, epoch: int, saved_model_file: str) -> None:
    """As RecBole's, into the run directory, in the pickle protocol of its other checkpoints."""
    if self.processes.first:
        state = {
            "config": self.config,
            "epoch": epoch,
            "state_dict": self.model.state_dict(),
            "other_parameter": self._other_parameter(),
            "optimizer": self.optimizer.state_dict(),
        }
        content = io.BytesIO()  # torch gives no readable message of a disk that is full
        torch.save(state, content, pickle_protocol=4)
        write_atomically(
            Path(saved_model_file),
            lambda partial: partial.write_bytes(content.getbuffer()),
            "the pretrained model",
        )
    self.saved_model_file = saved_model_file
