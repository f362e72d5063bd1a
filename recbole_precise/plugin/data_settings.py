"""RecBole's settings as the typed settings of the readers of data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from recbole_precise.data.item_text import TextSettings
from recbole_precise.data.loading import FileSettings

_SCENES = ("scene_field", "scene_rules", "target_scene")
_ENCODING = ("max_tokens", "batch_size", "dtype", "layers", "cache_dir")


def file_settings(config: Any) -> FileSettings:
    """Where the files of a run's data set are, and how they are written."""
    parts = config["benchmark_filename"]
    asks_columns = "load_col" in getattr(config, "external_config_dict", {})
    asked = (config["load_col"] or {}).get("inter") if asks_columns else None
    return FileSettings(
        folder=Path(config["data_path"]),
        name=config["dataset"],
        user=config["USER_ID_FIELD"],
        item=config["ITEM_ID_FIELD"],
        time=config["TIME_FIELD"],
        separator=config["field_separator"],
        encoding=config["encoding"] or "utf-8",
        seq_separator=config["seq_separator"],
        seq_len=config["seq_len"],
        list_suffix=config["LIST_SUFFIX"],
        parts=None if parts is None else tuple(parts),
        asks_columns=asks_columns,
        asked=asked if isinstance(asked, (list, tuple)) else None,
        scenes={key: config[key] for key in _SCENES},
    )


def text_settings(config: Any) -> TextSettings:
    """Which texts the items of a run have, and how they are encoded."""
    return TextSettings(
        model=config["model"],
        dataset=config["dataset"],
        item_file=Path(config["data_path"], f"{config['dataset']}.item"),
        item_field=config["ITEM_ID_FIELD"],
        template=config["item_text"],
        text_file=config["text_file"],
        separator=config["field_separator"],
        file_encoding=config["encoding"] or "utf-8",
        encoding=encoding_options(config),
        progress=bool(config["show_progress"]),
    )


def encoding_options(config: Any) -> dict[str, Any]:
    """Arguments of `encode_cached`."""
    options: dict[str, Any] = {
        "encoder": config["text_encoder"] or "auto",
        "device": config["text_device"] or config["device"],
    }
    for name in _ENCODING:
        value = config[f"text_{name}"]
        if value is not None:
            options[name] = value
    return options


def scene_view_of(config: Any) -> str | None:
    """Return the view that a run trains on (`VIEWS`); None without a target scene.

    Where `scene_view` is not set, the model's class may say (attribute `scene_view`, a name or a
    function of the settings); else it is the target view.
    """
    if config["target_scene"] is None:
        return None
    own = getattr(config.model_class, "scene_view", None)
    return config["scene_view"] or (own(config) if callable(own) else own) or "target"
