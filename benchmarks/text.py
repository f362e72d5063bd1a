"""Items per second of encoding texts: ours beside sentence-transformers, and a second run through
the cache.

    python benchmarks/text.py
    python benchmarks/text.py --input titles.csv --id_column asin --item_text "{title}" --limit 2000

Both sides read the same distinct texts with the same model folder, maximum length, threads and
arithmetic, the model already loaded, in turns, medians of `--repeats`. sentence-transformers
returns one vector for each text and runs at each of `--batch_sizes`, its default 32 among them; the
faster counts. Ours stores the states of all tokens on disk (synced, with checksums) within the time
measured. Agreement is the lowest cosine between our pooled states and their vectors. The second run
finds the model and the texts again and maps the states; pooling them, which reads every byte, is
timed apart.

Writes `results/text.json`.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def clock(work: Callable[[], object]) -> tuple[dict[str, float], object]:
    """Wall and processor seconds of `work()`, and what it returned."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = work()
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}, result


def median(runs: list[dict[str, float]]) -> dict[str, float]:
    return {key: statistics.median(run[key] for run in runs) for key in runs[0]}


def corpora(args: argparse.Namespace) -> dict[str, list[str]]:
    """Distinct texts by name of the set."""
    from recbole_precise.text import read_table, read_text_file, render

    if args.input:
        records = list(read_text_file(args.input, id_column=args.id_column).values())
        found = {Path(args.input).stem: render(args.item_text, records)}
    else:
        found = {}
    # The file is found without running recbole: nothing of it is needed here.
    example = (
        Path(find_spec("recbole").origin).parent / "dataset_example" / "ml-100k" / "ml-100k.item"
    )
    found["ml-100k"] = render("{movie_title} ({release_year}) {class}", read_table(example).rows)
    return {
        name: list(dict.fromkeys(filter(str.strip, texts)))[: args.limit]
        for name, texts in found.items()
    }


def compare(texts: list[str], ours, theirs, args: argparse.Namespace, folder: Path) -> dict:
    """Runs of both sides in turns; what the report holds of one set of texts."""
    import numpy as np

    from recbole_precise.text import encode_cached, resolve_encoder

    options = {"max_tokens": args.max_tokens, "dtype": "float32"}
    runs: dict[str, list[dict[str, float]]] = {}
    vectors = states = None
    for number in range(args.repeats):
        cache = folder / str(number)
        seconds, states = clock(lambda: encode_cached(texts, ours, cache_dir=cache, **options))
        runs.setdefault("ours", []).append(seconds)
        resolve_encoder("auto", cache)  # as after a run that found its model by name
        seconds, again = clock(lambda: encode_cached(texts, "auto", cache_dir=cache, **options))
        runs.setdefault("second_run", []).append(seconds)
        runs.setdefault("pooling", []).append(clock(again.pooled)[0])
        for size in args.batch_sizes:
            seconds, vectors = clock(
                lambda: theirs.encode(texts, batch_size=size, show_progress_bar=False)
            )
            runs.setdefault(f"sentence_transformers_{size}", []).append(seconds)
    medians = {name: median(values) for name, values in runs.items()}
    rivals = [f"sentence_transformers_{size}" for size in args.batch_sizes]
    best = min(rivals, key=lambda name: medians[name]["wall"])
    pooled = states.pooled()
    pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return {
        "texts": len(texts),
        "tokens": int(states.offsets[-1]),
        "bytes_stored": int(states.states.nbytes),
        "items_per_second": {
            name: len(texts) / medians[name]["wall"] for name in ["ours", *rivals]
        },
        "ratio_wall": medians[best]["wall"] / medians["ours"]["wall"],
        "ratio_cpu": min(medians[name]["cpu"] for name in rivals) / medians["ours"]["cpu"],
        "second_run_seconds": medians["second_run"]["wall"],
        "second_run_ratio": medians["ours"]["wall"] / medians["second_run"]["wall"],
        "second_run_and_pooling_ratio": medians["ours"]["wall"]
        / (medians["second_run"]["wall"] + medians["pooling"]["wall"]),
        "lowest_cosine": float((pooled * vectors).sum(1).min()),
        "seconds": runs,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--input", help="another file of texts (.jsonl, .tsv, .csv)")
    parser.add_argument("--id_column", default="item_id")
    parser.add_argument("--item_text", default="{title}")
    parser.add_argument("--limit", type=int, help="read at most so many texts of each set")
    parser.add_argument("--max_tokens", type=int, default=32)
    parser.add_argument(
        "--batch_sizes", type=int, nargs="+", default=[32, 64], help="of sentence-transformers"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--output", type=Path, default=RESULTS / "text.json")
    args = parser.parse_args()

    os.environ["OMP_NUM_THREADS"] = os.environ["RAYON_NUM_THREADS"] = str(args.threads)
    import torch

    torch.set_num_threads(args.threads)
    from sentence_transformers import SentenceTransformer

    from recbole_precise.text import resolve_encoder
    from recbole_precise.text.encoder import HfEncoder

    report = {
        "model": "all-MiniLM-L6-v2",
        "max_tokens": args.max_tokens,
        "threads": args.threads,
        "repeats": args.repeats,
        "processor": platform.processor() or platform.machine(),
        "python": platform.python_version(),
        "versions": {
            name: version(name) for name in ("torch", "transformers", "sentence-transformers")
        },
        "sets": {},
    }
    with tempfile.TemporaryDirectory() as folder:
        source = resolve_encoder("auto", folder)
        ours = HfEncoder(source)
        theirs = SentenceTransformer(str(source.folder), device="cpu", local_files_only=True)
        theirs.max_seq_length = args.max_tokens
        for name, texts in corpora(args).items():
            theirs.encode(texts[:64], show_progress_bar=False)
            ours.encode_batch([ours.tokenize(texts[:1], args.max_tokens)[0]] * 64)
            found = compare(texts, ours, theirs, args, Path(folder) / name)
            report["sets"][name] = found
            speeds = ", ".join(
                f"{side} {speed:,.0f}" for side, speed in found["items_per_second"].items()
            )
            print(f"{name}: {found['texts']} texts; items/s: {speeds}")
            print(f"  speed over sentence-transformers: {found['ratio_wall']:.2f}x", end=" ")
            print(f"(in processor time {found['ratio_cpu']:.2f}x)")
            print(
                f"  second run {found['second_run_seconds'] * 1e3:.1f} ms: "
                f"{found['second_run_ratio']:,.0f}x faster,",
                end=" ",
            )
            print(f"{found['second_run_and_pooling_ratio']:,.0f}x with all states pooled")
            print(f"  lowest cosine between the two: {found['lowest_cosine']:.5f}", flush=True)
    args.output.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.output.with_suffix(".tmp")
    temporary.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    Path(temporary).replace(args.output)


if __name__ == "__main__":
    sys.exit(main())
