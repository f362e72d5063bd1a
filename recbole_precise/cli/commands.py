"""What the command can do: one module a verb, whose `main(arguments)` does it.

A new verb is a module and a line here.
"""

from __future__ import annotations

import importlib
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import recbole_precise
from recbole_precise import registry
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.verb_options import VERB_OPTIONS, take_own
from recbole_precise.errors import ConfigError


@dataclass(frozen=True)
class Verb:
    """`usage`: what follows the command's name.

    `help`: one line; `module`: of this package, imported when the verb is used, and the verb's
        name; `settings`: whether it takes settings of a run too.
    """

    usage: str
    help: str
    module: str
    settings: bool = True

    def manual(self) -> str:
        """What `recbole-precise VERB --help` prints: how it is called, what it does, and its own
        options.
        """
        options = {
            f"--{key}={option.value}": option.meaning
            for key, option in VERB_OPTIONS[self.module].items()
        }
        width = max(map(len, options))
        lines = "\n".join(
            f"  {written.ljust(width)}  {meaning}" for written, meaning in options.items()
        )
        return (
            f"usage: recbole-precise {self.usage}\n\n{self.help}\n\n{lines}\n\n"
            f"{_NOTES if self.settings else _WRITTEN}"
        ).rstrip()

    def run(self, arguments: Sequence[str]) -> None:
        importlib.import_module(f"recbole_precise.cli.{self.module}").main(arguments)


VERBS: dict[str, Verb] = {
    "run": Verb(
        '[run] --model=NAME --dataset=NAME [--config_files="a.yaml b.yaml"] [--key=value ...]',
        "train a model, evaluate it, and leave result.json, ranks.npz and the weights in its run "
        "directory",
        "run",
    ),
    "encode": Verb(
        "encode --dataset=NAME [--key=value ...]",
        "read the item texts with the text encoder and cache its output; runs then load no "
        "language model",
        "encode",
    ),
    "convert": Verb(
        "convert --source=NAME --input=DOWNLOAD --output=dataset/NAME "
        "[--preset=pad|precise-books ...]",
        "turn a raw download (Amazon, MIND, MovieLens, a CSV or Parquet file, ...) into "
        "RecBole's atomic files",
        "convert",
        settings=False,
    ),
    "tune": Verb(
        "tune --model=NAME --dataset=NAME [--params_file=x.hyper --trials=30 --hours=H "
        "--sampler=tpe|random|grid --storage=FILE ...]",
        "search for a model's settings on validation data; processes that name the same storage "
        "share the study",
        "tune",
    ),
    "audit": Verb(
        "audit --dataset=NAME [--output=FOLDER] [--text=words|encoder|none] [--key=value ...]",
        "can the data set support a claim about sequence models? Report, figures and plots",
        "audit",
    ),
    "benchmark": Verb(
        "benchmark --plan=NAME_OR_YAML [--runs=FOLDER] [--jobs=2] [--key=value ...]",
        "run the models, data sets and seeds of a plan, and write tables, paired tests and "
        "plots; goes on where it stopped",
        "benchmark",
    ),
    "compare": Verb(
        'compare RUN_A RUN_B [--metric="ndcg@10 recall@10"] [--output=FILE.json]',
        "paired test of two finished runs, or of several seeds each ('runs/A/seed-*' "
        "'runs/B/seed-*')",
        "compare",
        settings=False,
    ),
    "inspect": Verb(
        "inspect discrepancy|separation|gates|gains|similarity RUN [RUN ...] [--output=FOLDER ...]",
        "look into finished runs: how far trainings moved their item vectors, what the gate of "
        "PAD weighs, where one model gains on another, whether ID vectors know which items are "
        "alike; with plots",
        "inspect",
        settings=False,
    ),
    "replay": Verb(
        "replay --dataset=NAME [--period=week --reload_every=1 --blend=1 --seeds='2020 2021' "
        "--output=FOLDER ...]",
        "train period by period in the order of time, with and without reloading the universal "
        "weights: PRECISE's periodical warm-up, with a plot",
        "replay",
    ),
    "evaluate": Verb(
        "evaluate --run_dir=RUN [--split=test|valid --items=new.jsonl --output=FILE.json "
        "--mask_history=True --topk=20 ...]",
        "evaluate a finished run once more: other metrics or masks, the other split, new items "
        "among the candidates",
        "evaluate",
    ),
    "recommend": Verb(
        'recommend --run_dir=RUN --users="u1 u2" | --users_file=FILE | --history="i1 i2" '
        "[--topk=10 --items=new.jsonl --only_new=True --seen=include --output=x.tsv]",
        "top items of users or of a history, also among items that have a text and were never "
        "trained",
        "recommend",
    ),
    "doctor": Verb(
        "doctor --dataset=NAME [--fix=FOLDER] [--key=value ...]",
        "all faults of a data set's files at once, with line numbers; --fix writes mended copies",
        "doctor",
    ),
    "demo": Verb(
        "demo [--key=value ...]",
        "PRECISE-UT and the training-free floors on MovieLens-100k, and a table of their results",
        "demo",
    ),
}


def usage() -> str:
    """The help text of the command."""
    width = max(map(len, VERBS))
    begins = ("usage:", *("      " for _ in range(len(VERBS) - 1)))
    lines = [f"{begin} recbole-precise {verb.usage}" for begin, verb in zip(begins, VERBS.values())]
    lines += ["", *(f"{name.ljust(width)}  {verb.help}" for name, verb in VERBS.items())]
    return "\n".join(lines) + f"\n\n{_model_names()}\n\n{_NOTES}"


def list_models() -> str:
    """What `--list_models` prints: every model under its group, ours with a line each."""
    blocks = []
    for heading, entries in registry.models_by_group().items():
        width = max((len(entry.name) for entry in entries), default=0)
        if any(entry.about for entry in entries):
            lines = [f"  {entry.name.ljust(width)}  {entry.about}" for entry in entries]
        else:
            lines = textwrap.wrap(
                ", ".join(entry.name for entry in entries),
                116,
                initial_indent="  ",
                subsequent_indent="  ",
                break_on_hyphens=False,
            )
        blocks.append("\n".join([f"{heading}:", *lines]))
    return "\n\n".join(blocks) + "\n"


def _model_names() -> str:
    """The models by name, as the help text of the command shows them."""
    lines = ["models (--list_models says what they are):"]
    for heading, entries in registry.models_by_group().items():
        names = ", ".join(entry.name for entry in entries)
        lines += textwrap.wrap(
            f"{heading}: {names}",
            116,
            initial_indent="  ",
            subsequent_indent="    ",
            break_on_hyphens=False,
        )
    return "\n".join(lines)


_WRITTEN = "--key value works too; a key whose value is True or False may stand alone."
_NOTES = f"""\
{_WRITTEN} Every key of a run, its
default and its meaning stand in the YAML files of properties/; RecBole's keys keep their meaning.
Models are ours (PRECISE-UT, ...) and every model of RecBole; case, hyphens and underscores do not
matter.
"""


def need_recbole() -> None:
    """A ConfigError that says how to install RecBole where it is missing."""
    if not recbole_precise.has_recbole():
        raise ConfigError("RecBole is not installed: run `pip install --no-deps recbole==1.2.1`.")


def run_options(arguments: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """Model, data set and config files of a command line, and the arguments that are left for
    Config.
    """
    settings = parse_arguments(arguments, strict=True)
    options: dict[str, object] = {
        "model": settings.pop("model", None),
        "dataset": settings.pop("dataset", None),
    }
    options["config_file_list"] = settings.pop("config_files", "").split() or None
    return options, [f"--{key}={value}" for key, value in settings.items()]


def options_beside_a_run(
    verb: str, arguments: Sequence[str], why_no_model: str
) -> tuple[dict[str, str], dict[str, object], list[str]]:
    """For a verb that takes the settings of a run but no model: its own options, data set and
    config files, and the arguments left for Config.
    """
    given = parse_arguments(arguments, strict=True)
    mine = take_own(verb, given)
    options, rest = run_options([f"--{key}={value}" for key, value in given.items()])
    if options["model"] is not None:
        raise ConfigError(f"{verb} takes no --model: {why_no_model}.")
    return mine, options, rest


def own_options(
    verb: str, arguments: Sequence[str], required: Sequence[str], optional: Sequence[str] = ()
) -> dict[str, str]:
    """The options of a verb that takes no settings of a run.

    A ConfigError for one that it does not know or that is missing.
    """
    from recbole_precise.errors import did_you_mean

    settings, known = parse_arguments(arguments, strict=True), (*required, *optional)
    for key in settings:
        if key not in known:
            raise ConfigError(
                f"Unknown option '--{key}' of {verb}.{did_you_mean(key, known)} It takes "
                f"{', '.join('--' + name for name in known)}."
            )
    for key in required:
        if key not in settings:
            raise ConfigError(f"{verb} needs --{key}: recbole-precise {VERBS[verb].usage}.")
    return settings
