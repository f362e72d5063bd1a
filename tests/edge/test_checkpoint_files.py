"""Files that claim to be checkpoints: their archives, tensors, and settings when they are used."""

from __future__ import annotations

import collections
import pickle
import random
import struct
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from pickle_attacks import archive, call, named, text, watched, whole

import recbole_precise
from recbole_precise import cli
from recbole_precise.errors import CheckpointError, DataError, UserError
from recbole_precise.finished import load_data_and_model
from recbole_precise.plugin.pickles import archive as torch_archive
from recbole_precise.plugin.pickles.checkpoints import (
    check_other_parameter,
    load_recbole_checkpoint,
    safe_load,
)


def number(value: int) -> bytes:
    return pickle.dumps(value, 4)[2:-1]


def storage(kind: str = "FloatStorage", key: str = "0", count: int = 4) -> bytes:
    return (
        b"("
        + text("storage")
        + named("torch", kind)
        + text(key)
        + text("cpu")
        + number(count)
        + b"tQ"
    )


def tensor(*parts: bytes, data: bytes | None = None) -> bytes:
    """Instructions for `_rebuild_tensor_v2(data, offset, size, stride, False, OrderedDict())`."""
    return call(
        named("torch._utils", "_rebuild_tensor_v2"),
        storage() if data is None else data,
        *parts,
        b"\x89",
        call(named("collections", "OrderedDict")),
    )


def sizes(*values: int) -> bytes:
    return b"(" + b"".join(map(number, values)) + b"t"


FOUR = {"0": np.arange(4, dtype="f4").tobytes()}


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (0, (4,), (1,)),
        (1, (3,), (1,)),
        (0, (2, 2), (1, 2)),
        (3, (), ()),
        (4, (0,), (1,)),
        (0, (2,), (3,)),
        (0, (1, 1), (10**9, 10**9)),
    ],
)
def test_views_within_their_data_are_read(tmp_path, offset, size, stride):
    file = archive(
        tmp_path / "a.pth", whole(tensor(number(offset), sizes(*size), sizes(*stride))), FOUR
    )
    assert torch.equal(safe_load(file), torch.as_strided(torch.arange(4.0), size, stride, offset))


@pytest.mark.parametrize(
    ("offset", "size", "stride"),
    [
        (1, (4,), (1,)),
        (5, (0,), (1,)),
        (0, (5,), (1,)),
        (0, (2,), (4,)),
        (0, (2, 2), (2, 2)),
        (-1, (1,), (1,)),
        (0, (-1,), (1,)),
        (0, (2,), (-1,)),
        (0, (10**12,), (0,)),
        (0, (8,), (0,)),
        (0, (2**62, 4), (0, 1)),
        (0, (4,), (1, 1)),
        (0, (1,) * 65, (1,) * 65),
        (2**63, (0,), (1,)),
        (0, (2**47, 2**47, 0), (1, 1, 1)),
    ],
)
def test_no_tensor_reaches_beyond_its_data(tmp_path, offset, size, stride):
    """torch would enlarge the data, or read what stands behind them."""
    file = archive(
        tmp_path / "a.pth", whole(tensor(number(offset), sizes(*size), sizes(*stride))), FOUR
    )
    with pytest.raises(CheckpointError, match="a.pth"):
        safe_load(file)


REFERENCES = {
    "more data than there are": storage(count=5),
    "fewer": storage(count=3),
    "another type": storage("DoubleStorage"),
    "an unknown type": storage("EvilStorage"),
    "a dotted type": storage("FloatStorage.__class__"),
    "no such data": storage(key="1"),
    "data outside": storage(key="../../data.pkl"),
    "a negative count": storage(count=-1),
    "an enormous count": storage(count=10**15),
    "a class": b"(" + text("module") + named("os", "system") + b"NNtQ",
    "a text": text("0") + b"Q",
    "a type that is a text": b"("
    + text("storage")
    + text("FloatStorage")
    + text("0")
    + text("cpu")
    + number(4)
    + b"tQ",
}


@pytest.mark.parametrize("name", REFERENCES)
def test_references_to_data_are_checked(tmp_path, name):
    parts = (number(0), sizes(3), sizes(1))
    safe_load(archive(tmp_path / "good.pth", whole(tensor(*parts)), FOUR))
    file = archive(tmp_path / "a.pth", whole(tensor(*parts, data=REFERENCES[name])), FOUR)
    with watched(file), pytest.raises(CheckpointError, match="a.pth"):
        safe_load(file)


def test_data_alone_are_no_value(tmp_path):
    for body in (storage(), b"](" + storage() + b"e", named("torch", "FloatStorage")):
        with pytest.raises(CheckpointError, match="data of a tensor|FloatStorage"):
            safe_load(archive(tmp_path / "a.pth", whole(body), FOUR))


@pytest.mark.parametrize(
    "dtype",
    [
        "float32",
        "float64",
        "float16",
        "bfloat16",
        "int64",
        "int32",
        "int16",
        "int8",
        "uint8",
        "bool",
        "complex64",
        "complex128",
    ],
)
def test_tensors_of_torch_come_back(tmp_path, dtype):
    values = torch.arange(24).reshape(4, 6).to(getattr(torch, dtype))
    saved = collections.OrderedDict(
        a=values,
        b=values.t()[1:3],
        c=values[2],
        d=torch.nn.Parameter(values[0], False),
        e=torch.empty(0, 3, dtype=values.dtype),
    )
    torch.save(saved, tmp_path / "a.pth", pickle_protocol=4)
    found = safe_load(tmp_path / "a.pth")
    assert list(found) == list(saved)
    for name, value in saved.items():
        assert (
            torch.equal(found[name], value)
            and found[name].stride() == value.stride()
            and type(found[name]) is type(value)
        )
    assert found["a"].untyped_storage().data_ptr() == found["c"].untyped_storage().data_ptr()


def test_data_of_another_byte_order_are_turned(tmp_path):
    file = tmp_path / "big.pth"
    with zipfile.ZipFile(file, "w") as made:
        made.writestr("archive/data.pkl", whole(tensor(number(0), sizes(4), sizes(1))))
        made.writestr("archive/byteorder", b"big")
        made.writestr("archive/data/0", np.arange(4, dtype=">f4").tobytes())
    assert safe_load(file).tolist() == [0, 1, 2, 3]


def _program(path: Path) -> None:
    class Twice(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return 2 * x

    torch.jit.save(torch.jit.trace(Twice(), torch.ones(1)), path)


def _twice(path: Path) -> None:
    archive(path, whole(b"N"))
    with zipfile.ZipFile(path, "a") as file, pytest.warns(UserWarning, match="Duplicate"):
        file.writestr("archive/data.pkl", whole(b"K\x01"))


def _overlap(path: Path) -> None:
    """Many names for the same bytes."""
    archive(path, whole(b"N"), {str(i): b"\x00" * 10_000 for i in range(2)})
    data = bytearray(path.read_bytes())
    entries = [i for i in range(len(data) - 4) if data[i : i + 4] == b"PK\x01\x02"]
    for entry in entries:
        if data[entry + 46 : entry + 60].startswith(b"archive/data/"):
            struct.pack_into("<LL", data, entry + 20, 20_000_000, 20_000_000)
    path.write_bytes(data)


def _long_directory(path: Path) -> None:
    archive(path, whole(b"N"))
    data = bytearray(path.read_bytes())
    struct.pack_into("<L", data, data.rindex(b"PK\x05\x06") + 12, 2**31)
    path.write_bytes(data)


def _two_roots(path: Path) -> None:
    archive(path, whole(b"N"))
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("other/data.pkl", whole(b"N"))


def _flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[data.index(b"archive/data.pkl") + 17] ^= 0xFF
    path.write_bytes(data)


ARCHIVES = {
    "is compressed": lambda path: archive(
        path, whole(b"N"), {"0": bytes(10**7)}, compression=zipfile.ZIP_DEFLATED
    ),
    "a program of TorchScript": _program,
    "two files named": _twice,
    "overlap": _overlap,
    "more files than a checkpoint": _long_directory,
    "not written by torch 1.6": lambda path: torch.save(
        {"config": 1}, path, _use_new_zipfile_serialization=False
    ),
    "not one that torch.save wrote": _two_roots,
    "its pickle ends early": lambda path: archive(path, b""),
    "Bad CRC-32": lambda path: _flip(archive(path, whole(b"N"))),
}


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("message", ARCHIVES)
def test_archives_that_torch_does_not_write_are_refused(tmp_path, message):
    file = tmp_path / "model.pth"
    safe_load(archive(tmp_path / "good.pth", whole(b"N")))
    ARCHIVES[message](file)
    with watched(file), pytest.raises(CheckpointError, match=f"model.pth.*{message}"):
        safe_load(file)


def test_an_archive_with_more_files_than_a_checkpoint_has(tmp_path, monkeypatch):
    file = archive(tmp_path / "model.pth", whole(b"N"), {str(i): b"" for i in range(100)})
    assert safe_load(file) is None
    monkeypatch.setattr(torch_archive, "LONGEST_DIRECTORY", 1000)
    with pytest.raises(CheckpointError, match="more files"):
        safe_load(file)


@pytest.mark.parametrize(
    ("seed", "count"),
    [(0, 150), *(pytest.param(seed, 2_000, marks=pytest.mark.slow) for seed in range(1, 6))],
)
def test_changed_files_end_in_contents_or_in_words(tmp_path, stock_config, seed, count):
    model = torch.nn.Linear(3, 2)
    contents = {
        "config": stock_config("SASRec"),
        "epoch": 3,
        "state_dict": model.state_dict(),
        "other_parameter": {},
        "optimizer": torch.optim.Adam(model.parameters()).state_dict(),
    }
    torch.save(contents, tmp_path / "whole.pth", pickle_protocol=4)
    load_recbole_checkpoint(tmp_path / "whole.pth")
    b"a".decode("cp437")  # zipfile's codec for names that are not UTF-8, imported at first use
    draw, original = random.Random(seed), (tmp_path / "whole.pth").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.pth") as file:
        inside = {name.partition("/")[2]: file.read(name) for name in file.namelist()}
    refused = 0
    path = tmp_path / "changed.pth"
    for _ in range(count):
        if draw.random() < 0.5:  # the archive itself, whose checksums find most
            data = bytearray(original)
            for _ in range(draw.randint(1, 4)):
                data[draw.randrange(len(data))] = draw.randrange(256)
            path.write_bytes(data[: draw.choice([len(data), draw.randrange(len(data))])])
        else:
            pickled = bytearray(inside["data.pkl"])
            for _ in range(draw.randint(1, 3)):
                pickled[draw.randrange(len(pickled))] = draw.randrange(256)
            archive(
                path,
                bytes(pickled),
                {
                    name.removeprefix("data/"): data
                    for name, data in inside.items()
                    if name.startswith("data/")
                },
            )
        with watched(path):
            try:
                load_recbole_checkpoint(path)
            except CheckpointError as error:
                assert "changed.pth" in str(error)
                refused += 1
    assert refused > count // 2


# --- What a checkpoint holds
# -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "contents",
    [
        [],
        3,
        {"config": {}, "state_dict": {}},
        {"config": None, "state_dict": {}},
        {"config": {"final_config_dict": {}}, "state_dict": {}},
        {"state_dict": {}},
        {"config": 1},
    ],
)
def test_other_contents_are_refused(tmp_path, contents):
    torch.save(contents, tmp_path / "model.pth")
    for trust in (False, True):
        with pytest.raises(CheckpointError, match="model.pth.*not written by RecBole's Trainer"):
            load_recbole_checkpoint(tmp_path / "model.pth", trust)


@pytest.mark.parametrize(
    "change", [{"state_dict": [1]}, {"state_dict": {"w": 1}}, {"state_dict": {1: torch.ones(1)}}]
)
def test_weights_are_tensors_by_name(tmp_path, stock_config, change):
    torch.save(
        {"config": stock_config("SASRec"), "state_dict": {}, **change},
        tmp_path / "model.pth",
        pickle_protocol=4,
    )
    with pytest.raises(CheckpointError, match="state_dict holds more than tensors"):
        load_recbole_checkpoint(tmp_path / "model.pth")


def test_settings_of_a_file_cannot_turn_on_what_acts(tmp_path, stock_config):
    config = stock_config("SASRec")
    evil = {
        "trust_pickle": True,
        "save_dataset": True,
        "dataset_save_path": "x.pth",
        "dataloaders_save_path": "y.pth",
        "save_dataloaders": True,
        "log_wandb": True,
    }
    config.final_config_dict.update(evil)
    torch.save({"config": config, "state_dict": {}}, tmp_path / "model.pth", pickle_protocol=4)
    found = load_recbole_checkpoint(tmp_path / "model.pth")["config"]
    assert not any(found[key] for key in evil)


def test_only_what_a_model_keeps_beside_its_weights_is_set():
    model = types.SimpleNamespace(other_parameter_name=["w", "mean"])
    assert (
        check_other_parameter(model, {"w": 1}, "a.pth") == {"w": 1}
        and check_other_parameter(model, None, "a.pth") is None
    )
    for other in ({"forward": 1}, {"w": 1, "eval": 2}, [1], {1: 1}):
        with pytest.raises(CheckpointError, match="a.pth.*other_parameter"):
            check_other_parameter(model, other, "a.pth")


def test_a_setting_that_a_model_evaluates_is_a_name(tmp_path, stock_config, monkeypatch):
    """KD_DAGFM evaluates `teacher` as Python while it is built."""
    import recbole.model.context_aware_recommender.kd_dagfm as module

    assert module.eval("DAGFM") is module.DAGFM
    trace = tmp_path / "trace"
    for evil in (
        f"__import__('os').mkdir({str(trace)!r})",
        "torch",
        "nn.Module",
        "deepcopy",
        "KD_DAGFM.__init__",
        "open",
        3,
    ):
        with pytest.raises(
            CheckpointError, match="teacher: .*is no network of KD_DAGFM; choose one of"
        ):
            module.eval(evil)
    config = stock_config("KD_DAGFM", **KD)
    config.final_config_dict["teacher"] = f"__import__('os').mkdir({str(trace)!r})"
    torch.save({"config": config, "state_dict": {}}, tmp_path / "evil.pth", pickle_protocol=4)
    with pytest.raises(CheckpointError, match="teacher"):
        load_data_and_model(tmp_path / "evil.pth")
    assert not trace.exists()


KD = {
    "phase": "teacher_training",
    "load_col": {"inter": ["user_id", "item_id", "rating"]},
    "threshold": {"rating": 4},
    "eval_args": {"mode": "labeled"},
    "metrics": ["AUC"],
    "valid_metric": "AUC",
}


def test_arrays_of_a_data_set_are_not_unpickled(tmp_path):
    import recbole.model.general_recommender.ldiffrec as module

    trace = tmp_path / "trace"

    class Evil:
        def __reduce__(self):
            return Path.mkdir, (trace,)

    np.save(tmp_path / "evil.npy", np.asarray([Evil()], dtype=object), allow_pickle=True)
    np.save(tmp_path / "good.npy", np.arange(3))
    assert module.np.load(tmp_path / "good.npy", allow_pickle=True).tolist() == [0, 1, 2]
    with pytest.raises(DataError, match=r"evil\.npy: this is no NumPy file of numbers"):
        module.np.load(tmp_path / "evil.npy", allow_pickle=True)
    assert not trace.exists() and module.np.zeros is np.zeros


def _shop(write_dataset) -> Path:
    events = [(f"u{u}", f"i{(u + t) % 9}", 100 * t + u) for u in range(8) for t in range(6)]
    return write_dataset("shop", events, [(f"i{i}", f"title {i}") for i in range(9)])


def test_a_checkpoint_of_recbole_serves_after_its_data_moved(write_dataset, tmp_path, stock_config):
    """data_path is the folder of the data set or holds it; else RecBole would ask the network."""
    data = _shop(write_dataset)
    config = stock_config(
        "SASRec",
        "shop",
        data_path=str(data),
        load_col={"inter": ["user_id", "item_id", "timestamp"]},
        hidden_size=8,
        inner_size=8,
        n_layers=1,
        n_heads=1,
    )
    from recbole.data import create_dataset
    from recbole.model.sequential_recommender import SASRec

    model = SASRec(config, create_dataset(config))
    torch.save(
        {
            "config": config,
            "state_dict": model.state_dict(),
            "other_parameter": model.other_parameter(),
        },
        tmp_path / "SASRec.pth",
        pickle_protocol=4,
    )
    moved = data.rename(tmp_path / "elsewhere")
    with (
        watched_network(),
        pytest.raises(
            DataError,
            match=r"SASRec.pth' was trained on data set 'shop' .*does not exist here; set data",
        ),
    ):
        load_data_and_model(tmp_path / "SASRec.pth")
    for place in (moved, moved / "shop"):
        loaded = load_data_and_model(tmp_path / "SASRec.pth", {"data_path": str(place)})
        assert all(
            torch.equal(value, model.state_dict()[key])
            for key, value in loaded[1].state_dict().items()
        )
    config.final_config_dict["MAX_ITEM_LIST_LENGTH"] = {"a": 1}
    torch.save(
        {"config": config, "state_dict": model.state_dict()},
        tmp_path / "SASRec.pth",
        pickle_protocol=4,
    )
    with pytest.raises(UserError, match="settings"):
        load_data_and_model(tmp_path / "SASRec.pth", {"data_path": str(moved)})


def watched_network():
    """Fail when a connection is asked for."""
    import contextlib
    import socket

    @contextlib.contextmanager
    def watch():
        def refuse(*_args, **_kwargs):
            raise AssertionError("the network was asked")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(socket.socket, "connect", refuse)
            patch.setattr(socket, "getaddrinfo", refuse)
            yield

    return watch()


# --- RecBole's models that begin from a file
# -------------------------------------------------------

S3REC = [
    "--model=S3Rec",
    "--dataset=shop",
    "--train_stage=finetune",
    "--item_attribute=title",
    "--load_col={inter: [user_id, item_id, timestamp], item: [item_id, title]}",
    "--hidden_size=8",
    "--inner_size=8",
    "--n_layers=1",
    "--n_heads=1",
    "--epochs=1",
    "--gpu_id=",
    "--show_progress=False",
]


def _wrong_files(folder: Path) -> dict[str, tuple[str, str]]:
    """What pre_model_path may be wrongly, and a part of the message."""
    trace = folder / "trace"
    (folder / "text.pth").write_text("not a checkpoint")
    torch.save({"weights": torch.ones(2)}, folder / "other.pth")
    torch.save([1], folder / "list.pth")
    torch.save({"state_dict": {"a": torch.ones(2)}}, folder / "model.pth")
    torch.save({"state_dict": 3}, folder / "number.pth")
    archive(
        folder / "evil.pth",
        whole(b"}(" + text("state_dict") + call(named("os", "mkdir"), text(str(trace))) + b"u"),
    )
    return {
        "missing.pth": ("missing.pth", "does not exist"),
        "a directory": ("", "is a directory"),
        "text": ("text.pth", "damaged, truncated"),
        "no weights": ("other.pth", "holds no 'state_dict'"),
        "a list": ("list.pth", "cannot begin from the weights|holds no"),
        "weights of another model": ("model.pth", "cannot begin from the weights"),
        "a number": ("number.pth", "cannot begin from the weights"),
        "a call": ("evil.pth", "it would run os.mkdir"),
    }


def test_s3rec_begins_from_a_checkpoint_or_says_why_not(write_dataset, tmp_path, capsys):
    data = _shop(write_dataset)
    for name, (file, message) in _wrong_files(tmp_path).items():
        arguments = [
            *S3REC,
            f"--data_path={data}",
            f"--run_dir={tmp_path / 'run'}",
            f"--pre_model_path={tmp_path / file}",
        ]
        assert cli.main(arguments) == 2, name
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert "pre_model_path" in error and "S3Rec" in error
        assert any(part in error for part in message.split("|")), (name, error)
    assert cli.main([*S3REC, f"--data_path={data}", f"--run_dir={tmp_path / 'run'}"]) == 2
    assert "pre_model_path" in capsys.readouterr().err
    assert not (tmp_path / "trace").exists()


OTHERS = {
    "ConvNCF": (
        "general_recommender.convncf",
        {"train_method": "after_pretrain"},
        ("pre_model_path",),
    ),
    "NAIS": ("general_recommender.nais", {}, ("pretrain_path",)),
    "NeuMF": (
        "general_recommender.neumf",
        {"use_pretrain": True},
        ("mf_pretrain_path", "mlp_pretrain_path"),
    ),
    "RaCT": ("general_recommender.ract", {"train_stage": "finetune"}, ("pre_model_path",)),
}


@pytest.mark.parametrize("model", OTHERS)
def test_other_models_that_begin_from_a_file_say_what_is_wrong(write_dataset, tmp_path, model):
    data = _shop(write_dataset)
    _, settings, keys = OTHERS[model]
    settings = {
        **settings,
        "load_col": {"inter": ["user_id", "item_id"]},
        "data_path": str(data),
        "gpu_id": "",
        "epochs": 1,
        "show_progress": False,
    }
    for file, _ in _wrong_files(tmp_path).values():
        given = {
            **settings,
            **dict.fromkeys(keys, str(tmp_path / file)),
            "run_dir": str(tmp_path / "run"),
        }
        with pytest.raises(UserError) as caught:
            recbole_precise.run_recbole(model, "shop", config_dict=given)
        assert keys[0] in str(caught.value), (file, caught.value)
    assert not (tmp_path / "trace").exists()
