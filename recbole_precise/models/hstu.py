"""HSTU: hierarchical sequential transduction units, at the size of a public benchmark.

Reference:
    Jiaqi Zhai et al. "Actions Speak Louder than Words: Trillion-Parameter Sequential Transducers
    for Generative Recommendations." ICML 2024, arXiv 2402.17152.
"""

from __future__ import annotations

import numpy as np
import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.models.base import require
from recbole_precise.models.sasrec import SASRecSampled
from recbole_precise.nn.hstu import HSTUEncoder
from recbole_precise.nn.sequence_encoders import PackedEncoder
from recbole_precise.plugin.dataset import EXACT_TIME


class HSTU(SASRecSampled):
    """SASRec-Sampled with HSTU's layers in place of its blocks.

    Input, score and loss are the same, as in the authors' comparison.

    `hstu_time` says at which time position i is asked for the next item, which the time bias reads:
        `last_seen`, the time of
    item i; `request`, that of the item i + 1 that is asked for. The authors' code does the latter:
    in training and ranking alike the model knows when its target happened. `none` leaves the time
    bias out.
    """

    def build_sequence_encoder(self, config) -> PackedEncoder:
        """HSTU's layers, with the time bias unless `hstu_time` is none."""
        self.hstu_time = config["hstu_time"]
        return HSTUEncoder(
            self.width,
            self.max_seq_length,
            n_layers=config["n_layers"],
            n_heads=config["n_heads"],
            query_size=config["query_size"],
            value_size=config["value_size"],
            dropout=config["hidden_dropout_prob"],
            timed=self.hstu_time != "none",
        )

    def _build(self, config, dataset) -> None:
        if config["hstu_time"] != "none":
            times = np.asarray(require(dataset, "raw_times", config["model"])())
            offsets = dataset.store.offsets.numpy()
            fault = what_times_lack(times, offsets)
            if fault:
                raise ConfigError(
                    f"{config['model']} reads time stamps, but in {config['dataset']} {fault} "
                    f"(column {config['TIME_FIELD']}): "
                    "set hstu_time: none to train it without times."
                )
        self._times = f"{EXACT_TIME}{config['LIST_SUFFIX']}"
        super()._build(config, dataset)

    def context(self, interaction: Interaction) -> dict[str, Tensor]:
        """float64 `times` and `asked`, in seconds since each row's first event."""
        if self.hstu_time == "none":
            return {}
        needed = [self._times, *([EXACT_TIME] if self.hstu_time == "request" else ())]
        for name in needed:
            if name not in interaction:
                raise ConfigError(
                    f"{type(self).__name__} (hstu_time: {self.hstu_time}) needs the times of the "
                    f"events, but there is no '{name}': keep "
                    f"{EXACT_TIME} among sequence_fields, and ask it about users of the data "
                    "set, not about a history without times."
                )
        times = interaction[self._times].double()
        first = times[:, :1]
        if self.hstu_time == "last_seen":
            return {"times": times - first, "asked": times - first}
        asked = torch.cat([times[:, 1:], first], 1).scatter(
            1,
            interaction[self.ITEM_SEQ_LEN][:, None] - 1,
            interaction[EXACT_TIME].double()[:, None],
        )
        return {"times": times - first, "asked": asked - first}


def what_times_lack(times: np.ndarray, offsets: np.ndarray) -> str | None:
    """Why times cannot be time stamps, in words; None when they can.

    Args:
        times: `[events]`, user after user. offsets: `[users + 1]`, where each user's events begin.
    """
    inside = np.ones(max(len(times) - 1, 0), dtype=bool)
    inside[offsets[1:-1] - 1] = False
    steps = np.diff(times)[inside]
    if not len(steps) or not steps.any():
        return "all events of a user have one time"
    if np.median(steps) == 1 and steps.max() < 1000:
        return "the times are places in a user's history"
    return None
