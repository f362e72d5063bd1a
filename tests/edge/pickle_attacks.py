"""Pickles made by hand and by chance, and a watch over what Python does while one is read."""

from __future__ import annotations

import contextlib
import io
import pickle
import pickletools
import random
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

_watched: list[tuple[str, str]] | None = None
#: Audit events without an effect on anything outside of the values that are read.
_HARMLESS = (
    "builtins.id",
    "object.__getattr__",
    "object.__setattr__",
    "object.__delattr__",
    "sys._getframe",
    "code.__new__",
    "gc.",
)


def _audit(event: str, arguments: tuple) -> None:
    if _watched is not None and not event.startswith(_HARMLESS):
        _watched.append((event, repr(arguments[:1])[:200]))


sys.addaudithook(_audit)


@contextlib.contextmanager
def watched(*files: Path) -> Iterator[None]:
    """Fail when anything is imported, opened (but `files`), compiled, evaluated or started."""
    global _watched
    modules = set(sys.modules)
    _watched = []
    try:
        yield
    finally:
        events = _watched
        _watched = None
    allowed = {repr((kind(file),)) for file in files for kind in (str, Path)}
    seen = [(event, first) for event, first in events if not (event == "open" and first in allowed)]
    assert not seen, seen
    assert set(sys.modules) == modules, set(sys.modules) - modules


def text(value: str) -> bytes:
    """Return the instructions that push a text."""
    data = value.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def named(module: str, name: str) -> bytes:
    """Return the instructions that push what a (module, name) pair stands for."""
    return text(module) + text(name) + b"\x93"


def call(function: bytes, *arguments: bytes) -> bytes:
    """Return the instructions that push the result of a call."""
    return function + b"(" + b"".join(arguments) + b"tR"


def whole(body: bytes) -> bytes:
    """Return a pickle of protocol 4."""
    return b"\x80\x04" + body + b"."


def archive(
    path: Path, pickled: bytes, data: dict[str, bytes] | None = None, **options: object
) -> Path:
    """Write a file as torch.save does, around any pickle."""
    with zipfile.ZipFile(path, "w", **options) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/byteorder", b"little")
        for key, content in (data or {}).items():
            file.writestr(f"archive/data/{key}", content)
        file.writestr("archive/version", b"3\n")
    return path


#: Names that an attacker would reach for, dotted ones included.
DANGEROUS = [
    ("builtins", "eval"),
    ("builtins", "exec"),
    ("builtins", "getattr"),
    ("builtins", "__import__"),
    ("os", "system"),
    ("builtins", "__import__.__self__"),
    ("numpy.dtypes", "__builtins__.__getitem__"),
    ("subprocess", "Popen"),
    ("numpy.dtypes.os", "system"),
    ("torch", "load"),
    ("torch", "hub.load"),
    ("torch.storage", "_load_from_bytes"),
    ("torch", "_C._LegacyStorage"),
    ("torch", "serialization.torch.os.systemStorage"),
    ("torch", "EvilStorage"),
    ("collections", "OrderedDict.__init__.__globals__"),
    ("collections", "namedtuple"),
    ("collections", "_sys.modules"),
    ("numpy", "load"),
    ("numpy", "memmap"),
    ("numpy", "dtype.__class__"),
    ("numpy", "f2py.os.system"),
    ("numpy.core.multiarray", "fromfile"),
    ("recbole.config.configurator", "Config.__init__"),
    ("recbole.config.configurator", "os.system"),
    ("recbole.utils.enum_type", "Enum"),
    ("_codecs", "lookup"),
    ("torch._utils", "_import_dotted_name"),
    ("torch._utils", "_rebuild_device_tensor_from_numpy"),
    ("io", "open"),
    ("copyreg", "_reconstructor"),
    ("copy_reg", "__newobj__"),
    ("functools", "partial"),
    ("runpy", "run_path"),
    ("torch", "FloatStorage.from_file"),
    ("torch", "UntypedStorage"),
    ("importlib", "import_module"),
    ("pty", "spawn"),
]


class OpcodeFuzzer:
    """Random pickles: sequences of any opcodes with plausible arguments, and whole pickles with
    changed bytes.

    Args:
        seed: of all that is drawn.
        names: (module, name) pairs that may be read.
        samples: whole pickles to change.
    """

    def __init__(self, seed: int, names: list[tuple[str, str]], samples: list[bytes]) -> None:
        self.draw = random.Random(seed)
        self.names = names + DANGEROUS
        self.samples = samples
        self.opcodes = [opcode for opcode in pickletools.opcodes if opcode.code != "."]

    def pickle(self) -> bytes:
        """Return the next random pickle."""
        if self.draw.random() < 0.5:
            return self._changed(self.draw.choice(self.samples))
        return whole(b"".join(self._fragment() for _ in range(self.draw.randint(1, 40))))

    def _fragment(self) -> bytes:
        kind = self.draw.random()
        if kind < 0.25:
            function = named(*self.draw.choice(self.names))
            return call(function, *(self._value() for _ in range(self.draw.randint(0, 4))))
        if kind < 0.5:
            return self._value()
        opcode = self.draw.choice(self.opcodes)
        return opcode.code.encode("latin1") + self._argument(opcode.arg)

    def _value(self) -> bytes:
        choices = [
            lambda: pickle.dumps(
                self.draw.choice([0, -1, 2**70, 1.5, None, True, "a", b"b", "f8", "cpu", "latin1"]),
                4,
            )[2:-1],
            lambda: text(
                self.draw.choice(
                    ["__class__", "__dict__", "final_config_dict", "storage", "x" * 300]
                )
            ),
            lambda: b"K" + bytes([self.draw.randrange(256)]),
            lambda: b"J" + struct.pack("<i", self.draw.choice([-1, 2**31 - 1, -(2**31), 10**9])),
            lambda: self.draw.choice([b"]", b"}", b")", b"\x8f", b"(lp0\n", b"N"]),
            lambda: named(*self.draw.choice(self.names)),
            lambda: b"(" + self._value() + self._value() + b"t",
        ]
        return self.draw.choice(choices)()

    def _argument(self, kind: pickletools.ArgumentDescriptor | None) -> bytes:
        if kind is None:
            return b""
        if kind.n >= 0:
            return bytes(
                self.draw.choice([0, 0, 1, 255, self.draw.randrange(256)]) for _ in range(kind.n)
            )
        size = {
            pickletools.TAKEN_FROM_ARGUMENT1: 1,
            pickletools.TAKEN_FROM_ARGUMENT4: 4,
            pickletools.TAKEN_FROM_ARGUMENT8U: 8,
        }
        if kind.n in size or kind.n == pickletools.TAKEN_FROM_ARGUMENT4U:
            width = size.get(kind.n, 4)
            length = self.draw.choice([0, 1, 5, 2 ** (8 * width - 1) - 1])
            return length.to_bytes(width, "little") + bytes(
                self.draw.randrange(97, 123) for _ in range(min(length, 8))
            )
        return self.draw.choice(
            [
                b"0\n",
                b"1\n",
                b"os\nsystem\n",
                b"posix\nsystem\n",
                b"'x'\n",
                b"\n",
                b"9" * 5000 + b"\n",
            ]
        )

    def _changed(self, sample: bytes) -> bytes:
        data = bytearray(sample)
        for _ in range(self.draw.randint(1, 6)):
            at = self.draw.randrange(len(data))
            kind = self.draw.randrange(5)
            if kind == 0:
                data[at] = self.draw.randrange(256)
            elif kind == 1:
                data[at:at] = self._fragment()
            elif kind == 2:
                del data[at : at + self.draw.randint(1, 12)]
            elif kind == 3:
                other = self.draw.choice(self.samples)
                first = self.draw.randrange(len(other))
                data[at:at] = other[first : first + self.draw.randint(1, 60)]
            else:
                data[at] = ord(self.draw.choice(self.opcodes).code)
            if not data:
                data += b"."
        return bytes(data)


def stream(data: bytes) -> io.BytesIO:
    """Return bytes as a file."""
    return io.BytesIO(data)
