"""What PAD costs beside its backbone alone: an epoch of the third phase, and ranking, as ratios.

    python benchmarks/pad_cost.py --dataset=ml-100k
    python benchmarks/pad_cost.py --dataset=prime-pantry --data_path=dataset [--backbone=GRU4Rec]

Both are PAD through its trainer, in one process and in turns: the backbone alone is the ID expert and the phase that trains
it (`experts: [id]`, `phases: [pretrain]`), PAD is all three experts and the phase `finetune`, which trains them behind the gate.
Data, loss, batches and widths are the same. An epoch is timed inside the trainer, without validation, and the first of
each turn is not counted; ranking is the evaluation of all test rows, with the catalogue encoded anew. Medians over turns, as wall
time and as processor time, which other work on the machine disturbs less; the ratios are of medians.

The limits to stay within: 3.3 times an epoch, 3 times the ranking. Any other `--key=value` is a setting of both. Writes
`results/pad_cost_<dataset>.json`.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path
from typing import Any

from sasrec_curve import RESULTS, write_atomically

LIMITS = {"epoch": 3.3, "ranking": 3.0}
SIDES = {"backbone": {"experts": ["id"], "phases": ["pretrain"]}, "PAD": {"experts": ["id", "aligned", "text"], "phases": ["finetune"]}}


class Side:
    """One of the two: its data and a model that is trained further in every turn."""

    def __init__(self, name: str, dataset: str, settings: dict[str, Any], given: list[str]) -> None:
        import recbole_precise as rp
        from recbole_precise.config import command_line

        with command_line(given):
            self.config = rp.Config(model="PAD", dataset=dataset, config_dict={**settings, **SIDES[name]})
        self.train, self.valid, self.test = rp.data_preparation(self.config, rp.create_dataset(self.config))
        self.model = rp.get_model("PAD")(self.config, self.train._dataset).to(self.config["device"])
        self.epochs: list[tuple[float, float]] = []
        self.rankings: list[tuple[float, float]] = []

    def turn(self) -> None:
        """Train some epochs and rank once; the first epoch warms up."""
        from recbole_precise.trainer.trainer import get_trainer

        trainer = get_trainer(self.config)(self.config, self.model)
        epoch, times = trainer._train_epoch, []

        def timed(*args, **kwargs):
            began = time.perf_counter(), time.process_time()
            loss = epoch(*args, **kwargs)
            times.append((time.perf_counter() - began[0], time.process_time() - began[1]))
            return loss

        trainer._train_epoch = timed
        trainer.fit(self.train, self.valid, verbose=False, saved=False, show_progress=False)
        self.epochs += times[1:]
        self.model._catalogue = None
        began = time.perf_counter(), time.process_time()
        trainer.evaluate(self.test, load_best_model=False, show_progress=False)
        self.rankings.append((time.perf_counter() - began[0], time.process_time() - began[1]))

    def summary(self) -> dict[str, Any]:
        """Medians in seconds, and what was timed."""
        found = {}
        for what, times in (("epoch", self.epochs), ("ranking", self.rankings)):
            wall, processor = zip(*times)
            found[what] = {"wall": statistics.median(wall), "processor": statistics.median(processor), "wall_of_turns": wall, "processor_of_turns": processor}
        return {**found, "training_batches": len(self.train), "test_rows": len(self.test._dataset), "parameters": sum(value.numel() for value in self.model.parameters())}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=2, help="of a turn, of which the first is not counted; 2 or more")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--output", type=Path)
    args, given = parser.parse_known_args()
    if args.epochs < 2:
        parser.error("--epochs: the first is not counted, so there must be two or more")
    said, sys.argv = " ".join(["python benchmarks/pad_cost.py", *sys.argv[1:]]), sys.argv[:1]
    import torch

    from recbole_precise.result import environment

    torch.set_num_threads(args.threads)
    settings = {"epochs": args.epochs, "finetune_epochs": args.epochs, "eval_step": 0, "show_progress": False, "state": "ERROR", "tensorboard": False}
    sides = {name: Side(name, args.dataset, settings, given) for name in SIDES}
    for turn in range(args.turns):
        for side in sides.values():
            side.turn()
        print(f"turn {turn + 1} of {args.turns} done", file=sys.stderr, flush=True)
    found = {name: side.summary() for name, side in sides.items()}
    config = sides["PAD"].config
    ratios = {what: {clock: found["PAD"][what][clock] / found["backbone"][what][clock] for clock in ("wall", "processor")} for what in LIMITS}
    kept = {key: config[key] for key in ("backbone", "gate", "loss", "embedding_size", "n_layers", "train_batch_size", "MAX_ITEM_LIST_LENGTH")}
    report = {
        "command": said,
        "dataset": args.dataset,
        "settings": kept,
        "turns": args.turns,
        "epochs_of_a_turn": args.epochs,
        "limits": LIMITS,
        "ratios": ratios,
        **found,
        "environment": environment(config),
    }
    output = args.output or RESULTS / f"pad_cost_{args.dataset}.json"
    write_atomically(output, report)
    for what, limit in LIMITS.items():
        wall, processor = ratios[what]["wall"], ratios[what]["processor"]
        single, pad = (found[name][what]["processor"] for name in SIDES)
        verdict = "kept" if processor <= limit else "passed"
        told = f"{config['backbone']} alone {single:.2f} s, PAD {pad:.2f} s of processor time: {processor:.2f}x ({wall:.2f}x by the wall clock)"
        print(f"{what:<8} {told}; limit {limit}x: {verdict}")
    print(f"Written: {output}")


if __name__ == "__main__":
    main()
