"""Settings of gSASRec."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecCESettings


@dataclass
class GSASRecSettings(SASRecCESettings):
    """gSASRec: the encoder of SASRec-CE under a calibrated binary cross entropy with many negatives
    (arXiv 2308.07192).
    """

    name = "gSASRec"
    notes = "Over SASRec-CE: Everything else."

    n_negatives: int = setting(256, "Uniform negatives of a position.", low=1)
    gbce_t: float = setting(
        0.75,
        "Calibration t: 0 is plain binary cross entropy, 1 makes scores converge to probabilities.",
        low=0,
        high=1,
    )
    share_negatives: bool = setting(
        True,
        "Draw once for all positions of a row, which one product scores; False: for each "
        "position, as the authors do.",
    )
