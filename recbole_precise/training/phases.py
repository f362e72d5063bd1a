"""Describe what a model is trained on, for how long and from what beginning.

A model returns its phases, the trainer runs them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from recbole_precise.errors import ConfigError

STARTS = ("previous", None)


@dataclass(frozen=True)
class Phase:
    """One stretch of training with an optimizer of its own.

    Attributes:
        name: shown in the log and in result.json; unique within a model.
        epochs: at most; early stopping ends a phase sooner. 0 trains nothing.
        learning_rate, weight_decay, stopping_step: None takes the config's.
        trainable: regular expressions; a parameter is trained when one of them matches its whole
            name (and the model did not freeze it itself).
        starts_from: `previous`: the best weights of the phase before; None: the weights that the
            model was built with.
        rate_factors: (regular expression, factor) pairs; a parameter whose whole name matches
            learns at factor x the rate.
        train_batch_size: None takes the config's. train_rows, scene_view: the data that the phase
            sees (`SequenceDataset.view`); None takes the config's.
        validate_start: the weights that the phase starts from are validated before its first epoch
            and kept unless an epoch is better; its best_epoch is then -1.
        validate: False trains to the last epoch without looking at the validation data, as
            alignment phases do.
    """

    name: str
    epochs: int
    learning_rate: float | None = None
    weight_decay: float | None = None
    trainable: tuple[str, ...] = (".*",)
    stopping_step: int | None = None
    starts_from: str | None = "previous"
    validate: bool = True
    validate_start: bool = False
    rate_factors: tuple[tuple[str, float], ...] = ()
    train_batch_size: int | None = None
    train_rows: str | None = None
    scene_view: str | None = None

    def __post_init__(self) -> None:
        if self.epochs < 0:
            raise ConfigError(
                f"phase '{self.name}': epochs must not be negative, got {self.epochs}."
            )
        if self.starts_from not in STARTS:
            raise ConfigError(
                f"phase '{self.name}': starts_from must be 'previous' or None, got "
                f"{self.starts_from!r}."
            )


def freeze_for(phase: Phase, model: nn.Module, trainable: Mapping[str, bool]) -> list[nn.Parameter]:
    """Set `requires_grad` of every parameter for `phase` and return those that it trains.

    They are in the model's order.

    Args:
        trainable: parameter name -> whether the model itself wants it trained; what it froze stays
            frozen.
    """
    names = list(trainable)
    for pattern in phase.trainable:
        if not any(re.fullmatch(pattern, name) for name in names):
            raise ConfigError(
                f"phase '{phase.name}': no parameter is named like {pattern!r}. Parameters: "
                f"{', '.join(names)}."
            )
    trained = []
    for name, parameter in model.named_parameters():
        wanted = trainable.get(name, True) and any(
            re.fullmatch(pattern, name) for pattern in phase.trainable
        )
        parameter.requires_grad_(wanted)
        if wanted:
            trained.append(parameter)
    if not trained and phase.epochs:
        raise ConfigError(
            f"phase '{phase.name}' trains nothing: every parameter that it names is frozen."
        )
    return trained


def rate_groups(
    phase: Phase, model: nn.Module, trained: list[nn.Parameter], learning_rate: float
) -> list[Any]:
    """Return what the optimizer gets: the trained parameters.

    They are in groups with rates of their own where the phase asks for it.

    Raises ConfigError when a pattern of `rate_factors` names no trained parameter.
    """
    if not phase.rate_factors:
        return trained
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups: dict[float, list[nn.Parameter]] = {1.0: []}
    found = set()
    for parameter in trained:
        pattern, factor = next(
            ((p, f) for p, f in phase.rate_factors if re.fullmatch(p, names[id(parameter)])),
            (None, 1.0),
        )
        found.add(pattern)
        groups.setdefault(factor, []).append(parameter)
    for pattern, _ in phase.rate_factors:
        if pattern not in found:
            raise ConfigError(
                f"phase '{phase.name}': no trained parameter is named like {pattern!r}. "
                f"Parameters: {', '.join(names.values())}."
            )
    return [
        {"params": parameters, "lr": learning_rate * factor}
        for factor, parameters in groups.items()
        if parameters
    ]


def check_phases(phases: list[Phase]) -> list[Phase]:
    """`phases`, or a ConfigError when two have one name."""
    names = [phase.name for phase in phases]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(
                f"two phases are named '{name}': a checkpoint could not tell them apart."
            )
    return phases
