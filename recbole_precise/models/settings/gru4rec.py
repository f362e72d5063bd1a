"""Settings of GRU4Rec-CE."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecCESettings


@dataclass
class GRU4RecCESettings(SASRecCESettings):
    """GRU4Rec with the full softmax at all positions."""

    name = "GRU4Rec-CE"
    notes = "Over SASRec-CE: Items and objective. What is said there of attention is not read."

    hidden_size: int = setting(
        128, "Width of the GRU's states; RecBole's value.", low=1, high=2**20
    )
    n_layers: int = setting(1, "GRU layers; RecBole's value.", low=1, high=1000)
    hidden_dropout_prob: float = setting(
        0.3, "Dropout on the input; RecBole's value.", low=0, below=1
    )
