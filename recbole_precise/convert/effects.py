"""Refuse options that would change nothing.

An option that is given and has no effect is a mistake.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from recbole_precise.convert.options import Options
from recbole_precise.convert.reading import Raw
from recbole_precise.errors import ConfigError, did_you_mean


def with_scene(options: Options, raw: Raw) -> Options:
    """Return the options with the scene that the source has: the column of --scene_column.

    Raises:
        ConfigError: another scene is chosen, so that the column would be left out, or there is no
            such scene.
    """
    known = [*raw.scenes, *(["rating"] if raw.rating and "rating" not in raw.scenes else [])]
    if options.scene is None:
        return replace(options, scene=raw.scene)
    if options.scene not in known:
        there = (
            f"This source has the scenes {', '.join(known)}." if known else "This source has none."
        )
        raise ConfigError(
            f"scene: there is no '{options.scene}' here.{did_you_mean(options.scene, known)} "
            f"{there}"
        )
    if raw.scene is not None and options.scene != raw.scene:
        raise ConfigError(
            f"--scene_column={raw.scene} has no effect with --scene={options.scene}: leave one of "
            "them out."
        )
    return options


def check_effects(given: Collection[str], options: Options, raw: Raw, source: str) -> None:
    """Refuse options that would have no effect on what this source writes.

    Args:
        given: names of the options on the command line.
        options: all of them, those of the preset and of the source included.

    Raises:
        ConfigError: an option has no effect; the message says what would give it one.
    """
    _check_metadata(given, options, raw, source)
    if options.min_rating is not None and not raw.rating:
        ratings = " (--rating=COLUMN names them)" if source in ("csv", "parquet") else ""
        raise ConfigError(f"--min_rating: these interactions have no ratings{ratings}.")
    if "scene_rating" in given and (options.scene != "rating" or "rating" in raw.scenes):
        raise ConfigError("--scene_rating has no effect without --scene=rating.")
    _check_ties(given, options, raw)


def _check_metadata(given: Collection[str], options: Options, raw: Raw, source: str) -> None:
    """Options that ask for rows about items in a source that has none."""
    where = (
        "name a table of the items with --item_file"
        if source in ("csv", "parquet")
        else "there is no such file"
    )
    if options.known_items and not raw.items:
        preset = f" (a rule of the preset {options.preset})" if "known_items" not in given else ""
        raise ConfigError(
            f"--known_items{preset} leaves out events of items without metadata: {where}."
        )
    if options.known_items and raw.items_needed:
        raise ConfigError(
            f"--known_items has no effect with --source={source}, where every item must have "
            "metadata."
        )
    if raw.is_of_items(options.scene) and not raw.items:
        raise ConfigError(
            f"--scene={options.scene} is a column of the items' metadata, and there is no such "
            "file."
        )
    filters = options.min_rating is not None or options.last_events is not None
    filters = filters or options.min_user_events > 1 or options.min_item_events > 1
    if "items" not in given or options.items != "all" or raw.items:
        return
    if not (raw.columns and filters and any(part.describes is not None for part in raw.events)):
        raise ConfigError(
            f"--items=all has no effect, as no item is known but by its events: {where}."
        )


def _check_ties(given: Collection[str], options: Options, raw: Raw) -> None:
    """Options about the order of equal times where there is no such order to choose."""
    if "tie_seed" in given and options.tie_break == "file":
        raise ConfigError(
            "--tie_seed has no effect with tie_break: file; --tie_break=random takes a seed."
        )
    chosen = [key for key in ("tie_break", "tie_seed") if key in given]
    if raw.times_are_places and chosen and options.tie_break == "random":
        raise ConfigError(
            f"--{chosen[0]} has no effect: the times are places in each user's list, so that no "
            "two are equal."
        )
