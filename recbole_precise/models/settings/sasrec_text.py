"""Settings of SASRec-Text."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecCESettings


@dataclass
class SASRecTextSettings(SASRecCESettings):
    """SASRec-CE over items with text: ID vector and frozen text vector, summed.

    SASRec-Text-Concat has them side by side, SASRec-Codes semantic codes for the text.
    """

    name = "SASRec-Text"
    notes = "Over SASRec-CE: Everything else."

    text_join: str = setting("sum", "sum, or concat: side by side.", choices=("sum", "concat"))
    token_size: int = setting(
        64, "Width of the text's part in concat; in a sum it is embedding_size.", low=1, high=2**20
    )
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
    unseen_id: str = setting(
        "zero",
        "ID vector, when items are ranked, of one without training events: zero (its text alone "
        "speaks), initial (as drawn), mean (of the trained).",
        choices=("initial", "zero", "mean"),
    )
    id_dropout: float = setting(
        0.0,
        "Share of items whose ID vector is left out of a training step, so that their text must "
        "carry them.",
        low=0,
        below=1,
    )
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's.",
        low=0,
    )
