"""Logs: plain where nobody watches, with times that a program reads.

And what a finished run says last.
"""

from __future__ import annotations

import logging
import re
import shlex
import sys
from datetime import datetime
from pathlib import Path

import pytest

from recbole_precise import cli
from recbole_precise.system.clock import timestamp
from recbole_precise.system.logs import log_to, on_a_terminal


class Terminal:
    """A stderr that somebody watches."""

    def __init__(self) -> None:
        self.text = ""

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass

    def isatty(self) -> bool:
        return True


def test_times_have_their_offset(monkeypatch) -> None:
    assert datetime.fromisoformat(timestamp()).utcoffset() is not None
    assert datetime.fromisoformat(timestamp(86_400.7)).timestamp() == 86_400


def test_colours_are_for_terminals(tmp_path: Path, monkeypatch, capsys) -> None:
    coloured = "\x1b[1;35mtest result\x1b[0m: 1"
    with log_to(tmp_path / "a" / "train.log"):
        logging.getLogger().info(coloured)
    assert capsys.readouterr().err.endswith("INFO  test result: 1\n")
    line = (tmp_path / "a" / "train.log").read_text()
    when, _, rest = line.partition(" ")
    assert datetime.fromisoformat(when).utcoffset() is not None and rest == "INFO  test result: 1\n"
    for off in ("", "1"):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("NO_COLOR", off)
        with log_to(None):
            logging.getLogger().info(coloured)
        assert ("\x1b[1;35m" in terminal.text) is (off == "") and on_a_terminal()


@pytest.fixture
def arguments(write_dataset, tmp_path: Path) -> list[str]:
    rows = [
        (f"u{u}" if u else "u 0", f"i{(3 * u + t) % 20}", 100 * t + u)
        for u in range(30)
        for t in range(6)
    ]
    path = write_dataset("shop", rows, items=[(f"i{i}", f"Item {i}") for i in range(20)])
    return [
        "--dataset=shop",
        f"--data_path={path}",
        "--use_gpu=False",
        "--tensorboard=False",
        f"--run_dir={tmp_path / 'a run'}",
    ]


@pytest.mark.parametrize(("model", "watched"), [("SASRec", False), ("SASRec-CE", True)])
def test_bars_are_for_terminals(
    arguments: list[str], tmp_path: Path, monkeypatch, capsys, model: str, watched: bool
) -> None:
    """RecBole's default shows progress; a log of a batch job has no bar and no colour."""
    small = ["--epochs=1", "--n_layers=1"]
    terminal = Terminal()
    if watched:
        monkeypatch.setattr(sys, "stderr", terminal)
    assert cli.main([f"--model={model}", *arguments, *small]) == 0
    said = terminal.text if watched else capsys.readouterr().err
    assert ("Evaluate" in said and "it/s" in said) is watched and ("\x1b[" in said) is watched
    log = (tmp_path / "a run" / "train.log").read_text()
    assert "it/s" not in log and "\x1b[" not in log and "\r" not in log


def test_a_finished_run_says_what_comes_next(arguments: list[str], tmp_path: Path, capsys) -> None:
    """After its result, as commands that can be pasted.

    A run from Python says nothing of commands.
    """
    assert cli.main(["--model=SASRec-CE", *arguments, "--epochs=1", "--n_layers=1"]) == 0
    said = capsys.readouterr().err
    order = [
        said.index(words) for words in ("best valid ", "test result", "Result written: ", "Next:")
    ]
    assert order == sorted(order)
    evaluate, recommend, compare = (
        shlex.split(line) for line in said[order[-1] :].splitlines()[1:4]
    )
    assert {words[0] for words in (evaluate, recommend, compare)} == {"recbole-precise"}
    assert compare[1:] == ["compare", str(tmp_path / "a run"), "OTHER_RUN"]
    assert (
        cli.main(evaluate[1:]) == 0
        and cli.main(["compare", str(tmp_path / "a run"), str(tmp_path / "a run")]) == 0
    )
    assert (
        cli.main(recommend[1:]) == 0 and "--users=u1" in recommend
    )  # names are separated by blanks, and the first has one
    assert "Next:" in (tmp_path / "a run" / "train.log").read_text()


def test_a_run_from_python_names_no_commands(arguments: list[str], caplog, capsys) -> None:
    from recbole_precise import run_recbole

    settings = dict(argument[2:].split("=", 1) for argument in arguments)
    run_recbole("Pop", config_dict={**settings, "tensorboard": False, "use_gpu": False})
    assert "Next:" not in capsys.readouterr().err


def test_no_time_without_a_zone_is_written() -> None:
    """Formats of dates in the package: a name of a directory, data of users, and the console's line
    as RecBole has it.
    """
    allowed = {"run_folder.py", "logs.py"}
    package = Path(cli.__file__).parent
    found = {
        path.name
        for path in package.rglob("*.py")
        if re.search(r"strftime\(|\.utcnow\(|asctime\(|ctime\(", path.read_text())
    }
    assert found <= allowed | {"values.py"}
