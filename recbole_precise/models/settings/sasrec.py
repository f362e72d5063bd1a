"""Settings of SASRec's variants."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, setting


@dataclass
class SASRecCESettings(Settings):
    """SASRec with the full softmax at all positions (docs/methods.md 9).

    SASRec-Decoupled is its variant with two item tables.
    """

    name = "SASRec-CE"

    embedding_size: int = setting(
        64, "Width of items and states.", group="Items", low=1, high=2**20
    )
    id_init_std: float = setting(
        0.02, "Standard deviation of the ID table's first values.", above=0
    )
    unseen_id: str = setting(
        "initial",
        "ID vector, when items are ranked, of one without training events: initial (as drawn), "
        "zero, mean (of the trained).",
        choices=("initial", "zero", "mean"),
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
    decouple_tables: bool = setting(
        False,
        "Score with a table of its own, apart from the one that the sequence encoder reads "
        "(DARE, arXiv 2410.02604).",
    )
    n_layers: int = setting(
        2, "Blocks.", group="Sequence encoder, as in RecBole's SASRec", low=1, high=1000
    )
    n_heads: int = setting(2, "Attention heads.", low=1, high=1000)
    inner_size: int | None = setting(
        256,
        "Width of the feed-forward network; empty: what the encoder takes (4 times the item "
        "vector's).",
        low=1,
        high=2**20,
    )
    hidden_dropout_prob: float = setting(
        0.5, "Dropout on the input and on every sublayer.", low=0, below=1
    )
    attn_dropout_prob: float = setting(0.5, "Dropout on attention weights.", low=0, below=1)
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
        "other_sequences, uniform, or mixed (half and half).",
        choices=("other_sequences", "uniform", "mixed"),
    )
    logq: str = setting(
        "corrected",
        "Correction for how negatives are drawn: none, standard, or corrected (arXiv 2507.09331).",
        choices=("none", "standard", "corrected"),
    )
    score: str = setting("dot", "dot or cosine.", choices=("dot", "cosine"))
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
        "Items after a position that share its target; 1: the next alone (full softmax only).",
        low=1,
    )
    target_decay: float = setting(
        0.5, "Weight of each further item of the horizon, relative to the one before it.", above=0
    )
    transition_memory: float | None = setting(
        None,
        "First value of a learned weight, added to the score and trained with it, of how often "
        "an item followed the history's last one in training; empty: none.",
        group="Ranking",
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


@dataclass
class SASRecSampledSettings(SASRecCESettings):
    """SASRec as HSTU's authors run it beside HSTU: the original block, cosine scores, uniform
    negatives (docs/methods.md 9).
    """

    name = "SASRec-Sampled"
    notes = (
        "Over SASRec-CE: Everything else. attn_dropout_prob, norm_first, layer_norm_eps and "
        "initializer_range are not read: the block has one dropout."
    )

    inner_size: int | None = setting(64, "Width of the feed-forward network.", low=1, high=2**20)
    hidden_dropout_prob: float = setting(
        0.2,
        "Dropout on the input, on attention weights and in the feed-forward network.",
        low=0,
        below=1,
    )
    softmax: str = setting(
        "sampled",
        "sampled: a pool of negatives; full: all items compete; auto: full while the catalogue "
        "is small enough.",
        choices=("auto", "full", "sampled"),
    )
    n_negatives: int = setting(512, "Pool of negatives for a step.", low=1)
    negative_source: str = setting(
        "uniform", "As in their code.", choices=("other_sequences", "uniform", "mixed")
    )
    logq: str = setting(
        "none", "Uniform negatives need no correction.", choices=("none", "standard", "corrected")
    )
    score: str = setting("cosine", "As in their code.", choices=("dot", "cosine"))
    temperature: float = setting(0.05, "As in their code.", above=0)
