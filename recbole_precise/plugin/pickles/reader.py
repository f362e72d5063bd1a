"""A reader of pickles that can build plain values and nothing else.

Python's own unpickler looks up whatever a file names and calls it. This one has no lookup: a file's
(module, name) pair is a key of a closed table of rules, each of which checks its arguments and
builds one kind of value. A pair that is not in the table becomes an inert class that can be looked
at and passed on. Only the opcodes that Python writes for plain values (protocols 2 to 5) are known.
Work, memory, nesting and sharing are bounded by the size of the file.
"""

from __future__ import annotations

import collections
import enum
import io
import pickletools
import struct
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from recbole_precise.errors import CheckpointError
from recbole_precise.plugin.pickles.rules import (
    DamagedError,
    Named,
    RefusedError,
    Rule,
    State,
    check_dtype_state,
    check_extent,
    fill_array,
    set_attributes,
    stand_in,
)

#: Values that a pickle may push, copy or refer to.
MOST_STEPS = 2_000_000
#: Keys of dictionaries and elements of sets that are not texts: a file could choose numbers whose
#: hashes collide.
MOST_PLAIN_KEYS = 100_000
#: Different classes that a pickle may name without a rule for them.
MOST_NAMES = 1_000
#: Bytes of a whole number.
LONGEST_NUMBER = 256

_OPCODES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class PlainUnpickler:
    """Reads one pickle, as `pickle.Unpickler` does, by the rules of a table.

    Args:
        file: bytes from the place where the pickle begins; all of them are read.
        table: (module, name) -> a `Rule`, or the value that the pair stands for.
        persistent_load: called with what a file names a persistent id; None: such ids are refused.

    Raises:
        RefusedError: the pickle asks for more than plain values, or for more than a bounded amount
            of them. DamagedError: the bytes are not a whole pickle.
    """

    def __init__(
        self,
        file: io.BufferedIOBase | io.BytesIO,
        table: Mapping[tuple[str, str], Any],
        persistent_load: Callable[[Any], Any] | None = None,
    ) -> None:
        self._data = file.read()
        self._table = table
        self._persistent_load = persistent_load
        self._at = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._names: dict[tuple[str, str], type] = {}
        self._unfilled: dict[int, np.ndarray] = {}
        self._steps = 0
        self._plain_keys = 0
        self._bytes = 4 * len(self._data) + 2**20

    def load(self) -> Any:
        """Return the value that the pickle describes."""
        try:
            value = self._run()
        except CheckpointError:
            raise
        except (IndexError, KeyError, struct.error) as error:
            raise DamagedError(
                f"its pickle ends early or refers to nothing, byte {self._at}"
            ) from error
        except Exception as error:
            raise DamagedError(
                f"its pickle is not valid at byte {self._at} ({type(error).__name__}: {error})"
            ) from error
        check_extent(value)
        return value

    # --- Bounds -------------------------------------------------------------------------------

    def spend(self, steps: int) -> None:
        """Count work and small objects against the bound of a pickle."""
        self._steps += steps
        if self._steps > MOST_STEPS:
            raise RefusedError(f"it describes more than {MOST_STEPS:,} values")

    def spend_bytes(self, count: int) -> None:
        """Count bytes that are copied; each byte of a file is needed a few times at most."""
        self._bytes -= count
        if self._bytes < 0:
            raise RefusedError("it copies its own bytes over and over")

    def check_key(self, key: Any, level: int = 0) -> None:
        """Refuse what cannot be the key of a dictionary or would be slow or unsafe to hash."""
        kind = type(key)
        if kind is str or kind is bytes:
            return
        self._plain_keys += 1
        if self._plain_keys > MOST_PLAIN_KEYS:
            raise RefusedError(f"it has more than {MOST_PLAIN_KEYS:,} keys that are not texts")
        if kind is int and abs(key) < 2**64:
            return
        if kind in (bool, float, type(None)) or isinstance(key, (enum.Enum, np.bool_, np.number)):
            return
        if isinstance(key, tuple) and level < 4:
            self.spend(len(key))
            for part in key:
                self.check_key(part, level + 1)
            return
        raise RefusedError(f"it uses a {kind.__name__} as the key of a dictionary")

    # --- The stack machine --------------------------------------------------------------------

    def _run(self) -> Any:
        data = self._data
        end = len(data)
        while self._at < end:
            code = data[self._at]
            self._at += 1
            self._steps += 1
            if self._steps > MOST_STEPS:
                self.spend(0)
            step = _STEPS.get(code)
            if step is None:
                name = _OPCODES.get(code)
                if code == 0x2E:  # STOP
                    return self._last()
                if name is None:
                    raise DamagedError(f"byte {self._at - 1} of its pickle is no instruction")
                raise RefusedError(f"its pickle has the instruction {name}")
            step(self)
        raise DamagedError("its pickle ends early")

    def _last(self) -> Any:
        if len(self._stack) != 1 or self._marks:
            raise DamagedError("its pickle does not end with one value")
        return self._stack[0]

    def _take(self, count: int) -> bytes:
        """Return the next `count` bytes, which must be there."""
        first = self._at
        if count > len(self._data) - first:
            raise DamagedError("its pickle ends early")
        self._at = first + count
        return self._data[first : self._at]

    def _size(self, width: int) -> int:
        return int.from_bytes(self._take(width), "little")

    def _line(self) -> str:
        end = self._data.index(b"\n", self._at)
        return self._take(end + 1 - self._at)[:-1].decode()

    def _since_mark(self) -> list[Any]:
        items = self._stack
        self._stack = self._marks.pop()
        return items

    def _push_number(self, width: int) -> None:
        if width > LONGEST_NUMBER:
            raise RefusedError(f"it holds a whole number of {width:,} bytes")
        self._stack.append(int.from_bytes(self._take(width), "little", signed=True))

    def _push_text(self, width: int) -> None:
        self._stack.append(self._take(self._size(width)).decode("utf-8", "surrogatepass"))

    def _push_bytes(self, width: int) -> None:
        self._stack.append(self._take(self._size(width)))

    def _push_bytearray(self) -> None:
        self._stack.append(bytearray(self._take(self._size(8))))

    def _protocol(self) -> None:
        if self._size(1) > 5:
            raise DamagedError("its pickle is of a protocol above 5")

    def _mark(self) -> None:
        self._marks.append(self._stack)
        self._stack = []

    def _tuple(self, count: int) -> None:
        if len(self._stack) < count:
            raise DamagedError("its pickle takes a value that is not there")
        self.spend(count)
        items = tuple(self._stack[len(self._stack) - count :])
        del self._stack[len(self._stack) - count :]
        self._stack.append(items)

    def _tuple_since_mark(self) -> None:
        items = self._since_mark()
        self._stack.append(tuple(items))

    def _frozenset(self) -> None:
        items = self._since_mark()
        for item in items:
            self.check_key(item)
        self._stack.append(frozenset(items))

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) is not list:
            raise RefusedError(f"it would append to a {type(target).__name__}")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if type(target) not in (dict, collections.OrderedDict, collections.Counter):
            raise RefusedError(f"it would set items of a {type(target).__name__}")
        if len(items) % 2:
            raise DamagedError("a dictionary in its pickle has a key without a value")
        for key, value in zip(items[::2], items[1::2], strict=True):
            self.check_key(key)
            target[key] = value

    def _set_item(self) -> None:
        value = self._stack.pop()
        key = self._stack.pop()
        self._set_items([key, value])

    def _add_items(self) -> None:
        items = self._since_mark()
        target = self._stack[-1]
        if type(target) is not set:
            raise RefusedError(f"it would add to a {type(target).__name__}")
        for item in items:
            self.check_key(item)
            target.add(item)

    def _pop_mark(self) -> None:
        self._since_mark()

    def _get(self, width: int) -> None:
        self._stack.append(self._memo[self._size(width)])

    def _put(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    # --- Names, calls and objects -------------------------------------------------------------

    def _global(self) -> None:
        module = self._line()
        self._stack.append(self.find_class(module, self._line()))

    def _stack_global(self) -> None:
        name = self._stack.pop()
        module = self._stack.pop()
        if type(name) is not str or type(module) is not str:
            raise DamagedError("its pickle names a class by something that is no text")
        self._stack.append(self.find_class(module, name))

    def find_class(self, module: str, name: str) -> Any:
        """Return the rule or value of a pair in the table, or an inert class."""
        pair = (module, name)
        if pair in self._table:
            return self._table[pair]
        if pair not in self._names:
            if len(self._names) >= MOST_NAMES:
                raise RefusedError(f"it names more than {MOST_NAMES:,} classes")
            self._names[pair] = stand_in(module, name)
        return self._names[pair]

    def _reduce(self) -> None:
        arguments = self._stack.pop()
        function = self._stack.pop()
        if type(arguments) is not tuple:
            raise DamagedError("its pickle calls a function without arguments")
        if isinstance(function, Named):
            raise RefusedError(f"it would run {function.__module__}.{function.__qualname__}")
        if not isinstance(function, Rule):
            raise RefusedError(f"it would call a {type(function).__name__}")
        if function.call is None:
            raise RefusedError(f"it would call {function.name}")
        self._stack.append(function.call(self, arguments))

    def _new_object(self) -> None:
        arguments = self._stack.pop()
        kind = self._stack.pop()
        if isinstance(kind, Named):
            raise RefusedError(f"it would make a {kind.__module__}.{kind.__qualname__}")
        if not isinstance(kind, Rule) or kind.make is None or arguments != ():
            name = kind.name if isinstance(kind, Rule) else type(kind).__name__
            raise RefusedError(f"it would make a {name} in an unusual way")
        self._stack.append(kind.make())

    def _build(self) -> None:
        state = self._stack.pop()
        target = self._stack[-1]
        if isinstance(target, State):
            set_attributes(target, state)
        elif type(target) is collections.OrderedDict:
            # What torch writes beside the weights of a state_dict.
            if (
                type(state) is not dict
                or list(state) != ["_metadata"]
                or not isinstance(state["_metadata"], dict)
            ):
                raise RefusedError("it would change the attributes of an OrderedDict")
            vars(target)["_metadata"] = state["_metadata"]
        elif isinstance(target, np.dtype):
            check_dtype_state(state)
        elif id(target) in self._unfilled:
            array = self._unfilled.pop(id(target))
            fill_array(array, state)
            self.spend_bytes(array.nbytes)
        else:
            kind = target.name if isinstance(target, Rule) else type(target).__name__
            raise RefusedError(f"it would change the attributes of a {kind}")

    def unfilled_array(self) -> np.ndarray:
        """Return an array whose contents the pickle gives next, once."""
        array = np.zeros(0, dtype="i1")
        self._unfilled[id(array)] = array
        return array

    def _persistent(self) -> None:
        if self._persistent_load is None:
            raise RefusedError("its pickle refers to data outside of itself")
        self._stack.append(self._persistent_load(self._stack.pop()))


def _check_frame(reader: PlainUnpickler) -> None:
    if reader._size(8) > len(reader._data) - reader._at:
        raise DamagedError("its pickle ends early")


_STEPS: dict[int, Callable[[PlainUnpickler], None]] = {
    0x80: PlainUnpickler._protocol,
    0x95: lambda reader: _check_frame(reader),
    0x94: lambda reader: reader._put(len(reader._memo)),  # MEMOIZE
    0x71: lambda reader: reader._put(reader._size(1)),  # BINPUT
    0x72: lambda reader: reader._put(reader._size(4)),  # LONG_BINPUT
    0x68: lambda reader: reader._get(1),  # BINGET
    0x6A: lambda reader: reader._get(4),  # LONG_BINGET
    0x28: PlainUnpickler._mark,
    0x30: lambda reader: reader._stack.pop() if reader._stack else reader._pop_mark(),  # POP
    0x31: PlainUnpickler._pop_mark,
    0x4E: lambda reader: reader._stack.append(None),
    0x88: lambda reader: reader._stack.append(True),
    0x89: lambda reader: reader._stack.append(False),
    0x4A: lambda reader: reader._push_number(4),  # BININT
    0x4B: lambda reader: reader._stack.append(reader._size(1)),  # BININT1
    0x4D: lambda reader: reader._stack.append(reader._size(2)),  # BININT2
    0x8A: lambda reader: reader._push_number(reader._size(1)),  # LONG1
    0x8B: lambda reader: reader._push_number(reader._size(4)),  # LONG4
    0x47: lambda reader: reader._stack.append(struct.unpack(">d", reader._take(8))[0]),  # BINFLOAT
    0x8C: lambda reader: reader._push_text(1),  # SHORT_BINUNICODE
    0x58: lambda reader: reader._push_text(4),  # BINUNICODE
    0x8D: lambda reader: reader._push_text(8),  # BINUNICODE8
    0x43: lambda reader: reader._push_bytes(1),  # SHORT_BINBYTES
    0x42: lambda reader: reader._push_bytes(4),  # BINBYTES
    0x8E: lambda reader: reader._push_bytes(8),  # BINBYTES8
    0x96: PlainUnpickler._push_bytearray,
    0x29: lambda reader: reader._stack.append(()),
    0x85: lambda reader: reader._tuple(1),
    0x86: lambda reader: reader._tuple(2),
    0x87: lambda reader: reader._tuple(3),
    0x74: PlainUnpickler._tuple_since_mark,
    0x5D: lambda reader: reader._stack.append([]),
    0x61: lambda reader: reader._append([reader._stack.pop()]),  # APPEND
    0x65: lambda reader: reader._append(reader._since_mark()),  # APPENDS
    0x7D: lambda reader: reader._stack.append({}),
    0x73: PlainUnpickler._set_item,
    0x75: lambda reader: reader._set_items(reader._since_mark()),  # SETITEMS
    0x8F: lambda reader: reader._stack.append(set()),
    0x90: PlainUnpickler._add_items,
    0x91: PlainUnpickler._frozenset,
    0x63: PlainUnpickler._global,
    0x93: PlainUnpickler._stack_global,
    0x52: PlainUnpickler._reduce,
    0x81: PlainUnpickler._new_object,
    0x62: PlainUnpickler._build,
    0x51: PlainUnpickler._persistent,
}
