"""The command: `recbole-precise [verb] --key=value ...`.

Exit status 0 on success, 2 on a mistake of the user (its message alone on stderr), 1 on a fault of the package.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

import recbole_precise
from recbole_precise import registry
from recbole_precise.errors import ConfigError, UserError, did_you_mean
from recbole_precise.settings.arguments import parse_arguments

USAGE = """\
usage: recbole-precise [run] --model=NAME --dataset=NAME [--config_files="a.yaml b.yaml"] [--key=value ...]
       recbole-precise encode --dataset=NAME [--key=value ...]
       recbole-precise convert --source=NAME --input=FOLDER --output=dataset/NAME
       recbole-precise demo [--key=value ...]

run      train a model, evaluate it, and leave result.json, ranks.npz and the weights in its run directory
encode   read the item texts with the text encoder and cache its output; runs then load no language model
convert  turn a raw download into RecBole's atomic files (sources: pad)
demo     PRECISE-UT and the training-free floors on MovieLens-100k, and a table of their results

--key value works too. Every key, its default and its meaning stand in the YAML files of properties/; RecBole's keys keep
their meaning. Models are ours (PRECISE-UT, ...) and every model of RecBole; case, hyphens and underscores do not matter.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    arguments = list(sys.argv[1:] if arguments is None else arguments)
    if arguments[:1] in (["-h"], ["--help"], ["help"]):
        print(USAGE, end="")
        return 0
    if arguments[:1] == ["--version"]:
        print(f"recbole_precise {recbole_precise.__version__}")
        return 0
    try:
        verb = arguments.pop(0) if arguments and not arguments[0].startswith("-") else "run"
        if verb not in VERBS:
            raise ConfigError(f"Unknown verb '{verb}'.{did_you_mean(verb, VERBS)} The verbs are {', '.join(VERBS)}.")
        VERBS[verb](arguments)
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        return 130
    return 0


def _need_recbole() -> None:
    if not recbole_precise.has_recbole():
        raise ConfigError("RecBole is not installed: run `pip install --no-deps recbole==1.2.1`.")


def _run_options(arguments: Sequence[str]) -> tuple[dict[str, object], list[str]]:
    """Model, data set and config files of a command line, and the arguments that are left for Config."""
    settings = parse_arguments(arguments, strict=True)
    options: dict[str, object] = {"model": settings.pop("model", None), "dataset": settings.pop("dataset", None)}
    options["config_file_list"] = settings.pop("config_files", "").split() or None
    return options, [f"--{key}={value}" for key, value in settings.items()]


def _run(arguments: Sequence[str]) -> None:
    options, rest = _run_options(arguments)
    _need_recbole()
    if options["model"] is not None:
        registry.resolve(str(options["model"]))  # a misspelt name is told at once, not after seconds of imports
    from recbole_precise.config import command_line
    from recbole_precise.quick_start import run_recbole

    with command_line(rest):
        run_recbole(**options)


def _encode(arguments: Sequence[str]) -> None:
    options, rest = _run_options(arguments)
    _need_recbole()
    from recbole_precise.config import Config, command_line
    from recbole_precise.data.dataset import create_dataset

    options["model"] = options["model"] or "PRECISE-UT"
    with command_line(rest):
        config = Config(**options)
    tokens = create_dataset(config).token_states()
    with_text = int((tokens.lengths > 0).sum())
    print(f"{config['dataset']}: {with_text} texts, {int(tokens.lengths.sum())} tokens of width {tokens.hidden_size}, read by {tokens.encoder['name']}")


def _convert(arguments: Sequence[str]) -> None:
    settings = parse_arguments(arguments, strict=True)
    from recbole_precise.data.convert import SOURCES

    wanted = ("source", "input", "output")
    for key in settings:
        if key not in wanted:
            raise ConfigError(f"Unknown option '--{key}' of convert.{did_you_mean(key, wanted)} It takes --source, --input and --output.")
    for key in wanted:
        if key not in settings:
            raise ConfigError(f"convert needs --{key}: recbole-precise convert --source=pad --input=FOLDER --output=dataset/NAME.")
    source = settings["source"]
    if source not in SOURCES:
        raise ConfigError(f"Unknown source '{source}'.{did_you_mean(source, SOURCES)} The sources are {', '.join(SOURCES)}.")
    print(SOURCES[source](settings["input"], settings["output"]))


def _demo(arguments: Sequence[str]) -> None:
    _need_recbole()
    from recbole_precise.demo import demo

    print(demo(arguments))


VERBS: dict[str, Callable[[Sequence[str]], None]] = {"run": _run, "encode": _encode, "convert": _convert, "demo": _demo}
