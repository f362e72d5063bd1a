"""What README.md and docs/ tell a reader to type works.

Every command in them is read from the documents, in fenced blocks, indented lines and inline code,
and every block of Python and YAML. A command is run on a tiny data set in a folder of its document
(`workspace.py` says what is made small), or stands in `NOT_RUN` with a reason. One that is not run
is checked all the same: its command, options, models, plans, scripts and targets have to exist. A
command of an unknown program that nobody has listed fails, so that a new one cannot go unseen.
What takes more than a few seconds (`SLOW`) is run by `make slow`; it is checked in any case.
"""

from __future__ import annotations

import ast
import importlib
import importlib.util
import re
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import yaml
from command_server import ROOT, CommandServer, Finished
from documents import Block, Command, read_blocks, read_commands
from workspace import (
    MODELS_OF_ONES_OWN,
    PLACEHOLDERS,
    Workspace,
    arguments_of,
    command_of,
    options_of,
)

#: Commands that are checked and not run, by a pattern, and why.
NOT_RUN = {
    r"^make ": "builds an environment, or runs for minutes",
    r"^pip install": "needs a network",
    r"^docker ": "needs a daemon",
    r"^(python|bash) benchmarks/": "measures for minutes or hours",
    r"\.\.\.|\[--|<[^<>]+>": "a summary with a part for the reader to fill in",
    r"^recbole-precise inspect( [a-z]+)?$": "the name of a command",
    r"^recbole-precise benchmark NAME": "a part for the reader to fill in",
    r"--gpu_id=[0-9]": "needs a GPU",
    r"saved/alternate/": "a loop over seeds, which takes an hour",
    r"convert .*--text=title$": "has no input: it says how something was measured",
}
#: Commands that are run by `make slow`, by a pattern of `DOCUMENT: COMMAND`, and why.
SLOW = {
    r": torchrun |--nproc=": "starts processes that import everything again",
    r"^docs/.* (audit|inspect|replay|tune) ": "takes seconds, as the one in README.md does",
}
#: Blocks of Python that are compiled and not run, by a pattern of their text, and why.
PYTHON_NOT_RUN: dict[str, str] = {}
#: Models that `--list_models` prints as the first word of a line.
_LISTED = re.compile(r"^\s*([A-Za-z][\w-]+)\s")
_OPTION = re.compile(r"--([A-Za-z_]\w*)")
_KEY = re.compile(r"^#?\s*(\w+)\s*:", re.MULTILINE)

#: Pages that are one script from top to bottom; test_tutorials.py runs them whole.
TUTORIALS = ("tutorial-paper.md", "tutorial-shop.md")
DOCUMENTS = [
    ROOT / "README.md",
    *(path for path in sorted((ROOT / "docs").rglob("*.md")) if path.name not in TUTORIALS),
]


def name_of(path: Path) -> str:
    """Return the name of a document under the root."""
    return path.relative_to(ROOT).as_posix()


COMMANDS = [command for path in DOCUMENTS for command in read_commands(path, name_of(path))]
BLOCKS = [(name_of(path), block) for path in DOCUMENTS for block in read_blocks(path)]


def reason_of(text: str, table: dict[str, str]) -> str | None:
    """Return why a table lists a text; None where it does not."""
    return next((why for pattern, why in table.items() if re.search(pattern, text)), None)


def is_slow(command: Command) -> bool:
    """Return whether a command is left to `make slow`."""
    return reason_of(f"{command.document}: {command.text}", SLOW) is not None


def label(value: Command | tuple[str, Block]) -> str:
    """Return the name of a test of a command or of a block."""
    if isinstance(value, Command):
        return f"{value.document}:{value.line}"
    return f"{value[0]}:{value[1].line}"


def parameters(commands: list[Command]) -> list[object]:
    """Return commands as parameters, once for each document, those that are slow marked."""
    first = {(command.document, command.text): command for command in reversed(commands)}
    return [
        pytest.param(
            command,
            marks=[pytest.mark.slow] if is_slow(command) else [],
            id=label(command),
        )
        for command in sorted(first.values(), key=COMMANDS.index)
    ]


RUN = [command for command in COMMANDS if reason_of(command.text, NOT_RUN) is None]


@pytest.fixture(scope="module")
def models(server: CommandServer) -> set[str]:
    """Return the models that the package lists."""
    done = server.run_command(["--list_models"], ROOT)
    assert done.status == 0, done.output
    return {found[1] for line in done.output.splitlines() if (found := _LISTED.match(line))}


@pytest.fixture(scope="module")
def workspace_of(
    server: CommandServer, models: set[str], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Workspace]:
    """`workspace_of(document)`: the folder in which its commands run."""
    shared = tmp_path_factory.mktemp("shared")

    @cache
    def build(document: str) -> Workspace:
        own = [command for command in RUN if command.document == document]
        blocks = [block for name, block in BLOCKS if name == document]
        folder = tmp_path_factory.mktemp("document") / "work"
        return Workspace(folder, shared, server, own, blocks, sorted(models))

    return build


@pytest.fixture(scope="module")
def manual_of(server: CommandServer) -> Callable[[str], Finished]:
    """`manual_of(command)`: what `recbole-precise COMMAND --help` prints."""

    @cache
    def ask(name: str) -> Finished:
        return server.run_command([name, "--help"], ROOT)

    return ask


def test_the_documents_have_commands() -> None:
    assert len(RUN) > 10
    assert any(command.document == "README.md" for command in RUN)


@pytest.mark.parametrize("command", parameters(RUN))
def test_command_runs(command: Command, workspace_of: Callable[[str], Workspace]) -> None:
    assert command.words, f"A shell cannot read: {command.text}"
    done = workspace_of(command.document).run(command)
    print(f"{done.seconds:.1f} s of processor time")
    assert done.status == 0, (
        f"{command.text}\nended with status {done.status}:\n{done.output[-3000:]}"
    )


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in RUN or is_slow(c)], ids=label)
def test_command_that_is_not_run_names_what_exists(
    command: Command, models: set[str], manual_of: Callable[[str], Finished]
) -> None:
    words = command.words or tuple(re.sub(r"<[^<>]*>", "FOLDER", command.text).split())
    arguments = arguments_of(words)
    if arguments is not None:
        check_arguments(arguments, models, manual_of)
    elif words[0] == "make":
        targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M)
        assert {word for word in words[1:] if "=" not in word} <= set(targets)
    elif words[0] == "pip":
        check_extras(words)
    elif words[0] in ("python", "python3", "bash"):
        check_script(words)


def check_arguments(
    arguments: list[str], models: set[str], manual_of: Callable[[str], Finished]
) -> None:
    """Check the command, the options, the model and the plan of a command line."""
    name = PLACEHOLDERS.get(command_of(arguments), command_of(arguments))
    manual = manual_of(name)
    assert manual.status == 0, manual.output
    words = [word.strip("[]") for word in arguments]
    known = set(_OPTION.findall(manual.output)) | run_keys()
    unknown = {option for word in words for option in _OPTION.findall(word)} - known - {"help"}
    assert not unknown - {"key"}, f"{name} has no option {sorted(unknown)}"
    options = options_of(words)
    model = options.get("model", "...")
    if model.isidentifier() or "-" in model:
        assert model in models | set(MODELS_OF_ONES_OWN) | recbole_models()
    if name == "benchmark":
        plan = options.get("plan", words[1])
        shipped = ROOT / "properties" / "benchmark" / f"{plan}.yaml"
        assert plan == "NAME" or plan.endswith(".yaml") or shipped.exists()


def check_extras(words: tuple[str, ...]) -> None:
    """Check that the package has the extras that `pip install` names."""
    declared = "".join(
        (ROOT / f).read_text(encoding="utf-8") for f in ("setup.py", "pyproject.toml")
    )
    for word in words:
        package, _, extras = word.rstrip("]").partition("[")
        if package in (".", "recbole-precise", "recbole_precise"):
            for extra in filter(None, extras.split(",")):
                assert re.search(rf"""["']?{extra}["']?\s*[:=]""", declared), f"no extra {extra}"


def check_script(words: tuple[str, ...]) -> None:
    """Check that a script exists and that its text has the options."""
    script = ROOT / words[1]
    assert script.is_file(), f"There is no {words[1]}"
    text = script.read_text(encoding="utf-8")
    if words[0] == "bash":
        return  # a shell script hands options on
    for option in options_of(words[2:]):
        assert option in text or option in run_keys(), f"{words[1]} has no --{option}"


@cache
def run_keys() -> set[str]:
    """Return the keys that a run may be given: ours and RecBole's."""
    spec = importlib.util.find_spec("recbole")
    assert spec
    assert spec.submodule_search_locations
    theirs = Path(spec.submodule_search_locations[0]) / "properties"
    keys = {"model", "dataset", "config_files", "run_dir", "resume"}
    for folder in (ROOT / "properties", theirs):
        for file in folder.rglob("*.yaml"):
            keys |= set(_KEY.findall(file.read_text(encoding="utf-8")))
    return keys


@cache
def recbole_models() -> set[str]:
    """Return RecBole's models, by the files of their settings."""
    spec = importlib.util.find_spec("recbole")
    assert spec
    assert spec.submodule_search_locations
    folder = Path(spec.submodule_search_locations[0]) / "properties" / "model"
    return {file.stem for file in folder.glob("*.yaml")}


PYTHON = [pair for pair in BLOCKS if pair[1].language in ("python", "py")]


@pytest.mark.parametrize("pair", PYTHON, ids=label)
def test_python_compiles_and_imports_what_exists(pair: tuple[str, Block]) -> None:
    tree = ast.parse(pair[1].text)
    if reason_of(pair[1].text, PYTHON_NOT_RUN):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_ours_or_recboles(alias.name):
                    importlib.import_module(alias.name)
        elif isinstance(node, ast.ImportFrom) and is_ours_or_recboles(node.module or ""):
            module = importlib.import_module(node.module or "")
            for alias in node.names:
                assert hasattr(module, alias.name) or importlib.import_module(
                    f"{node.module}.{alias.name}"
                )


def is_ours_or_recboles(name: str) -> bool:
    """Return whether a module is of this package or of RecBole."""
    return name.split(".")[0] in ("recbole_precise", "recbole")


@pytest.mark.parametrize(
    "pair", [p for p in PYTHON if reason_of(p[1].text, PYTHON_NOT_RUN) is None], ids=label
)
def test_python_runs(pair: tuple[str, Block], workspace_of: Callable[[str], Workspace]) -> None:
    document, block = pair
    done = workspace_of(document).run_python(block, block.line)
    assert done.status == 0, (
        f"{block.text}\nended with status {done.status}:\n{done.output[-3000:]}"
    )


@pytest.mark.parametrize("pair", [p for p in BLOCKS if p[1].language in ("yaml", "yml")], ids=label)
def test_yaml_can_be_read(pair: tuple[str, Block]) -> None:
    assert yaml.safe_load(pair[1].text) is not None
