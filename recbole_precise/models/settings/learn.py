"""Settings of LEARN."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecCESettings


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
    token_init_std: float = setting(
        0.1, "Root mean square of the text vectors' first values behind the linear map.", above=0
    )
    text_form: str = setting(
        "vectors",
        "vectors: frozen behind a linear map; or codes: semantic codes of the texts, whose "
        "vectors are trained.",
        choices=("vectors", "codes", "tokens"),
    )
    code_levels: int = setting(
        3, "Code books; each codes what the ones before leave over.", low=1, high=1000
    )
    code_size: int = setting(64, "Codes in each book.", low=1)
    text_tuning: str | None = setting(
        None,
        "Tune the frozen text vectors on what stands near each other in training sequences, "
        "before training begins: cooccurrence; empty or none: as the encoder gives them.",
        choices=("none", "cooccurrence"),
    )
    text_tuning_window: int | None = setting(
        None,
        "Places between two items of a sequence that still make a pair, the k-th with weight 1 / "
        "k; default: 2.",
        low=1,
    )
    text_tuning_temperature: float | None = setting(
        None, "Cosines of pairs are divided by it; default: 0.15.", above=0
    )
    text_tuning_steps: int | None = setting(
        None,
        "Steps of 512 pairs; default: 400. More of them teach more of the pairs and less of new "
        "items.",
        low=1,
    )
    text_tuning_learning_rate: float | None = setting(
        None, "First learning rate, which falls to 0; default: 0.003.", above=0
    )
    text_tuning_width: int | None = setting(
        None, "Width of the adapter's hidden layer; default: 512.", low=1
    )
    hidden_dropout_prob: float = setting(
        0.2, "Dropout on the input and on every sublayer.", low=0, below=1
    )
    attn_dropout_prob: float = setting(0.2, "Dropout on attention weights.", low=0, below=1)
    learn_positions: int = setting(
        4,
        "Positions of a row that a step trains, drawn anew each time; the paper's number is not "
        "public.",
        low=1,
    )
    learn_targets: int = setting(4, "Later items that each of them is trained on.", low=1)
    score: str = setting("cosine", "Cosine of the two towers.", choices=("dot", "cosine"))
    temperature: float = setting(0.05, "Scores are divided by it.", above=0)
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's.",
        low=0,
    )
