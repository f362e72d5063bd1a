"""Commands that are killed again and again, from a seed: gone on with, they end at the same bits as
one that nobody killed.

    python tests/attack/kills.py --seed=1 --kills=200

Each command runs in a fork. `run`, `replay` and `tune` are killed (SIGKILL) at the n-th call of a
Python function, so at any place between two of them: in a step, an evaluation, between a file and
its name. `benchmark`, whose cells are processes of their own, is killed when a cell has left so
many checkpoints, and its cells with it.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(HERE), str(ROOT)]

from attack import SHOP  # noqa: E402
from workplace import preload, write_shop  # noqa: E402

from recbole_precise.studies.tuning import store  # noqa: E402

#: Settings of small models, by name.
MODELS = {
    "SASRec-CE": ["--embedding_size=8", "--n_layers=1"],
    "PRECISE-UT": [
        "--variant=id",
        "--embedding_size=8",
        "--token_size=8",
        "--n_layers=1",
        "--softmax=sampled",
        "--n_negatives=8",
    ],
    "PAD": [
        "--item_text={title}",
        "--embedding_size=8",
        "--n_layers=1",
        "--prefix_batch_size=20",
        "--text_cache_dir=cache",
    ],
    "BERT4Rec": ["--hidden_size=8", "--inner_size=8", "--n_layers=1", "--mask_ratio=0.5"],
    "GRU4Rec": ["--embedding_size=8", "--hidden_size=8", "--num_layers=1"],
}
_CLOCK = ("seconds", "peak_memory_mb", "environment", "made", "started", "ended")
_SHARES = {"run": 0.8, "replay": 0.1, "tune": 0.05, "benchmark": 0.05}  # of all kills


_ENOUGH = 3  # faults of a scenario, after which it is given up


@dataclass
class Scenario:
    """A command, how it goes on, and what of its outcome must be the same.

    Attributes:
        name: for people.
        kills: how many it gets.
        command: directory of one history -> arguments; the same again goes on.
        outcome: of that directory, plain values.
        longest: share of all function calls of a straight run within which a kill comes.
        in_a_row: kills that one history gets at most; None for no limit.
    """

    name: str
    kills: int
    command: Callable[[Path], list[str]]
    outcome: Callable[[Path], Any]
    longest: float = 0.9
    in_a_row: int | None = None


def _without_clock(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            key: _without_clock(inner)
            for key, inner in value.items()
            if key not in _CLOCK and not key.endswith("_seconds")
        }
    return [_without_clock(inner) for inner in value] if isinstance(value, list) else value


def outcome_of_run(folder: Path) -> dict[str, Any]:
    """Bytes of the weights, ranks, and the result without what a clock decides."""
    import numpy as np

    with np.load(folder / "ranks.npz", allow_pickle=False) as arrays:
        ranks = {name: arrays[name].tolist() for name in arrays.files}
    result = _without_clock(json.loads((folder / "result.json").read_text()))
    return {
        "weights": (folder / "model.safetensors").read_bytes(),
        "result": result,
        "ranks": ranks,
    }


def _outcome_of_replay(folder: Path) -> dict[str, Any]:
    weights = {
        path.parent.name: path.read_bytes() for path in sorted(folder.rglob("model.safetensors"))
    }
    return {"results": json.loads((folder / "results.json").read_text()), "weights": weights}


def _outcome_of_tune(folder: Path) -> list[Any]:
    """Value and settings of the trials that ended by themselves.

    A lost one stands beside the one that took its place.
    """
    (file,) = folder.rglob("trials.json")
    rows = [row for row in json.loads(file.read_text())["trials"] if row["state"] == "complete"]
    return sorted((json.dumps(row["settings"], sort_keys=True), row["value"]) for row in rows)


def _outcome_of_benchmark(folder: Path) -> dict[str, Any]:
    return {
        path.parent.relative_to(folder).as_posix(): outcome_of_run(path.parent)
        for path in sorted(folder.glob("shop/*/seed-*/result.json"))
    }


def scenarios(place: Path, kills: int, seed: int) -> list[Scenario]:
    """The commands, with `kills` among them by `_SHARES`."""
    shop = [
        argument
        for argument in SHOP
        if not argument.startswith(("--data_path", "--epochs", "--load_col"))
    ] + [f"--data_path={place / 'data'}", "--state=ERROR"]
    every = [*shop, "--epochs=3", f"--seed={2000 + seed}", "--checkpoint_seconds=0"]
    count = {name: round(share * kills) for name, share in _SHARES.items()}
    found = []
    for number, (model, own) in enumerate(MODELS.items()):
        share = count["run"] // len(MODELS) + (number < count["run"] % len(MODELS))
        columns = (
            "{inter: [user_id, item_id, timestamp], item: [item_id]}"
            if model == "PAD"
            else "{inter: [user_id, item_id, timestamp]}"
        )
        command = [f"--model={model}", *every, f"--load_col={columns}", *own, "--resume=True"]
        found.append(
            Scenario(
                model,
                share,
                lambda folder, command=command: [*command, f"--run_dir={folder}"],
                outcome_of_run,
            )
        )
    shop, every = (
        [*shop, "--load_col={inter: [user_id, item_id, timestamp]}"],
        [*every, "--load_col={inter: [user_id, item_id, timestamp]}"],
    )
    precise = [
        word for word in MODELS["PRECISE-UT"] if not word.startswith(("--softmax", "--n_negatives"))
    ]
    replay = [
        "replay",
        *shop,
        "--period=day",
        "--plots=False",
        "--epochs=1",
        f"--seed={2000 + seed}",
        *precise,
    ]
    found.append(
        Scenario(
            "replay",
            count["replay"],
            lambda folder: [*replay, f"--output={folder}"],
            _outcome_of_replay,
        )
    )
    (place / "space.hyper").write_text("learning_rate choice [0.01, 0.003, 0.001, 0.0003]\n")
    tune = [
        "tune",
        "--model=SASRec-CE",
        *[word for word in every if not word.startswith("--checkpoint_seconds")],
        *MODELS["SASRec-CE"],
        f"--params_file={place / 'space.hyper'}",
        "--sampler=grid",
        "--pruner=none",
    ]
    # A point whose process has died three times is left by design.
    found.append(
        Scenario(
            "tune",
            count["tune"],
            lambda folder: [*tune, f"--storage={folder / 'study.db'}"],
            _outcome_of_tune,
            in_a_row=2,
        )
    )
    plan = {
        "datasets": {"shop": {"data_path": str(place / "data")}}, "seeds": [1],
        "metrics": ["ndcg@10"], "against": "Pop", "resamples": 99,
        "models": {"Pop": None, "SASRec-CE": {"settings": {"embedding_size": 8, "n_layers": 1,
            "epochs": 60, "stopping_step": 100, "checkpoint_seconds": 0}}},
    }  # fmt: skip
    (place / "plan.yaml").write_text(json.dumps(plan))
    common = [
        argument
        for argument in shop
        if not argument.startswith(("--data_path", "--dataset", "--threads"))
    ]
    benchmark = [
        "benchmark",
        f"--plan={place / 'plan.yaml'}",
        "--plots=False",
        "--jobs=1",
        "--threads=1",
        "--memory_gb=0",
        *common,
    ]
    found.append(
        Scenario(
            "benchmark",
            count["benchmark"],
            lambda folder: [*benchmark, f"--runs={folder}"],
            _outcome_of_benchmark,
        )
    )
    return found


def run_fork(
    arguments: list[str],
    log: Path,
    kill_at: int | None = None,
    until: Callable[[], bool] | None = None,
) -> tuple[int, int]:
    """Run a command in a fork; (its exit status, function calls that it made where it was counted).

    Args:
        kill_at: the function call at which it kills itself; None: never.
        until: asked by this process meanwhile; once it says yes, the fork is killed.
    """
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _forked(arguments, log, kill_at, writer if until is None else None)
    os.close(writer)
    status = None
    while until is not None and status is None:
        done, status_now = os.waitpid(pid, os.WNOHANG)
        if done:
            status = status_now
        elif until():
            os.kill(pid, signal.SIGKILL)
            until = None
        else:
            time.sleep(0.01)
    if status is None:
        _, status = os.waitpid(pid, 0)
    with os.fdopen(reader) as stream:
        words = stream.read()
    return os.waitstatus_to_exitcode(status), int(words or 0)


def _forked(arguments: list[str], log: Path, kill_at: int | None, counts: int | None) -> None:
    status = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.argv = ["recbole-precise", *arguments]
        from recbole_precise.cli import main

        calls = 0

        def count(frame: Any, event: str, argument: Any) -> None:
            nonlocal calls
            if event == "call":
                calls += 1
                if calls == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        if counts is not None:
            sys.setprofile(count)
        status = main(arguments)
        sys.setprofile(None)
        if counts is not None:
            os.write(counts, str(calls).encode())
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(status)


def try_scenario(scenario: Scenario, place: Path, seed: int) -> list[str]:
    """Kill a command as often as it is to be, in one history after the other.

    Return what is wrong.
    """
    draw, started = random.Random(f"kills-{seed}-{scenario.name}"), time.monotonic()
    folder = place / scenario.name
    folder.mkdir()
    log = folder / "log"
    status, calls = run_fork(scenario.command(folder / "straight"), log)
    if status:
        return [
            f"{scenario.name}: the straight command ended with status {status}: "
            f"{log.read_text()[-2000:]}"
        ]
    expected = scenario.outcome(folder / "straight")
    faults: list[str] = []
    killed = histories = 0
    while killed < scenario.kills and len(faults) < _ENOUGH:
        history, moments = folder / f"history-{histories}", []
        histories += 1
        while True:
            left = killed < scenario.kills and (
                scenario.in_a_row is None or len(moments) < scenario.in_a_row
            )
            if scenario.name == "benchmark":
                moment = _checkpoints(history) + draw.randrange(1, 30)
                status, _ = run_fork(
                    scenario.command(history),
                    log,
                    until=(lambda: _checkpoints(history) >= moment) if left else None,
                )
            else:
                moment = draw.randrange(int(scenario.longest * calls))
                status, _ = run_fork(
                    scenario.command(history), log, kill_at=moment if left else None
                )
            if status != -signal.SIGKILL:
                break
            moments.append(moment)
            killed += 1
        if status:
            faults.append(
                f"{scenario.name}, killed at {moments}: then status {status}: "
                f"{log.read_text()[-1500:]}"
            )
        elif scenario.outcome(history) != expected:
            faults.append(f"{scenario.name}, killed at {moments}: another outcome")
    minutes = (time.monotonic() - started) / 60
    print(
        f"{scenario.name:<12} {killed:>4} kills in {histories:>3} histories, {len(faults)} "
        f"faults, {minutes:.1f} min",
        flush=True,
    )
    return faults


def _checkpoints(folder: Path) -> int:
    """Number of the newest checkpoint of any cell."""
    numbers = [
        int(path.stem.removeprefix("state-"))
        for path in folder.glob("shop/*/*/checkpoint/state-*.json")
    ]
    return max(numbers, default=0)


def main() -> int:
    """Run all scenarios, `jobs` at a time; status 1 when an outcome differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", help="one scenario")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    preload()
    store.HEARTBEAT = 1  # so that the next process sees a kill of `tune` after seconds
    store.GRACE = 3
    gc.freeze()
    started, failed = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="kills-") as folder:
        place = Path(folder)
        write_shop(place / "data" / "shop")
        os.chdir(place)
        waiting = [
            each
            for each in scenarios(place, options.kills, options.seed)
            if options.only in (None, each.name)
        ]
        running: set[int] = set()
        while waiting or running:
            while waiting and len(running) < options.jobs:
                scenario = waiting.pop(0)
                pid = os.fork()
                if pid == 0:
                    faults = ["it failed"]
                    try:
                        faults = try_scenario(scenario, place, options.seed)
                    finally:
                        print("\n".join(faults), end="\n" if faults else "", flush=True)
                        os._exit(bool(faults))
                running.add(pid)
            pid, status = os.wait()
            running.discard(pid)
            failed += status != 0
    print(
        f"{failed} scenarios with faults" if failed else "every history ended at the same bits",
        f"({time.monotonic() - started:.0f} s, seed {options.seed})",
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
