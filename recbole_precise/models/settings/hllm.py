"""Settings of HLLM."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.sasrec import SASRecCESettings


@dataclass
class HLLMCachedSettings(SASRecCESettings):
    """HLLM's user model over cached text vectors: the item model is frozen and the user model no
    language model (arXiv 2409.12740; docs/methods.md 9).
    """

    name = "HLLM-Cached"
    notes = "Over SASRec-CE: Transformer and training. What is said there of IDs is not read."

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
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's.",
        low=0,
    )


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
