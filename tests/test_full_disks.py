"""Disks that are full, read-only or forbidden, and names that no file can have: a sentence, status
2, and nothing half written.

A full disk is a limit on the size of a file (RLIMIT_FSIZE): every write behind it fails with EFBIG,
which is handled as ENOSPC is. Other refusals are patched system calls, because tests may run as
root, who may write everywhere.
"""

from __future__ import annotations

import builtins
import contextlib
import errno
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file

from recbole_precise import cli
from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.files import output_file, output_folder, write_json
from recbole_precise.system.locking import LOCK

resource = pytest.importorskip("resource", reason="limits of POSIX")
ROOT = Path(__file__).resolve().parents[1]


# --- Names ------------------------------------------------------------------------------------

BAD_NAMES = [
    "",
    " ",
    "a\nb",
    "a\0b",
    "x" * 300,
    "ü" * 200,
    "a/" * 3000 + "a",
    "run ",
    " run",
    "/",
    "file/run",
    "~no-such-user-here/run",
]


@pytest.mark.parametrize("name", BAD_NAMES, ids=[repr(name)[:16] for name in BAD_NAMES])
@pytest.mark.parametrize("check", [output_folder, output_file])
def test_names_that_are_none_are_refused_before_anything_is_written(
    name: str, check: Callable, tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(ConfigError, match="^run_dir ") as refused:
        check(name, "run_dir")
    assert len(str(refused.value)) < 400 and "\n" not in str(refused.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_names_that_are_good_stay(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "odd ").mkdir()
    for name in (
        "run",
        "a b/c",
        "./x",
        "../y",
        "ünïcödé",
        "odd /run",
        "x" * 255,
        str(tmp_path / "new"),
        ".",
    ):
        assert output_folder(name, "run_dir") == Path(name)
    assert output_folder("~/run", "run_dir") == tmp_path / "home" / "run"
    assert output_file("new.json", "--output", replaces=".json") == Path("new.json")


def test_a_file_that_is_no_output_is_not_replaced(tmp_path: Path) -> None:
    for name in ("notes.txt", "old.json", "config.yaml", "result.json"):
        (tmp_path / name).write_text("{}")
    assert output_file(str(tmp_path / "old.json"), "--output", replaces=".json")
    for name, words in (
        ("notes.txt", "is no .json file"),
        ("config.yaml", "part of a run"),
        ("result.json", "part of a run"),
    ):
        with pytest.raises(ConfigError, match=words):
            output_file(str(tmp_path / name), "--output", replaces=".json")
    with pytest.raises(ConfigError, match="device or a pipe"):
        output_file(os.devnull, "--output")
    with pytest.raises(CheckpointError, match="exists and is no file"):
        write_json(Path(os.devnull), {})


COMMANDS_WITH_A_PLACE = [
    ["--model=Pop", "{data}", "--run_dir={place}"],
    ["--model=Pop", "{data}", "--checkpoint_dir={place}"],
    ["--model=Pop", "{data}", "--result_file={place}"],
    ["benchmark", "ml-100k", "--runs={place}"],
    ["benchmark", "ml-100k", "--output={place}"],
    ["audit", "--dataset=ml-100k", "--output={place}"],
    ["replay", "{data}", "--output={place}"],
    ["tune", "--model=SASRec", "{data}", "--storage={place}"],
    ["evaluate", "--run_dir={run}", "--output={place}"],
    ["recommend", "--run_dir={run}", "--users=u1", "--output={place}"],
    ["compare", "{run}", "{run}", "--output={place}"],
    ["inspect", "gains", "{run}", "{run}", "--output={place}"],
]


@pytest.mark.parametrize(
    "command",
    COMMANDS_WITH_A_PLACE,
    ids=[" ".join((words[0], words[-1])) for words in COMMANDS_WITH_A_PLACE],
)
def test_every_command_checks_the_place_that_it_is_given(
    command: list[str], run: Path, data: list[str], tmp_path: Path, monkeypatch, capsys
) -> None:
    """Before anything is read, computed or written."""
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    for place in ("", "x" * 300, "a\0b", "/dev/null/x", "run\n"):
        words = []
        for word in command:
            words += data if word == "{data}" else [word.format(place=place, run=run)]
        assert cli.main(words) == 2, place
        said = capsys.readouterr()
        assert said.out == "" and said.err.count("\n") == 1 and len(said.err) < 500, said.err
        assert (
            "run_dir" in said.err
            or "--output" in said.err
            or command[-1].split("=")[0].lstrip("-") in said.err
        )
    assert sorted(tmp_path.iterdir()) == before


# --- Full disks -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """data_path of a small data set."""
    folder = tmp_path_factory.mktemp("disks") / "dataset" / "shop"
    folder.mkdir(parents=True)
    rows = [f"u{u}\ti{(3 * u + t * t) % 40}\t{86_400 * t + u}" for u in range(60) for t in range(9)]
    folder.joinpath("shop.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    items = [f"i{i}\tItem {i} of the shop" for i in range(40)]
    folder.joinpath("shop.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *items]) + "\n"
    )
    return folder.parent


@pytest.fixture
def data(shop: Path) -> list[str]:
    return [
        "--dataset=shop",
        f"--data_path={shop}",
        "--show_progress=False",
        "--use_gpu=False",
        "--state=WARNING",
    ]


@pytest.fixture(scope="module")
def run(shop: Path) -> Path:
    """A finished run."""
    folder = shop.parent / "run"
    small = ["--embedding_size=8", "--n_layers=1", "--epochs=1", "--tensorboard=False"]
    assert (
        cli.main(
            [
                "--model=SASRec-CE",
                "--dataset=shop",
                f"--data_path={shop}",
                "--use_gpu=False",
                "--state=ERROR",
                f"--run_dir={folder}",
                *small,
            ]
        )
        == 0
    )
    return folder


def files_below(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


@contextlib.contextmanager
def no_file_longer_than(limit: int) -> Iterator[None]:
    """Within it the system refuses to make any file longer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def check_whole(folder: Path) -> None:
    """Every file under its final name is complete, and no temporary one is left."""
    for path in folder.rglob("*"):
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                assert arrays.files
        elif path.suffix == ".safetensors":
            load_file(path)
        assert path.suffix not in (".tmp", ".partial") and path.name != LOCK, path


SMALL = ["--embedding_size=8", "--n_layers=1", "--epochs=2", "--checkpoint_seconds=0"]
FULL = {
    "run": (
        ["--model=SASRec-CE", "{data}", *SMALL, "--run_dir={new}/run"],
        [0, 300, 3_000, 14_000],
    ),
    "run with a copy": (
        ["--model=Pop", "{data}", "--run_dir={new}/run", "--result_file={new}/copy.json"],
        [1_500],
    ),
    "pretraining": (
        [
            "--model=S3Rec",
            "{data}",
            "--load_col={columns}",
            "--item_attribute=title",
            "--train_stage=pretrain",
            "--hidden_size=8",
            "--inner_size=8",
            "--n_layers=1",
            "--pretrain_epochs=1",
            "--save_step=1",
            "--checkpoint_dir={new}",
        ],
        [8_000],
    ),
    "evaluate": (["evaluate", "--run_dir={run}"], [0, 500]),
    "evaluate elsewhere": (["evaluate", "--run_dir={run}", "--output={new}/a/b.json"], [100]),
    "recommend": (
        ["recommend", "--run_dir={run}", "--users=u1 u2", "--output={new}/top.tsv"],
        [0, 200],
    ),
    "compare": (
        ["compare", "{run}", "{run2}", "--output={new}/compared.json", "--resamples=99"],
        [0, 300],
    ),
    "inspect": (
        ["inspect", "gains", "{run}", "{run2}", "--output={new}/gains", "--resamples=99"],
        [100, 20_000],
    ),
    "audit": (
        [
            "audit",
            "--dataset=shop",
            "--data_path={path}",
            "--output={new}/audit",
            "--shuffles=239",
            "--text=none",
        ],
        [100, 12_000],
    ),
    "replay": (
        [
            "replay",
            "{data}",
            "--output={new}/replay",
            "--period=3",
            "--plots=False",
            "--variant=id",
            "--embedding_size=8",
            "--token_size=8",
            "--epochs=1",
        ],
        [0, 3_000],
    ),
    "tune": (
        [
            "tune",
            "--model=SASRec-CE",
            "{data}",
            "--embedding_size=8",
            "--n_layers=1",
            "--epochs=1",
            "--params_file={path}/x.hyper",
            "--sampler=grid",
            "--storage={new}/s.db",
        ],
        [0, 3_000, 60_000],
    ),
    "benchmark": (
        [
            "benchmark",
            "--plan={path}/plan.yaml",
            "--runs={new}/runs",
            "--report_only=True",
            "--plots=False",
        ],
        [0, 500],
    ),
    "encode": (
        [
            "encode",
            "{data}",
            "--item_text={title}",
            "--text_encoder={bert}",
            "--text_cache_dir={new}/cache",
        ],
        [0, 2_000],
    ),
}


@pytest.mark.parametrize(
    ("name", "limit"), [(name, limit) for name, (_, limits) in FULL.items() for limit in limits]
)
def test_a_full_disk(
    name: str,
    limit: int,
    run: Path,
    shop: Path,
    data: list[str],
    bert: Path,
    tmp_path: Path,
    capsys,
) -> None:
    """Each command, with disks that are full early and late: what was complete stays, and with room
    the command works.
    """
    shop.joinpath("x.hyper").write_text("learning_rate choice [0.01, 0.001]\n")
    plan = {
        "datasets": {"shop": {"data_path": str(shop)}},
        "models": {"Pop": None},
        "seeds": [1],
        "metrics": ["ndcg@10"],
        "resamples": 99,
    }
    shop.joinpath("plan.yaml").write_text(json.dumps(plan))
    own = tmp_path / "run"
    shutil.copytree(run, own)
    shutil.copytree(run, tmp_path / "run2")
    places = {
        "new": tmp_path / "new",
        "run": own,
        "run2": tmp_path / "run2",
        "path": shop,
        "bert": bert,
        "title": "{title}",
    }
    places["columns"] = "{inter: [user_id, item_id, timestamp], item: [item_id, title]}"
    words = [
        word
        for each in FULL[name][0]
        for word in (data if each == "{data}" else [each.format(**places)])
    ]
    before = files_below(tmp_path)
    with no_file_longer_than(limit):
        status = cli.main(words)
    said = capsys.readouterr().err
    assert status == 2, said
    assert (
        "Traceback" not in said
        and "Exception in thread" not in said
        and "Logging error" not in said
    ), said
    last = said.strip().splitlines()[-1]
    assert "No space left in" in last or "File too large" in last, said
    after = files_below(tmp_path)
    assert {file: after.get(file) for file in before} == before
    check_whole(tmp_path)
    if name == "run":
        assert cli.main([*words, "--resume=True"]) == 0, capsys.readouterr().err
        assert (tmp_path / "new" / "run" / "result.json").is_file()


def test_a_log_and_events_that_do_not_fit_are_a_warning(
    run: Path, data: list[str], tmp_path: Path, capsys
) -> None:
    """The log is nearly as long as a file may be, the results are not: the run ends well, and says
    that the log does not.
    """
    words = [word for word in data if not word.startswith("--state")]
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "train.log").write_text("x" * 199_000 + "\n")
    with no_file_longer_than(200_000):
        status = cli.main(["--model=Pop", *words, f"--run_dir={tmp_path / 'run'}", "--slices=[]"])
    said = capsys.readouterr().err
    assert status == 0 and "Traceback" not in said and "Logging error" not in said, said
    assert said.count("train.log' ends here: File too large") == 1 and "test result" in said


# --- Read-only and forbidden ------------------------------------------------------------------


@contextlib.contextmanager
def refusing(below: Path, number: int) -> Iterator[None]:
    """Within it nothing below a folder can be made or written, as on a disk that is read-only or
    forbidden to the user.
    """

    def refuse(where: Any, name: str, writes: Callable[..., bool]) -> None:
        original = getattr(where, name)

        def call(path: Any, *args: Any, **kwargs: Any) -> Any:
            if (
                isinstance(path, (str, os.PathLike))
                and os.fspath(path).startswith(str(below))
                and writes(*args, **kwargs)
            ):
                raise OSError(number, os.strerror(number), str(path))
            return original(path, *args, **kwargs)

        patch.setattr(where, name, call)

    with pytest.MonkeyPatch.context() as patch:
        refuse(
            os,
            "open",
            lambda flags=0, *args, **kwargs: bool(flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)),
        )
        refuse(io, "open", lambda mode="r", *args, **kwargs: bool(set("wax+") & set(mode)))
        refuse(builtins, "open", lambda mode="r", *args, **kwargs: bool(set("wax+") & set(mode)))
        for name in ("mkdir", "unlink", "rename", "replace"):
            refuse(os, name, lambda *args, **kwargs: True)
        yield


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
@pytest.mark.parametrize(
    "name",
    [
        "run",
        "evaluate",
        "recommend",
        "compare",
        "inspect",
        "audit",
        "replay",
        "tune",
        "benchmark",
        "encode",
    ],
)
def test_a_disk_that_refuses(
    name: str,
    number: int,
    run: Path,
    shop: Path,
    data: list[str],
    bert: Path,
    tmp_path: Path,
    capsys,
) -> None:
    shop.joinpath("x.hyper").write_text("learning_rate choice [0.01, 0.001]\n")
    plan = {
        "datasets": {"shop": {"data_path": str(shop)}},
        "models": {"Pop": None},
        "seeds": [1],
        "metrics": ["ndcg@10"],
        "resamples": 99,
    }
    shop.joinpath("plan.yaml").write_text(json.dumps(plan))
    disk = tmp_path / "disk"
    shutil.copytree(run, disk / "run")
    places = {
        "new": disk / "new",
        "run": disk / "run",
        "run2": run,
        "path": shop,
        "bert": bert,
        "title": "{title}",
    }
    words = [
        word
        for each in FULL[name][0]
        for word in (data if each == "{data}" else [each.format(**places)])
    ]
    before = files_below(disk)
    with refusing(disk, number):
        status = cli.main(words)
    said = capsys.readouterr().err
    assert status == 2 and "Traceback" not in said, said
    assert os.strerror(number) in said.strip().splitlines()[-1], said
    assert files_below(disk) == before


def test_output_that_nobody_reads_or_that_is_full(tmp_path: Path, shop: Path) -> None:
    """`| head` closes the pipe, `> /dev/full` takes nothing: no stack trace from either."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "recbole_precise", "--help"]
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment, timeout=300
        )
    assert (
        done.returncode == 2
        and done.stderr.count("\n") == 1
        and "No space left on device" in done.stderr
    )
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment, timeout=300
    )
    os.close(writer)
    assert done.returncode == 141 and done.stderr == ""
