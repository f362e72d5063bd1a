"""What every model costs beside RecBole's SASRec: seconds of an epoch and of a ranking, time per
target, memory.

    python benchmarks/model_cost.py --dataset=ml-100k
    python benchmarks/model_cost.py --dataset=prime-pantry --data_path=dataset [--turns=3]
    [--seconds=1] python benchmarks/model_cost.py --dataset=ml-100k --models=PAD --no-plain
    --seconds=10 [--backbone=GRU4Rec]

By default all models of ours that are trained, each phase of a training apart (PAD's three,
PRECISE's universal and targeted), and RecBole's SASRec, GRU4Rec and BERT4Rec through our command,
which trains them with our trainer and our data set. RecBole's are measured once more in *plain
RecBole*: its data set, loaders, Trainer and evaluator. Settings are those that a run of the command
has (`--recipe=default` for each model's own instead of the data set's best); any other
`--key=value` goes to every model that knows it.

*Turns.* Every turn measures every model once, one after the other, and a model's numbers are
medians over turns, so that a noisy machine disturbs all alike; one that took more than two minutes
is not measured again, and the table says so. A measurement is a process forked for it, in which the
model is built anew (the data is read once, before): what our trainer and RecBole's import do to a
whole process (keeping freed memory, autograd's anomaly detection) stays with the model that it
belongs to, and so does the peak of memory.

*An epoch* is timed inside the trainer, without validation, after some batches that are not counted
(a quarter of `--seconds`). In the first turn a phase is handed batches for `--seconds` of processor
time, at least one; a whole epoch if it takes less. The other turns take as many batches. The time
from the first batch on is scaled to the batches of an epoch, what comes before it (new windows)
counts once; the table tells how many batches were measured of how many. *Targets* are what an epoch
trains on: RecBole's models take a row for each and a row's history anew, ours all positions of a
window in one pass; BERT4Rec masks items at random, of which one pass over the data is counted.

*Ranking* is the evaluation of all test rows, with the catalogue encoded anew; one of less than
three seconds is done twice, and the second counts. *Memory* is the peak of what the process has
allocated above what it had before the model was built, so without the data. Times are wall time and
processor time, which other work on the machine disturbs less; the ratios are of processor time.

With PAD comes its backbone alone (the ID expert, in the phase that trains it), and the limits that
PAD keeps beside it: 3.3 times an epoch (of the phase `finetune`), 3 times the ranking. Writes
`results/model_cost_<dataset>.json` and the same as a table in `.md`; exit status 1 when a model
could not be measured. Needs Linux.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from measured_run import Case, Failed, in_child, measure, prepare, prepare_process
from mmd import cpu_name
from sasrec_curve import RESULTS, write_atomically

REFERENCE = "RecBole's SASRec"
THEIRS = ("SASRec", "GRU4Rec", "BERT4Rec")
BACKBONE = "PAD's backbone alone"
LONG = 120.0  # seconds after which a model is not measured again
LIMITS = {"epoch": 3.3, "ranking": 3.0}
#: Settings that say how large a model and its steps are.
SIZES = (
    "recipe",
    "backbone",
    "embedding_size",
    "token_size",
    "hidden_size",
    "n_layers",
    "num_layers",
    "train_batch_size",
    "MAX_ITEM_LIST_LENGTH",
)


def choose_cases(names: Sequence[str], plain: bool) -> list[Case]:
    """The cases of these models, the reference first.

    PAD brings its backbone along, RecBole's models come in plain RecBole too.
    """
    from recbole_precise import registry

    entries = {
        entry.name: entry for entry in (registry.resolve(name) for name in ("SASRec", *names))
    }.values()
    cases = []
    for entry in entries:
        if entry.ours:
            cases.append(Case(entry.name, entry.name))
        else:
            cases.append(Case(f"RecBole's {entry.name}", entry.name))
            cases += (
                [Case(f"{entry.name} in plain RecBole", entry.name, plain=True)] if plain else []
            )
        if entry.name == "PAD":
            cases.append(Case(BACKBONE, "PAD", {"experts": ["id"], "phases": ["pretrain"]}))
    return cases


def trained_models() -> list[str]:
    """Our models that learn by steps, and RecBole's that the tables name."""
    from recbole_precise import registry
    from recbole_precise.studies.benchmark.plan import draws_nothing

    return [entry.name for entry in registry.ENTRIES if not draws_nothing(entry.name)] + list(
        THEIRS
    )


def settings_by_model(given: Sequence[str], models: Sequence[str]) -> dict[str, dict[str, str]]:
    """Model -> those of the `--key=value` arguments that it knows.

    A ConfigError for a key that none of them knows.
    """
    from recbole_precise import registry
    from recbole_precise.config.arguments import parse_arguments
    from recbole_precise.config.known_keys import our_keys, recbole_keys
    from recbole_precise.errors import ConfigError, did_you_mean
    from recbole_precise.plugin.checks.known_keys import keys_of_model

    settings = parse_arguments(given, strict=True)
    entries = [registry.resolve(model) for model in models]
    known = {
        entry.name: {*recbole_keys(), *our_keys(), *keys_of_model(entry, entry.load())}
        for entry in entries
    }
    everything = set().union(*known.values())
    for key in settings:
        if key not in everything:
            raise ConfigError(
                f"Unknown key '{key}': no model here reads it.{did_you_mean(key, everything)}"
            )
    return {
        model: {key: text for key, text in settings.items() if key in keys}
        for model, keys in known.items()
    }


# --- The tables -------------------------------------------------------------------------------


def summary(turns: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One case over its turns: medians in seconds, the largest peak of memory."""

    def medians(times: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {
            clock: statistics.median(one[clock] for one in times) for clock in ("wall", "processor")
        }
        return {
            **found,
            **{
                f"{clock}_of_turns": [one[clock] for one in times]
                for clock in ("wall", "processor")
            },
        }

    first, phases = turns[0], []
    for place, epoch in enumerate(first["epochs"]):
        times = medians([turn["epochs"][place] for turn in turns])
        phases.append(
            {
                **epoch,
                **times,
                "microseconds_per_target": 1e6 * times["processor"] / max(epoch["targets"], 1),
            }
        )
    return {
        "turns": len(turns), "phases": phases,
        "ranking": medians([turn["ranking"] for turn in turns]),
        "added_mb": max(turn["added_mb"] for turn in turns), "parameters": first["parameters"],
    }  # fmt: skip


def add_ratios(found: Mapping[str, dict[str, Any]]) -> None:
    """Give every epoch and ranking its ratio to the reference's, by both clocks, and every epoch
    that of its time per target.
    """
    if REFERENCE not in found:
        return
    epoch, ranking = found[REFERENCE]["phases"][0], found[REFERENCE]["ranking"]
    for case in found.values():
        for phase in case["phases"]:
            phase["ratio"] = {clock: phase[clock] / epoch[clock] for clock in ("wall", "processor")}
            phase["ratio_per_target"] = (
                phase["microseconds_per_target"] / epoch["microseconds_per_target"]
            )
        case["ranking"]["ratio"] = {
            clock: case["ranking"][clock] / ranking[clock] for clock in ("wall", "processor")
        }


def limits(found: Mapping[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """PAD's last phase and its ranking beside the backbone alone.

    Empty where one of the two is missing.
    """
    if not {"PAD", BACKBONE} <= found.keys() or found["PAD"]["phases"][-1]["phase"] != "finetune":
        return {}
    sides = {
        "epoch": (found["PAD"]["phases"][-1], found[BACKBONE]["phases"][0]),
        "ranking": (found["PAD"]["ranking"], found[BACKBONE]["ranking"]),
    }
    told = {}
    for what, (pad, backbone) in sides.items():
        ratios = {clock: pad[clock] / backbone[clock] for clock in ("wall", "processor")}
        told[what] = {**ratios, "limit": LIMITS[what], "kept": ratios["processor"] <= LIMITS[what]}
    return told


def markdown(report: Mapping[str, Any]) -> str:
    """The table of a report."""
    titles = (
        "model", "phase", "targets an epoch", "batches measured", "epoch s", "of which processor",
        "x SASRec",
        "µs a target", "x SASRec", "ranking s", "x SASRec", "added MB", "parameters",
    )  # fmt: skip
    lines = [f"| {' | '.join(titles)} |", f"| --- | --- {'| ---: ' * (len(titles) - 2)}|"]
    for name, case in report["cases"].items():
        for phase in case["phases"]:
            last = phase is case["phases"][-1]
            ranking = [
                _seconds(case["ranking"]["wall"]),
                _ratio(case["ranking"].get("ratio")),
                f"{case['added_mb']:,.0f}",
                f"{case['parameters']:,}",
            ]
            cells = [
                name, phase["phase"], f"{phase['targets']:,}", 
                        f"{phase['batches_measured']} of "
                        f"{phase['batches']}", _seconds(phase["wall"]),
                        _seconds(phase["processor"]),
                _ratio(phase.get("ratio")), f"{phase['microseconds_per_target']:,.1f}",
                _number(phase.get("ratio_per_target")), *(ranking if last else [""] * 4),
            ]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    notes = [f"{name}: not measured. {words}" for name, words in report["failed"].items()]
    once = [name for name, case in report["cases"].items() if case["turns"] < report["turns"]]
    notes += (
        [f"Measured in one turn alone, because that took more than two minutes: {', '.join(once)}."]
        if once
        else []
    )
    notes += [
        f"PAD beside its backbone alone, {_told(what, entry)}"
        for what, entry in report["limits"].items()
    ]
    head = (
        f"# What the models cost on {report['dataset']}\n\n`{report['command']}`  \n"
        f"{report['cpu']}, threads: {report['threads']}; medians of {report['turns']} turns"
    )
    beside = (
        f"x SASRec: processor time beside that of {REFERENCE}, trained through the same "
        "command. What is measured and how: `benchmarks/model_cost.py`."
    )
    return "\n\n".join([head, "\n".join(lines), beside, *notes]) + "\n"


def _told(what: str, entry: Mapping[str, Any]) -> str:
    verdict = "kept" if entry["kept"] else "passed"
    return (
        f"{what}: {entry['processor']:.2f}x of processor time ({entry['wall']:.2f}x by the "
        f"wall clock); limit {entry['limit']}x: {verdict}"
    )


def _seconds(value: float) -> str:
    return f"{value:.2f}" if value < 100 else f"{value:,.0f}"


def _ratio(ratios: Mapping[str, float] | None) -> str:
    return _number(None if ratios is None else ratios["processor"])


def _number(value: float | None) -> str:
    """Three digits that count, or nothing."""
    return "" if value is None else f"{value:.2f}" if value >= 1 else f"{value:.3g}"


# --- The run ----------------------------------------------------------------------------------


def run(
    dataset: str,
    cases: Sequence[Case],
    settings: Mapping[str, Mapping[str, str]],
    turns: int,
    seconds: float,
    threads: int,
) -> tuple[dict, dict, Any]:
    """(case -> summary, case -> why it failed, environment)."""
    from recbole_precise.errors import UserError
    from recbole_precise.runs.result import environment

    ready, failed, sizes, machine = [], {}, {}, None
    for case in cases:
        try:
            prepared = prepare(case, dataset, settings[case.model])
        except UserError as error:
            failed[case.name] = str(error)
            continue
        ready.append(prepared)
        known = prepared.config.final_config_dict
        sizes[case.name] = {key: known[key] for key in SIZES if known.get(key) is not None}
        machine = machine or environment(prepared.config["device"])
    prepare_process(ready)
    measured: dict[str, list[dict[str, Any]]] = {}
    long: set[str] = set()
    for turn in range(turns):
        for prepared in ready:
            name = prepared.case.name
            if name in failed or (turn and name in long):
                continue
            first = measured.get(name, [{"epochs": ()}])[0]["epochs"]
            counts = {epoch["phase"]: epoch["batches_measured"] for epoch in first}
            began = time.perf_counter()
            try:
                measured.setdefault(name, []).append(
                    in_child(measure, prepared, counts, seconds, threads)
                )
            except Failed as error:
                failed[name] = str(error)
            if time.perf_counter() - began > LONG:
                long.add(name)
            print(
                f"turn {turn + 1} of {turns}  {name}: "
                f"{failed.get(name) or f'{time.perf_counter() - began:.1f} s'}",
                file=sys.stderr,
                flush=True,
            )
    found = {
        name: {"settings": sizes[name], **summary(of_case)}
        for name, of_case in measured.items()
        if name not in failed
    }
    add_ratios(found)
    return found, failed, machine


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--dataset", required=True)
    parser.add_argument(
        "--models",
        help="names, of ours or RecBole's; default: all of ours that are trained, and RecBole's "
        "SASRec, GRU4Rec and BERT4Rec",
    )
    parser.add_argument(
        "--plain",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure RecBole's models in plain RecBole too",
    )
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument(
        "--seconds",
        type=float,
        default=1.0,
        help="of batches a phase; an epoch that takes less is measured whole",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path, help="the JSON file; the table goes beside it")
    args, given = parser.parse_known_args()
    if args.turns < 1:
        parser.error("--turns: at least one")
    if not Path("/proc/self/status").exists():
        parser.error("measurements are forked processes that read /proc: Linux alone has both")
    said, sys.argv = (
        " ".join(["python benchmarks/model_cost.py", *sys.argv[1:]]),
        sys.argv[:1],
    )  # RecBole's Config would read them too
    import torch

    from recbole_precise.errors import UserError

    torch.set_num_threads(1)  # a pool of threads does not outlive a fork
    try:
        cases = choose_cases(args.models.split() if args.models else trained_models(), args.plain)
        settings = settings_by_model(given, list(dict.fromkeys(case.model for case in cases)))
    except UserError as error:
        parser.error(str(error))
    found, failed, machine = run(
        args.dataset, cases, settings, args.turns, args.seconds, args.threads
    )
    report = {
        "command": said, "dataset": args.dataset, "turns": args.turns, "seconds": args.seconds,
        "threads": args.threads, "reference": REFERENCE,
        "limits": limits(found), "cases": found, "failed": failed, "cpu": cpu_name(),
        "environment": machine,
    }  # fmt: skip
    output = args.output or RESULTS / f"model_cost_{args.dataset}.json"
    write_atomically(output, report)
    table = output.with_suffix(".md")
    table.write_text(markdown(report), encoding="utf-8")
    print(f"{markdown(report)}\nWritten: {output}, {table}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
