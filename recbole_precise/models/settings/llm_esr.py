"""Settings of LLM-ESR."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.pad import PADSettings


@dataclass
class LLMESRSettings(PADSettings):
    """LLM-ESR: two views of an item under one encoder, and distillation from users who read alike
    (arXiv 2405.20646; docs/methods.md 10).
    """

    name = "LLM-ESR"
    notes = (
        "Over PAD: Backbone, objective and training. What is said there of phases, alignment "
        "and the text's MLP is not read."
    )

    experts: list = setting(
        ["id", "text"],
        "The two views, collaborative and semantic.",
        choices=("id", "aligned", "text"),
    )
    gate: str = setting(
        "none",
        "The score is that of both side by side, without weights.",
        choices=("bucket", "author", "mlp", "expert_output", "global", "none"),
    )
    id_init_std: float = setting(
        0.05,
        "Root mean square of the ID table's first values, the principal components of the texts.",
        above=0,
    )
    text_init_std: float = setting(
        0.05,
        "Root mean square of the first values behind the text's two linear layers, which begin "
        "as principal components too (choice of ours).",
        above=0,
    )
    cross_heads: int = setting(2, "Heads of the cross-attention (their code).", low=1, high=1000)
    distill_weight: float = setting(
        0.1, "Weight of the distillation beside the recommendation loss (paper); 0: none.", low=0
    )
    similar_users: int = setting(
        10,
        "Users whose mean state teaches (paper). Found by the mean text vector of what they took "
        "in training; the paper asks a language model for a user's vector.",
        low=1,
    )
