"""Settings of the systems of PAD's tables."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.pad import PADSettings


@dataclass
class CTRLSettings(PADSettings):
    """CTRL: InfoNCE of each item's text and ID first, then the recommender on both, fused (arXiv
    2306.02841, as in PAD's tables; docs/methods.md 10).
    """

    name = "CTRL"
    notes = (
        "Over PAD: Backbone, towers, objective and phases. What is said there of the gate is "
        "not read: there is one expert."
    )

    experts: list = setting(
        ["aligned"], "One item vector of ID and text.", choices=("id", "aligned", "text")
    )
    fusion: str = setting("concat", "As PAD's authors fuse them.", choices=("sum", "concat"))
    phases: list = setting(
        ["align", "finetune"],
        "First the alignment, beside the recommendation loss; then the recommendation loss alone.",
        choices=("pretrain", "align", "finetune"),
    )
    align_learning_rate: float = setting(
        0.001, "Learning rate of the alignment, which begins from nothing here.", above=0
    )
    align_kernel: str = setting(
        "infonce",
        "Pairs: each item's text and ID against those of the step's other items.",
        choices=("gaussian", "laplacian", "linear", "cosine", "cosine_author", "infonce"),
    )
    align_weight: float = setting(
        0.01,
        "The weight of InfoNCE in PAD's released code; PAD's paper does not give CTRL's.",
        low=0,
    )
    infonce_temperature: float = setting(
        0.1, "Choice of ours: the papers do not agree on one; PAD's library has 0.1.", above=0
    )
    infonce_symmetric: bool = setting(True, "CTRL's loss: text to ID and ID to text.")
    infonce_subvectors: int = setting(
        1, "4: CTRL's fine-grained alignment; whether PAD's authors used it is not said.", low=1
    )


@dataclass
class HybridSettings(PADSettings):
    """Hybrid: ID and text fused into one item vector, one encoder, no alignment (arXiv 2303.13835.

    A row of PAD's tables; docs/methods.md 10).
    """

    name = "Hybrid"
    notes = (
        "Over PAD: Backbone, towers and objective. What is said there of phases, alignment "
        "and gate is not read."
    )

    experts: list = setting(
        ["aligned"],
        "The one item vector: ID and text, fused; nothing aligns them here.",
        choices=("id", "aligned", "text"),
    )
    fusion: str = setting(
        "concat",
        "concat: side by side through a layer, as PAD's fusion is; or sum.",
        choices=("sum", "concat"),
    )


@dataclass
class MAKESettings(PADSettings):
    """MAKE: the text expert pre-trained alone, then with the ID expert in one score (arXiv
    2407.19467, as in PAD's tables; docs/methods.md 10).
    """

    name = "MAKE"
    notes = (
        "Over PAD: Backbone, towers, gate and objective. What is said there of the alignment "
        "is not read."
    )

    experts: list = setting(["id", "text"], "No aligned expert.", choices=("id", "aligned", "text"))
    pretrained_expert: str = setting(
        "text",
        "Trained first, exactly as MoRec is; the ID expert begins in the last phase.",
        choices=("id", "text"),
    )
    phases: list = setting(
        ["pretrain", "finetune"],
        "The text expert, then both.",
        choices=("pretrain", "align", "finetune"),
    )
    gate: str = setting(
        "bucket",
        "Choice of ours: PAD's gate without the aligned expert; how the two scores were joined "
        "is not said.",
        choices=("bucket", "author", "mlp", "expert_output", "global", "none"),
    )
    finetune_learning_rate: float = setting(
        0.001, "Learning rate of the last phase, in which the ID expert begins.", above=0
    )


@dataclass
class MoRecSettings(PADSettings):
    """MoRec: the frozen text instead of the ID (arXiv 2303.13835, as PAD's authors ran it:
    frozen; docs/methods.md 10).
    """

    name = "MoRec"
    notes = (
        "Over PAD: Backbone, text tower and objective. What is said there of IDs, phases, "
        "alignment and gate is not read."
    )

    experts: list = setting(["text"], "The text alone.", choices=("id", "aligned", "text"))
