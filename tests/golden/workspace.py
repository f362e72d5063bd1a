"""A folder in which the commands of one document run, small.

It holds tiny stand-ins of what the document only names: data sets, raw downloads, finished runs,
new items. A command gets the options that keep it short; everything else is as the document has it.
"""

from __future__ import annotations

import ast
import gzip
import json
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml
from command_server import ROOT, CommandServer, Finished, run_apart
from documents import Block, Command
from tiny_shop import GOODS, list_events, title_of, write_shop

#: Words in capitals that stand for something; paths and data sets need no entry.
PLACEHOLDERS = {"SOURCE": "amazon-2018", "VERB": "run", "COMMAND": "run", "KIND": "similarity"}
#: Models that a document leaves to the reader to write.
MODELS_OF_ONES_OWN = {"MyModel": "SASRec-CE"}
#: The data set inside the recbole package is too large here, and cannot be put in another place.
RENAMED = {"ml-100k": "films"}
#: Settings of every run, behind those of the document.
TINY = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    "item_text": "{title}",
    "MAX_ITEM_LIST_LENGTH": 8,
    "train_batch_size": 128,
    "gpu_id": "",
    "threads": 1,
    "show_progress": False,
    "tensorboard": False,
    "epochs": 1,
}
#: Ratings are read where the settings of the data set that is renamed read them.
RATED = {"load_col": {"inter": ["user_id", "item_id", "timestamp", "rating"], "item": ["item_id"]}}
#: Options that take the place of a document's, by the command; "" holds for those that train.
SHORT: dict[str, dict[str, str]] = {
    "": {"epochs": "1"},
    "tune": {"trials": "2"},
    "audit": {"shuffles": "239"},
    "replay": {"period": "90"},
    "compare": {"resamples": "99"},
    "benchmark": {"dry_run": "True"},
}
#: Options that take the place of a document's, where it has them.
REPLACED = {"users": "u1 u2", "history": "i1 i2"}
#: Settings of single models that keep their training short.
SHORT_MODELS = {
    "PRECISE": {"targeted_epochs": "1"},
    "PRECISE-TT": {"targeted_epochs": "1"},
    "PAD": {"text_tuning": "none"},
}
#: Commands that read data and settings as a training does.
ON_DATA = ("run", "encode", "tune", "audit", "replay", "doctor", "demo")
#: Commands whose words name finished runs.
ON_RUNS = ("compare", "inspect")
#: Words that name runs, beside kinds of `inspect`, which do not.
_RUN = re.compile(r"^(RUN|OTHER_RUN)\w*$|/")
_DATA_IN_CODE = re.compile(r"""(?:dataset=|run_recbole\([^,()]+, )["']([\w-]+)["']""")
_FOLDERS = ("properties", "benchmarks", "examples", "tests", "docs")


def arguments_of(words: Sequence[str]) -> list[str] | None:
    """Return what follows `recbole-precise` in one of its spellings; None for another program."""
    if words[0] == "recbole-precise":
        return list(words[1:])
    if words[0] in ("python", "python3"):
        if tuple(words[1:2]) == ("run_recbole_precise.py",):
            return list(words[2:])
        if tuple(words[1:3]) == ("-m", "recbole_precise"):
            return list(words[3:])
    if words[0] == "torchrun":
        rest = list(words[1:])
        while rest and rest[0].startswith("--"):
            rest = rest[1:]
        if tuple(rest[:2]) == ("-m", "recbole_precise"):
            return rest[2:]
    return None


def command_of(arguments: Sequence[str]) -> str:
    """Return the name of the command that arguments begin with."""
    return arguments[0] if arguments and not arguments[0].startswith("-") else "run"


def options_of(arguments: Sequence[str]) -> dict[str, str]:
    """Return the options among arguments, in both spellings, without their dashes."""
    options: dict[str, str] = {}
    for place, word in enumerate(arguments):
        if not word.startswith("--"):
            continue
        name, equals, value = word[2:].partition("=")
        following = arguments[place + 1 : place + 2]
        if not equals and following and not following[0].startswith("-"):
            value = following[0]
        options[name] = value
    return options


def with_option(arguments: Sequence[str], name: str, value: str) -> list[str]:
    """Return arguments with an option set, in the place of what they say of it."""
    kept: list[str] = []
    skipped = False
    for word in arguments:
        if skipped:
            skipped = False
            if not word.startswith("-"):
                continue
        if word == f"--{name}":
            skipped = True
            continue
        if not word.startswith(f"--{name}="):
            kept.append(word)
    return [*kept, f"--{name}={value}"]


def outputs_of(command: Command) -> list[str]:
    """Return the paths that a command of a document writes and another one may read."""
    arguments = arguments_of(command.words or ("",))
    if arguments is None:
        return []
    options = options_of(arguments)
    outputs = [options[name] for name in ("output", "fix") if name in options]
    name = command_of(arguments)
    if name == "run" and "run_dir" in options:
        outputs.append(options["run_dir"])
    if name == "tune":
        outputs.append(f"saved/tune/{options.get('model')}-{options.get('dataset')}")
    return [_renamed(path) for path in outputs]


class Workspace:
    """The folder of one document, and what has been run in it."""

    def __init__(
        self,
        folder: Path,
        shared: Path,
        server: CommandServer,
        commands: Sequence[Command],
        blocks: Sequence[Block],
        models: Sequence[str],
    ) -> None:
        """Make the folder; `shared` holds finished runs and encoded texts for all documents."""
        self.folder = folder
        self._shared = shared
        self._server = server
        self._commands = list(commands)
        self._models = sorted(models, key=len, reverse=True)
        self._finished: dict[str, Finished] = {}
        self._write_tiny(folder)
        for name in _FOLDERS:
            if (ROOT / name).exists():
                (folder / name).symlink_to(ROOT / name)
        for block in blocks:
            name = block.file_name
            if name and not name.startswith(("/", *_FOLDERS, "recbole_precise")):
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_text(_renamed(block.text) + "\n", encoding="utf-8")

    def run(self, command: Command) -> Finished:
        """Run a command, once, behind those whose output it reads."""
        if command.text not in self._finished:
            self._run_what_it_reads(command)
            self._finished[command.text] = self._run(command)
        return self._finished[command.text]

    def run_python(self, block: Block, number: int) -> Finished:
        """Run a block of Python; calls that train get the settings of a tiny run."""
        return self._run_code(block.text, f"block_{number}.py", [])

    def _settings(self) -> dict[str, object]:
        return {**TINY, "text_cache_dir": str(self._shared / "cache"), "data_path": "dataset"}

    def _write_tiny(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        settings = {**TINY, "text_cache_dir": str(self._shared / "cache")}
        (folder / "tiny.yaml").write_text(json.dumps(settings), encoding="utf-8")
        rated = {**settings, **RATED}
        (folder / "rated.yaml").write_text(json.dumps(rated), encoding="utf-8")

    def _run_what_it_reads(self, command: Command) -> None:
        words = [_renamed(word) for word in command.words or ()]
        own = outputs_of(command)
        for earlier in self._commands[: self._commands.index(command)]:
            read = [path for path in outputs_of(earlier) if path not in own]
            if any(path in word for path in read for word in words):
                self.run(earlier)

    def _run(self, command: Command) -> Finished:
        words = list(command.words or ())
        arguments = arguments_of(words)
        if arguments is None:
            return self._run_script(words)
        name = command_of(arguments)
        if "--help" in arguments or "--list_models" in arguments:
            arguments = [PLACEHOLDERS.get(word, word) for word in arguments]
            return self._server.run_command(arguments, self.folder)
        if name != "benchmark":
            arguments = [_renamed(word) for word in arguments]
        patterns = [_renamed(word) for word in command.patterns]
        arguments = self._prepared(PLACEHOLDERS.get(name, name), arguments, patterns)
        if words[0] == "torchrun":
            start = words[1 : words.index("-m")]
            torchrun = [sys.executable, "-m", "torch.distributed.run", *start]
            return run_apart([*torchrun, "-m", "recbole_precise", *arguments], self.folder)
        if options_of(arguments).get("nproc", "1") != "1":
            return run_apart([sys.executable, "-m", "recbole_precise", *arguments], self.folder)
        return self._server.run_command(arguments, self.folder)

    def _run_script(self, words: list[str]) -> Finished:
        if words[0] not in ("python", "python3"):
            return Finished(127, f"{words[0]} is no program that this test runs.", 0.0)
        script = self.folder / words[1]
        if not script.is_file():
            return Finished(2, f"There is no {words[1]}.", 0.0)
        code = script.read_text(encoding="utf-8")
        return self._run_code(code, f"tiny_{script.name}", words[2:])

    def _run_code(self, code: str, name: str, arguments: list[str]) -> Finished:
        for data_set in _names_of_data(code):
            self._write_data(self.folder / "dataset", data_set)
        tree = _TinyCalls(self._settings()).visit(ast.parse(_renamed(code)))
        file = self.folder / name
        file.write_text(ast.unparse(ast.fix_missing_locations(tree)), encoding="utf-8")
        return self._server.run_python(file, arguments, self.folder)

    def _prepared(self, name: str, arguments: list[str], patterns: Sequence[str] = ()) -> list[str]:
        """Return the arguments of a command on stand-ins, and make these."""
        arguments = [_filled(word) for word in arguments]
        options = options_of(arguments)
        for option, value in REPLACED.items():
            if option in options:
                arguments = with_option(arguments, option, value)
        if options.get("model") in MODELS_OF_ONES_OWN:
            own = MODELS_OF_ONES_OWN[options["model"]]
            arguments = with_option(arguments, "model", own)
        if name in ON_DATA or name == "benchmark":
            arguments = self._on_data(name, arguments)
        if name == "convert":
            self._write_raw(options)
        if name in ON_RUNS:
            for word in arguments[1:]:
                if not word.startswith("-") and _RUN.search(word):
                    self._provide_run(word)
            arguments = self._expanded(arguments, patterns)
        for option in ("run_dir", "warm_start"):
            if option in options and (name != "run" or option == "warm_start"):
                self._provide_run(options[option])
        self._provide_files(options)
        trains = SHORT[""] if name in ("run", "tune", "replay", "demo") else {}
        models = SHORT_MODELS.get(options.get("model", ""), {}) if name == "run" else {}
        for option, value in {**trains, **SHORT.get(name, {}), **models}.items():
            arguments = with_option(arguments, option, value)
        return arguments

    def _expanded(self, arguments: list[str], patterns: Sequence[str]) -> list[str]:
        """Return arguments with patterns of paths expanded, as a shell does."""
        expanded: list[str] = []
        for word in arguments:
            paths = sorted(self.folder.glob(word)) if word in patterns else []
            found = [path.relative_to(self.folder).as_posix() for path in paths]
            expanded += found or [word]
        return expanded

    def _on_data(self, name: str, arguments: list[str]) -> list[str]:
        options = options_of(arguments)
        data_path = options.get("data_path", "dataset")
        if name == "benchmark":
            for data_set in self._data_of_plan(options.get("plan", arguments[1])):
                self._write_data(self.folder / data_path, data_set)
            return arguments
        if "dataset" in options:
            self._write_data(self.folder / data_path, options["dataset"])
        arguments = with_option(arguments, "data_path", data_path)
        if name == "demo":
            return with_option(arguments, "dataset", RENAMED["ml-100k"])
        tiny = "rated.yaml" if options.get("dataset") in RENAMED.values() else "tiny.yaml"
        files = f"{tiny} {options.get('config_files', '')}".strip()
        return with_option(arguments, "config_files", files)

    def _data_of_plan(self, plan: str) -> list[str]:
        """Return the data sets that a plan names, a shipped one or a file."""
        shipped = ROOT / "properties" / "benchmark" / f"{plan}.yaml"
        file = shipped if shipped.exists() else self.folder / plan
        if not file.exists():
            return []
        named = yaml.safe_load(file.read_text(encoding="utf-8"))["datasets"]
        if not isinstance(named, dict):
            return list(named)
        return [(settings or {}).get("dataset", name) for name, settings in named.items()]

    def _write_data(self, data_path: Path, name: str) -> None:
        if not (data_path / name).exists() and name not in RENAMED:
            write_shop(data_path, name)

    def _provide_files(self, options: dict[str, str]) -> None:
        """Write files that options name and the document does not show."""
        if "items" in options and options["items"].endswith(".jsonl"):
            rows = [
                {"item_id": f"new{n}", "title": f"{goods} new"} for n, goods in enumerate(GOODS)
            ]
            text = "".join(json.dumps(row) + "\n" for row in rows)
            self._write_missing(options["items"], text)
        if "users_file" in options:
            self._write_missing(options["users_file"], "u1\nu2\n")
        if "params_file" in options:
            self._write_missing(options["params_file"], "learning_rate choice [0.001, 0.01]\n")

    def _write_missing(self, name: str, text: str) -> None:
        file = self.folder / name
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")

    def _provide_run(self, path: str) -> None:
        """Put a finished run of the model that a path names where the path says; default: UT."""
        if list(self.folder.glob(path)) or path.endswith("RUN ..."):
            return
        model = next((name for name in self._models if name in path), "PRECISE-UT")
        seed = 2021 if path.endswith("_B") else 2020
        kept = self._shared / f"{model}-{seed}"
        if not kept.exists():
            self._train(model, seed, kept)
        shutil.copytree(kept, self.folder / path.replace("*", "1"))

    def _train(self, model: str, seed: int, run_dir: Path) -> None:
        self._write_tiny(self._shared)
        data_path = self._shared / "dataset"
        write_shop(data_path, "tiny")
        arguments = [
            f"--model={model}",
            f"--seed={seed}",
            "--dataset=tiny",
            f"--data_path={data_path}",
            "--config_files=tiny.yaml",
            f"--run_dir={run_dir}",
        ]
        done = self._server.run_command(arguments, self._shared)
        if done.status:
            raise RuntimeError(f"No run of {model} to try commands on:\n{done.output[-3000:]}")

    def _write_raw(self, options: dict[str, str]) -> None:
        """Write a small raw download for `convert`, and clear the place of its output."""
        shutil.rmtree(self.folder / options["output"], ignore_errors=True)
        write = {"csv": _write_csv, "amazon-2018": _write_amazon, "pad": _write_pad}
        source = options["source"]
        if source not in write:
            raise RuntimeError(f"No small download of {source}: add one to workspace.py.")
        write[source](self.folder / options["input"], options)


class _TinyCalls(ast.NodeTransformer):
    """Adds settings to calls that train: their `config_dict` is overridden by the tiny one."""

    NAMES = ("run", "run_recbole", "objective_function", "Config")

    def __init__(self, settings: dict[str, object]) -> None:
        self._settings = settings

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Merge the settings into one call."""
        self.generic_visit(node)
        name = getattr(node.func, "attr", getattr(node.func, "id", None))
        if name not in self.NAMES:
            return node
        tiny = ast.parse(repr(self._settings), mode="eval").body
        for keyword in node.keywords:
            if keyword.arg == "config_dict":
                keyword.value = ast.Dict(keys=[None, None], values=[keyword.value, tiny])
                return node
        node.keywords.append(ast.keyword(arg="config_dict", value=tiny))
        return node


def _renamed(text: str) -> str:
    for name, tiny in RENAMED.items():
        text = text.replace(name, tiny)
    return text


def _filled(word: str) -> str:
    """Return a word with its placeholder filled in, also behind an equals sign."""
    head, equals, value = word.rpartition("=")
    return head + equals + PLACEHOLDERS.get(value, value)


def _names_of_data(code: str) -> list[str]:
    """Return the data sets that calls in Python name, by keyword or behind the model."""
    return [_renamed(name) for name in _DATA_IN_CODE.findall(code)]


def _write_csv(file: Path, options: dict[str, str]) -> None:
    """Write a table of events with the columns that the options name."""
    texts = options.get("text", "").split(",")
    names = [options["user"], options["item"], options["time"], *filter(None, texts)]
    rows = [",".join(names)]
    for user, item, time, _ in list_events():
        title = title_of(int(item[1:])) or "none"
        rows.append(",".join([user, item, str(time), *([title] * (len(names) - 3))]))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("\n".join(rows) + "\n", encoding="utf-8")


def _write_amazon(folder: Path, options: dict[str, str]) -> None:
    """Write reviews and metadata as Amazon Reviews 2018 has them."""
    folder.mkdir(parents=True, exist_ok=True)
    reviews = [
        {"reviewerID": user, "asin": item, "overall": 5.0, "unixReviewTime": time}
        for user, item, time, _ in list_events()
    ]
    items = sorted({item for _, item, _, _ in list_events()})
    metadata = [{"asin": item, "title": title_of(int(item[1:])) or "none"} for item in items]
    for name, rows in (("Shop_5.json.gz", reviews), ("meta_Shop.json.gz", metadata)):
        with gzip.open(folder / name, "wt", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in rows)


def _write_pad(folder: Path, options: dict[str, str]) -> None:
    """Leave the download of PAD's authors to the tests of `convert`."""
    raise RuntimeError("List the command in NOT_RUN: no small download of PAD's authors.")
