"""Limit what a model of the replay may know.

It knows the catalogue and its texts, and of the events those up to the period under way.

A run counts in its training split, which holds events of all periods; here each count, mask and
list of neighbours is made again from what has happened. Settings that only make sense over the
whole file are refused.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError
from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.item_encoders import IdEncoder
from recbole_precise.nn.losses import NegativeSampler
from recbole_precise.nn.smoothed_ids import SmoothedIdEncoder

#: Settings that look at the whole file: key -> (values that do not, why it is refused).
WHOLE_FILE: dict[str, tuple[tuple[Any, ...], str]] = {
    "neighbour_transitions": (
        (None, 0),
        "it counts transitions of the whole file, of later periods too; set it to 0",
    ),
    "transition_memory": (
        (None,),
        "it counts transitions of the whole file, of later periods too; leave it out",
    ),
    "user_inter_num_interval": (
        (None, "[0,inf)"),
        "it counts a user's events of the whole file, of later periods too; leave it out",
    ),
    "item_inter_num_interval": (
        (None, "[0,inf)"),
        "it counts an item's events of the whole file, of later periods too; leave it out",
    ),
    "rm_dup_inter": (
        (None, "first"),
        "an event would go because a later one repeats it; set it to first, or leave it out",
    ),
    "tie_break": (
        (None, "file"),
        "its draw depends on how many events the whole file has; leave it at file",
    ),
    "holdout_items": ((None,), "the items are chosen among those of the whole file; leave it out"),
    "holdout_users": ((None,), "the users are chosen among those of the whole file; leave it out"),
    "benchmark_filename": (
        (None,),
        "the periods are the split; remove the key to read one .inter file",
    ),
}


def check_causal(config: Any) -> None:
    """Refuse settings that would let later periods in.

    Raises:
        ConfigError: naming the first of them.
    """
    for key, (harmless, why) in WHOLE_FILE.items():
        if config[key] not in harmless:
            raise ConfigError(f"replay: {key}: {config[key]} looks ahead: {why}.")
    if config["time_order"] == "recbole":
        raise ConfigError(
            "replay needs the exact order of time; time_order: recbole rounds it, so leave that "
            "key out."
        )


class BeforeTheFirst:
    """A training part for which nothing has happened yet: its catalogue and texts, and no event."""

    held_out = None

    def __init__(self, part: Any) -> None:
        self._part = part

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def train_sequences(self) -> tuple[Tensor, Tensor, Tensor]:
        """No events of no users, in the form of `SequenceDataset.train_sequences`."""
        none = torch.zeros(0, dtype=torch.int64)
        return none, torch.zeros(1, dtype=torch.int64), none

    def train_item_counts(self) -> Tensor:
        """int64 `[items]`: zeros."""
        return torch.zeros(self._part.item_num, dtype=torch.int64)

    def trained_items(self) -> Tensor:
        """Bool `[items]`: none of them."""
        return torch.zeros(self._part.item_num, dtype=torch.bool)


def bring_up_to_date(
    model: NextItemRecommender, trained: Tensor, counts: Tensor, config: Any
) -> None:
    """Let everything in a model that follows from training events follow from those so far.

    Args:
        trained: bool `[items]`, items in the rows that have trained the model, or are about to.
        counts: int64 `[items]`, events of each item so far.
    """
    for part in model.item_encoder.parts:
        if isinstance(part, SmoothedIdEncoder):
            part.know(trained, frequency_buckets(counts, config["smoothing_buckets"] or 10))
        elif isinstance(part, IdEncoder):
            part.know(trained)
    if hasattr(model, "sampler"):
        model.sampler = NegativeSampler(
            model.n_items, config["n_negatives"], config["negative_source"], counts
        )
    model.forget_catalogue()
