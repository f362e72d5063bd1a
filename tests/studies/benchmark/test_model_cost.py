"""benchmarks/model_cost.py: every trained model in one table, and what its numbers are made of."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import types
from collections import Counter
from pathlib import Path

import pytest
import torch

BENCHMARKS = Path(__file__).resolve().parents[3] / "benchmarks"
SMALL = {
    "embedding_size": 8, "token_size": 8, "hidden_size": 16, "inner_size": 16, "n_layers": 1,
    "num_layers": 1, "n_heads": 2, "n_negatives": 8, "targeted_negatives": 4,
    "query_size": 4, "value_size": 4,
}  # fmt: skip
pytestmark = pytest.mark.skipif(
    not Path("/proc/self/status").exists(),
    reason="measurements are forked processes that read /proc",
)


@pytest.fixture
def parts(monkeypatch: pytest.MonkeyPatch) -> types.SimpleNamespace:
    """The script and its measurements as modules."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import measured_run
    import model_cost

    return types.SimpleNamespace(cost=model_cost, run=measured_run)


@pytest.fixture
def shop(ring, tmp_path) -> dict:
    """Settings of the data set `ring` with texts."""
    return {**ring, "item_text": "{title}", "text_cache_dir": str(tmp_path / "cache"), **SMALL}


def targets_of_file(ring: dict) -> int:
    """What leave-one-out leaves for training: all events of a user but the first, and the two for
    validation and testing.
    """
    lines = Path(ring["data_path"], "ring", "ring.inter").read_text().splitlines()[1:]
    return sum(
        max(count - 3, 0) for count in Counter(line.split("\t")[0] for line in lines).values()
    )


def call(folder: Path, settings: dict, *more: str) -> subprocess.CompletedProcess:
    given = [f"--{key}={value}" for key, value in settings.items() if key != "tensorboard"]
    environment = {**os.environ, "PYTHONPATH": str(BENCHMARKS.parent), "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        str(BENCHMARKS / "model_cost.py"),
        "--dataset=ring",
        f"--output={folder / 'cost.json'}",
        *more,
        *given,
    ]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_every_trained_model_stands_in_the_table(shop, tmp_path):
    """All of ours and RecBole's three, both ways.

    PAD's three phases and PRECISE's two; targets as the file has them.
    """
    from recbole_precise import registry

    done = call(tmp_path, shop, "--turns=1", "--seconds=0.02")
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((tmp_path / "cost.json").read_text())
    cases = report["cases"]
    floors = {"Pop", "Transition", "GraphHeuristic", "GraphForward"}
    theirs = {f"{name} in plain RecBole" for name in ("SASRec", "GRU4Rec", "BERT4Rec")} | {
        f"RecBole's {name}" for name in ("SASRec", "GRU4Rec", "BERT4Rec")
    }
    assert set(cases) == {entry.name for entry in registry.ENTRIES} - floors | theirs | {
        "PAD's backbone alone"
    }
    phases = {name: [phase["phase"] for phase in case["phases"]] for name, case in cases.items()}
    assert (
        phases["PAD"] == ["pretrain", "align", "finetune"]
        and phases["PRECISE"] == ["universal", "targeted"]
        and phases["PAD's backbone alone"] == ["pretrain"]
    )
    for name, case in cases.items():
        for phase in case["phases"]:
            assert phase["processor"] > 0 and 1 <= phase["batches_measured"] <= phase["batches"]
            assert "BERT4Rec" in name or phase["targets"] == targets_of_file(shop), (name, phase)
        assert case["ranking"]["wall"] > 0 and case["parameters"] > 0
    reference = cases["RecBole's SASRec"]
    assert (
        reference["phases"][0]["ratio"]
        == reference["ranking"]["ratio"]
        == {"wall": 1.0, "processor": 1.0}
        and reference["phases"][0]["ratio_per_target"] == 1.0
    )
    for name in ("SASRec", "GRU4Rec", "BERT4Rec"):
        assert (
            cases[f"{name} in plain RecBole"]["parameters"]
            == cases[f"RecBole's {name}"]["parameters"]
        )
    assert report["limits"].keys() == {"epoch", "ranking"} and report["failed"] == {}
    table = (tmp_path / "cost.md").read_text()
    rows = [line for line in table.splitlines() if line.startswith("| ")]
    assert table in done.stdout and len(rows) == 2 + sum(
        len(case["phases"]) for case in cases.values()
    )
    assert {path.name for path in tmp_path.iterdir()} == {
        "dataset",
        "cache",
        "cost.json",
        "cost.md",
    }, "nothing else is left behind"


def test_a_model_that_fails_is_told_and_the_rest_stands(ring, tmp_path):
    done = call(
        tmp_path,
        {**ring, "hidden_size": 16, "n_heads": 3},
        "--turns=1",
        "--seconds=0.02",
        "--models=GRU4Rec-CE",
        "--no-plain",
    )
    assert done.returncode == 1, done.stderr
    report = json.loads((tmp_path / "cost.json").read_text())
    assert list(report["cases"]) == ["GRU4Rec-CE"]
    assert (
        "not a multiple" in report["failed"]["RecBole's SASRec"]
        and "RecBole's SASRec: not measured. " in (tmp_path / "cost.md").read_text()
    )


def test_mistakes_are_a_sentence(ring, tmp_path):
    for more, words in (
        (["--models=SASRek"], "Did you mean 'SASRec'?"),
        (["--models=HSTU", "--hiden_size=8"], "Unknown key 'hiden_size'"),
        (["--turns=0"], "at least one"),
    ):
        done = call(tmp_path, ring, *more)
        assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "cost.json").exists()


@pytest.mark.parametrize("model", ["PRECISE-UT", "PRECISE-TT", "PAD", "BERT4Rec"])
def test_targets_are_those_that_a_model_trains(parts, shop, model):
    """Also with windows that begin elsewhere in every epoch."""
    settings = {"window_shift": True, "MAX_ITEM_LIST_LENGTH": 3} if model == "PRECISE-UT" else {}
    given = {key: value for key, value in shop.items() if key not in SMALL} | settings
    prepared = parts.run.prepare(parts.run.Case(model, model), "ring", given)
    if model == "BERT4Rec":
        rows, most = targets_of_file(shop), int(0.2 * shop["MAX_ITEM_LIST_LENGTH"])
        assert 0 < parts.run.targets_of(prepared.train) <= rows * max(most, 1)
        return
    network, _ = parts.run._trainer(prepared)
    for epoch in range(2):
        from recbole_precise.training.views import begin_epoch

        begin_epoch(prepared.train, epoch, prepared.train.generator)
        trained = sum(int(network.next_items(batch).trained.sum()) for batch in prepared.train)
        assert trained == parts.run.targets_of(prepared.train) == targets_of_file(shop)


def test_the_first_batches_and_no_more(parts):
    """As many as asked for, at least one when the time is over at once, all when there are fewer.

    Nothing is drawn that is not handed out.
    """
    drawn: list[int] = []

    class Loader(torch.utils.data.DataLoader):
        mark = "of the loader"

        def __iter__(self):
            for batch in super().__iter__():
                drawn.append(len(batch))
                yield batch

    loader = Loader(list(range(10)), batch_size=2)
    for count, seconds, expected in ((3, 0.0, 3), (99, 0.0, 5), (None, 0.0, 1), (None, 60.0, 5)):
        drawn.clear()
        part = parts.run.FirstBatches(loader, count, seconds)
        assert len(list(part)) == part.handed == len(drawn) == expected
        assert len(part) == 5 and part.mark == "of the loader" and part.dataset == list(range(10))


def test_an_epoch_is_scaled_from_its_batches_and_its_beginning_counts_once(parts, monkeypatch):
    """On a clock that ticks: 5 s before the first batch, 2 s a batch, 3 of 12 batches: 5 +
    12 x 2.
    """
    now = [0.0]
    monkeypatch.setattr(parts.run, "clocks", lambda: (now[0], now[0] / 2))

    class Loader(list):
        config, _dataset = {"transform": None}, types.SimpleNamespace(inter_num=77)

    class Trainer:
        loop = types.SimpleNamespace(phase=types.SimpleNamespace(name="universal"))

        def _train_epoch(self, loader, epoch):
            now[0] += 5
            for _ in loader:
                now[0] += 2

    trainer, loader = Trainer(), Loader(range(12))
    watch = parts.run.Stopwatch(trainer, {"universal": 3}, 0.0)
    trainer._train_epoch(loader, 0)
    assert watch.epochs == [] and now[0] == 7.0  # the warm-up
    trainer._train_epoch(loader, 1)
    assert watch.epochs == [
        {
            "phase": "universal",
            "batches_measured": 3,
            "batches": 12,
            "wall": 29.0,
            "processor": 14.5,
        }
    ]
    first = parts.run.Stopwatch(Trainer(), {}, 0.0)
    first(loader, 0), first(loader, 1)
    assert first.epochs[0]["targets"] == 77 and first.epochs[0]["batches_measured"] == 1


def turn(wall: float, ranking: float, *phases: str, memory: float = 10.0) -> dict:
    """A turn whose phases take one, two, three ... times `wall`, half of it processor time."""
    shared = {"batches_measured": 1, "batches": 4, "targets": 1000}
    epochs = [
        {**shared, "phase": name, "wall": wall * (place + 1), "processor": wall * (place + 1) / 2}
        for place, name in enumerate(phases)
    ]
    return {
        "epochs": epochs,
        "ranking": {"wall": ranking, "processor": ranking},
        "added_mb": memory,
        "parameters": 5,
    }


def test_medians_ratios_and_limits(parts):
    cost = parts.cost
    pad = cost.summary(
        [turn(wall, 6.1, "pretrain", "align", "finetune", memory=wall) for wall in (9.0, 1.0, 2.0)]
    )
    assert [phase["wall"] for phase in pad["phases"]] == [2.0, 4.0, 6.0] and pad["phases"][0][
        "wall_of_turns"
    ] == [9.0, 1.0, 2.0]
    assert pad["added_mb"] == 9.0 and pad["phases"][2]["microseconds_per_target"] == pytest.approx(
        3000
    )
    found = {
        cost.REFERENCE: cost.summary([turn(8.0, 2.0, "train")]),
        "PAD": pad,
        cost.BACKBONE: cost.summary([turn(2.0, 2.0, "pretrain")]),
    }
    cost.add_ratios(found)
    assert pad["phases"][2]["ratio"] == {"wall": 0.75, "processor": 0.75} and pad["ranking"][
        "ratio"
    ]["processor"] == pytest.approx(3.05)
    limits = cost.limits(found)
    assert (limits["epoch"]["processor"], limits["epoch"]["kept"]) == (3.0, True) and not limits[
        "ranking"
    ]["kept"]
    assert cost.limits({"PAD": pad}) == {}
    text = cost.markdown(
        {
            "dataset": "ring",
            "command": "c",
            "cpu": "a processor",
            "threads": 1,
            "turns": 3,
            "cases": found,
            "failed": {},
            "limits": limits,
        }
    )
    assert (
        "| PAD | finetune | 1,000 | 1 of 4 | 6.00 | 3.00 | 0.75 | 3,000.0 | 0.75 | 6.10 | 3.05 | "
        "9 | 5 |"
        in text
        and "limit 3.0x: passed" in text
    )


def test_children_answer_raise_and_die(parts):
    assert parts.run.in_child(lambda a: {"sum": a + 1}, 2) == {"sum": 3}
    with pytest.raises(parts.run.Failed, match="ZeroDivisionError"):
        parts.run.in_child(lambda: 1 / 0)
    with pytest.raises(parts.run.Failed, match="status 7"):
        parts.run.in_child(os._exit, 7)
