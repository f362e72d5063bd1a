"""Settings of LEARN."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import same_as, setting
from recbole_precise.models.settings.sasrec import SASRecCESettings
from recbole_precise.models.settings.sasrec_text import SASRecTextSettings


@dataclass
class LEARNSettings(SASRecCESettings):
    """LEARN: frozen text vectors, a causal transformer over them, the same weights as item tower,
    no ID (arXiv 2405.03988; docs/methods.md 9).
    """

    name = "LEARN"
    notes = (
        "Over SASRec-CE: Transformer and training. What is said there of IDs and of the "
        "softmax is not read."
    )

    embedding_size: int = setting(128, "Width behind the linear map.", low=1, high=2**20)
    inner_size: int | None = setting(512, "Width of the feed-forward network.", low=1, high=2**20)
    token_init_std: float = same_as(SASRecTextSettings, "token_init_std")
    text_form: str = same_as(SASRecTextSettings, "text_form")
    code_levels: int = same_as(SASRecTextSettings, "code_levels")
    code_size: int = same_as(SASRecTextSettings, "code_size")
    text_tuning: str | None = same_as(SASRecTextSettings, "text_tuning")
    text_tuning_window: int | None = same_as(SASRecTextSettings, "text_tuning_window")
    text_tuning_temperature: float | None = same_as(SASRecTextSettings, "text_tuning_temperature")
    text_tuning_steps: int | None = same_as(SASRecTextSettings, "text_tuning_steps")
    text_tuning_learning_rate: float | None = same_as(
        SASRecTextSettings, "text_tuning_learning_rate"
    )
    text_tuning_width: int | None = same_as(SASRecTextSettings, "text_tuning_width")
    hidden_dropout_prob: float = setting(
        0.2, "Dropout on the input and on every sublayer.", low=0, below=1
    )
    attn_dropout_prob: float = setting(0.2, "Dropout on attention weights.", low=0, below=1)
    learn_positions: int = setting(
        4,
        "Positions of a row that a step trains, drawn again each time; the paper's number is not "
        "public.",
        low=1,
    )
    learn_targets: int = setting(4, "Later items that each of them is trained on.", low=1)
    score: str = setting("cosine", "Cosine of the two towers.", choices=("dot", "cosine"))
    temperature: float = setting(0.05, "Scores are divided by it.", above=0)
    neighbour_texts: float = same_as(SASRecTextSettings, "neighbour_texts")
