"""RecBole's settings as the typed settings of the layers below."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from recbole_precise.training.cold_report import ColdSettings
from recbole_precise.training.judging import RankingSettings
from recbole_precise.training.processes import ALONE, Processes
from recbole_precise.training.settings import CHECKPOINT_SECONDS, LoopSettings
from recbole_precise.training.warm_start import first_weights


def processes_of(config: Any) -> Processes:
    """Return the processes that joined a group when `config` was made; only this one without."""
    if config["single_spec"] is not False:
        return ALONE
    return Processes.joined(config["device"])


def weights_to_load(config: Any) -> Callable[[], Mapping[str, Tensor] | None]:
    """Return a function that gives the weights from which a training starts, or None."""
    return lambda: first_weights(config["run_dir"], bool(config["resume"]), config["warm_start"])


def cold_settings(config: Any) -> ColdSettings:
    """Return the settings of the report on held-out items."""
    return ColdSettings(
        model=config["model"],
        longest=int(config["MAX_ITEM_LIST_LENGTH"]),
        mask_history=bool(config["mask_history"]),
        seed=config["seed"],
        device=config["device"],
    )


def loop_settings(config: Any) -> LoopSettings:
    """Return the settings of a training loop."""
    return LoopSettings(
        epochs=config["epochs"],
        learning_rate=config["learning_rate"],
        weight_decay=config["weight_decay"],
        stopping_step=config["stopping_step"],
        eval_step=config["eval_step"],
        valid_metric=config["valid_metric"].lower(),
        valid_metric_bigger=config["valid_metric_bigger"],
        amp_dtype=(config["amp_dtype"] or "bf16") if config["enable_amp"] else None,
        clip_grad_norm=config["clip_grad_norm"],
        lr_schedule=config["lr_schedule"] or "constant",
        warmup_steps=config["warmup_steps"] or 0,
        train_minutes=config["train_minutes"],
        train_clock=config["train_clock"] or "wall",
        warm_start=config["warm_start"],
    )


def checkpoint_seconds(config: Any) -> float:
    """Seconds between two checkpoints inside an epoch."""
    seconds = config["checkpoint_seconds"]
    return CHECKPOINT_SECONDS if seconds is None else seconds


def ranking_settings(config: Any) -> RankingSettings:
    """Return the settings of the exact evaluation."""
    topk = config["topk"]
    return RankingSettings(
        metrics=tuple(config["metrics"]),
        topk=(topk,) if isinstance(topk, int) else tuple(topk),
        seed=config["seed"],
        mask_history=bool(config["mask_history"]),
        budget_bytes=int((config["score_budget_mb"] or 64) * 2**20),
        tail_ratio=config["tail_ratio"],
    )
