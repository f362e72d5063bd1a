"""Check settings that are lists and mappings: names, types and bounds of every part."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from recbole_precise.config.intervals import as_text, check_count_interval, check_value_intervals
from recbole_precise.config.key import Key
from recbole_precise.errors import ConfigError, did_you_mean, shown
from recbole_precise.plugin.checks.columns import check_loaded, file_of, loaded_columns, suffixes_of

_NEGATIVES = {
    "distribution": Key("str", choices=("uniform", "popularity", "none", "None"), nullable=True),
    "sample_num": Key("int or str", low=1, high=2**20),
    "alpha": Key("float or str", low=0),
    "dynamic": Key("bool"),
    "candidate_num": Key("int", low=0, high=2**20),
}
_CLIP = {
    "max_norm": Key("float", above=0),
    "norm_type": Key("float or str", above=0),
    "error_if_nonfinite": Key("bool"),
    "foreach": Key("bool", nullable=True),
}


class Given:
    """The settings of a run as the checks of their insides read them.

    Args:
        settings: all effective settings; intervals are written in RecBole's form into them.
        dataset: the data set's name.
        where: key -> where its value comes from, in words.
    """

    def __init__(self, settings: dict[str, Any], dataset: str, where: Callable[[str], str]) -> None:
        self.settings = settings
        self.dataset = dataset
        self.where = where
        self._types: dict[str, str] | None = None
        self._read = False

    @property
    def types(self) -> dict[str, str] | None:
        """Column -> type of what is loaded; the headers are read when they are first asked for."""
        if not self._read:
            self._types = loaded_columns(self.settings, self.dataset)
            self._read = True
        return self._types


def check_shapes(given: Given) -> None:
    """Raise a ConfigError for the first part of a nested setting that cannot be used."""
    for check in _CHECKS:
        check(given)


def _mapping_of(given: Given, key: str, parts: Mapping[str, Key]) -> Mapping[str, Any]:
    """Return the mapping of a key with its parts checked; empty where the key is not set."""
    value = given.settings.get(key) or {}
    for name, part in value.items():
        if name not in parts:
            raise ConfigError(
                f"{key} ({given.where(key)}): unknown part "
                f"{shown(name)}.{did_you_mean(str(name), parts)} "
                f"It has {', '.join(parts)}."
            )
        if not (name == "norm_type" and part in (float("inf"), "inf")):
            parts[name].check(f"{key}: {name}", part, given.where(key))
    return value


def _clip(given: Given) -> None:
    value = _mapping_of(given, "clip_grad_norm", _CLIP)
    if given.settings.get("clip_grad_norm") is not None and "max_norm" not in value:
        raise ConfigError(
            f"clip_grad_norm ({given.where('clip_grad_norm')}) needs max_norm, as in {{max_norm: "
            "5.0}."
        )
    norm = value.get("norm_type", 2.0)
    if isinstance(norm, str) and norm != "inf":
        raise ConfigError(
            f"clip_grad_norm: norm_type ({given.where('clip_grad_norm')}) must be a number or "
            f"inf, not {shown(norm)}."
        )


def _negatives(given: Given) -> None:
    key, where = "train_neg_sample_args", given.where("train_neg_sample_args")
    value = _mapping_of(given, key, _NEGATIVES)
    if not value or value.get("distribution") in (None, "none", "None"):
        return
    for name in ("sample_num", "alpha"):
        if isinstance(value.get(name), str):
            raise ConfigError(
                f"{key}: {name} ({where}) must be a number, not {shown(value[name])}."
            )
    if value.get("dynamic") and not value.get("candidate_num"):
        raise ConfigError(
            f"{key} ({where}): dynamic: True needs candidate_num above 0, the candidates of "
            "which the best scored is taken."
        )
    if value.get("candidate_num") and not value.get("dynamic"):
        raise ConfigError(
            f"{key} ({where}): candidate_num: {value['candidate_num']} does nothing without "
            "dynamic: True."
        )
    if value.get("alpha", 1) != 1 and value["distribution"] != "popularity":
        raise ConfigError(
            f"{key} ({where}): alpha: {value['alpha']} does nothing without distribution: "
            "popularity."
        )


def _texts(given: Given, key: str, value: Any, what: str) -> list[str]:
    """Return a list of names.

    Raises:
        ConfigError: the list is empty, or something in it is no name.
    """
    if not isinstance(value, (list, tuple)) or not value:
        raise ConfigError(
            f"{key} ({given.where(key.split(':')[0])}) must be a list of {what}, not "
            f"{shown(value)}."
        )
    for name in value:
        if not isinstance(name, str) or not name.strip():
            raise ConfigError(
                f"{key} ({given.where(key.split(':')[0])}): {shown(name)} is no name of a "
                "column; write it as text."
            )
    return list(value)


def _load_col(given: Given) -> None:
    """Suffixes are files, and each has its columns, or '*' for all."""
    for key in ("load_col", "unload_col", "unused_col"):
        value, where = given.settings.get(key) or {}, given.where(key)
        known = suffixes_of(given.settings)
        for suffix, columns in value.items():
            if suffix not in known:
                raise ConfigError(
                    f"{key} ({where}): {shown(suffix)} is no file of a data set; there are "
                    f"{', '.join(known)}, and those of "
                    f"additional_feat_suffix.{did_you_mean(str(suffix), known)}"
                )
            if key == "load_col" and columns == "*":
                continue
            if columns is None or (isinstance(columns, (list, tuple)) and not columns):
                form = f"{{{suffix}: [user_id, item_id]}}"
                rest = f"name them, as in {form}, or leave {suffix} out" + (
                    ", or write '*' for all" if key == "load_col" else ""
                )
                raise ConfigError(f"{key} ({where}): {suffix} lists no column: {rest}.")
            names = _texts(given, f"{key}: {suffix}", columns, "columns")
            if key == "unused_col":
                check_loaded(f"{key}: {suffix}", names, where, given.types)
            if (
                key == "load_col"
                and where != "default"
                and not file_of(given.settings, given.dataset, suffix).is_file()
            ):
                file = file_of(given.settings, given.dataset, suffix)
                if suffix != "inter":
                    raise ConfigError(
                        f"{key} ({where}): {suffix} lists columns, but there is no file "
                        f"'{file}'; leave {suffix} out."
                    )
    load, unload = given.settings.get("load_col"), given.settings.get("unload_col") or {}
    for suffix in unload:
        if load is not None and load.get(suffix) != "*":
            raise ConfigError(
                f"unload_col ({given.where('unload_col')}): {suffix} needs load_col to load all "
                "its columns: set load_col: ~ or load_col: "
                f"{{{suffix}: '*'}}, or list in load_col those that you want."
            )


def _intervals(given: Given) -> None:
    for key in (
        "user_inter_num_interval",
        "item_inter_num_interval",
        "entity_kg_num_interval",
        "relation_kg_num_interval",
    ):
        value = given.settings.get(key)
        if value is not None:
            check_count_interval(key, value, given.where(key))
            given.settings[key] = as_text(value) if _has_words(value) else value
    value = given.settings.get("val_interval")
    if value:
        where = given.where("val_interval")
        names = [str(column) for column in value]
        check_loaded("val_interval", names, where, given.types)
        check_value_intervals(value, where, given.types)
        tokens = {name for name, kind in (given.types or {}).items() if kind.startswith("token")}
        given.settings["val_interval"] = {
            name: as_text(part) if _has_words(part) and name not in tokens else part
            for name, part in value.items()
        }


def _has_words(value: Any) -> bool:
    """Whether a pair has a bound that is text, as YAML reads the inf of [6,inf].

    RecBole cannot read that.
    """
    return isinstance(value, (list, tuple)) and any(isinstance(part, str) for part in value)


def _column_keys(given: Given) -> None:
    """Keys that name columns name loaded ones of a type that they can use."""
    settings = given.settings
    for key in ("normalize_field", "numerical_features"):
        value = settings.get(key) or ()
        if given.where(key) == "default" or not value:
            continue
        names = _texts(given, key, value, "columns")
        types = given.types
        check_loaded(key, names, given.where(key), types)
        if types is None:
            continue
        for name in names:
            if not types[name].startswith("float"):
                raise ConfigError(
                    f"{key} ({given.where(key)}): the column '{name}' has the type "
                    f"{types[name]}; only numbers (float) can be used."
                )
    lengths = settings.get("seq_len") or {}
    for column, length in lengths.items():
        Key("int", low=1).check(f"seq_len: {column}", length, given.where("seq_len"))
    types = given.types if lengths else None
    if types is not None:
        check_loaded("seq_len", [str(column) for column in lengths], given.where("seq_len"), types)
        for column in lengths:
            if not types[str(column)].endswith("_seq"):
                raise ConfigError(
                    f"seq_len ({given.where('seq_len')}): the column '{column}' has the type "
                    f"{types[str(column)]}, and only lists "
                    "(token_seq, float_seq) have a length; MAX_ITEM_LIST_LENGTH bounds histories."
                )
    _threshold(given)
    _discretization(given)
    for key in (
        "alias_of_user_id",
        "alias_of_item_id",
        "alias_of_entity_id",
        "alias_of_relation_id",
    ):
        if settings.get(key):
            check_loaded(
                key, _texts(given, key, settings[key], "columns"), given.where(key), given.types
            )
    weights = settings.get("preload_weight") or {}
    for pair in weights.items():
        check_loaded(
            "preload_weight",
            _texts(given, "preload_weight", pair, "columns"),
            given.where("preload_weight"),
            given.types,
        )


def _threshold(given: Given) -> None:
    threshold, where = given.settings.get("threshold"), given.where("threshold")
    if threshold is None or where == "default":
        return
    if len(threshold) != 1:
        raise ConfigError(
            f"threshold ({where}) must name one column, as in {{rating: 3}}, not "
            f"{shown(threshold)}."
        )
    ((column, bound),) = threshold.items()
    Key("float").check(f"threshold: {column}", bound, where)
    check_loaded("threshold", [str(column)], where, given.types)


def _discretization(given: Given) -> None:
    where = given.where("discretization")
    for column, how in (given.settings.get("discretization") or {}).items():
        name = f"discretization: {column}"
        if column not in (given.settings.get("numerical_features") or ()):
            raise ConfigError(
                f"{name} ({where}) does nothing unless numerical_features lists the column "
                f"'{column}'."
            )
        if not isinstance(how, Mapping) or how.get("method") not in ("ED", "LD"):
            raise ConfigError(
                f"{name} ({where}) must be {{method: ED, bucket: 10}} or {{method: LD}}, not "
                f"{shown(how)}."
            )
        if how["method"] == "ED":
            Key("int", low=1).check(f"{name}: bucket", how.get("bucket"), where)


def _lists(given: Given) -> None:
    """Check lists of names and of cut-offs."""
    settings = given.settings
    fields = settings.get("sequence_fields")
    if isinstance(fields, (list, tuple)) and fields:
        _texts(given, "sequence_fields", fields, "columns")
    text = settings.get("item_text")
    if isinstance(text, (list, tuple)):
        _texts(given, "item_text", text, "columns")
    elif isinstance(text, str) and not text.strip():
        raise ConfigError(
            f"item_text ({given.where('item_text')}) is empty: write a template such as "
            '"{title}", or leave it out.'
        )
    parts = settings.get("benchmark_filename")
    if parts is not None:
        _texts(given, "benchmark_filename", parts, "names of files, as in [train, valid, test]")
    gpus = settings.get("gpu_id")
    for gpu in (
        gpus if isinstance(gpus, (list, tuple)) else str("" if gpus is None else gpus).split(",")
    ):
        if str(gpu).strip() and (isinstance(gpu, bool) or not str(gpu).strip().isdecimal()):
            raise ConfigError(
                f"gpu_id ({given.where('gpu_id')}) must be numbers of GPUs, as in 0 or '0,1', or "
                f"empty for the CPU, not {shown(gpus)}."
            )
    rules = settings.get("scene_rules") or {}
    for name in rules:
        if not isinstance(name, (str, int)) or isinstance(name, bool):
            raise ConfigError(
                f"scene_rules ({given.where('scene_rules')}): {shown(name)} is no name of a "
                "scene; write it as text."
            )


_CHECKS = (_clip, _negatives, _load_col, _intervals, _column_keys, _lists)
