"""Completion scripts: made from the parsers, and run by the shell that they are for."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from recbole_precise import cli, registry
from recbole_precise.cli.benchmark import plans
from recbole_precise.cli.commands import COMMANDS, parser_of
from recbole_precise.cli.settings import RUN_SETTINGS

SHELLS = ("bash", "zsh", "fish")
needs_bash = pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")


@pytest.fixture
def scripts(capsys) -> dict[str, str]:
    found = {}
    for shell in SHELLS:
        assert cli.main(["completion", shell]) == 0
        found[shell] = capsys.readouterr().out
    return found


@pytest.fixture
def complete(scripts, tmp_path: Path):
    """`complete(words)`: what bash offers for the last word, in a folder with data sets."""
    for name in ("shop", "books"):
        (tmp_path / "dataset" / name).mkdir(parents=True)
        (tmp_path / "dataset" / name / f"{name}.inter").touch()
    (tmp_path / "dataset" / "empty").mkdir()
    (tmp_path / "a file.yaml").touch()

    def run(*words: str) -> list[str]:
        code = (
            f"{scripts['bash']}\ncomplete -p recbole-precise > /dev/null || exit 1\n"
            'COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _recbole_precise\n'
            'printf "%s\\n" "${COMPREPLY[@]}"'
        )
        done = subprocess.run(
            ["bash", "-c", code, "bash", "recbole-precise", *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    return run


@needs_bash
def test_bash_completes_commands_and_options(complete):
    assert complete("") == [*COMMANDS, "help"]
    assert complete("ev") == ["evaluate"]
    assert complete("help", "re") == ["replay", "recommend"]
    assert complete("compare", "--") == [f"--{key}=" for key in parser_of("compare").options]
    settings = complete("run", "--learn")
    assert "--learning_rate=" in settings and "--learn_targets=" in settings
    assert complete("--learn") == settings  # `run` may be left out
    offered = complete("tune", "--")
    assert {f"--{key}=" for key in RUN_SETTINGS} <= set(offered) and "--trials=" in offered
    assert "--epochs=" not in complete("evaluate", "--")


@needs_bash
def test_bash_completes_values(complete):
    models = ["PRECISE", "PRECISE-ID", "PRECISE-LLM", "PRECISE-Pool", "PRECISE-TT", "PRECISE-UT"]
    assert sorted(complete("run", "--model", "=", "PREC")) == sorted(models)
    assert sorted(complete("--model", "PREC")) == sorted(models)
    assert sorted(complete("--model", "=")) == sorted(registry.model_names())
    assert complete("tune", "--sampler=r") == ["--sampler=random"]
    assert complete("evaluate", "--split", "") == ["test", "valid"]
    assert complete("evaluate", "--cold=") == ["--cold=False", "--cold=True"]
    assert sorted(complete("audit", "--dataset", "=")) == ["books", "ml-100k", "shop"]
    assert sorted(complete("benchmark", "")) == sorted(plans())
    assert sorted(complete("benchmark", "--plan", "=", "")) == sorted(plans())
    assert sorted(complete("inspect", "ga")) == ["gains", "gates"]
    assert sorted(complete("completion", "")) == sorted(SHELLS)


@needs_bash
def test_bash_completes_files_where_nothing_is_known(complete):
    assert complete("--config_files", "=", "a") == ["a file.yaml"]
    assert complete("compare", "data") == ["dataset"]
    assert complete("run", "--no_such_option=data") == ["--no_such_option=dataset"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_has_the_syntax_of_its_shell(scripts, shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"there is no {shell}")
    file = tmp_path / "script"
    file.write_text(scripts[shell])
    subprocess.run([shell, "-n", str(file)], check=True, timeout=60)


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_names_everything(scripts, shell):
    script = scripts[shell]
    parsers = [parser_of(command) for command in COMMANDS]
    names = [*COMMANDS, *registry.model_names(), *plans(), *RUN_SETTINGS]
    names += [key for parser in parsers for key in parser.options]
    assert not [name for name in names if name not in script]
    assert "dataset/*/*.inter" in script and script.count("\n") > 50


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "completion needs the name of a shell: bash, zsh, fish.\n"),
        (["bsh"], "completion knows no shell 'bsh'. Did you mean 'bash'? It knows bash, zsh, "
                  "fish.\n"),
    ],
)  # fmt: skip
def test_mistakes(words, sentence, capsys):
    assert cli.main(["completion", *words]) == 2
    assert capsys.readouterr() == ("", sentence)
