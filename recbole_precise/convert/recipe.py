"""The dataset YAML beside converted files: what a run needs to know of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import yaml

if TYPE_CHECKING:
    from recbole_precise.convert.options import Options
    from recbole_precise.convert.reading import Raw


def recipe(name: str, raw: Raw, options: Options) -> Iterator[str]:
    """Lines of the YAML file."""
    inter = [
        "user_id",
        "item_id",
        *(["rating"] if raw.rating else []),
        "timestamp",
        *(["scene"] if options.scene else []),
    ]
    columns: dict[str, Any] = {"inter": inter}
    if raw.items or raw.columns:
        columns["item"] = ["item_id"]
    preset = f" with the preset {options.preset}" if options.preset else ""
    if options.changes:
        preset += f", changed by {', '.join(options.changes)}"
    yield f"# {name}, as `convert` wrote it{preset}. "
    yield f"Use: --dataset={name} --config_files=<this file>\n\n"
    yield _line(
        "load_col",
        columns,
        "Columns read. `.item` is read for its ids, so that all its items are candidates for "
        "every model.",
    )
    text = options.protocol.get("item_text", raw.item_text)
    if text is not None:
        meaning = (
            "Text of an item: a template over columns of .item, or the columns that are joined."
        )
        yield _line("item_text", text, meaning)
    yield _line(
        "MAX_ITEM_LIST_LENGTH",
        options.protocol.get("MAX_ITEM_LIST_LENGTH", 50),
        "Events of the history that a model sees.",
    )
    yield _line(
        "eval_args",
        {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        "Leave one out, by time, all items ranked.",
    )
    yield _line(
        "mask_history",
        options.protocol.get("mask_history", False),
        "Whether the items of the history are no candidates.",
    )
    order = (
        "random, so that no order of the raw file can be learned"
        if options.tie_break == "random"
        else "that of the raw file"
    )
    yield _line("tie_break", options.tie_break, f"Order of events with equal times: {order}.")
    if options.tie_break == "random":
        yield _line("tie_seed", options.tie_seed, "Seed of that order.")


def _line(key: str, value: Any, comment: str) -> str:
    shown = (
        yaml.safe_dump(
            value, default_flow_style=True, sort_keys=False, width=10_000, allow_unicode=True
        )
        .removesuffix("\n")
        .removesuffix("\n...")
    )
    return f"{key}: {shown}  # {comment}\n"
