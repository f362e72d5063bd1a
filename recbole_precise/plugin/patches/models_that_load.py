"""RecBole's own modules that read files: they read them safely, and say what is wrong with one."""

from __future__ import annotations

import functools
import linecache
from collections.abc import Callable, Collection
from typing import Any

from recbole_precise.errors import CheckpointError, DataError, UserError
from recbole_precise.system.importing import after_import, load_target

_SAFE_LOAD = "recbole_precise.plugin.pickles.checkpoints:safe_load"
#: RecBole's models that read a .pth while they are built: module -> (class, the settings that name
#: the file).
_MODELS_THAT_LOAD = {
    "recbole.model.sequential_recommender.s3rec": ("S3Rec", ("pre_model_path",)),
    "recbole.model.general_recommender.convncf": ("ConvNCF", ("pre_model_path",)),
    "recbole.model.general_recommender.nais": ("NAIS", ("pretrain_path",)),
    "recbole.model.general_recommender.neumf": ("NeuMF", ("mf_pretrain_path", "mlp_pretrain_path")),
    "recbole.model.general_recommender.ract": ("RaCT", ("pre_model_path",)),
    "recbole.model.context_aware_recommender.kd_dagfm": ("KD_DAGFM", ("warm_up",)),
}


def mend_torch_load(overlay: type) -> None:
    """Let RecBole's own modules read files safely.

    Args:
        overlay: `overlay(module, **changes)` is a module seen through changes.
    """

    def read_safely(module: Any) -> None:
        module.torch = overlay(module.torch, load=load_target(_SAFE_LOAD))

    def build_safely(model: str, keys: Collection[str], module: Any) -> None:
        read_safely(module)
        cls = getattr(module, model)
        cls.__init__ = _with_sentences(cls.__init__, model, keys)

    def refuse_pickled_arrays(module: Any) -> None:
        module.np = overlay(module.np, load=_load_array)

    after_import("recbole.trainer.trainer", read_safely)
    for name, (model, keys) in _MODELS_THAT_LOAD.items():
        after_import(name, functools.partial(build_safely, model, keys))
    after_import("recbole.model.context_aware_recommender.kd_dagfm", _name_teachers_only)
    after_import("recbole.model.general_recommender.ldiffrec", refuse_pickled_arrays)


def _with_sentences(
    build: Callable[..., None], model: str, keys: Collection[str]
) -> Callable[..., None]:
    """Return a model's `__init__` that says which setting named a file that it cannot use."""

    @functools.wraps(build)
    def __init__(self: Any, config: Any, dataset: Any) -> None:
        try:
            build(self, config, dataset)
        except UserError as error:
            named = [key for key in keys if config[key] is None or f"'{config[key]}'" in str(error)]
            if not isinstance(error, CheckpointError):
                raise
            raise CheckpointError(f"{' or '.join(named or keys)} of {model}: {error}") from error
        except (RuntimeError, LookupError, TypeError, AttributeError, AssertionError) as error:
            files = [f"{key}: '{config[key]}'" for key in keys if config[key]]
            in_use = isinstance(error, AssertionError) and not files
            if not in_use and not _raised_while_loading(error, build):
                raise
            if not files:
                raise CheckpointError(
                    f"{model} begins from weights of an earlier training: set {' and '.join(keys)}."
                ) from error
            reason = " ".join(str(error).split())[:300]
            raise CheckpointError(
                f"{model} cannot begin from the weights of {' and '.join(files)}: they belong to "
                f"another model, other settings or other data ({type(error).__name__}: {reason})."
            ) from error

    return __init__


def _raised_while_loading(error: BaseException, build: Callable[..., None]) -> bool:
    """Return whether an error comes from the lines of a model that put loaded weights into it."""
    steps = {"load_state_dict", "_load_pretrain", "load_pretrain", "copy_"}
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_name in steps:
            return True
        line = linecache.getline(code.co_filename, trace.tb_lineno)
        if code is build.__code__ and "state_dict" in line:
            return True
        trace = trace.tb_next
    return False


def _name_teachers_only(module: Any) -> None:
    """Let `teacher`, which KD_DAGFM evaluates as Python, name one of the module's networks."""
    networks = [
        key
        for key, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    ]

    def teacher(name: str, *_scopes: Any) -> type:
        if name not in networks:
            raise CheckpointError(
                f"teacher: {str(name)[:80]!r} is no network of KD_DAGFM; "
                f"choose one of {', '.join(networks)}."
            )
        return vars(module)[name]

    module.eval = teacher


def _load_array(file: Any, *_arguments: Any, **_settings: Any) -> Any:
    """Read a .npy file of numbers; RecBole would also unpickle what is in it."""
    import numpy as np

    try:
        return np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{file}: this is no NumPy file of numbers ({error}).") from error
