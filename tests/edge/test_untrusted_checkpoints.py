"""RecBole's checkpoints are read whole, and nothing that a file asks for is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from recbole.config import Config as RecBoleConfig

from recbole_precise.errors import CheckpointError
from recbole_precise.plugin.pickles.checkpoints import load_recbole_checkpoint, safe_load


class Calls:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.call = (function, arguments)

    def __reduce__(self):
        return self.call


class Unknown:
    pass


@pytest.fixture
def checkpoint(stock_config) -> dict:
    """The contents of a checkpoint as RecBole's Trainer writes them."""
    from recbole.model.sequential_recommender import SASRec  # noqa: F401

    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "config": stock_config("SASRec"), "epoch": 3, "cur_step": 0,
        "best_valid_score": np.float64(0.25), "state_dict": model.state_dict(),
        "other_parameter": {"seen": {1, 2}, "place": 1j, "raw": b"\x00\xff"},
        "optimizer": optimizer.state_dict(),
    }  # fmt: skip


def write(contents, path: Path, protocol: int = 4) -> Path:
    torch.save(contents, path, pickle_protocol=protocol)
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_a_checkpoint_of_recbole_comes_back_whole(checkpoint, tmp_path, protocol):
    file = write(checkpoint, tmp_path / "SASRec.pth", protocol)
    loaded = load_recbole_checkpoint(file)
    assert isinstance(loaded["config"], RecBoleConfig)
    expected = checkpoint["config"].final_config_dict
    assert loaded["config"].final_config_dict == expected
    assert (
        loaded["config"]["MODEL_TYPE"] is expected["MODEL_TYPE"]
        and loaded["config"].model_class is checkpoint["config"].model_class
    )
    assert loaded["other_parameter"] == checkpoint["other_parameter"]
    assert loaded["best_valid_score"] == 0.25 and loaded["epoch"] == 3
    for key, value in checkpoint["state_dict"].items():
        assert torch.equal(loaded["state_dict"][key], value)
    assert loaded["optimizer"]["param_groups"] == checkpoint["optimizer"]["param_groups"]
    assert torch.equal(
        loaded["optimizer"]["state"][0]["exp_avg"], checkpoint["optimizer"]["state"][0]["exp_avg"]
    )


@pytest.mark.parametrize("where", ["config", "epoch", "other_parameter", "state_dict"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_a_file_that_calls_something_is_refused_and_calls_nothing(
    checkpoint, tmp_path, where, protocol
):
    trace = tmp_path / "trace"
    checkpoint[where] = Calls(os.mkdir, str(trace))
    file = write(checkpoint, tmp_path / "evil.pth", protocol)
    with pytest.raises(
        CheckpointError, match=r"evil\.pth.*it would run .*mkdir.*trust_pickle: True"
    ):
        load_recbole_checkpoint(file)
    assert not trace.exists()


def test_trust_reads_everything(checkpoint, tmp_path):
    trace = tmp_path / "trace"
    checkpoint["other_parameter"] = Calls(os.mkdir, str(trace))
    load_recbole_checkpoint(write(checkpoint, tmp_path / "trusted.pth"), trust_pickle=True)
    assert trace.exists()


def test_recboles_config_is_never_called_since_it_evaluates_texts(tmp_path):
    trace = tmp_path / "trace"
    contents = {
        "config": Calls(
            RecBoleConfig,
            "SASRec",
            "ml-100k",
            None,
            {"seed": f"__import__('os').mkdir({str(trace)!r})"},
        ),
        "state_dict": {},
    }
    with pytest.raises(CheckpointError):
        load_recbole_checkpoint(write(contents, tmp_path / "evil.pth"))
    assert not trace.exists()


def test_objects_of_unknown_classes_are_refused_and_names_of_classes_are_not(checkpoint, tmp_path):
    checkpoint["other_parameter"] = Unknown
    assert (
        load_recbole_checkpoint(write(checkpoint, tmp_path / "a.pth"))[
            "other_parameter"
        ].__qualname__
        == "Unknown"
    )
    checkpoint["other_parameter"] = Unknown()
    with pytest.raises(CheckpointError, match="Unknown"):
        load_recbole_checkpoint(write(checkpoint, tmp_path / "b.pth"))


def test_attributes_of_named_modules_cannot_be_reached():
    """A dotted name in a pickle of protocol 4 would otherwise walk from an allowed class to
    anything.
    """
    module, name = b"recbole.config.configurator", b"Config.__init__.__globals__"
    stream = io.BytesIO(
        b"\x80\x04\x8c"
        + bytes([len(module)])
        + module
        + b"\x8c"
        + bytes([len(name)])
        + name
        + b"\x93."
    )
    from recbole_precise.plugin.pickles.checkpoints import _Unpickler

    named = _Unpickler(stream).load()
    assert isinstance(named, type)
    with pytest.raises(pickle.UnpicklingError):
        named()


@pytest.mark.parametrize(
    "damage",
    ["missing", "empty", "text", "cut", "no archive of torch", "no checkpoint", "scrambled pickle"],
)
def test_damaged_files_are_told_by_name(checkpoint, tmp_path, damage):
    file = tmp_path / "model.pth"
    if damage == "empty":
        file.write_bytes(b"")
    elif damage == "text":
        file.write_text("not a checkpoint")
    elif damage == "cut":
        write(checkpoint, file)
        file.write_bytes(file.read_bytes()[:-500])
    elif damage == "no archive of torch":
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("a.txt", "text")
    elif damage == "no checkpoint":
        write({"weights": torch.ones(2)}, file)
    elif damage == "scrambled pickle":
        write(checkpoint, tmp_path / "whole.pth")
        with (
            zipfile.ZipFile(tmp_path / "whole.pth") as whole,
            zipfile.ZipFile(file, "w") as archive,
        ):
            for name in whole.namelist():
                content = whole.read(name)
                archive.writestr(
                    name,
                    content[: len(content) // 2] + b"\x00" + content[len(content) // 2 :]
                    if name.endswith("data.pkl")
                    else content,
                )
    with pytest.raises(CheckpointError, match="model.pth"):
        load_recbole_checkpoint(file)


def test_recboles_own_modules_read_safely(tmp_path):
    """Stock Trainer.evaluate(load_best_model=True) and resume_checkpoint go through the safe
    reader.
    """
    import recbole.model.sequential_recommender.s3rec as s3rec
    import recbole.trainer.trainer as trainer

    trace = tmp_path / "trace"
    file = write({"config": Calls(os.mkdir, str(trace))}, tmp_path / "evil.pth")
    for module in (trainer, s3rec):
        assert module.torch.load is safe_load and module.torch.nn is torch.nn
        with pytest.raises(pickle.UnpicklingError):
            module.torch.load(file, map_location="cpu")
    assert not trace.exists() and torch.load is not safe_load


def test_a_run_on_several_gpus_is_read_on_one_machine(checkpoint, tmp_path):
    checkpoint["config"].final_config_dict.update(
        single_spec=False, local_rank=1, device=torch.device("cuda", 1)
    )
    config = load_recbole_checkpoint(write(checkpoint, tmp_path / "ddp.pth"))["config"]
    assert config["single_spec"] and config["local_rank"] == 0
    assert config["device"] == torch.device("cpu") or torch.cuda.is_available()
