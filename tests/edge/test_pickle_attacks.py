"""What a pickle can ask for: one attack at a time, over all names, and by chance."""

from __future__ import annotations

import collections
import contextlib
import enum
import importlib
import pickle
import resource
import signal
import struct
import warnings
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from pickle_attacks import DANGEROUS, OpcodeFuzzer, call, named, stream, text, watched, whole

from recbole_precise.errors import CheckpointError
from recbole_precise.plugin.pickles import reader as plain_pickle
from recbole_precise.plugin.pickles.checkpoints import _table, _Unpickler
from recbole_precise.plugin.pickles.rules import Named, RefusedError, Rule, Unfinished

LONG = 10**12
ENUM = ("recbole.utils.enum_type", "ModelType")
CONFIG = named("recbole.config.configurator", "Config") + b")\x81"


def number(value: int) -> bytes:
    return pickle.dumps(value, 4)[2:-1]


def read(data: bytes) -> object:
    return _Unpickler(stream(data)).load()


def nested(opening: bytes, closing: bytes, levels: int) -> bytes:
    return opening * levels + b"N" + closing * levels


ATTACKS = {
    "eval": call(named("builtins", "eval"), text("1")),
    "a call of what a call gave": call(
        call(named("numpy.dtypes", "__builtins__.__getitem__"), text("eval")), text("1")
    ),
    "old names": b"cposix\nsystem\n(X\x04\x00\x00\x00truetR",
    "INST": b"(X\x04\x00\x00\x00trueiposix\nsystem\n",
    "OBJ": b"(" + named("os", "system") + text("true") + b"o",
    "NEWOBJ": named("subprocess", "Popen") + b"(" + text("true") + b"t\x81",
    "NEWOBJ of a trusted class": named("torch", "device") + b"(" + text("cpu") + b"t\x81",
    "NEWOBJ_EX": named("subprocess", "Popen") + b"()}\x92",
    "EXT1": b"\x82\x01",
    "EXT4": b"\x84\x01\x00\x00\x00",
    "persistent id as text": b"P0\n",
    "persistent id": b"(" + text("module") + b"NNNtQ",
    "buffers": b"\x97",
    "settings that are called": call(
        named("recbole.config.configurator", "Config"), text("SASRec"), text("ml-100k")
    ),
    "settings whose method is replaced": CONFIG
    + b"}("
    + text("__getitem__")
    + named("os", "system")
    + b"ub",
    "settings of another class": CONFIG + b"}(" + text("__class__") + named("os", "system") + b"ub",
    "settings whose attributes are a list": CONFIG + b"]b",
    "settings with slots": CONFIG + b"N}(" + text("model") + text("x") + b"u\x86b",
    "settings twice": CONFIG + (b"}(" + text("model") + text("x") + b"ub") * 2,
    "settings with a number as a name": CONFIG + b"}(K\x01K\x02ub",
    "a function whose attributes change": named("collections", "OrderedDict")
    + b"}("
    + text("x")
    + b"Nub",
    "an inert class whose attributes change": named("os", "system") + b"}(" + text("x") + b"Nub",
    "a type of torch's whose attributes change": named("torch", "float32")
    + b"}("
    + text("x")
    + b"Nub",
    "a device whose attributes change": call(named("torch", "device"), text("cpu"))
    + b"}("
    + text("x")
    + b"Nub",
    "a type of NumPy's for everybody": call(named("numpy", "dtype"), text("f8"), b"\x89", b"\x89")
    + b"(K\x03"
    + text(">")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
    "objects in an array": call(named("numpy", "dtype"), text("O8"), b"\x89", b"\x88"),
    "a type made of text": call(named("numpy", "dtype"), text("f8,O"), b"\x89", b"\x88"),
    "an attribute of an ordered mapping": call(named("collections", "OrderedDict"))
    + b"}("
    + text("move_to_end")
    + b"Nub",
    "a new enumeration": call(named(*ENUM), text("X"), text("a b c")),
    "no member": call(named(*ENUM), number(99)),
    "a member by a list": call(named(*ENUM), b"]"),
    "a codec": call(named("_codecs", "encode"), text("x"), text("zip")),
    "bytes by size": call(named("builtins", "bytes"), number(LONG)),
    "bytearray by size": call(named("builtins", "bytearray"), number(LONG)),
    "set of a range": call(
        named("builtins", "set"),
        call(named("builtins", "range"), number(0), number(LONG), number(1)),
    ),
    "shape beyond memory": call(
        named("numpy.core.multiarray", "_reconstruct"),
        named("numpy", "ndarray"),
        b"(" + number(LONG) + b"t",
        b"C\x01b",
    ),
    "another class of arrays": call(
        named("numpy.core.multiarray", "_reconstruct"),
        named("numpy", "memmap"),
        b"(K\x00t",
        b"C\x01b",
    ),
    "an array larger than its bytes": call(
        named("numpy.core.multiarray", "_reconstruct"),
        named("numpy", "ndarray"),
        b"(K\x00t",
        b"C\x01b",
    )
    + b"(K\x01("
    + number(LONG)
    + b"t"
    + call(named("numpy", "dtype"), text("f8"), b"\x89", b"\x88")
    + b"\x89C\x08"
    + bytes(8)
    + b"tb",
    "a text that is promised": b"\x8d" + struct.pack("<Q", LONG),
    "bytes that are promised": b"\x8e" + struct.pack("<Q", LONG),
    "a bytearray that is promised": b"\x96" + struct.pack("<Q", LONG),
    "a frame that is promised": b"\x95" + struct.pack("<Q", LONG),
    "a memory that is promised": b"N" + b"j\xff\xff\xff\xff",
    "a whole number that is promised": b"\x8b\xff\xff\xff\x7f",
    "a long whole number": b"\x8b\x00\x04\x00\x00" + b"\x01" * 1024,
    "deep lists": b"]" * 100_000 + b"a" * 99_999,
    "deep tuples": nested(b"", b"\x85", 100_000),
    "deep keys": b"}" + nested(b"", b"\x85", 100_000) + b"Ns",
    "deep elements": b"\x8f(" + nested(b"", b"\x85", 100_000) + b"\x90",
    "deep frozensets": b"(" * 2000 + b"N" + b"\x91" * 2000,
    "a list in itself": b"]q\x00h\x00a",
    "a mapping in itself": b"}q\x00K\x01h\x00s",
    "few lists that are many": b"](K\x01K\x02K\x03e"
    + b"".join(b"\x94](" + b"h" + bytes([i]) + b"h" + bytes([i]) + b"e" for i in range(60)),
    "the same bytes over and over": b"]("
    + b"X\x10\x27\x00\x00"
    + b"a" * 10_000
    + b"q\x00"
    + call(named("_codecs", "encode"), b"h\x00", text("latin1")) * 1500
    + b"e",
    "many names": b"](" + b"".join(named("m", f"n{i}") for i in range(1_500)) + b"e",
    "a mapping as a key": b"}}Ns",
    "an element that is a list": b"\x8f(]\x90",
    "a key without a value": b"}(K\x01u",
    "a value where a list belongs": b"K\x01K\x02a",
    "a mapping in the place of a mapping": call(named("collections", "Counter"), b"]"),
    "nothing on the stack": b"0000R",
    "two values": b"NN",
    "a mark that is left": b"(N",
    "an unknown instruction": b"\xff",
    "a protocol of tomorrow": b"\x80\x09N",
    "a name that is no text": b"K\x01K\x02\x93",
    "a name with a zero": call(named("os", "a\x00b")),
    "a name of half a letter": call(named("os", "\ud800")),
    "a function as a value": named("_codecs", "encode"),
    "a device of somebody": call(named("torch", "device"), text("privateuseone")),
    "a device number": call(named("torch", "device"), text("cuda"), number(10**9)),
    "a parameter of nothing": call(
        named("torch._utils", "_rebuild_parameter"), b"N", b"\x88", b"N"
    ),
    "a tensor of nothing": call(
        named("torch._utils", "_rebuild_tensor_v2"), b"N", b"K\x00", b")", b")", b"\x89", b"N"
    ),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_a_pickle_that_asks_for_more_than_values_is_refused(name):
    read(whole(b"N"))  # what the reader itself needs is imported
    with watched(), pytest.raises(CheckpointError):
        read(whole(ATTACKS[name]))


def test_the_number_of_values_is_bounded(monkeypatch):
    monkeypatch.setattr(plain_pickle, "MOST_STEPS", 10_000)
    assert len(read(whole(b"](" + b"]" * 9_000 + b"e"))) == 9_000
    for many in (
        b"](" + b"]" * 11_000 + b"e",
        b"](K\x01q\x00" + (b"h\x00h\x00\x86") * 4_000 + b"e",
    ):
        with pytest.raises(RefusedError, match="more than 10,000 values"):
            read(whole(many))
    monkeypatch.setattr(plain_pickle, "MOST_PLAIN_KEYS", 100)
    with pytest.raises(RefusedError, match="more than 100 keys"):
        read(pickle.dumps(dict.fromkeys(range(101)), 4))


def _shared() -> tuple:
    kinds = (torch.device, collections.OrderedDict, np.dtype, torch.nn.Parameter)
    return (
        np.dtype("f8").byteorder,
        [list(vars(kind)) for kind in kinds],
        list(importlib.import_module(ENUM[0]).ModelType),
    )


def test_nothing_shared_is_changed_by_a_refusal():
    before = _shared()
    for attack in ATTACKS.values():
        if len(attack) < 2_000:
            with contextlib.suppress(CheckpointError):
                read(whole(attack))
    assert _shared() == before


PLAIN = [
    None,
    True,
    0,
    -1,
    255,
    65_536,
    -(2**31),
    2**62,
    -(2**70),
    1.5,
    float("inf"),
    "",
    "text \ud800 \U0001f600",
    "x" * 70_000,
    b"",
    b"\x00\xff",
    b"x" * 300,
    bytearray(b"ab"),
    bytearray(),
    1j,
    (),
    (1,),
    (1, 2, 3),
    (1, 2, 3, 4),
    [],
    [1, [2]],
    {},
    {"a": {1: (2, None)}, (1, "b"): 3},
    set(),
    {1, "a"},
    frozenset({2.5}),
    range(3, 9, 2),
    slice(1, None, 2),
    collections.OrderedDict(b=1, a=2),
    collections.Counter("abca"),
    np.float64(0.1),
    np.int32(-7),
    np.bool_(True),
    np.str_("héllo"),
    torch.device("cpu"),
    torch.device("cuda", 1),
    torch.Size([2, 3]),
    torch.float32,
    [[0] * 3] * 4,
    ("a", ("a",)),
]


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_plain_values_come_back(protocol):
    for value in PLAIN:
        found = read(pickle.dumps(value, protocol))
        assert found == value and type(found) is type(value)


@pytest.mark.parametrize("dtype", ["f8", "f4", "f2", "i8", "i1", "u2", "?", "c8", "U5", "S3"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_come_back(dtype, order):
    array = np.asarray(np.arange(12).reshape(3, 4) % 3, dtype=dtype, order=order)
    for protocol in (2, 4):
        found = read(pickle.dumps([array, array[:0], array.T], protocol))
        for one, other in zip(found, [array, array[:0], array.T], strict=True):
            assert (
                one.dtype == other.dtype
                and np.array_equal(one, other)
                and one.flags.f_contiguous == other.flags.f_contiguous
            )
            one.flags.writeable = True  # an array of its own, not a view of the file


def test_sharing_within_a_pickle_is_kept():
    shared = [1]
    first, second = read(pickle.dumps([shared, shared], 4))
    assert first is second


def test_members_of_enumerations_are_the_members():
    kinds = [
        kind
        for kind in vars(importlib.import_module(ENUM[0])).values()
        if isinstance(kind, enum.EnumMeta) and kind.__module__ == ENUM[0]
    ]
    assert len(kinds) > 5
    for member in (member for kind in kinds for member in kind):
        assert read(pickle.dumps(member, 4)) is member


def reachable() -> Iterator[tuple[str, str]]:
    """Every name in every module of the table, names in these, and names as parts of modules."""
    for module in sorted({module for module, _ in _table()}):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            place = importlib.import_module({"__builtin__": "builtins"}.get(module, module))
            for name in dir(place):
                yield module, name
                yield f"{module}.{name}", "__name__"
                yield module, f"{name}.__init__.__globals__"
                for below in dir(getattr(place, name, None))[:4]:
                    yield module, f"{name}.{below}"


def test_every_reachable_name_is_in_the_table_or_refused_without_a_call():
    table = _table()
    assert all("." not in name for _, name in table)
    pairs = sorted({*reachable(), *DANGEROUS})
    assert len(pairs) > 10_000
    in_table = 0
    with watched():
        for module, name in pairs:
            if (module, name) in table:
                in_table += 1
                continue
            found = _Unpickler(stream(b"")).find_class(module, name)
            assert type(found) is Named and vars(found).keys() <= {
                "__module__",
                "__new__",
                "__doc__",
                "__dict__",
                "__weakref__",
                "__firstlineno__",
                "__static_attributes__",
            }
            with pytest.raises(RefusedError, match="it would run"):
                found()
    assert in_table > 20
    for module, name in pairs[::37]:
        if (module, name) not in table:
            for use in (b")R", b")\x81", b"}" + text("x") + b"Nsb"):
                with watched(), pytest.raises(RefusedError, match="it would"):
                    read(whole(named(module, name) + use))


def test_every_name_of_the_table_is_a_rule_or_a_plain_value():
    """With arguments that nobody writes, a rule refuses or gives a plain value."""
    arguments = [
        b")",
        b"(Nt",
        b"(" + number(LONG) + b"t",
        b"(" + text("os.system") + b"t",
        b"(]t",
        b"(" + text("cpu") + number(-1) + b"t",
        b"(NNNNNNNt",
        b"(}K\x01t",
    ]
    plain = (
        bytes,
        bytearray,
        collections.OrderedDict,
        set,
        frozenset,
        torch.device,
        np.dtype,
        enum.Enum,
    )
    for (module, name), meaning in _table().items():
        assert isinstance(meaning, (Rule, Unfinished, torch.dtype)), (module, name)
        for given in arguments:
            try:
                with watched():
                    found = read(whole(named(module, name) + given + b"R"))
            except CheckpointError:
                continue
            assert isinstance(found, plain), (module, name, given)


@contextlib.contextmanager
def ends_within(seconds: int) -> Iterator[None]:
    """Turn a hang into a failure."""

    def stop(*_args):
        raise AssertionError("reading does not end")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize(
    ("seed", "count"),
    [(0, 600), *(pytest.param(seed, 5_000, marks=pytest.mark.slow) for seed in range(1, 21))],
)
def test_random_pickles_end_in_a_value_or_in_words(seed, count, stock_config):
    samples = [pickle.dumps(value, protocol) for value in PLAIN for protocol in (2, 4)]
    samples += [pickle.dumps({"config": stock_config("SASRec"), "epoch": 1}, 4)] * 20
    samples += [whole(attack) for attack in ATTACKS.values() if len(attack) < 2000]
    fuzzer = OpcodeFuzzer(seed, list(_table()), samples)
    read(samples[0])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ends = collections.Counter()
    for _ in range(count):
        data = fuzzer.pickle()
        reader = _Unpickler(stream(data))
        with ends_within(60), watched():
            try:
                reader.load()
                ends["value"] += 1
            except CheckpointError as error:
                ends[type(error).__name__] += 1
        assert reader._steps <= plain_pickle.MOST_STEPS + len(data)
    assert ends["value"] >= 3 and min(ends["RefusedError"], ends["DamagedError"]) > 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 200 * 1024
