"""Settings of PRECISE-UT."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, setting


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
    id_init_std: float = setting(
        0.02, "Standard deviation of the ID table's first values.", above=0
    )
    rare_smoothing: int | None = setting(
        None,
        "Items, the nearest by text, from which a rare item's ID vector borrows (after UniRec, "
        "arXiv 2406.18470), such as 3; empty: none.",
        low=1,
    )
    smoothing_buckets: int | None = setting(
        None,
        "Buckets of equal training mass, in each of which it is learned how much is borrowed; "
        "default: 10.",
        low=1,
    )
    id_dropout: float = setting(
        0.0,
        "Share of items whose ID vector is left out of a training step, so that their text must "
        "carry them.",
        low=0,
        below=1,
    )
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
    n_heads: int = setting(2, "Attention heads.", low=1, high=1000)
    inner_size: int | None = setting(
        None,
        "Width of the feed-forward network; default: 4 times the item vector's.",
        low=1,
        high=2**20,
    )
    hidden_dropout_prob: float = setting(
        0.5, "Dropout on the input and on every sublayer.", low=0, below=1
    )
    attn_dropout_prob: float = setting(0.2, "Dropout on attention weights.", low=0, below=1)
    norm_first: bool = setting(False, "LayerNorm before each sublayer instead of after it.")
    layer_norm_eps: float = setting(1e-12, "Added to the variance in LayerNorm.", above=0)
    hidden_act: str | None = setting(
        None,
        "Between the layers of the feed-forward network: gelu, relu, swish, tanh or sigmoid; "
        "default: gelu.",
        choices=("gelu", "relu", "swish", "tanh", "sigmoid"),
    )
    initializer_range: float = setting(
        0.02, "Standard deviation of the first values of linear layers and positions.", above=0
    )
    softmax: str = setting(
        "auto",
        "full: all items compete; sampled: a pool of negatives; auto: full while the catalogue "
        "is small enough.",
        group="Objective (next item at every position)",
        choices=("auto", "full", "sampled"),
    )
    n_negatives: int = setting(512, "Pool of negatives for a step of the sampled softmax.", low=1)
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
    temperature: float = setting(1.0, "Scores are divided by it.", above=0)
    loss_precision: str = setting(
        "auto",
        "Products of the full softmax: float32, bf16 (sums stay float32), or auto: bf16 on a CPU "
        "that multiplies it, else as enable_amp says.",
        choices=("auto", "float32", "bf16"),
    )
    label_smoothing: float = setting(
        0.0, "Share of the target's mass spread over all items (full softmax only).", low=0, below=1
    )
    target_horizon: int = setting(
        1,
        "Items after a position that share its target; 1: the next alone, as in the paper (full "
        "softmax only).",
        low=1,
    )
    target_decay: float = setting(
        0.5, "Weight of each further item of the horizon, relative to the one before it.", above=0
    )
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
    memory_window: int | None = setting(
        None,
        "Places after an item that count for the memory, the k-th with 1 / k; default: 1.",
        low=1,
    )
    neighbour_transitions: float = setting(
        0.0,
        "Weight, added to the score, of how often an item followed the history's last one nearby "
        "in training.",
        low=0,
    )
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's; not in "
        "the variant id.",
        low=0,
    )
    loss_type: str = setting(
        "CE",
        "Tells RecBole that a row is a sequence and its next item; the loss itself is chosen by "
        "`softmax`.",
        group="RecBole's own keys, set for this model",
    )
    train_neg_sample_args: dict | None = setting(
        None, "RecBole draws no negatives: the model draws its own where it needs them."
    )
    learner: str = setting("adamw", "Optimizer.")
    learning_rate: float = setting(0.001, "Learning rate.")
    weight_decay: float = setting(0.0, "Decoupled weight decay.")
    train_batch_size: int = setting(128, "Windows per step.")
    eval_batch_size: int = setting(512, "Read by RecBole's loaders alone; no number depends on it.")
    epochs: int = setting(100, "At most; early stopping ends sooner.")
    stopping_step: int = setting(5, "Evaluations without improvement before the end.")
    valid_metric: str = setting("NDCG@10", "Metric of early stopping.")
    metric_decimal_place: int = setting(6, "Decimals of printed metrics.")
