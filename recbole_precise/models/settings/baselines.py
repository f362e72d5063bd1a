"""Settings of the baselines, which train nothing."""

from __future__ import annotations

from dataclasses import dataclass

from recbole_precise.config.setting import Settings, same_as, setting


@dataclass
class PopSettings(Settings):
    """Popularity, a floor: nothing is trained."""

    name = "Pop"

    train_neg_sample_args: dict | None = setting(None, "No negatives: there is no training.")
    epochs: int = setting(0, "Nothing to train.")


@dataclass
class TransitionSettings(Settings):
    """How often an item came right after the user's last one, a floor: nothing is trained."""

    name = "Transition"

    train_neg_sample_args: dict | None = same_as(PopSettings, "train_neg_sample_args")
    epochs: int = same_as(PopSettings, "epochs")


@dataclass
class GraphHeuristicSettings(Settings):
    """Transitions joined with the likeness of item texts, a floor: nothing is trained."""

    name = "GraphHeuristic"

    graph_variant: str = setting(
        "window",
        "window (transitions in both directions), forward (in the user's direction alone), tgh1 "
        "or tgh2 (the published lists of ten).",
        choices=("window", "forward", "tgh1", "tgh2"),
    )
    graph_window: int | None = setting(
        None,
        "Places between two items of a sequence that still count as a transition; 5.",
        group="Of window and forward; left empty, each variant takes the values named here.",
        low=1,
    )
    graph_backward: float | None = setting(
        None, "Weight of transitions against the user's direction; window 1, forward 0.", low=0
    )
    graph_distance: str | None = setting(
        None,
        "flat (every place counts alike) or inverse (1 / places); window flat, forward inverse.",
        choices=("flat", "inverse"),
    )
    graph_counts: str | None = setting(
        None, "log1p or raw counts; window log1p, forward raw.", choices=("log1p", "raw")
    )
    graph_text_weight: float | None = setting(
        None, "Weight of the cosine of the texts; window 1.25, forward 4.", low=0
    )
    graph_transition_weight: float = setting(
        0.5,
        "Weight of counts beside the cosine in the first ring.",
        group="Of tgh1 and tgh2.",
        low=0,
        high=1,
    )
    train_neg_sample_args: dict | None = same_as(PopSettings, "train_neg_sample_args")
    epochs: int = same_as(PopSettings, "epochs")
