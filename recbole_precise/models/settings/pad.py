"""Settings of PAD."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, same_as, setting
from recbole_precise.models.settings.sasrec import SASRecCESettings
from recbole_precise.models.settings.sasrec_text import SASRecTextSettings


@dataclass
class PADSettings(Settings):
    """PAD: pre-train, align, disentangle (docs/pad.md).

    Three experts behind a frequency-aware gate, over any sequence backbone.
    """

    name = "PAD"

    backbone: str = setting(
        "transformer",
        "transformer (this package's, causal), or a sequential model of RecBole: SASRec, "
        "GRU4Rec, Caser, NextItNet, NARM, ...",
        group="Backbone",
    )
    backbone_settings: dict | None = setting(
        None,
        "The backbone's own keys where it is RecBole's, such as {num_layers: 2, dropout_prob: "
        "0.2} for GRU4Rec; default: RecBole's.",
    )
    n_layers: int = setting(
        2,
        "Blocks of the transformer, SASRec and others that know the key; so with the next seven.",
        low=1,
        high=1000,
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
    layer_norm_eps: float = same_as(SASRecCESettings, "layer_norm_eps")
    hidden_act: str | None = same_as(SASRecCESettings, "hidden_act")
    initializer_range: float = same_as(SASRecCESettings, "initializer_range")
    norm_first: bool = setting(
        False, "LayerNorm before each sublayer instead of after it; the transformer alone."
    )
    prefix_batch_size: int = setting(
        512,
        "Rows per step for backbones that are trained on one target a row (Caser); causal ones "
        "train windows (train_batch_size).",
        low=1,
    )
    embedding_size: int = setting(
        64,
        "Width of every expert's item vectors and states.",
        group="Experts and gate",
        low=1,
        high=2**20,
    )
    experts: list = setting(
        ["id", "aligned", "text"],
        "Experts of the final score, any subset.",
        choices=("id", "aligned", "text"),
    )
    gate: str = setting(
        "bucket",
        "Weights of the experts: bucket (free in each frequency bucket), author (the authors' "
        "form and first values), mlp, expert_output (reads the user's states too), global (no "
        "frequencies), or none (the plain sum).",
        choices=("bucket", "author", "mlp", "expert_output", "global", "none"),
    )
    text_rate: float = setting(
        1.0,
        "Learning rate of the text expert in the last phase, where it begins, relative to the "
        "others'.",
        above=0,
    )
    gate_rate: float = setting(10.0, "Learning rate of the gate, relative to the others'.", above=0)
    late_weight: float | None = setting(
        None,
        "First weight of an expert that begins in the last phase, beside 1 of the others (gate: "
        "bucket or global); what that phase begins with is validated then and kept unless an "
        "epoch is better. Did not pay on ml-100k. Default: all weigh the same, and the last "
        "phase's best epoch is kept.",
        above=0,
    )
    frequency_buckets: int = setting(10, "Buckets of equal training mass.", low=1)
    text_form: str = setting(
        "vectors",
        "vectors: the frozen mean of an item's token states behind an MLP of each expert's own, "
        "as the paper has it; tokens: the mean of trained token vectors of each expert's own.",
        choices=("vectors", "codes", "tokens"),
    )
    text_mlp_layers: int = setting(
        0,
        "Layers after the first of the text's MLP; 0: a linear map; 4 in the authors' code.",
        low=0,
        high=1000,
    )
    text_init_std: float = setting(
        0.05, "Root mean square of the texts' first vectors behind a linear map.", above=0
    )
    text_dropout: float = setting(
        0.1, "Dropout inside the text's MLP and before the fusion.", low=0, below=1
    )
    fusion: str = setting(
        "sum",
        "ID and text of the aligned expert: sum, or concat (the authors': side by side through a "
        "layer).",
        choices=("sum", "concat"),
    )
    id_dropout: float = setting(
        0.0,
        "Share of items whose ID vectors are left out of a training step in which texts speak "
        "too, so that their text must carry them.",
        low=0,
        below=1,
    )
    id_init_std: float = setting(
        0.02, "Standard deviation of the ID tables' first values.", above=0
    )
    unseen_id: str = setting(
        "zero",
        "ID vector, when items are ranked, of one without training events: zero (its text alone "
        "speaks), initial (as drawn), or mean (of the trained).",
        choices=("initial", "zero", "mean"),
    )
    text_tuning: str | None = setting(
        None,
        "Tune the frozen text vectors on what stands near each other in training sequences, "
        "before training begins: cooccurrence; empty or none: as the encoder gives them.",
        group="Texts",
        choices=("none", "cooccurrence"),
    )
    text_tuning_window: int | None = same_as(SASRecTextSettings, "text_tuning_window")
    text_tuning_temperature: float | None = same_as(SASRecTextSettings, "text_tuning_temperature")
    text_tuning_steps: int | None = same_as(SASRecTextSettings, "text_tuning_steps")
    text_tuning_learning_rate: float | None = same_as(
        SASRecTextSettings, "text_tuning_learning_rate"
    )
    text_tuning_width: int | None = same_as(SASRecTextSettings, "text_tuning_width")
    phases: list = setting(
        ["pretrain", "align", "finetune"],
        "Phases of this run, in this order; what is left out may come from warm_start, the "
        "directory of an earlier run.",
        group="Phases",
        choices=("pretrain", "align", "finetune"),
    )
    pretrained_expert: str = setting(
        "id",
        "What the pre-training trains: id (the paper's) or text (MAKE's).",
        choices=("id", "text"),
    )
    aligned_begins: str | None = setting(
        None,
        "The aligned expert begins as a copy of the pre-trained ID expert (the paper's), or is "
        "new; default: copy.",
        choices=("copy", "new"),
    )
    align_epochs: int | None = setting(
        None, "Epochs of the alignment at most; default: epochs.", low=0
    )
    finetune_epochs: int | None = setting(
        None, "Epochs of the last phase at most; default: epochs.", low=0
    )
    align_learning_rate: float = setting(0.0005, "Learning rate of the alignment.", above=0)
    finetune_learning_rate: float = setting(0.0005, "Learning rate of the last phase.", above=0)
    align: str = setting(
        "anchored",
        "none; non_anchored (alignment alone); anchored (with the recommendation loss, the "
        "paper's choice); anchored_frozen (and the ID table fixed).",
        group="Alignment",
        choices=("none", "non_anchored", "anchored", "anchored_frozen"),
    )
    align_weight: float = setting(
        0.2, "Weight of the alignment beside the recommendation loss.", low=0
    )
    align_kernel: str = setting(
        "gaussian",
        "gaussian, laplacian, linear, cosine (kernels of the MMD), cosine_author (the authors' 1 "
        "- cos) or infonce (pairs instead of clouds).",
        choices=("gaussian", "laplacian", "linear", "cosine", "cosine_author", "infonce"),
    )
    mmd_estimator: str = setting(
        "biased",
        "biased, unbiased, linear, or author (with the constant of the authors' library).",
        choices=("biased", "unbiased", "linear", "author"),
    )
    mmd_bandwidth: str = setting(
        "mean",
        "Scale of the kernels: mean or median of the pairwise distances.",
        choices=("mean", "median"),
    )
    mmd_rows: str = setting(
        "unique_real",
        "Items that are aligned in a step: unique_real (the batch's distinct items), or author "
        "(with repeats, padding and negatives).",
        choices=("unique_real", "author"),
    )
    mmd_sequences: int | None = setting(
        None, "Sequences of a step whose items are aligned; default: all of them.", low=1
    )
    infonce_temperature: float = setting(0.1, "Temperature of align_kernel: infonce.", above=0)
    infonce_symmetric: bool = setting(
        False, "InfoNCE in both directions instead of text to ID alone."
    )
    infonce_subvectors: int = setting(
        1,
        "InfoNCE between this many sub-vectors of each side (CTRL's fine-grained alignment); 1: "
        "the vectors as they are.",
        low=1,
    )
    loss: str = setting(
        "softmax",
        "softmax (over all items) or bce (the target and n_negatives uniform items).",
        group="Objective of all phases",
        choices=("softmax", "bce"),
    )
    n_negatives: int = setting(1, "Negatives of a position for bce.", low=1)
    loss_precision: str = setting(
        "auto",
        "Products of the softmax: float32, bf16 (sums stay float32), or auto: bf16 on a CPU that "
        "multiplies it, else as enable_amp says.",
        choices=("auto", "float32", "bf16"),
    )
    transition_memory: float | None = setting(
        None,
        "First value of a learned weight, added to the score and trained with it, of how often "
        "an item followed the history's last one in training; empty: none.",
        group="Memory",
        low=0,
    )
    memory_window: int | None = same_as(SASRecCESettings, "memory_window")
    neighbour_transitions: float = setting(
        0.0,
        "Weight, added to the score, of how often an item followed the history's last one nearby "
        "in training.",
        group="Near items, added to the trained score when items are ranked",
        low=0,
    )
    neighbour_texts: float = setting(
        0.0,
        "Weight, added to the score, of the cosine of an item's text with the last one's; says "
        "nothing without experts that read text.",
        low=0,
    )
    loss_type: str = setting(
        "CE",
        "Tells RecBole that a row is a sequence and its next item; the loss itself is chosen by "
        "`loss`.",
        group="RecBole's own keys, set for this model",
    )
    train_neg_sample_args: dict | None = same_as(SASRecCESettings, "train_neg_sample_args")
    learner: str = same_as(SASRecCESettings, "learner")
    learning_rate: float = setting(0.001, "Learning rate of the pre-training.")
    weight_decay: float = same_as(SASRecCESettings, "weight_decay")
    train_batch_size: int = same_as(SASRecCESettings, "train_batch_size")
    eval_batch_size: int = same_as(SASRecCESettings, "eval_batch_size")
    epochs: int = setting(100, "Of each phase at most; early stopping ends sooner.")
    stopping_step: int = setting(
        10,
        "Evaluations without improvement before the end of a phase. A backbone may rank by "
        "popularity for ten epochs before it learns sequences.",
    )
    valid_metric: str = same_as(SASRecCESettings, "valid_metric")
    metric_decimal_place: int = same_as(SASRecCESettings, "metric_decimal_place")
