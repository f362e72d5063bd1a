"""Settings of HSTU."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecSampledSettings


@dataclass
class HSTUSettings(SASRecSampledSettings):
    """HSTU: pointwise SiLU attention with relative position and time biases, and a gate (arXiv
    2402.17152; docs/methods.md 9).
    """

    name = "HSTU"
    notes = (
        "Over SASRec-Sampled: Input, score and loss, which the authors share between the "
        "two; inner_size is not read."
    )

    hstu_time: str = setting(
        "last_seen",
        "Time at which a position is asked: last_seen (of its own item), request (of the target, "
        "as the authors' code has it), none (no time bias).",
        choices=("last_seen", "request", "none"),
    )
    query_size: int = setting(32, "Width of queries and keys, a head.", low=1, high=2**20)
    value_size: int = setting(32, "Width of values and gates, a head.", low=1, high=2**20)
    softmax: str = setting(
        "auto",
        "full: all items compete; sampled: a pool of negatives, the authors'; auto: full while "
        "the catalogue is small enough.",
        choices=("auto", "full", "sampled"),
    )
    sequence_fields: list | str | None = setting(
        ["exact_time"],
        "Items, and their times as read.",
        group="RecBole's own keys, and those of all models, set for this model",
    )
