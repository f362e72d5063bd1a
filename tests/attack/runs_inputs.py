"""Run directories that a disk, a colleague or an enemy has touched, and the commands that read
them.
"""

from __future__ import annotations

import hashlib
import io
import json
import pickle
import random
import struct
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from attack import SHOP, TRAIN, Attack, Content

from recbole_precise.runs.checkpoint import sealed

Change = Callable[[bytes], bytes]
JSON_FILES = ("result.json", "state.json")
FILES = (*JSON_FILES, "config.yaml", "model.safetensors", "ranks.npz")
#: Values that stand where something else is wanted.
STRANGE: list[Any] = [
    None,
    True,
    0,
    -1,
    1e308,
    2**63,
    "",
    "x",
    "[]",
    [],
    {},
    [[]],
    {"": None},
    "\x00",
    "\ud800",
    [1, "a"],
    -0.0,
    10**30,
]


def inputs(seed: int, count: int) -> Iterator[Attack]:
    """`count` attacks, the same for the same seed.

    Args:
        seed: of everything that is drawn. count: how many.
    """
    kinds = [
        _bytes_of_a_file,
        _content_of_json,
        _content_of_yaml,
        _content_of_weights,
        _content_of_ranks,
        _files_of_the_run,
        _checkpoints,
        _foreign_pth,
        _names_of_runs,
    ]
    for number in range(count):
        draw = random.Random(f"runs-{seed}-{number}")
        yield kinds[number % len(kinds)](draw)


# --- Commands ---------------------------------------------------------------------------------


def _asking(draw: random.Random, run: str = "run") -> tuple[list[str], tuple[str, ...]]:
    """(a command that reads a run, what it may change)."""
    where = "--data_path=data"
    commands: list[tuple[list[str], tuple[str, ...]]] = [
        (["recommend", f"--run_dir={run}", "--users=u1 u2", where], ()),
        (["recommend", f"--run_dir={run}", "--history=i1 i2", "--output=top.jsonl", where], ()),
        (["evaluate", f"--run_dir={run}", where], ()),
        (
            [
                "evaluate",
                f"--run_dir={run}",
                "--split=valid",
                "--output=again.json",
                "--metrics=[recall]",
                "--topk=[3]",
                where,
            ],
            (),
        ),
        (["compare", run, "good", "--resamples=99"], ()),
        (
            [
                "compare",
                "good",
                run,
                "--metric=ndcg@10",
                "--output=compared.json",
                "--resamples=99",
            ],
            (),
        ),
        (["inspect", "gains", run, "good", "--resamples=99"], ()),
        (["inspect", "similarity", run, f"--data_path={'data'}"], ()),
        ([*TRAIN, "--seed=1", f"--run_dir={run}", "--resume=True"], ()),
        ([*TRAIN, "--run_dir=new", f"--warm_start={run}"], ()),
    ]
    return draw.choice(commands)


def _attack(draw: random.Random, name: str, files: dict[str, Content], run: str = "run") -> Attack:
    arguments, may_change = _asking(draw, run)
    return Attack(name, arguments, files, may_change)


# --- Bytes ------------------------------------------------------------------------------------


def _damage(draw: random.Random) -> tuple[str, Change]:
    """(its name, a change of any file's bytes)."""
    seed = draw.random()

    def cut(data: bytes) -> bytes:
        return data[: random.Random(seed).randrange(len(data) + 1)]

    def flip(data: bytes) -> bytes:
        own, changed = random.Random(seed), bytearray(data)
        for _ in range(own.choice([1, 1, 3, 50])):
            if changed:
                changed[own.randrange(len(changed))] ^= 1 << own.randrange(8)
        return bytes(changed)

    def noise(data: bytes) -> bytes:
        return random.Random(seed).randbytes(len(data))

    def insert(data: bytes) -> bytes:
        own = random.Random(seed)
        at = own.randrange(len(data) + 1)
        return (
            data[:at]
            + own.choice([b"\x00", b"\xff\xfe", b"\n\n", b"'\"", b"{", own.randbytes(100)])
            + data[at:]
        )

    def zeros(data: bytes) -> bytes:
        return bytes(len(data))

    changes: dict[str, Change] = {
        "cut": cut, "bits flipped": flip, "noise": noise, "bytes put in": insert, "zeros": zeros,
        "empty": lambda data: b"",
        "twice": lambda data: data + data, "longer": lambda data: data + b"\x00" * 10_000,
        "UTF-16": lambda data: b"\xff\xfe" + data.decode("latin-1").encode("utf-16-le"),
        "BOM": lambda data: b"\xef\xbb\xbf" + data,
    }  # fmt: skip
    name = draw.choice(list(changes))
    return name, changes[name]


def _bytes_of_a_file(draw: random.Random) -> Attack:
    file = draw.choice(FILES)
    name, change = _damage(draw)
    return _attack(draw, f"{file}: {name}", {f"run/{file}": change})


# --- JSON -------------------------------------------------------------------------------------


def _places(value: Any, path: tuple = ()) -> list[tuple]:
    """Paths of all values inside a JSON value."""
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, inner in items:
        found += _places(inner, (*path, key))
    return found


def _changed(content: Any, draw: random.Random) -> Any:
    """A JSON value with one to three of its inner values removed, renamed or replaced."""
    for _ in range(draw.choice([1, 1, 1, 3])):
        places = _places(content)
        if not places:
            return draw.choice(STRANGE)
        *path, last = draw.choice(places)
        inner = content
        for key in path:
            inner = inner[key]
        how = draw.randrange(4)
        if how == 0:
            del inner[last]
        elif how == 1 and isinstance(inner, dict):
            inner[str(last) + "x"] = inner.pop(last)
        else:
            inner[last] = draw.choice(STRANGE)
    return content


def _content_of_json(draw: random.Random) -> Attack:
    """Well-formed JSON of other content.

    The state's checksum is right, as of who knows how it is made.
    """
    file, seed, how = draw.choice(JSON_FILES), draw.random(), draw.randrange(6)

    def change(data: bytes) -> bytes:
        own, content = random.Random(seed), json.loads(data)
        if how == 0:
            depth = own.choice([50, 1000, 200_000])
            return (own.choice(['{"a":', "["]) * depth).encode()
        if how == 1:
            return json.dumps(own.choice(STRANGE)).encode()
        if how == 2:
            return data.replace(b"0.", b"9" * 5000 + b".", 1).replace(b": 0.", b": NaN", 1)
        if file == "state.json":
            inner = {
                key: value for key, value in content.items() if key not in ("format", "checksum")
            }
            return json.dumps(sealed(_changed(inner, own)), ensure_ascii=True).encode()
        return json.dumps(_changed(content, own), ensure_ascii=True).encode()

    return _attack(draw, f"{file}: other content ({how})", {f"run/{file}": change})


# --- YAML -------------------------------------------------------------------------------------

_LINES = [
    "model: 7", "model: Nothing", "model: Pop", "model: [SASRec]", "dataset: other", "dataset: {}",
    "data_path: nowhere", "data_path: 3", "topk: [0]", "topk: ten",
    "metrics: [Nonsense]", "metrics: {}", "embedding_size: -8", "embedding_size: 16",
    "embedding_size: .inf", "n_layers: 999999999", "n_layers: 0", "MAX_ITEM_LIST_LENGTH: 0",
    "MAX_ITEM_LIST_LENGTH: 100", "load_col: {inter: }", "load_col: null",
    "load_col: {inter: [nothing]}", "eval_args: 3", 
            "eval_args: {split: {RS: [1, "
            "1, 1]}}", "eval_args: {split: {LS: x}}",
    "USER_ID_FIELD: item_id", "ITEM_ID_FIELD: nothing", "loss_type: XE", "seed: -1",
    "seed: 2020-01-01", 
            "a: "
            "!!python/object/apply:os.system "
            "[true]", "? [a, b]\n: c", "b: &x [*x]",
    "unknown_key: 1", "n_heads: 3", "hidden_dropout_prob: 7", "learning_rate: text",
    "train_batch_size: 0", "item_text: '{nothing}'", "text_encoder: nowhere", "threads: -3",
    "eval_batch_size: 99999999999999", "user_inter_num_interval: "
                                       "'[1e9,inf)'", "field_separator: ''", "seq_separator: {}",
                                       "encoding: klingon", 
                                               "benchmark_filename: [a, b, "
                                               "c]", "target_scene: x",
]  # fmt: skip


def _content_of_yaml(draw: random.Random) -> Attack:
    seed, how = draw.random(), draw.randrange(8)
    lines = draw.sample(_LINES, draw.choice([1, 1, 2, 5]))

    def change(data: bytes) -> bytes:
        own, text = random.Random(seed), data.decode()
        if how == 0:
            return ("a: " + "[" * own.choice([100, 5000]) + "\n").encode()
        if how == 1:
            kept = text.splitlines()
            return "\n".join(line for line in kept if own.random() < 0.7).encode()
        if how == 2:
            return own.choice(
                [
                    b"",
                    b"- a\n- b\n",
                    b"just text",
                    b"---\n---\n",
                    b"\t\tx",
                    b"%YAML 9.9\n---\na: b\n",
                    b"a: 'open",
                ]
            )
        keys = {line.split(":")[0] for line in lines}
        kept = [line for line in text.splitlines() if line.split(":")[0] not in keys]
        return "\n".join([*kept, *lines, ""]).encode()

    return _attack(
        draw,
        f"config.yaml: {'; '.join(lines) if how > 2 else f'other content ({how})'}",
        {"run/config.yaml": change},
    )


# --- Weights ----------------------------------------------------------------------------------


def _content_of_weights(draw: random.Random) -> Attack:
    """Files of safetensors whose header or tensors are others, with and without a state
    that fits.
    """
    seed, how, fits = draw.random(), draw.randrange(8), draw.random() < 0.5

    def change(data: bytes) -> bytes:
        from safetensors.torch import load, save

        own, tensors = random.Random(seed), load(data)
        name = own.choice(sorted(tensors))
        if how == 0:
            return struct.pack("<Q", own.choice([0, 2**63, 2**40, len(data)])) + data[8:]
        if how == 1:
            header = own.choice(
                [
                    '{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,99999]}}',
                    "{}",
                    "[]",
                    "{" * 500,
                    '{"a":{"dtype":"Q9","shape":[1],"data_offsets":[0,1]}}',
                ]
            )
            return struct.pack("<Q", len(header)) + header.encode() + b"\x00" * 16
        if how == 2:
            del tensors[name]
        elif how == 3:
            tensors[name] = (
                tensors[name].double()
                if tensors[name].is_floating_point()
                else tensors[name].bool()
            )
        elif how == 4:
            tensors[name] = tensors[name].reshape(-1)[: own.randrange(1, 4)].clone()
        elif how == 5:
            tensors[name] = (
                tensors[name] * float("nan") if tensors[name].is_floating_point() else tensors[name]
            )
        elif how == 6:
            tensors["another"] = tensors[name].clone()
        else:
            return b""
        return save(tensors)

    made: list[bytes] = []

    def change_and_keep(data: bytes) -> bytes:
        made[:] = [change(data)]
        return made[0]

    files: dict[str, Content] = {
        "run/model.safetensors": change_and_keep
    }  # before the state, which needs its outcome
    if fits:
        files["run/state.json"] = lambda data: _state_of(data, made[0])
    return _attack(
        draw, f"model.safetensors: other content ({how}{', state fits' if fits else ''})", files
    )


def _state_of(state: bytes, weights: bytes) -> bytes:
    """The state as of who wrote other weights: with their size and digest."""
    content = json.loads(state)
    inner = {key: value for key, value in content.items() if key not in ("format", "checksum")}
    inner["weights"] = {
        **inner["weights"],
        "bytes": len(weights),
        "sha256": hashlib.sha256(weights).hexdigest(),
    }
    return json.dumps(sealed(inner)).encode()


# --- Ranks ------------------------------------------------------------------------------------


def _content_of_ranks(draw: random.Random) -> Attack:
    seed, how = draw.random(), draw.randrange(9)

    def change(data: bytes) -> bytes:
        own = random.Random(seed)
        arrays = dict(np.load(io.BytesIO(data)))
        name = own.choice(sorted(arrays))
        if how == 0:
            del arrays[name]
        elif how == 1:
            arrays[name] = arrays[name][: own.randrange(len(arrays[name]))]
        elif how == 2:
            arrays[name] = np.array([{"a": 1}, None], dtype=object)
        elif how == 3:
            arrays[name] = np.zeros((2, 3, 4))
        elif how == 4:
            arrays["test_rank"] = np.full(len(arrays["test_rank"]), own.choice([0, -5, 10**15]))
        elif how == 5:
            arrays["test_user"] = own.choice(
                [
                    np.arange(len(arrays["test_user"])),
                    arrays["test_user"][::-1],
                    np.full(len(arrays["test_user"]), "u1"),
                ]
            )
        elif how == 6:
            arrays["test_rank"] = own.choice(
                [
                    arrays["test_rank"].astype(float) + np.nan,
                    np.array("text"),
                    np.array(["a"] * len(arrays["test_rank"])),
                ]
            )
        elif how == 7:
            return _bomb()
        else:
            file = io.BytesIO()
            np.save(file, arrays[name])
            return file.getvalue()
        file = io.BytesIO()
        np.savez_compressed(file, **arrays)
        return file.getvalue()

    return _attack(draw, f"ranks.npz: other content ({how})", {"run/ranks.npz": change})


def _bomb() -> bytes:
    """An archive of an array that claims a billion rows."""
    header = (
        b"\x93NUMPY\x01\x00"
        + struct.pack("<H", 118)
        + b"{'descr': '<i8', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117)
        + b"\n"
    )
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in ("test_user", "test_item", "test_rank"):
            entry = zipfile.ZipInfo(f"{name}.npy")  # without it the archive holds the time of day
            archive.writestr(entry, header + bytes(100_000), zipfile.ZIP_DEFLATED)
    return file.getvalue()


# --- Which files there are --------------------------------------------------------------------


def _files_of_the_run(draw: random.Random) -> Attack:
    """Files that are missing, of the other run, folders, or of another format."""
    files: dict[str, Content] = {}
    named = draw.sample(FILES, draw.choice([1, 1, 2, 3]))
    for file in named:
        how = draw.randrange(5)
        if how == 0:
            files[f"run/{file}"] = None
        elif how == 1:
            files[f"run/{file}/inside"] = b"x"
        elif how == 2:
            files[f"run/{file}"] = b'{"format": 99, "checksum": "", "weights": {}}'
        elif how == 3:
            files[f"run/{file}"] = pickle.dumps({"a": 1})
        else:
            files[f"run/{file}"] = b"\x89PNG\r\n\x1a\n" + draw.randbytes(50)
    return _attack(draw, f"{', '.join(named)}: missing or foreign", files)


def _checkpoints(draw: random.Random) -> Attack:
    """An unfinished run whose checkpoints are damaged, which is gone on with or asked."""
    files: dict[str, Content] = {}
    words = []
    for kind in draw.sample(("state", "training", "best"), draw.choice([1, 2, 3])):
        for number in (7, 8):
            if draw.random() < 0.7:
                ending = "json" if kind == "state" else "safetensors"
                name, change = _damage(draw)
                if kind == "state" and draw.random() < 0.5:
                    name, change = "other content, checksum fits", _sealed_change(draw.random())
                files[f"part/checkpoint/{kind}-{number:06d}.{ending}"] = _or_nothing(change)
                words.append(f"{kind}-{number}: {name}")
    resume = [*TRAIN, "--seed=1", "--run_dir=part", "--resume=True"]
    arguments = draw.choice(
        [
            resume,
            resume,
            resume,
            ["recommend", "--run_dir=part", "--users=u1"],
            [*TRAIN, "--run_dir=new", "--warm_start=part"],
        ]
    )
    changed = ("part/checkpoint/*", "part/config.yaml") if arguments is resume else ()
    return Attack(f"checkpoint: {'; '.join(words) or 'as it was'}", list(arguments), files, changed)


def _sealed_change(seed: float) -> Change:
    def change(data: bytes) -> bytes:
        content = json.loads(data)
        inner = {key: value for key, value in content.items() if key not in ("format", "checksum")}
        return json.dumps(sealed(_changed(inner, random.Random(seed))), ensure_ascii=True).encode()

    return change


def _or_nothing(change: Change) -> Change:
    """The change where the file exists; some is written where it does not."""
    return lambda data: change(data) if data else b"some bytes"


# --- RecBole's checkpoints --------------------------------------------------------------------


class _Call:
    def __init__(self, *call: Any) -> None:
        self.call = call

    def __reduce__(self):
        return self.call[0], tuple(self.call[1:])


def _foreign_pth(draw: random.Random) -> Attack:
    name, change = _damage(draw)
    how = draw.randrange(4)
    if how == 0:
        content: Content = pickle.dumps(
            draw.choice(
                [
                    {"a": 1},
                    [1, 2],
                    _Call(print, "PWNED"),
                    _Call(open, "pwned", "w"),
                    {"state_dict": _Call(eval, "1")},
                ]
            ),
            protocol=draw.choice([0, 2, 4]),
        )
        name = "a plain pickle"
    elif how == 1:
        content, name = _zip_of_pickle(draw), "an archive of a pickle"
    else:
        content = change
    arguments = draw.choice([
        ["recommend", "--run_dir=model.pth", "--users=u1", "--data_path=data"],
        ["evaluate", "--run_dir=model.pth", "--data_path=data"],
        [*TRAIN, "--run_dir=new", "--warm_start=model.pth"],
        [
            "--model=S3Rec", *[word for word in SHOP if not word.startswith("--load_col")],
            "--load_col={inter: [user_id, item_id, timestamp], item: [item_id, brand]}",
            "--item_attribute=brand", "--hidden_size=8", "--inner_size=8", "--n_layers=1",
            "--run_dir=new", "--train_stage=finetune", "--pre_model_path=model.pth",
        ],
    ])  # fmt: skip
    return Attack(f"model.pth: {name}", arguments, {"model.pth": content})


def _zip_of_pickle(draw: random.Random) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        names = ["archive/data.pkl", "data.pkl", "../data.pkl", "archive/other"]
        name = zipfile.ZipInfo(draw.choice(names))  # without it the archive holds the time of day
        content = draw.choice([{}, {"config": {}}, {"state_dict": []}, None])
        archive.writestr(name, pickle.dumps(content, protocol=2))
        archive.writestr(zipfile.ZipInfo("archive/version"), b"3\n")
    return file.getvalue()


# --- Names ------------------------------------------------------------------------------------


def _names_of_runs(draw: random.Random) -> Attack:
    """A run directory that is none, or has a name that no directory should have."""
    names = [
        "", " ", "x" * 300, "run\n", "ru\tn", "run ", "run/", "./run/../run", "nowhere", "data",
        "data/shop/shop.inter", "data/shop/shop.inter/run", "run/result.json",
        "run/model.safetensors",
        "run/config.yaml", "~nobody-of-that-name/run", "/", "/dev/null", "/dev/full",
        "/proc/self/mem", "*", "run*", "ünïcödé", "a/" * 2000, "\udcff", "--", "-", "..", "{run}",
        "%s", "run\\", "$HOME",
    ]  # fmt: skip
    name = draw.choice(names)
    commands = [
        [*TRAIN, f"--run_dir={name}"], [*TRAIN, f"--run_dir={name}", "--resume=True"], ["recommend",
            f"--run_dir={name}", "--users=u1", "--data_path=data"],
        ["evaluate", f"--run_dir={name}", "--data_path=data"], ["compare", name,
            "good"] if not name.startswith("-") else ["compare", "good", "good"],
        [*TRAIN, "--run_dir=new", f"--warm_start={name}"], ["evaluate", "--run_dir=run",
            f"--output={name}", "--data_path=data"],
        ["recommend", "--run_dir=run", "--users=u1", f"--output={name}.tsv", "--data_path=data"],
        ["compare", "run", "good", f"--output={name}", "--resamples=99"],
        ["inspect", "gains", "run", "good", f"--output={name}", "--plots=False", "--resamples=99"],
        ["benchmark", f"--plan={name}"], [*TRAIN, "--run_dir=new", f"--result_file={name}"],
        ["audit", "--dataset=shop", "--data_path=data", f"--output={name}", "--plots=False",
            "--text=none"], [*TRAIN, f"--checkpoint_dir={name}"],
    ]  # fmt: skip
    return Attack(f"the name {name[:40]!r}", draw.choice(commands), {})
