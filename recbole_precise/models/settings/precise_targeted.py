"""Settings of PRECISE-TT and PRECISE."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import setting
from recbole_precise.models.settings.precise import PRECISEUTSettings


@dataclass
class PRECISETTSettings(PRECISEUTSettings):
    """PRECISE's Targeted Training: the model of PRECISE-UT with all final states through an MLP,
    trained on the target scene alone.
    """

    name = "PRECISE-TT"
    notes = (
        "PRECISE-TT trains it from nothing; PRECISE after Universal Training, in the same "
        "run or from the directory `warm_start`. The paper's form (bidirectional, a row for "
        "each target of the scene's own sequences, BPR) is `recipe: paper`; docs/methods.md "
        "7 says what each difference brings. Over PRECISE-UT: Everything else: items, "
        "transformer, universal training (docs/methods.md 7)."
    )

    targeted_view: str = setting(
        "context",
        "What it reads where `scene_view` does not say: context (the scene's targets behind the "
        "history of all scenes), target (its own sequences alone; the paper) or universal.",
        choices=("universal", "target", "context"),
    )
    targeted_rows: str = setting(
        "windows",
        "windows (all targets of a sequence in one pass; needs the causal mask) or prefixes (a "
        "row for each target; the paper).",
        choices=("windows", "prefixes"),
    )
    targeted_attention: str = setting(
        "causal",
        "causal: as in universal training; full: every position sees all others (the paper).",
        choices=("full", "causal"),
    )
    targeted_loss: str = setting(
        "softmax",
        "softmax (the next item against all) or bpr (pairs of the next item and a negative; the "
        "paper).",
        choices=("bpr", "softmax"),
    )
    targeted_negatives: int = setting(
        32,
        "Negatives of a row for bpr: half uniform, half next items of other rows; 1: uniform.",
        low=1,
    )
    targeted_residual: bool = setting(
        True,
        "Add the MLP, which begins at zero, to the last state instead of putting it in its place "
        "(the paper).",
    )
    targeted_learning_rate: float = setting(0.0003, "Learning rate of this phase.", above=0)
    targeted_epochs: int = setting(30, "Epochs of this phase at most.", low=1)
    targeted_batch_size: int = setting(
        512, "Rows per step with prefixes; windows take train_batch_size.", low=1
    )
    targeted_freeze: str = setting(
        "encoder",
        "What keeps the values of universal training, where it came before: none (the paper), "
        "items (ID, tokens, fusion), or encoder (that and the transformer).",
        choices=("none", "items", "encoder"),
    )
    sequence_fields: list | str | None = setting(
        [],
        "Items alone, as in PRECISE-UT.",
        group="RecBole's own keys, and those of all models, set for this model",
    )
