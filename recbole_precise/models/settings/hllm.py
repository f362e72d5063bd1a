"""Settings of HLLM."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import same_as, setting
from recbole_precise.models.settings.sasrec import SASRecCESettings
from recbole_precise.models.settings.sasrec_text import SASRecTextSettings


@dataclass
class HLLMCachedSettings(SASRecCESettings):
    """HLLM's user model over cached text vectors: the item model is frozen and the user model no
    language model (arXiv 2409.12740; docs/methods.md 9).
    """

    name = "HLLM-Cached"
    notes = "Over SASRec-CE: Transformer and training. What is said there of IDs is not read."

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
    softmax: str = setting(
        "sampled", "InfoNCE against a pool of negatives.", choices=("auto", "full", "sampled")
    )
    n_negatives: int = setting(512, "Pool of negatives for a step.", low=1)
    negative_source: str = setting(
        "uniform", "As in their code.", choices=("other_sequences", "uniform", "mixed")
    )
    logq: str = setting(
        "none", "Uniform negatives need no correction.", choices=("none", "standard", "corrected")
    )
    score: str = setting(
        "cosine", "The score is a cosine times a learned scale.", choices=("dot", "cosine")
    )
    temperature: float = setting(
        0.07, "The scale begins at 1 / temperature and ends at 100 at most.", above=0
    )
    neighbour_texts: float = same_as(SASRecTextSettings, "neighbour_texts")


@dataclass
class HLLMFullSettings(HLLMCachedSettings):
    """HLLM whose item model learns with the user model, all its layers (arXiv 2409.12740.

    Docs/methods.md 9). HLLM-Top is its variant with the last layers alone.
    """

    name = "HLLM-Full"
    notes = (
        "Over HLLM-Cached: User model, loss and training. text_dtype is that of what is "
        "cached: what is trained is float32."
    )

    language_rate: float = setting(
        0.1,
        "Learning rate of the language model, in learning rates: 1e-4, the paper's for both of "
        "its models.",
        low=0,
    )


@dataclass
class HLLMTopSettings(HLLMFullSettings):
    """HLLM whose item model learns in its last layers.

    What enters them is read once and cached (docs/methods.md 9).
    """

    name = "HLLM-Top"
    notes = "Over HLLM-Full: All but how much of the item model learns."

    tuned_layers: int = setting(
        2,
        "Last layers that are trained, of those that text_layers reads; 0: none, which is "
        "HLLM-Cached.",
        low=0,
    )
