"""The command: its spellings, its exit status, and what it leaves on the screen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from recbole_precise import cli, registry
from recbole_precise.cli.commands import COMMANDS, parser_of
from recbole_precise.cli.settings import as_words, run_of
from recbole_precise.config import model_settings
from recbole_precise.errors import DataError
from recbole_precise.evaluation.test_cases import TestCases
from recbole_precise.studies.text_tables import results_table, text_table


def result(model: str, **changes) -> dict:
    base = {
        "model": model, "dataset": "shop", "protocol": {"split": "LS", "mask_history": False,
            "ties": "against"},
        "test": {"recall@10": 0.125, "ndcg@10": 0.0625, "mrr@10": 0.5}, "parameters": 12345,
        "seconds": {"train": 3.6},
    }  # fmt: skip
    return base | changes


def run(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(arguments)
    captured = capsys.readouterr()
    return status, captured.out, captured.err


MISTAKES = [
    (["runn"], "Unknown command 'runn'. Did you mean 'run'?"),
    (
        ["--model=PRECISE-UD", "--dataset=ml-100k"],
        "Unknown model 'PRECISE-UD'. Did you mean 'PRECISE-UT'?",
    ),
    (["--model=PRECISE-UT"], "No data set was given"),
    (["--dataset=ml-100k"], "No model was given"),
    (["--model=PRECISE-UT", "--dataset=ml-1000k"], "Did you mean 'ml-100k'?"),
    (
        ["--model=PRECISE-UT", "--dataset=ml-100k", "--epoch=3"],
        "Unknown key 'epoch' (on the command line)",
    ),
    (
        ["--model", "SASRec", "--dataset", "ml-100k", "--epochs", "three"],
        "epochs (on the command line) must be a whole number",
    ),
    (["--model=SASRec", "--dataset=ml-100k", "stray"], "Unexpected argument 'stray'"),
    (["--model=SASRec", "--dataset=ml-100k", "--seed"], "--seed needs a value"),
    (
        ["--model=SASRec", "--dataset=ml-100k", "--config_files=nowhere.yaml"],
        "Config file 'nowhere.yaml' does not exist.",
    ),
    (["encode", "--dataset=nowhere"], "Data set 'nowhere'"),
    (
        ["convert", "--source=pod", "--input=a", "--output=b"],
        "Unknown source 'pod'. Did you mean 'pad'?",
    ),
    (["convert", "--source=pad", "--output=b"], "convert needs --input"),
    (
        ["convert", "--source=pad", "--input=a", "--output=b", "--outptu=c"],
        "Unknown option '--outptu' of convert. Did you mean 'output'?",
    ),
    (["convert", "--source=pad", "--input=nowhere", "--output=b"], "nowhere"),
]


@pytest.mark.parametrize(
    ("arguments", "message"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES]
)
def test_a_mistake_is_one_line_and_status_2_and_leaves_nothing(
    arguments, message, capsys, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, out, err = run(capsys, *arguments)
    assert status == 2 and out == ""
    assert err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        [sys.executable, "-m", "recbole_precise"],
        [sys.executable, str(Path(cli.__file__).parents[2] / "run_recbole_precise.py")],
    ],
)
def test_the_command_as_a_process(command, tmp_path, monkeypatch):
    if not Path(command[-1]).exists() and command[-1].endswith(".py"):
        pytest.skip("not in a checkout")
    monkeypatch.setenv("PYTHONPATH", str(Path(cli.__file__).parents[2]))
    done = subprocess.run(
        [*command, "--model=PRECISE-UT", "--dataset=ml-100k", "--topk=0"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=900,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr
        == "topk (on the command line) must be a list or a whole number at least 1, not 0.\n"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("argument", ["--help", "-h", "help"])
def test_help(argument, capsys):
    status, out, _ = run(capsys, argument)
    assert status == 0 and all(f"recbole-precise {command}" in out for command in COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command, capsys):
    """`COMMAND --help` prints how the command is called, wherever --help stands, and does
    nothing else.
    """
    status, out, err = run(capsys, command, "--dataset=none", "--help")
    assert (status, err) == (0, "") and out.startswith(f"usage: recbole-precise {command} ")
    assert run(capsys, "help", command) == (0, out, "")


def test_help_of_an_unknown_command(capsys):
    status, out, err = run(capsys, "help", "evalute")
    assert (status, out) == (2, "") and "Did you mean 'evaluate'?" in err


def test_a_switch_of_a_command_stands_alone():
    words = ["--dry_run", "ml-100k", "--runs=here", "--plots", "False", "--report_only"]
    args = parser_of("benchmark").parse(words)
    assert (args.plans, args.dry_run, args.plots, args.report_only) == (
        ["ml-100k"],
        True,
        False,
        True,
    )
    assert args.given["runs"] == "here" and args.settings == {}


def test_words_that_argparse_would_read_otherwise():
    """A value may hold blanks and begin with a dash, names are never cut short, and `-x` is no
    option.
    """
    words = ["-x", "--item_text", "{title} by x", "--weight_decay", "-1", "--plo", "3", "-y z"]
    args = parser_of("benchmark").parse(words)
    assert args.plans == ["-x", "-y z"] and args.plots is True
    assert args.settings == {"item_text": "{title} by x", "weight_decay": "-1", "plo": "3"}


@pytest.mark.parametrize("arguments", [["--list_models"], ["run", "--list_models"]])
def test_list_models_names_every_model_in_its_group(arguments, capsys):
    status, out, err = run(capsys, *arguments)
    assert (status, err) == (0, "")
    groups = dict(block.split(":\n", 1) for block in out.strip().split("\n\n"))
    assert (
        list(groups)[:2] == ["Models of this package", "Floors, which train nothing"]
        and len(groups) == 7
    )
    ours = [
        line.split()[0] for heading in list(groups)[:2] for line in groups[heading].splitlines()
    ]
    theirs = [
        name.strip()
        for heading in list(groups)[2:]
        for name in groups[heading].replace("\n", " ").split(",")
    ]
    assert sorted([*ours, *theirs]) == sorted(registry.model_names()) and len(set(ours)) == len(
        registry.ENTRIES
    )
    assert all(
        len(line.split(maxsplit=1)) == 2
        for heading in list(groups)[:2]
        for line in groups[heading].splitlines()
    )
    assert (
        "SASRec" in groups["RecBole's models, sequential"]
        and "BPR" in groups["RecBole's models, general"]
    )


def test_help_names_the_models_and_neither_imports_what_is_heavy():
    code = (
        "import sys; from recbole_precise.cli import main; main(['--list_models']); "
        "main(['--help']); "
        "sys.exit(bool({'torch', 'recbole', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    root = str(Path(cli.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        cwd=root,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0 and done.stderr == ""
    for name in ("PRECISE-UT", "GraphForward", "GRU4Rec", "LightGBM"):
        assert done.stdout.count(name) >= 2


def test_version(capsys):
    import recbole_precise

    assert run(capsys, "--version") == (0, f"recbole_precise {recbole_precise.__version__}\n", "")


def test_arguments_are_told_apart():
    """Model, data set and files go to run_recbole, the other settings to Config, values with '='
    and spaces whole.
    """
    args = parser_of("run").parse(
        [
            "--model",
            "precise_ut",
            "--dataset=ml-100k",
            "--config_files=a.yaml b.yaml",
            "--item_text={title} = x",
            "--resume",
        ]
    )
    assert run_of(args) == {
        "model": "precise_ut",
        "dataset": "ml-100k",
        "config_file_list": ["a.yaml", "b.yaml"],
    }
    assert as_words(args.settings) == ["--item_text={title} = x", "--resume=True"]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["--model=PRECISE-UT", "--epoch=3"],
            "Unknown key 'epoch' (on the command line) for model PRECISE-UT. Did you mean "
            "'epochs'?",
        ),
        (
            ["tune", "--model=SASRec-CE", "--trails=3"],
            "Unknown key 'trails' (on the command line) for model SASRec-CE. Did you mean "
            "'trials'?",
        ),
        (
            ["encode", "--text_encodr=x"],
            "Unknown key 'text_encodr' (on the command line) for model PRECISE-UT. Did you mean "
            "'text_encoder'?",
        ),
        (
            ["replay", "--reload_evry=2"],
            "Unknown option '--reload_evry' of replay. Did you mean 'reload_every'?",
        ),
        (
            ["evaluate", "--run_dir=x", "--topkk=3"],
            "--topkk is no option of evaluate and no setting that a finished run can be asked "
            "with. Did you mean 'topk'? Options: --run_dir, --split, --items, --cold, --output.",
        ),
        (
            ["doctor", "--data_pth=x"],
            "Unknown key 'data_pth' (on the command line) for model Transition. Did you mean "
            "'data_path'?",
        ),
    ],
)
def test_a_misspelt_key_is_refused_before_anything_heavy_is_imported(words, sentence):
    code = (
        "import sys, time; from recbole_precise.cli import main; "
        "status = main(sys.argv[1:]); "
        "heavy = {'torch', 'recbole', 'pandas', 'transformers'} & set(sys.modules); "
        "sys.exit(f'{status} {heavy} {time.process_time()}' if status != 2 or heavy else 0)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words, "--dataset=ml-100k"],
        capture_output=True,
        text=True,
        cwd=Path(cli.__file__).parents[2],
        timeout=300,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"{sentence}\n")


def test_text_table():
    assert text_table(["model", "n"], [["a", "10"], ["bcdefg", "2"]]).splitlines() == [
        "model    n",
        "------  --",
        "a       10",
        "bcdefg   2",
    ]


def test_results_table():
    table = results_table(
        [result("PRECISE-UT"), result("Pop", test={"recall@10": 1 / 3}, parameters=0, seconds={})]
    )
    lines = table.splitlines()
    assert lines[0] == "shop, test split, all items are candidates"
    assert lines[-2].split() == ["PRECISE-UT", "0.1250", "0.0625", "0.5000", "12,345", "4"]
    assert lines[-1].split() == ["Pop", "0.3333", "-", "-", "0", "0"]


def test_results_of_different_protocols_are_not_put_side_by_side():
    with pytest.raises(DataError, match="different protocols"):
        results_table([result("A"), result("B", protocol={"mask_history": True})])


def test_results_of_different_test_cases_are_not_put_side_by_side():
    def of(*events: int, known: bool = True) -> dict:
        users = np.array([f"u{number}" for number in range(len(events))])
        return TestCases(
            users, np.array(["i1"] * len(events)), np.array(events) if known else None
        ).digest()

    for cases in (
        of(1, 2),
        of(1, 2, known=False),
    ):  # a run that does not know the histories is compared by users and targets
        assert (
            len(
                results_table(
                    [result("A", test_cases=of(1, 2)), result("B", test_cases=cases)]
                ).splitlines()
            )
            == 6
        )
    results_table(
        [result("A", test_cases=of(1, 2)), result("B")]
    )  # nothing is known of an older run
    for cases in (of(1, 3), of(1), of(1, 2, 3, known=False)):
        with pytest.raises(DataError, match="B and A on shop were not tested on the same cases"):
            results_table([result("A", test_cases=of(1, 2)), result("B", test_cases=cases)])


@pytest.mark.parametrize(
    "words",
    [
        ["--model=PAD", "--help"],
        ["run", "--help", "--model", "pad"],
        ["help", "run", "--model=PAD"],
    ],
)
def test_help_lists_the_settings_of_a_model(words, capsys):
    assert cli.main(words) == 0
    said = capsys.readouterr().out
    defaults = model_settings("PAD")
    assert said.startswith("usage: recbole-precise run")
    assert all(f"  --{key}=" in said for key in defaults)


def test_help_of_a_model_that_there_is_not(capsys):
    assert cli.main(["--model=PADD", "--help"]) == 2
    assert "Did you mean 'PAD'?" in capsys.readouterr().err
