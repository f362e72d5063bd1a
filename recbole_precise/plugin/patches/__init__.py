"""Let RecBole 1.2.1 run on today's NumPy, pandas, torch, hyperopt and SciPy.

It also runs without ray or thop.

RecBole's files stay as they are. Every fix is a `Patch` named after the breakage; `apply()` applies
those that the versions at hand need, each at the moment when the module that it concerns is
imported. Fixes of pandas are in `pandas`, those of what reads checkpoints in `models_that_load`.
"""

from __future__ import annotations

import functools
import importlib
import importlib.util
import logging
import sys
import types
from collections.abc import Callable
from dataclasses import dataclass
from importlib.machinery import ModuleSpec
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from recbole_precise.plugin.patches import models_that_load, pandas
from recbole_precise.system.importing import after_import, before_import, load_target

logger = logging.getLogger("recbole_precise")


def version_of(package: str) -> tuple[int, ...]:
    """Return the installed version of a distribution as numbers, `()` when it is absent.

    It is `(2, 13, 0)` for torch 2.13.0+cpu.
    """
    try:
        text = version(package)
    except PackageNotFoundError:
        return ()
    numbers = []
    for part in text.split("+")[0].split("."):
        if not part.isdigit():
            break
        numbers.append(int(part))
    return tuple(numbers)


@dataclass(frozen=True)
class Patch:
    """One fix.

    `name` of the breakage, what it `mends`, whether it is `needed` here, and how to `apply` it.
    """

    name: str
    mends: str
    needed: Callable[[], bool]
    apply: Callable[[], None]


# --- NumPy ------------------------------------------------------------------------------------

_NUMPY_NAMES = {
    # Removed in NumPy 2.0; RecBole's Config and ray's loggers read them.
    "float_": np.float64, "complex_": np.complex128, "unicode_": np.str_, "bool8": np.bool_,
    # Removed in NumPy 1.24; RecBole's Config sets them, but a checkpoint is read without a new
    # Config.
    "bool": np.bool_, "int": np.int_, "float": np.float64, "complex": np.complex128,
    "object": np.object_, "str": np.str_, "long": np.int_, "unicode": np.str_,
}  # fmt: skip


def _numpy_names_missing() -> bool:
    # vars() and not hasattr(): NumPy 1.26 warns when a removed name is asked for.
    return any(name not in vars(np) for name in _NUMPY_NAMES)


def _add_numpy_names() -> None:
    for name, value in _NUMPY_NAMES.items():
        if name not in vars(np):
            setattr(np, name, value)


class _Overlay(types.ModuleType):
    """A module seen through changes: what is not set here comes from the module underneath."""

    def __init__(self, module: types.ModuleType, **changes) -> None:
        super().__init__(module.__name__)
        self.__dict__.update(changes)
        self.__dict__["_underneath"] = module

    def __getattr__(self, name: str):
        return getattr(self._underneath, name)


# --- ray --------------------------------------------------------------------------------------


def _ray_stub() -> dict[str, types.ModuleType]:
    def report(*_args, **_metrics) -> None:
        """There is no trial to report to."""

    ray: Any = types.ModuleType("ray")
    tune: Any = types.ModuleType("ray.tune")
    for module in (ray, tune):
        module.__spec__ = ModuleSpec(module.__name__, loader=None)
        module.__doc__ = "Stands in for ray while recbole.quick_start is imported."
    ray.tune = tune
    tune.report = report
    ray.__path__ = []
    return {"ray": ray, "ray.tune": tune}


def _ray_is_missing() -> bool:
    return "recbole.quick_start.quick_start" not in sys.modules


def _stand_in_for_ray() -> None:
    """RecBole needs `ray.tune.report` alone.

    The stand-in is gone as soon as recbole.quick_start has its name.
    """
    name = "recbole.quick_start.quick_start"
    placed: list[str] = []

    def place() -> None:
        try:
            importlib.import_module("ray.tune")
        # ray 2.6 fails in many ways: pkg_resources, np.bool8, protobuf.
        except Exception as error:
            if importlib.util.find_spec("ray") is not None:
                logger.info(
                    "ray is installed but cannot be imported (%s); RecBole goes on without it.",
                    error,
                )
            for module in [
                module for module in sys.modules if module == "ray" or module.startswith("ray.")
            ]:
                del sys.modules[module]
            stubs = _ray_stub()
            sys.modules.update(stubs)
            placed.extend(stubs)

    def remove(_module: types.ModuleType) -> None:
        for stub in placed:
            sys.modules.pop(stub, None)

    before_import(name, place)
    after_import(name, remove)


def _tolerate_new_ray() -> None:
    """ray.tune.report takes one dict since ray 2.7 and refuses to be called outside a trial."""

    def mend(module: Any) -> None:
        tune = module.tune
        if not getattr(tune, "__file__", None):
            return

        def report(**metrics) -> None:
            try:
                tune.report(metrics)
            # Outside a trial there is nobody to report to.
            except Exception as error:
                logger.debug("ray.tune.report: %s", error)

        module.tune = _Overlay(tune, report=report)

    after_import("recbole.quick_start.quick_start", mend)


# --- torch, thop, SciPy, hyperopt and RecBole's own slips -------------------------------------


def _use_todays_grad_scaler() -> None:
    def mend(module: Any) -> None:
        import torch

        module.amp = _Overlay(
            module.amp, GradScaler=functools.partial(torch.amp.GradScaler, "cuda")
        )

    after_import("recbole.trainer.trainer", mend)


def _make_flops_optional() -> None:
    def mend(module: Any) -> None:
        count = module.get_flops

        @functools.wraps(count)
        def get_flops(*args, **kwargs):
            try:
                return count(*args, **kwargs)
            except ImportError as error:
                logger.warning("FLOPs are not counted: %s", error)
                return float("nan")

        for name in ("recbole.utils.utils", "recbole.utils", "recbole.quick_start.quick_start"):
            holder: Any = sys.modules.get(name)
            if holder is not None and getattr(holder, "get_flops", None) is count:
                holder.get_flops = get_flops

    after_import("recbole.utils.utils", mend)


def _collect_numbers_too() -> None:
    def mend(module: Any) -> None:
        import copy

        passing = ("rec.topk", "rec.meanrank", "rec.score", "rec.items", "data.label")

        def get_data_struct(self):
            """All that was collected, on the CPU.

            What belongs to this evaluation alone is dropped from the collector.
            """
            data = self.data_struct._data_dict
            for key, value in data.items():
                data[key] = value.cpu() if hasattr(value, "cpu") else value
            collected = copy.deepcopy(self.data_struct)
            for key in passing:
                data.pop(key, None)
            return collected

        module.Collector.get_data_struct = get_data_struct

    after_import("recbole.evaluator.collector", mend)


def _download_alone() -> None:
    def mend(module: Any) -> None:
        import torch

        def barrier(*args, **kwargs) -> None:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                torch.distributed.barrier(*args, **kwargs)

        module.torch = _Overlay(torch, distributed=_Overlay(torch.distributed, barrier=barrier))

    after_import("recbole.data.dataset.dataset", mend)


def _report_dropped_events() -> None:
    def mend(module: Any) -> None:
        load_target("recbole_precise.data.filtering:count_filters")(module)

    after_import("recbole.data.dataset.dataset", mend)


def _give_dok_matrices_update() -> None:
    from scipy.sparse import dok_matrix

    def _update(self, data: dict) -> None:
        self._dict.update(data)

    dok_matrix._update = _update


def _dok_update_missing() -> bool:
    if version_of("scipy") < (1, 8):
        return False
    from scipy.sparse import dok_matrix

    return not hasattr(dok_matrix, "_update")


def _search_grids_with_todays_hyperopt() -> None:
    def mend(module: Any) -> None:
        class RandomState(np.random.RandomState):
            """hyperopt since 0.2.6 draws with `integers`, older ones with `randint`."""

            def integers(self, low, high=None, size=None, dtype=np.int64, endpoint=False):
                if high is None:
                    low, high = 0, low
                return self.randint(low, high + 1 if endpoint else high, size=size, dtype=dtype)

        module.np = _Overlay(np, random=_Overlay(np.random, RandomState=RandomState))

    after_import("recbole.trainer.hyper_tuning", mend)


PATCHES: tuple[Patch, ...] = (
    Patch("numpy-names", "np.float_, np.bool8 and others that NumPy 1.24 and "
                         "2.0 removed", _numpy_names_missing, _add_numpy_names),
    Patch("ray-missing", "recbole.quick_start needs ray, which is absent or "
                         "fails to import", _ray_is_missing, _stand_in_for_ray),
    Patch("ray-report", "tune.report takes a dict "
                        "since ray 2.7", lambda: version_of("ray") >= (2, 7), _tolerate_new_ray),
    Patch("pandas-fillna", "fillna(inplace=True) on a column warns since "
                           "pandas 2.2 and changes "
                           "nothing from 3.0 on", lambda: version_of("pandas") >= (2, 2),
                           pandas.mend_fillna),
    Patch("pandas-agg-len", "agg(len) warns since pandas 2.1 and gives one "
                            "number for a column from "
                            "3.0 on", lambda: version_of("pandas") >= (2, 1), pandas.mend_agg_len),
    Patch("torch-load", "torch 2.6 refuses RecBole's checkpoints, older ones "
                        "run what is in them", lambda: True,
                        lambda: models_that_load.mend_torch_load(_Overlay)),
    Patch("torch-gradscaler", "torch.cuda.amp.GradScaler "
                              "is deprecated", lambda: version_of("torch") >= (2, 4),
                              _use_todays_grad_scaler),
    Patch("thop-missing", "counting FLOPs needs thop, "
                          "which needs distutils", lambda: True, _make_flops_optional),
    Patch("collector-cpu", "metrics over the catalogue crash: .cpu() of a "
                           "number", lambda: True, _collect_numbers_too),
    Patch("download-barrier", "a first download ends in an error without a "
                              "process group", lambda: True, _download_alone),
    Patch("filters-silent", "filters drop events without a word, and after a "
                            "missing user other events than those without an "
                            "item", lambda: True, _report_dropped_events),
    Patch("scipy-dok-update", "dok_matrix._update is gone", _dok_update_missing,
        _give_dok_matrices_update),
    Patch("hyperopt-integers", "exhaustive search fails on hyperopt newer "
                               "than 0.2.5", lambda: version_of("hyperopt") > (0, 2, 5),
                               _search_grids_with_todays_hyperopt),
)  # fmt: skip

_applied: list[str] = []


def apply() -> None:
    """Apply every patch that the installed versions need; a second call does nothing."""
    for patch in PATCHES:
        if patch.name not in _applied and patch.needed():
            patch.apply()
            _applied.append(patch.name)


def applied() -> tuple[str, ...]:
    """Names of the patches in force."""
    return tuple(_applied)
