"""What a machine can hold and run, refused before it is asked for.

Counts of workers and threads, and tables of parameters.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil

from recbole_precise.errors import ConfigError, shown

#: A width beyond which no layer is built.
_WIDEST = 2**20
#: Copies of a table while it is trained: weights, gradients, and Adam's two means.
_COPIES = 4
_FLOAT = 4


def cores() -> int:
    """Processor cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def most_processes() -> int:
    """Return how many processes a machine of so many cores runs at most.

    Beyond it a count is taken to be a mistake.
    """
    return max(16, 4 * cores())


def machine_memory() -> int:
    """Bytes of memory of this machine, or of the container that this process runs in."""
    total = psutil.virtual_memory().total
    with contextlib.suppress(OSError, ValueError):
        total = min(total, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return total


def check_limits(settings: Mapping[str, Any], where: Callable[[str], str]) -> None:
    """Refuse counts and widths that this machine cannot serve.

    Raises:
        ConfigError: names the key, its value and the bound.
    """
    for key, most in (("worker", most_processes()), ("threads", max(64, 8 * cores()))):
        count = settings.get(key)
        if count is not None and count > most:
            raise ConfigError(
                f"{key} ({where(key)}) must be at most {most} on this machine of {cores()} "
                f"cores, not {shown(count)}."
            )
    for key in ("embedding_size", "hidden_size", "inner_size"):
        width = settings.get(key)
        if isinstance(width, (int, float)) and width > _WIDEST:
            raise ConfigError(
                f"{key} ({where(key)}) must be at most {_WIDEST}, not {shown(width)}."
            )
    width = settings.get("embedding_size")
    layers = settings.get("n_layers")
    if isinstance(width, int) and isinstance(layers, int) and "n_heads" in settings:
        needed = (
            _FLOAT * _COPIES * 4 * width * width * max(layers, 1)
        )  # queries, keys, values and their sum
        if needed > machine_memory():
            raise ConfigError(
                f"embedding_size {width} ({where('embedding_size')}) with n_layers {layers} "
                f"needs at least {_in_words(needed)} for the attention "
                f"layers alone, and this machine has {_in_words(machine_memory())}: choose a "
                "smaller one."
            )


def check_against_data(config: Any, items: int) -> None:
    """Refuse settings that do not fit a catalogue of so many items (the padding counted).

    Raises:
        ConfigError: for tables beyond the machine's memory, and for cut-offs beyond the catalogue
            in RecBole's evaluator.
    """
    width = config["embedding_size"]
    if isinstance(width, (int, float)) and not isinstance(width, bool):
        needed = int(_FLOAT * _COPIES * items * width)
        if needed > machine_memory():
            raise ConfigError(
                f"embedding_size {width} for {items} items needs at least {_in_words(needed)} "
                "while it is trained, and this machine has "
                f"{_in_words(machine_memory())}: choose a smaller embedding_size."
            )
    ranked = getattr(config["eval_type"], "name", "") == "RANKING"
    most = max(config["topk"] or [0])
    if ranked and config["evaluator"] == "recbole" and most > items:
        raise ConfigError(
            f"topk {most} is more than the {items - 1} items of the catalogue: choose a smaller "
            "cut-off."
        )


@contextlib.contextmanager
def built_with(model: str, of_recbole: bool) -> Iterator[None]:
    """Turn what fails while a model is built into a sentence.

    Memory that runs out, and what a model of RecBole does not take.
    """
    try:
        yield
    except MemoryError as error:
        raise _no_memory(model) from error
    except RuntimeError as error:
        if any(
            words in str(error)
            for words in ("allocate", "out of memory", "not enough memory", "Storage size")
        ):
            raise _no_memory(model) from error
        if of_recbole:
            raise _refused(model, error) from error
        raise
    except (
        TypeError,
        ValueError,
        AssertionError,
        ZeroDivisionError,
        IndexError,
        KeyError,
        AttributeError,
        OverflowError,
    ) as error:
        if of_recbole:
            raise _refused(model, error) from error
        raise


def _no_memory(model: str) -> ConfigError:
    return ConfigError(
        f"{model} does not fit into memory ({_in_words(machine_memory())}): choose smaller "
        "widths (embedding_size, inner_size), fewer layers "
        "or a shorter MAX_ITEM_LIST_LENGTH."
    )


def _refused(model: str, error: Exception) -> ConfigError:
    said = " ".join(str(error).split()) or type(error).__name__
    return ConfigError(
        f"{model} of RecBole cannot be built with these settings: {said[:300]} "
        f"({type(error).__name__})."
    )


def _in_words(size: float) -> str:
    for unit in ("bytes", "KB", "MB", "GB", "TB"):
        if size < 1024 or unit == "TB":
            return f"{size:.3g} {unit}"
        size /= 1024
    raise AssertionError("unreachable")
