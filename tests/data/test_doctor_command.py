"""`recbole-precise doctor` as people use it: real data sets, exit status, and mended copies that
train.
"""

import errno
import importlib
import json
import os
import signal
from pathlib import Path

import pytest

from recbole_precise.cli import main
from recbole_precise.studies.doctor import rows

# The package has a function of the same name.
mend = importlib.import_module("recbole_precise.studies.doctor.mend")
PANTRY = Path(__file__).resolve().parents[2] / "dataset" / "prime-pantry"


@pytest.fixture
def sick(tmp_path):
    """A folder with the data set `sick`: every kind of fault that can be mended, in both files and
    in the header.
    """
    folder = tmp_path / "data" / "sick"
    folder.mkdir(parents=True)
    events = [
        f"u{user}\ti{(user * 3 + k) % 12}\t{1000 + k}" for user in range(30) for k in range(8)
    ]
    events += [
        "u1\ti1",
        "u1\t\t5",
        "u1\ti2\tsoon",
        "[PAD]\ti1\t1",
        '"u2"\ti3\t77',
        '"u3\ti3\t78',
        "u4\ti\r3\t79",
        "u5\ti4\t80\t\t",
        events[0],
    ]
    (folder / "sick.inter").write_bytes(
        ("user_id\titem_id:str\ttimestamp:token\n" + "\n".join(events) + "\n").encode()
        + b"u\xe9\ti1\t9\n"
    )
    items = [f"i{item}\tthing {item}" for item in range(12)] + [
        "i3\tagain",
        "NA\tnone",
        'x1\t"open',
        "x2\ta\x00b",
    ]
    (folder / "sick.item").write_bytes(
        ("item_id:token\ttitle:token_seq\n" + "\n".join(items) + "\n").encode() + b"x3\tcaf\xe9\n"
    )
    return folder


LOAD = "--load_col={'inter': ['user_id', 'item_id', 'timestamp'], 'item': ['item_id', 'title']}"


def test_movielens_has_no_errors(capsys):
    assert main(["doctor", "--dataset=ml-100k"]) == 0
    out, err = capsys.readouterr()
    assert (
        "100,000 usable events of 943 users and 1,682 items; 0 errors, 0 warnings, 1 note." in out
        and not err
    )
    assert main(["doctor", "--dataset=ml-100k", "--fix=anywhere"]) == 2
    assert "its own folder" in capsys.readouterr().err


@pytest.mark.skipif(not PANTRY.is_dir(), reason="prime-pantry has not been converted here")
def test_prime_pantry_has_no_errors(capsys):
    assert main(["doctor", "--dataset=prime-pantry", f"--data_path={PANTRY.parent}"]) == 0
    assert (
        "115,004 usable events of 12,871 users and 8,347 items; 0 errors" in capsys.readouterr().out
    )


def test_errors_are_exit_status_2_and_one_sentence(sick, capsys):
    before = {path.name: path.read_bytes() for path in sick.iterdir()}
    assert main(["doctor", "--dataset=sick", f"--data_path={sick.parent}", LOAD]) == 2
    out, err = capsys.readouterr()
    assert err.count("\n") == 1 and "--fix=FOLDER" in err
    assert "sick.inter, column timestamp: 1 x no finite number (line 244): 'soon'" in out
    assert out.index("Errors") < out.index("Warnings")
    assert before == {path.name: path.read_bytes() for path in sick.iterdir()}


def test_the_mended_set_loads_and_trains(sick, tmp_path, capsys, our_config):
    from recbole_precise.errors import UserError
    from recbole_precise.plugin.preparation import create_dataset

    arguments = [LOAD, "--item_text={title}"]
    with pytest.raises(UserError):
        create_dataset(
            our_config(
                "SASRec",
                "sick",
                data_path=str(sick.parent),
                load_col={"inter": ["user_id", "item_id", "timestamp"]},
            )
        )
    before = {path.name: path.read_bytes() for path in sick.iterdir()}
    assert (
        main(
            [
                "doctor",
                "--dataset=sick",
                f"--data_path={sick.parent}",
                f"--fix={tmp_path / 'new'}",
                *arguments,
            ]
        )
        == 0
    )
    out = capsys.readouterr().out
    assert (
        "sick.inter: 250 rows read, 7 dropped (1 of them repeats), 3 mended, 243 written; line 1 "
        "mended" in out
    )
    assert "sick.item: 17 rows read, 2 dropped (1 of them repeats), 3 mended, 15 written" in out
    assert before == {path.name: path.read_bytes() for path in sick.iterdir()}
    there = [f"--data_path={tmp_path / 'new'}", *arguments]
    assert main(["doctor", "--dataset=sick", *there]) == 0
    config = our_config(
        "SASRec",
        "sick",
        data_path=str(tmp_path / "new"),
        load_col={"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]},
    )
    dataset = create_dataset(config)
    # The events that remain are the clean ones and the mended u2, u3 and u5.
    assert (dataset.inter_num, dataset.user_num, dataset.item_num) == (243, 31, 16)
    file = tmp_path / "result.json"
    assert main(["run", "--model=SASRec", "--dataset=sick", "--epochs=1", "--train_batch_size=64",
        "--MAX_ITEM_LIST_LENGTH=5", "--show_progress=False",
                 "--train_neg_sample_args=None", "--gpu_id=",
                 f"--checkpoint_dir={tmp_path / 'saved'}", f"--result_file={file}",
                 *there]) == 0  # fmt: skip
    assert 0 < json.loads(file.read_text())["test"]["recall@10"] <= 1


def test_a_missing_inter_file_does_not_hide_the_other_faults(sick, tmp_path, capsys):
    (sick / "sick.inter").unlink()
    assert main(["doctor", "--dataset=sick", f"--data_path={sick.parent}"]) == 2
    out = capsys.readouterr().out
    assert (
        "sick.inter: the file is missing" in out
        and "sick.item, column item_id: 1 x the id was described by an earlier row (line 14)" in out
    )
    settings = tmp_path / "settings.yaml"
    settings.write_text(f"data_path: {sick.parent}\n")
    assert main(["doctor", "--dataset=sick", f"--config_files={settings}"]) == 2
    assert capsys.readouterr().out == out


def test_what_cannot_be_mended_is_said(sick, tmp_path, capsys):
    (sick / "sick.inter").write_text("user_id:token\titem_id:token\nu1\ti1\nu2\n")
    assert (
        main(
            ["doctor", "--dataset=sick", f"--data_path={sick.parent}", f"--fix={tmp_path / 'new'}"]
        )
        == 2
    )
    out, err = capsys.readouterr()
    assert "column timestamp: the column is missing" in out and "1 error left" in err
    assert (
        tmp_path / "new" / "sick" / "sick.inter"
    ).read_text() == "user_id:token\titem_id:token\nu1\ti1\n"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "--dataset"),
        (["--dataset=nowhere"], "not in data_path"),
        (["--dataset=ml-100k", "--model=Pop"], "no --model"),
        (["--dataset=ml-100k", "--fx=a"], "Unknown key 'fx'"),
        (["--dataset=ml-100k", "--fix="], "--fix needs a folder"),
    ],
)
def test_mistakes_on_the_command_line(arguments, words, capsys):
    assert main(["doctor", *arguments]) == 2
    out, err = capsys.readouterr()
    assert words in err and not out


def test_an_earlier_copy_is_not_overwritten(sick, tmp_path, capsys):
    (tmp_path / "new" / "sick").mkdir(parents=True)
    assert (
        main(
            ["doctor", "--dataset=sick", f"--data_path={sick.parent}", f"--fix={tmp_path / 'new'}"]
        )
        == 2
    )
    out, err = capsys.readouterr()
    assert "not overwritten" in err and not out
    assert not list((tmp_path / "new" / "sick").iterdir())


def content(folder):
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in folder.rglob("*")
    }


@pytest.mark.parametrize(
    ("place", "words"),
    [
        ("x" * 300, "File name too long"),
        ("file", "is no folder"),
        ("file/below", "is no folder"),
        ("gone", "no place for a folder"),
        ("loop/below", "no place for a folder"),
        ("\udcff", "bytes that are no text"),
        (".", "exists already"),
    ],
)
def test_a_place_for_copies_that_is_none_is_refused_before_reading(sick, place, words, capsys):
    (sick.parent / "file").touch()
    (sick.parent / "gone").symlink_to("nowhere")
    (sick.parent / "loop").symlink_to("loop")
    before = content(sick.parent)
    assert (
        main(
            [
                "doctor",
                "--dataset=sick",
                f"--data_path={sick.parent}",
                f"--fix={sick.parent}/{place}",
            ]
        )
        == 2
    )
    out, err = capsys.readouterr()
    assert words in err and err.count("\n") == 1 and not out and content(sick.parent) == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EACCES])
@pytest.mark.parametrize("step", ["mkdir", "copyfile", "_mend_file", "rename"])
def test_a_disk_that_cannot_be_written_is_one_sentence_and_leaves_nothing(
    sick, code, step, tmp_path, capsys, monkeypatch
):
    (sick / "notes.txt").touch()
    before = content(tmp_path)

    def fails(*_args, **_kwargs):
        raise OSError(code, os.strerror(code))

    with monkeypatch.context() as patch:
        patch.setattr(
            {"mkdir": Path, "rename": Path, "copyfile": mend.shutil, "_mend_file": mend}[step],
            step,
            fails,
        )
        assert (
            main(
                [
                    "doctor",
                    "--dataset=sick",
                    f"--data_path={sick.parent}",
                    f"--fix={tmp_path / 'new/er'}",
                ]
            )
            == 2
        )
    err = capsys.readouterr().err
    assert os.strerror(code) in err and "cannot be written" in err and err.count("\n") == 1
    assert content(tmp_path) == before


def test_an_interrupted_copy_leaves_nothing_and_a_killed_one_is_tidied_up(
    sick, tmp_path, capsys, monkeypatch
):
    before, real = content(tmp_path), mend._mend_file
    for number in (signal.SIGTERM, signal.SIGINT):

        def stopped(*given, number=number):
            os.kill(os.getpid(), number)
            return real(*given)

        with monkeypatch.context() as patch:
            patch.setattr(mend, "_mend_file", stopped)
            assert (
                main(
                    [
                        "doctor",
                        "--dataset=sick",
                        f"--data_path={sick.parent}",
                        f"--fix={tmp_path / 'new'}",
                    ]
                )
                == 130
            )
        assert content(tmp_path) == before
    left = tmp_path / "new" / ".doctor-1-0a0b0c0d"
    left.mkdir(parents=True)
    (left / "in-use.lock").touch()
    (left / "copy").mkdir()
    (left / "copy" / "sick.inter").touch()
    assert (
        main(
            ["doctor", "--dataset=sick", f"--data_path={sick.parent}", f"--fix={tmp_path / 'new'}"]
        )
        == 0
    )
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["sick"]


def test_utf16_without_its_mark_is_a_finding(sick, capsys):
    (sick / "sick.inter").write_bytes(
        "user_id:token\titem_id:token\ttimestamp:float\nu\ti\t1\n".encode("utf-16-le")
    )
    assert (
        main(["doctor", "--dataset=sick", f"--data_path={sick.parent}", "--encoding=utf-16"]) == 2
    )
    out, err = capsys.readouterr()
    assert "cannot be read in utf-16" in out and err.count("\n") == 1


def test_a_file_that_cannot_be_read_is_one_sentence(sick, capsys, monkeypatch):
    def fails(*_):
        raise OSError(errno.EIO, "Input/output error", "sick.inter")

    monkeypatch.setattr(rows, "_lines", fails)
    assert main(["doctor", "--dataset=sick", f"--data_path={sick.parent}"]) == 2
    assert capsys.readouterr().err == "sick.inter: cannot be read (Input/output error).\n"
