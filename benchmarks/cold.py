"""Items held out of training, ranked among themselves by models, by texts alone and by chance.

    python benchmarks/cold.py --dataset=ml-100k --models="PRECISE-LLM PRECISE-UT PRECISE-ID"
    --seeds="2020" python benchmarks/cold.py --dataset=prime-pantry --data_path=dataset
    --models="PRECISE-UT PRECISE-LLM PRECISE-ID" --seeds="2020"

Every cell is a process of its own (`python -m recbole_precise --model=... --holdout_items=0.1
--seed=...`) with a run directory under `--runs`; cells whose result.json exists are not run again.
All cells share their held-out items. Further `--key=value` go to every cell. Writes
`results/cold_<dataset><suffix>.json` and prints Markdown tables. What is measured:
docs/cold-items.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from quality import run_cell
from sasrec_curve import RESULTS, write_atomically

from recbole_precise.evaluation.cold import cold_table, compare_cold
from recbole_precise.training.cold_report import FLOORS, METRICS, read_cold_ranks

PROTOCOLS = {
    "events": "every user's first event on each held-out item",
    "test": "test rows whose target is held out",
}


def protocol_table(protocol: str, folders: dict[str, list[Path]]) -> dict:
    """Metrics with intervals, and every model against chance and the text floors, over all its
    seeds.
    """
    ranks = {
        model: [read_cold_ranks(folder / "cold.npz", protocol, model) for folder in own]
        for model, own in folders.items()
    }
    first = next(iter(folders.values()))[0]
    floors = {floor: [read_cold_ranks(first / "cold.npz", protocol, floor)] for floor in FLOORS}
    own = next(iter(ranks.values()))[0]
    return {
        "cases": len(own.target),
        "users": len(set(own.user.tolist())),
        "candidates": float(own.candidates.mean()),
        "metrics": cold_table({**ranks, **floors}, METRICS),
        "against": {
            model: {
                name: {metric: compare_cold(runs, other, metric) for metric in METRICS}
                for name, other in {"chance": None, **floors}.items()
            }
            for model, runs in ranks.items()
        },
    }


def markdown(name: str, table: dict) -> str:
    """The table of a protocol."""
    lines = [
        f"\n{name}: {PROTOCOLS[name]}; {table['cases']:,} cases of {table['users']:,} users, "
        f"{table['candidates']:.0f} candidates",
        "\n| | recall@10 | NDCG@10 | NDCG@10 - TextLast | NDCG@10 - chance |\n"
        "|---|---|---|---|---|",
    ]
    for model, row in table["metrics"].items():
        cells = [
            f"{row[m]['mean']:.4f}"
            + (f" ({row[m]['low']:.4f} to {row[m]['high']:.4f})" if "low" in row[m] else "")
            for m in METRICS
        ]
        tests = table["against"].get(model, {})
        for other in ("TextLast", "chance"):
            test = tests.get(other, {}).get("ndcg@10")
            cells.append(
                f"{test['difference']:+.4f} ({test['low']:+.4f} to {test['high']:+.4f})"
                if test
                else ""
            )
        lines.append(f"| {model} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", required=True)
    parser.add_argument("--models", default="PRECISE-LLM PRECISE-UT PRECISE-ID")
    parser.add_argument("--seeds", default="2020")
    parser.add_argument("--holdout", default="0.1")
    parser.add_argument("--runs", default="saved/cold")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--suffix", default="")
    arguments, extra = parser.parse_known_args()
    models, seeds = arguments.models.split(), [int(s) for s in arguments.seeds.split()]
    cells = [(model, seed) for model in models for seed in seeds]
    extra = [f"--holdout_items={arguments.holdout}", *extra]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        done = list(
            pool.map(
                lambda cell: run_cell(*cell, arguments.dataset, Path(arguments.runs), extra), cells
            )
        )
    folders = {
        model: [folder for (m, _), folder in zip(cells, done) if m == model] for model in models
    }
    results = {
        model: [json.loads((folder / "result.json").read_text()) for folder in own]
        for model, own in folders.items()
    }
    payload = {
        "command": " ".join(["python benchmarks/cold.py", *sys.argv[1:]]),
        "dataset": arguments.dataset,
        "environment": results[models[0]][0]["environment"],
        "protocol": results[models[0]][0]["protocol"],
        "seeds": seeds,
        "held_out_items": results[models[0]][0]["cold"]["held_out_items"],
        "protocols": {name: protocol_table(name, folders) for name in PROTOCOLS},
        "full_catalogue": {
            model: [
                {name: result["slices"][name] for name in ("holdout", "kept")}
                | {"test": result["test"]}
                for result in own
            ]
            for model, own in results.items()
        },
        "train_seconds": {
            model: [result["seconds"]["train"] for result in own] for model, own in results.items()
        },
    }
    write_atomically(RESULTS / f"cold_{arguments.dataset}{arguments.suffix}.json", payload)
    for name, table in payload["protocols"].items():
        print(markdown(name, table))


if __name__ == "__main__":
    main()
