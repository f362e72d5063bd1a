"""Check that what a user asked for takes effect.

It depends on the model, on RecBole's transforms and optimizers, and on this machine.
"""

from __future__ import annotations

import filecmp
from collections.abc import Callable, Container, Mapping
from pathlib import Path
from typing import Any

import recbole.data.dataset
from recbole.data.transform import UserDefinedTransform
from recbole.evaluator import smaller_metrics

from recbole_precise.config.effects import check_effects
from recbole_precise.config.limits import check_limits
from recbole_precise.config.situation import Situation
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.plugin.checks.columns import folder_of
from recbole_precise.plugin.checks.known_keys import keys_of_model, source_of
from recbole_precise.registry import Entry

BUNDLED = "ml-100k"  # RecBole carries it and reads it from its own folder, whatever data_path says.


def check_heeded(
    settings: Mapping[str, Any],
    entry: Entry,
    model_class: type,
    dataset: str,
    asked: Mapping[str, Any],
    defaults: Mapping[str, Any],
    where: Callable[[str], str],
    shared: Container[str] = (),
) -> None:
    """Refuse what the user asked for and nothing would read, or this machine cannot serve.

    Args:
        asked: settings that the user chose; those that a search drew, or that a finished run
            repeats, are not among them.
        defaults: their values without the user.
        where: key -> where its value comes from, in words.
        shared: as in `check_effects`.
    """
    check_limits(settings, where)
    situation = situation_of(settings, entry, model_class)
    check_effects(asked, defaults, situation, where, shared)
    _check_transform(situation, where)
    _check_learner(settings, model_class, where)
    bigger = asked.get("valid_metric_bigger")
    if bigger is not None and bigger != _is_bigger_better(settings["valid_metric"]):
        raise ConfigError(
            f"valid_metric_bigger: {bigger} ({where('valid_metric_bigger')}) does nothing: "
            "whether more is better follows from valid_metric."
        )
    copy = Path(str(asked.get("data_path") or ""), BUNDLED, f"{BUNDLED}.inter")
    if dataset != BUNDLED or "data_path" not in asked or not copy.is_file():
        return
    if not filecmp.cmp(copy, folder_of(settings, BUNDLED) / copy.name, shallow=False):
        raise DataError(
            f"'{copy}' differs from the {BUNDLED} that RecBole carries and reads whatever "
            "data_path says: give the folder and its files another name."
        )


def situation_of(settings: Mapping[str, Any], entry: Entry, model_class: type) -> Situation:
    """Return what decides which keys a model reads."""
    reads = set(keys_of_model(entry, model_class))
    if not entry.ours and "get_preload_weight" in source_of(model_class):
        reads.add("get_preload_weight")
    return Situation(
        settings=settings,
        model=entry.name,
        ours=entry.ours,
        kind=getattr(settings.get("MODEL_TYPE"), "name", "").lower(),
        reads=frozenset(reads),
        on_windows=bool(getattr(model_class, "trains_on_windows", False)),
        own_data=entry.ours or not hasattr(recbole.data.dataset, f"{entry.name}Dataset"),
        labelled=_is_labelled(settings, entry, model_class),
    )


def _is_labelled(settings: Mapping[str, Any], entry: Entry, model_class: type) -> bool:
    """Return whether a model learns from the labels of the data's own rows.

    Then no negatives are drawn, and no pairs compared.
    """
    sampling = settings.get("train_neg_sample_args") or {}
    if sampling.get("distribution") not in (None, "none", "None"):
        return False
    if getattr(settings.get("MODEL_TYPE"), "name", None) == "SEQUENTIAL":
        return not entry.ours and entry.name in ("DIN", "DIEN")
    return getattr(getattr(model_class, "input_type", None), "name", "POINTWISE") == "POINTWISE"


def _is_bigger_better(valid_metric: str) -> bool:
    return valid_metric.split("@")[0].lower() not in smaller_metrics


#: transform -> (the column that it adds and a model reads, the key of how much it changes)
_TRANSFORMS = {
    "mask_itemseq": ("MASK_ITEM_SEQ", "mask_ratio"),
    "inverse_itemseq": ("INVERSE_ITEM_SEQ", None),
    "crop_itemseq": ("CROP_ITEM_SEQ", "eta"),
    "reorder_itemseq": ("REORDER_ITEM_SEQ", "beta"),
}


def _check_transform(situation: Situation, where: Callable[[str], str]) -> None:
    """Check that the model reads the columns that a transform adds to a batch."""
    chosen, named = (
        situation["transform"],
        f"transform: {situation['transform']} ({where('transform')})",
    )
    wanted = next(
        (
            name
            for name, (column, _) in _TRANSFORMS.items()
            if not situation.ours and column in situation.reads
        ),
        None,
    )
    if wanted is not None and chosen != wanted:
        raise ConfigError(
            f"{named}: {situation.model} reads what transform: {wanted} adds to a batch; leave "
            "transform out."
        )
    if chosen is None or (chosen == wanted and where("transform") == "default"):
        return
    if chosen == "user_defined":
        if not _transform_is_written():
            raise ConfigError(
                f"{named} needs RecBole's class UserDefinedTransform to be written first: its "
                "__call__ returns nothing yet."
            )
        return
    column, key = _TRANSFORMS[chosen]
    if wanted is None:
        raise ConfigError(
            f"{named} does nothing for {situation.model}, which does not read the column that it "
            f"adds ({column}); leave it out."
        )
    if key is not None and situation[key] is None:
        raise ConfigError(
            f"{named} needs {key}, how much of a sequence it changes, such as {key}: 0.2."
        )


def _transform_is_written() -> bool:
    """Whether RecBole's placeholder for a transform of the user's own does anything."""
    try:
        return UserDefinedTransform({})(None, {}) is not None
    except Exception:
        return True


def _check_learner(
    settings: Mapping[str, Any], model_class: type, where: Callable[[str], str]
) -> None:
    """SparseAdam takes sparse gradients alone."""
    if str(settings.get("learner")).lower() == "sparse_adam" and "sparse=True" not in source_of(
        model_class
    ):
        raise ConfigError(
            f"learner: sparse_adam ({where('learner')}) needs a model with sparse gradients, and "
            f"those of {model_class.__name__} are dense; take adam or adamw."
        )
