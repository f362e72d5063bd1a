"""What decides whether a setting is read: the other settings of a run, its model and its kind."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

#: Models without training.
_FLOORS = ("Pop", "Transition", "GraphHeuristic", "GraphForward")


@dataclass(frozen=True)
class Situation:
    """What decides whether a key is read.

    Args:
        settings: all effective settings.
        model: the model's name. ours: whether it is one of this package.
        kind: RecBole's type of the model in lower case: sequential, general, context, ...
        reads: keys that the model's own source or settings name.
        on_windows: whether the model can be trained at all positions of a window.
        own_data: whether this package's dataset reads the data.
        labelled: whether it learns from labels of the data's own rows.
    """

    settings: Mapping[str, Any]
    model: str
    ours: bool
    kind: str
    reads: frozenset[str]
    on_windows: bool = False
    own_data: bool = True
    labelled: bool = False

    def __getitem__(self, key: str) -> Any:
        return self.settings.get(key)

    @property
    def modes(self) -> set[str]:
        """The evaluation modes of validation and testing."""
        mode = (self["eval_args"] or {}).get("mode", "full")
        return {str(value) for value in (mode.values() if isinstance(mode, Mapping) else [mode])}

    @property
    def towers(self) -> bool:
        """Whether the model is PAD or a rival that shares its parts."""
        return self.ours and "backbone" in self.reads

    @property
    def is_one_phase_of_several(self) -> bool:
        """Return whether a run of experts trains some of the phases alone.

        The runs of one model share their settings then.
        """
        return self.towers and set(self["phases"] or ()) != {"pretrain", "align", "finetune"}

    def has(self, *experts: str) -> bool:
        """Whether a model of experts has one of those named.

        True for other models, which are not made of experts.
        """
        return not self.towers or bool(set(experts) & set(self["experts"] or ()))

    def phase(self, name: str) -> bool:
        """Whether a phase of PAD runs now, or ran in the run that `warm_start` names."""
        return name in (self["phases"] or ()) or bool(self["warm_start"])

    def trains_windows(self) -> bool:
        """Whether training rows are windows."""
        if "targeted_rows" in self.reads:
            return self.model == "PRECISE" or self["targeted_rows"] == "windows"
        return self.on_windows and self["train_rows"] != "prefixes" and self.model not in _FLOORS
