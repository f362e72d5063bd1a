"""Which (module, name) pairs a pickle of plain values may use, and what each of them builds.

The names are those under which Python, NumPy and torch write such values. A rule takes its
arguments apart and builds the value again; it never passes on something that the file chose to a
function that could do more.
"""

from __future__ import annotations

import collections
import enum
from typing import Any

import numpy as np
import torch

from recbole_precise.plugin.pickles.reader import PlainUnpickler
from recbole_precise.plugin.pickles.rules import (
    DamagedError,
    RefusedError,
    Rule,
    Unfinished,
    is_shape,
    parse_dtype,
    product,
)

_DEVICES = ("cpu", "cuda", "mps", "xpu")
_TORCH_DTYPES = (
    "float16",
    "float32",
    "float64",
    "bfloat16",
    "int8",
    "int16",
    "int32",
    "int64",
    "uint8",
    "bool",
)
_STORAGES = {
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "HalfStorage": torch.float16,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "ShortStorage": torch.int16,
    "CharStorage": torch.int8,
    "ByteStorage": torch.uint8,
    "BoolStorage": torch.bool,
    "ComplexFloatStorage": torch.complex64,
    "ComplexDoubleStorage": torch.complex128,
}


class StorageType(Unfinished):
    """A class of storages, which a file names where its tensors' data follow."""

    def __init__(self, name: str, dtype: torch.dtype) -> None:
        self.name = f"torch.{name}"
        self.dtype = dtype


class Storage(Unfinished):
    """The data of tensors.

    Attributes:
        data: uint8 [bytes] on the device of the tensors.
        dtype: of the values in it.
        count: how many values it holds.
    """

    def __init__(self, data: torch.Tensor, dtype: torch.dtype, count: int) -> None:
        self.data = data
        self.dtype = dtype
        self.count = count


def _odd(name: str) -> RefusedError:
    return RefusedError(f"it makes a {name} from arguments that nobody writes")


def _ordered_dict(_reader: PlainUnpickler, arguments: tuple) -> collections.OrderedDict:
    if arguments != ():
        raise _odd("collections.OrderedDict")
    return collections.OrderedDict()


def _counter(reader: PlainUnpickler, arguments: tuple) -> collections.Counter:
    if len(arguments) != 1 or type(arguments[0]) is not dict:
        raise _odd("collections.Counter")
    reader.spend(len(arguments[0]))
    return collections.Counter(arguments[0])


def _encode(reader: PlainUnpickler, arguments: tuple) -> bytes:
    """Build bytes that were written as text, the one use of `_codecs.encode` in pickles."""
    if (
        len(arguments) != 2
        or type(arguments[0]) is not str
        or arguments[1] not in ("latin1", "latin-1")
    ):
        raise _odd("text by _codecs.encode")
    reader.spend_bytes(len(arguments[0]))
    return arguments[0].encode("latin1")


def _bytes(_reader: PlainUnpickler, arguments: tuple) -> bytes:
    if arguments != ():
        raise _odd("bytes")
    return b""


def _bytearray(reader: PlainUnpickler, arguments: tuple) -> bytearray:
    if arguments == ():
        return bytearray()
    if len(arguments) == 1 and type(arguments[0]) is bytes:
        reader.spend_bytes(len(arguments[0]))
        return bytearray(arguments[0])
    return bytearray(_encode(reader, arguments))


def _elements(reader: PlainUnpickler, arguments: tuple, name: str) -> list[Any]:
    if len(arguments) != 1 or type(arguments[0]) is not list:
        raise _odd(name)
    reader.spend(len(arguments[0]))
    for element in arguments[0]:
        reader.check_key(element)
    return arguments[0]


def _set(reader: PlainUnpickler, arguments: tuple) -> set:
    return set(_elements(reader, arguments, "set"))


def _frozenset(reader: PlainUnpickler, arguments: tuple) -> frozenset:
    return frozenset(_elements(reader, arguments, "frozenset"))


def _complex(_reader: PlainUnpickler, arguments: tuple) -> complex:
    if len(arguments) != 2 or not all(type(part) is float for part in arguments):
        raise _odd("complex")
    return complex(arguments[0], arguments[1])


def _range(_reader: PlainUnpickler, arguments: tuple) -> range:
    if len(arguments) != 3 or not all(type(part) is int for part in arguments):
        raise _odd("range")
    return range(*arguments)


def _slice(_reader: PlainUnpickler, arguments: tuple) -> slice:
    if len(arguments) != 3 or not all(type(part) in (int, type(None)) for part in arguments):
        raise _odd("slice")
    return slice(*arguments)


def _dtype(_reader: PlainUnpickler, arguments: tuple) -> np.dtype:
    if not arguments or not all(type(flag) in (bool, int) for flag in arguments[1:]):
        raise _odd("numpy.dtype")
    return parse_dtype(arguments[0])


def _scalar(reader: PlainUnpickler, arguments: tuple) -> np.generic:
    if (
        len(arguments) != 2
        or not isinstance(arguments[0], np.dtype)
        or type(arguments[1]) is not bytes
    ):
        raise _odd("number of NumPy's")
    dtype, content = arguments
    if dtype.itemsize != len(content):
        raise DamagedError("a number in its pickle has another size than its type")
    reader.spend_bytes(len(content))
    return np.frombuffer(content, dtype=dtype)[0]


def _reconstruct(reader: PlainUnpickler, arguments: tuple) -> np.ndarray:
    if len(arguments) != 3 or arguments[0] is not _NDARRAY or arguments[1:] != ((0,), b"b"):
        raise _odd("numpy.ndarray")
    return reader.unfilled_array()


def _device(_reader: PlainUnpickler, arguments: tuple) -> torch.device:
    known = 1 <= len(arguments) <= 2 and type(arguments[0]) is str and arguments[0] in _DEVICES
    if not known or not all(type(number) is int and 0 <= number < 128 for number in arguments[1:]):
        raise _odd("torch.device")
    return torch.device(*arguments)


def _size(reader: PlainUnpickler, arguments: tuple) -> torch.Size:
    if len(arguments) != 1 or not is_shape(arguments[0]):
        raise _odd("torch.Size")
    reader.spend(len(arguments[0]))
    return torch.Size(arguments[0])


def _tensor(reader: PlainUnpickler, arguments: tuple) -> torch.Tensor:
    """Build a view of a storage; every element that it could reach must lie in that storage."""
    if not 6 <= len(arguments) <= 7 or not isinstance(arguments[0], Storage):
        raise _odd("tensor")
    storage, offset, shape, strides, with_gradient, hooks = arguments[:6]
    if (
        not is_shape(shape)
        or not is_shape(strides)
        or len(shape) != len(strides)
        or len(shape) > 64
    ):
        raise _odd("tensor")
    plain = (
        type(offset) is int and type(with_gradient) is bool and hooks == collections.OrderedDict()
    )
    if not plain or any(arguments[6:]):
        raise _odd("tensor")
    count = product(shape)
    last = sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if not 0 <= offset <= storage.count or (count and offset + last >= storage.count):
        raise RefusedError("one of its tensors reaches beyond its data")
    if count > storage.count:
        raise RefusedError("one of its tensors is larger than its data")
    reader.spend(len(shape))
    tensor = torch.empty(0, dtype=storage.dtype, device=storage.data.device)
    tensor.set_(storage.data.untyped_storage(), offset, shape, strides)
    return tensor.requires_grad_(with_gradient)


def _parameter(_reader: PlainUnpickler, arguments: tuple) -> torch.nn.Parameter:
    right = (
        len(arguments) == 3 and type(arguments[0]) is torch.Tensor and type(arguments[1]) is bool
    )
    if not right or arguments[2] != collections.OrderedDict():
        raise _odd("torch.nn.Parameter")
    return torch.nn.Parameter(arguments[0].detach(), arguments[1])


def enum_rule(kind: type[enum.Enum]) -> Rule:
    """Return the rule of an enumeration: a member by its number, and nothing else."""
    members = {member.value: member for member in kind}
    name = f"{kind.__module__}.{kind.__qualname__}"

    def member(_reader: PlainUnpickler, arguments: tuple) -> enum.Enum:
        if (
            len(arguments) != 1
            or type(arguments[0]) not in (int, str)
            or arguments[0] not in members
        ):
            raise RefusedError(f"it names a member that {name} does not have")
        return members[arguments[0]]

    return Rule(name, member)


_NDARRAY = Rule("numpy.ndarray")


def plain_table() -> dict[tuple[str, str], Any]:
    """Return the rules of plain values, arrays and tensors."""
    table: dict[tuple[str, str], Any] = {
        ("collections", "OrderedDict"): Rule("collections.OrderedDict", _ordered_dict),
        ("collections", "Counter"): Rule("collections.Counter", _counter),
        ("_codecs", "encode"): Rule("_codecs.encode", _encode),
        ("torch", "device"): Rule("torch.device", _device),
        ("torch", "Size"): Rule("torch.Size", _size),
        ("torch._utils", "_rebuild_tensor_v2"): Rule("torch._utils._rebuild_tensor_v2", _tensor),
        ("torch._utils", "_rebuild_parameter"): Rule("torch._utils._rebuild_parameter", _parameter),
        ("numpy", "dtype"): Rule("numpy.dtype", _dtype),
        ("numpy", "ndarray"): _NDARRAY,
    }
    builtin = {
        "set": _set,
        "frozenset": _frozenset,
        "complex": _complex,
        "bytes": _bytes,
        "bytearray": _bytearray,
        "range": _range,
        "slice": _slice,
    }
    for name, call in builtin.items():
        # Pickles up to protocol 2 name these as Python 2 did.
        table["builtins", name] = Rule(f"builtins.{name}", call)
        table["__builtin__", "xrange" if name == "range" else name] = table["builtins", name]
    for package in ("numpy.core.multiarray", "numpy._core.multiarray"):
        table[package, "scalar"] = Rule(f"{package}.scalar", _scalar)
        table[package, "_reconstruct"] = Rule(f"{package}._reconstruct", _reconstruct)
    for name in _TORCH_DTYPES:
        table["torch", name] = getattr(torch, name)
    for name, dtype in _STORAGES.items():
        table["torch", name] = StorageType(name, dtype)
    return table
