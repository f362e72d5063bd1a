"""What a pickle of plain values may name, and the bounds of what it may describe."""

from __future__ import annotations

import collections
import pickle
import re
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_precise.errors import CheckpointError

if TYPE_CHECKING:
    from recbole_precise.plugin.pickles.reader import PlainUnpickler

#: What a pickle's values may amount to when every reference between them is followed.
MOST_VALUES = 20_000_000
#: Levels of containers in one another.
MOST_LEVELS = 100

_DTYPE = re.compile(r"[biu]1|[iuf][248]|c8|c16|[SU][1-9][0-9]{0,6}")
_NATIVE = "<" if sys.byteorder == "little" else ">"


class RefusedError(CheckpointError, pickle.UnpicklingError):
    """A pickle asks for something that plain values do not need."""


class DamagedError(CheckpointError, pickle.UnpicklingError):
    """Bytes are not a whole pickle."""


@dataclass(frozen=True, eq=False)
class Rule:
    """What a file may do with one (module, name) pair.

    Attributes:
        name: the pair as text, for messages.
        call: builds a value from checked arguments, `call(reader, arguments)`; None where a call is
            refused. make: builds an empty object of a class, for NEWOBJ; None where that is
            refused.
    """

    name: str
    call: Callable[[PlainUnpickler, tuple], Any] | None = None
    make: Callable[[], Any] | None = None


class Named(type):
    """Classes that a file names and no rule knows: they can be passed on, not called."""

    def __call__(cls, *_args: Any, **_kwargs: Any) -> Any:
        """Refuse the call, naming what it would run."""
        raise RefusedError(f"it would run {cls.__module__}.{cls.__qualname__}")


class State:
    """An object that a file describes by its attributes alone."""

    @classmethod
    def refuses(cls, name: str) -> bool:
        """Return whether an attribute of this name must not be set."""
        return not name.isidentifier() or name.startswith("__")


class Unfinished:
    """Something that only makes sense as a part of a tensor; `name` says what."""

    name = "the data of a tensor"


def stand_in(module: str, name: str) -> type:
    """Return an inert class under the name of one that is not looked up."""

    def refuse(cls: type, *_args: Any, **_kwargs: Any) -> Any:
        raise RefusedError(f"it would make a {module}.{name}")

    body = {"__module__": module, "__qualname__": name, "__new__": refuse}
    return Named(name.rpartition(".")[2] or "unnamed", (), body)


def product(sizes: Iterable[int]) -> int:
    """Return the product of whole numbers, exactly."""
    result = 1
    for size in sizes:
        result *= size
    return result


def is_shape(value: Any) -> bool:
    """Return whether a value is a tuple of sizes: whole numbers from 0 on, within reason."""
    return isinstance(value, tuple) and all(
        type(size) is int and 0 <= size < 2**48 for size in value
    )


def parse_dtype(text: Any) -> np.dtype:
    """Return the NumPy type of a code such as 'f8' or 'U12': numbers, booleans and texts."""
    if type(text) is not str or not _DTYPE.fullmatch(text):
        raise RefusedError("it holds an array of something other than numbers or texts")
    return np.dtype(text)


def check_dtype_state(state: Any) -> None:
    """Accept what NumPy writes behind the types of `parse_dtype`, which are whole without it."""
    if type(state) is not tuple or len(state) != 8 or state[2:5] != (None, None, None):
        raise RefusedError("it describes an unusual NumPy type")
    if state[0] != 3 or state[1] not in (_NATIVE, "|", "="):
        raise RefusedError("its arrays have the byte order of another machine")
    if not all(type(number) is int for number in state[5:]):
        raise RefusedError("it describes an unusual NumPy type")


def set_attributes(target: State, state: Any) -> None:
    """Give an object its attributes, once, if its class takes their names."""
    if vars(target) or type(state) is not dict:
        raise RefusedError(f"it would change a {type(target).__name__} in an unusual way")
    for name in state:
        if type(name) is not str or type(target).refuses(name):
            raise RefusedError(f"it would replace the attribute {str(name)[:80]!r} of its settings")
    vars(target).update(state)


def fill_array(array: np.ndarray, state: Any) -> None:
    """Give an empty array its shape, type and contents, which must fit one another."""
    if type(state) is not tuple or len(state) != 5:
        raise DamagedError("an array in its pickle has no contents")
    version, shape, dtype, by_column, content = state
    sized = is_shape(shape) and isinstance(dtype, np.dtype) and type(content) is bytes
    if not sized or version != 1 or type(by_column) is not bool or len(shape) > 32:
        raise RefusedError("it holds an array of something other than numbers or texts")
    if product(shape) * dtype.itemsize != len(content):
        raise DamagedError("an array in its pickle has another size than its contents")
    # NumPy's stubs want a NumPy bool, which it does not take
    fill: Any = array.__setstate__
    fill((1, shape, dtype, by_column, content))


def _parts(value: Any) -> Iterable[Any]:
    """Return what a container holds, in no particular order; nothing of other values."""
    if isinstance(value, dict):
        attributes = vars(value).values() if type(value) is collections.OrderedDict else ()
        return [*value.keys(), *value.values(), *attributes]
    if isinstance(value, (list, tuple, set, frozenset)):
        return value
    if isinstance(value, State):
        return [*vars(value).values()]
    if isinstance(value, slice):
        return [value.start, value.stop, value.step]
    return ()


def check_extent(root: Any) -> None:
    """Refuse a value that holds itself, is nested deeply, or is small only by sharing its parts.

    Whoever walks the value afterwards (a comparison, a copy, a message) may then do so by plain
    recursion.
    """
    if isinstance(root, (Rule, Unfinished)):
        raise RefusedError(f"it keeps {root.name} as a value")
    finished: dict[
        int, tuple[int, int]
    ] = {}  # id -> (levels, values when every reference is followed)
    open_ids = {id(root)}
    path: list[tuple[Any, Any, int, int]] = [(root, iter(_parts(root)), 1, 1)]
    while path:
        value, parts, levels, count = path.pop()
        for part in parts:
            if isinstance(part, (Rule, Unfinished)):
                raise RefusedError(f"it keeps {part.name} as a value")
            if isinstance(part, (str, bytes, int, float, type(None))):
                count += 1
                continue
            known = finished.get(id(part))
            if known is None:
                if id(part) in open_ids:
                    raise RefusedError("one of its values holds itself")
                if len(path) >= MOST_LEVELS:
                    raise RefusedError(f"its values are nested in more than {MOST_LEVELS} levels")
                open_ids.add(id(part))
                path.append((value, parts, levels, count))
                path.append((part, iter(_parts(part)), 1, 1))
                break
            levels = max(levels, known[0] + 1)
            count += known[1]
        else:
            if levels > MOST_LEVELS or count > MOST_VALUES:
                raise RefusedError(
                    "its values are nested too deeply or refer to one another too often"
                )
            open_ids.discard(id(value))
            finished[id(value)] = (levels, count)
            if path:
                parent, rest, above, total = path.pop()
                path.append((parent, rest, max(above, levels + 1), total + count))
