"""Settings of DisCo."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.pad import PADSettings


@dataclass
class DisCoSettings(PADSettings):
    """DisCo: an item of four parts, what ID and text share and what each has alone (arXiv
    2406.00011, as in PAD's tables; docs/methods.md 10).
    """

    name = "DisCo"
    notes = (
        "Over PAD: Backbone, tables, MLPs and objective. What is said there of phases, "
        "alignment and gate is not read."
    )

    experts: list = setting(
        ["aligned"],
        "The one item vector: the four parts through a layer.",
        choices=("id", "aligned", "text"),
    )
    sufficiency_weight: float = setting(
        0.1,
        "Weight of the loss of each part alone. Choice of ours, as are the next two: PAD's paper "
        "does not give them.",
        low=0,
    )
    disentangle_weight: float = setting(
        0.01, "Weight of the squared cosine of what a side has alone and what it shares.", low=0
    )
    sharing_weight: float = setting(
        0.01, "Weight of InfoNCE between what ID and text share.", low=0
    )
    infonce_temperature: float = setting(0.1, "Choice of ours.", above=0)
