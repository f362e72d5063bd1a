"""Fix two idioms of RecBole's dataset (see `plugin.patches`).

pandas 2 warns of them, and pandas 3 gave them another meaning.
"""

from __future__ import annotations

import contextlib
import functools
import types
import warnings
from collections.abc import Iterator
from typing import Any

from recbole_precise.system.importing import after_import


class _FilledReader:
    """pandas for `Dataset._load_feat`: a missing cell of a sequence column is read as empty text.

    RecBole fills such cells itself, but in place on a temporary, which pandas 3 does not let
    through; the split that follows then fails on a float. The column's header ends in its RecBole
    type: `class:token_seq`.
    """

    def __init__(self, pandas: types.ModuleType) -> None:
        self._pandas = pandas

    def __getattr__(self, name: str):
        return getattr(self._pandas, name)

    def read_csv(self, *args, **kwargs):
        frame = self._pandas.read_csv(*args, **kwargs)
        for column in frame.columns:
            if str(column).endswith("seq"):
                frame[column] = frame[column].fillna("")
        return frame


@contextlib.contextmanager
def _no_warnings_of_chained_assignment() -> Iterator[None]:
    """RecBole's own attempt to fill is harmless once everything is filled."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="(?s).*chained assignment.*")
        yield


def mend_fillna() -> None:
    """Fill missing values of token, float and sequence columns as RecBole means to."""

    def mend(module: Any) -> None:
        dataset = module.Dataset
        load, fill = dataset._load_feat, dataset._fill_nan

        @functools.wraps(load)
        def _load_feat(self, *args, **kwargs):
            pandas = module.pd
            module.pd = _FilledReader(pandas)
            try:
                with _no_warnings_of_chained_assignment():
                    return load(self, *args, **kwargs)
            finally:
                module.pd = pandas

        @functools.wraps(fill)
        def _fill_nan(self):
            token, number = module.FeatureType.TOKEN, module.FeatureType.FLOAT
            for name in self.feat_name_list:
                table = getattr(self, name)
                for field in table:
                    kind = self.field2type[field]
                    if kind == token:
                        table[field] = table[field].fillna(0)
                    elif kind == number:
                        table[field] = table[field].fillna(table[field].mean())
            with _no_warnings_of_chained_assignment():
                return fill(self)

        dataset._load_feat, dataset._fill_nan = _load_feat, _fill_nan

    after_import("recbole.data.dataset.dataset", mend)


@contextlib.contextmanager
def _agg_len_per_row() -> Iterator[None]:
    """`Series.agg(len)` means the length of every cell, as before pandas 3.

    Everything else is left to pandas.
    """
    import pandas

    original = pandas.Series.agg

    @functools.wraps(original)
    def agg(self, func=None, *args, **kwargs):
        return self.map(len) if func is len else original(self, func, *args, **kwargs)

    pandas.Series.agg = agg
    try:
        yield
    finally:
        pandas.Series.agg = original


def _with_agg_len(method):
    @functools.wraps(method)
    def wrapped(self, *args, **kwargs):
        with _agg_len_per_row():
            return method(self, *args, **kwargs)

    return wrapped


def mend_agg_len() -> None:
    """Count the cells of sequence columns one by one in the methods of RecBole's datasets."""

    def mend(methods: dict[str, tuple[str, ...]], module: Any) -> None:
        for name, wanted in methods.items():
            for method in wanted:
                owner = getattr(module, name)
                setattr(owner, method, _with_agg_len(getattr(owner, method)))

    places: dict[str, dict[str, tuple[str, ...]]] = {
        "recbole.data.dataset.dataset": {"Dataset": ("_remap", "_normalize", "_discretization")},
        "recbole.data.dataset.sequential_dataset": {"SequentialDataset": ("_benchmark_presets",)},
        "recbole.data.dataset.kg_dataset": {"KnowledgeBasedDataset": ("_reset_ent_remapID",)},
    }
    for place, methods in places.items():
        after_import(place, functools.partial(mend, methods))
