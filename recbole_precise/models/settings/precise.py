"""Settings of PRECISE-UT."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, same_as, setting
from recbole_precise.models.settings.sasrec import SASRecCESettings
from recbole_precise.models.settings.sasrec_text import SASRecTextSettings


@dataclass
class PRECISEUTSettings(Settings):
    """PRECISE after Universal Training.

    PRECISE-ID, PRECISE-LLM and PRECISE-Pool are its variants.
    """

    name = "PRECISE-UT"

    variant: str = setting(
        "full",
        "full: ID and text; id: PRECISE-ID; llm: PRECISE-LLM (text alone); pool: PRECISE-Pool "
        "(mean of tokens instead of experts).",
        group="Item encoder (Embedding Fusion; docs/methods.md 1)",
        choices=("full", "id", "llm", "pool"),
    )
    embedding_size: int = setting(64, "Width of the ID vector.", low=1, high=2**20)
    token_size: int = setting(
        64,
        "Width of the text vector; an item vector is embedding_size + token_size wide.",
        low=1,
        high=2**20,
    )
    match_width: bool = setting(
        True,
        "Widen what is left in the variants id and llm, so that all variants are equally wide.",
    )
    token_mode: str = setting(
        "vocab",
        "Token vectors: vocab (a trainable row per token in use), item_states (per token of each "
        "item), frozen_states (the encoder's output as it is).",
        choices=("vocab", "item_states", "frozen_states"),
    )
    vocab_init: str = setting(
        "context_mean",
        "First values of vocab: context_mean (the token's mean contextual state) or random.",
        choices=("context_mean", "random"),
    )
    n_experts: int = setting(4, "Attention experts over an item's tokens.", low=1, high=1000)
    top_experts: int = setting(
        2, "Experts kept by the gate for an item; all others weigh exactly 0.", low=1, high=1000
    )
    gate_noise: float = setting(
        0.0, "Standard deviation of noise on the gate's scores while training.", low=0
    )
    expert_value_proj: bool = setting(False, "Give each expert a value projection of its own.")
    id_init_std: float = same_as(SASRecCESettings, "id_init_std")
    rare_smoothing: int | None = same_as(SASRecCESettings, "rare_smoothing")
    smoothing_buckets: int | None = same_as(SASRecCESettings, "smoothing_buckets")
    id_dropout: float = same_as(SASRecTextSettings, "id_dropout")
    unseen_id: str = setting(
        "zero",
        "ID vector, when items are ranked, of one without training events: zero (its text alone "
        "speaks), mean (of the trained), initial (as drawn).",
        choices=("initial", "zero", "mean"),
    )
    token_init_std: float = setting(
        0.1, "Root mean square of the token table's first values.", above=0
    )
    n_layers: int = setting(
        2, "Transformer blocks.", group="Sequence encoder (a causal transformer)", low=1, high=1000
    )
    n_heads: int = same_as(SASRecCESettings, "n_heads")
    inner_size: int | None = setting(
        None,
        "Width of the feed-forward network; default: 4 times the item vector's.",
        low=1,
        high=2**20,
    )
    hidden_dropout_prob: float = same_as(SASRecCESettings, "hidden_dropout_prob")
    attn_dropout_prob: float = setting(0.2, "Dropout on attention weights.", low=0, below=1)
    norm_first: bool = same_as(SASRecCESettings, "norm_first")
    layer_norm_eps: float = same_as(SASRecCESettings, "layer_norm_eps")
    hidden_act: str | None = same_as(SASRecCESettings, "hidden_act")
    initializer_range: float = same_as(SASRecCESettings, "initializer_range")
    softmax: str = same_as(
        SASRecCESettings, "softmax", group="Objective (next item at every position)"
    )
    n_negatives: int = same_as(SASRecCESettings, "n_negatives")
    negative_source: str = setting(
        "mixed",
        "other_sequences (the paper's), uniform, or mixed (half and half).",
        choices=("other_sequences", "uniform", "mixed"),
    )
    logq: str = setting(
        "corrected",
        "Correction for how negatives are drawn: none (the paper's), standard, or corrected "
        "(arXiv 2507.09331).",
        choices=("none", "standard", "corrected"),
    )
    score: str = setting(
        "dot", "dot (the paper's training) or cosine (its index).", choices=("dot", "cosine")
    )
    temperature: float = same_as(SASRecCESettings, "temperature")
    loss_precision: str = same_as(SASRecCESettings, "loss_precision")
    label_smoothing: float = same_as(SASRecCESettings, "label_smoothing")
    target_horizon: int = setting(
        1,
        "Items after a position that share its target; 1: the next alone, as in the paper (full "
        "softmax only).",
        low=1,
    )
    target_decay: float = same_as(SASRecCESettings, "target_decay")
    alternate: bool = setting(
        False,
        "First train with the token vectors frozen, until the ID part has converged, then with "
        "all.",
        group="Alternate training (docs/methods.md 7)",
    )
    alternate_freeze: str = setting(
        "tokens",
        "What is frozen first: tokens, or tokens+fusion (experts, gate and projection too).",
        choices=("tokens", "tokens+fusion"),
    )
    alternate_patience: int = setting(
        2, "Validations without improvement that end the first stage.", low=0
    )
    alternate_share: float = setting(
        0.5, "Share of the epochs that the first stage may take.", above=0, below=1
    )
    alternate_rate: float = setting(
        0.1,
        "Learning rate of the token vectors in the second stage, relative to the others'.",
        high=1,
        above=0,
    )
    transition_memory: float | None = setting(
        None,
        "First value of a learned weight, added to the score and trained with it, of how often "
        "an item followed the history's last one in training; empty: none.",
        group="Ranking (not in the paper)",
        low=0,
    )
    memory_window: int | None = same_as(SASRecCESettings, "memory_window")
    neighbour_transitions: float = same_as(SASRecCESettings, "neighbour_transitions")
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's; not in "
        "the variant id.",
        low=0,
    )
    loss_type: str = same_as(
        SASRecCESettings, "loss_type", group="RecBole's own keys, set for this model"
    )
    train_neg_sample_args: dict | None = same_as(SASRecCESettings, "train_neg_sample_args")
    learner: str = same_as(SASRecCESettings, "learner")
    learning_rate: float = same_as(SASRecCESettings, "learning_rate")
    weight_decay: float = same_as(SASRecCESettings, "weight_decay")
    train_batch_size: int = same_as(SASRecCESettings, "train_batch_size")
    eval_batch_size: int = same_as(SASRecCESettings, "eval_batch_size")
    epochs: int = same_as(SASRecCESettings, "epochs")
    stopping_step: int = same_as(SASRecCESettings, "stopping_step")
    valid_metric: str = same_as(SASRecCESettings, "valid_metric")
    metric_decimal_place: int = same_as(SASRecCESettings, "metric_decimal_place")
