"""`inspect` on real runs, against what SciPy and loops make of the files and weights that the runs
left.
"""

from __future__ import annotations

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from inspected_data import LENGTH, events
from scipy.spatial.distance import cosine
from scipy.stats import kendalltau

from recbole_precise import cli
from recbole_precise.evaluation.discrepancy import ItemPairs, random_partners, separation_of
from recbole_precise.runs.folder import read_weights
from recbole_precise.studies.figures import words_in

SINGLE, TRIPLE = ("SE-BCE", "SE-BCE-Tune", "SE-BCE-Align-Tune"), "TE-BCE-Align-Tune"


def inspect(capsys, *arguments: object) -> str:
    status = cli.main(["inspect", *map(str, arguments)])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def refused(capsys, *arguments: object) -> str:
    assert cli.main(["inspect", *map(str, arguments)]) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1 and captured.out == ""
    return captured.err


def training_counts() -> Counter:
    return Counter(item for sequence in events().values() for item in sequence[:-2])


def buckets_by_hand(names: list[str], counts: Counter, number: int = 10) -> dict[str, int]:
    """Walk by falling frequency, ties in the catalogue's order, and close a bucket at a tenth of
    what was trained.
    """
    total, bucket, held, found = sum(counts.values()), 1, 0, {}
    for name in sorted(names, key=lambda name: (-counts[name], names.index(name))):
        found[name] = bucket if counts[name] else number
        held += counts[name]
        if held * number >= total and bucket < number:
            bucket, held = bucket + 1, 0
    return found


def catalogue(runs) -> list[str]:
    """Items in the order of their ids, from 1."""
    from recbole_precise.finished import load_data

    _, dataset, *_ = load_data(runs / "SE-BCE", {"show_progress": False})
    return dataset.field2id_token["item_id"].tolist()[1:]


def pairs_by_hand() -> list[tuple[str, str]]:
    """Items of what the model sees of each history, with the validation target."""
    return [
        (item, sequence[-2])
        for sequence in events().values()
        for item in sequence[:-2][-LENGTH:]
        if item != sequence[-2]
    ]


def id_table(runs, name: str, expert: str = "id") -> torch.Tensor:
    return read_weights(runs / name)[0][f"item_encoder.towers.{expert}.table.table.weight"].double()


def test_discrepancy_is_kendalls_tau_of_the_pairs_in_the_files(runs, capsys, tmp_path):
    folders = [runs / name for name in (*SINGLE, TRIPLE)]
    said = inspect(
        capsys, "discrepancy", *folders, "--spaces=id aligned_id", f"--output={tmp_path}"
    )
    found, names = json.loads((tmp_path / "discrepancy.json").read_text()), catalogue(runs)
    lines = {f"{line['run']} {line['space']}": line for line in found["lines"]}
    assert (
        list(lines)
        == [
            "SE-BCE-Tune id",
            "SE-BCE-Align-Tune aligned_id",
            f"{TRIPLE} id",
            f"{TRIPLE} aligned_id",
        ]
        and found["reference"]["run"] == "SE-BCE"
    )
    counts, pairs = training_counts(), pairs_by_hand()
    bucket, ids = (
        buckets_by_hand(names, counts),
        {name: number for number, name in enumerate(names, 1)},
    )
    assert [row["items"] for row in found["buckets"]] == [
        sum(b == number for b in bucket.values()) for number in range(1, 11)
    ]
    assert [row["pairs"] for row in found["buckets"]] == [
        sum(bucket[t] == number for _, t in pairs) for number in range(1, 11)
    ] and found["left_out"] == 0
    assert sum(row["never_trained"] for row in found["buckets"]) == sum(
        not counts[t] for _, t in pairs
    )
    before = id_table(runs, "SE-BCE").numpy()
    checked = 0
    for name, run, expert in (
        ("SE-BCE-Tune id", "SE-BCE-Tune", "id"),
        ("SE-BCE-Align-Tune aligned_id", "SE-BCE-Align-Tune", "aligned"),
        (f"{TRIPLE} aligned_id", TRIPLE, "aligned"),
    ):
        after = id_table(runs, run, expert).numpy()
        for number in range(1, 11):
            mine = [(ids[a], ids[t]) for a, t in pairs if bucket[t] == number]
            if len(mine) < 2:
                assert lines[name]["tau"][number - 1] is None
                continue
            tau = kendalltau(
                *(
                    [np.float32(cosine(vectors[a], vectors[t])) for a, t in mine]
                    for vectors in (before, after)
                )
            ).statistic
            assert lines[name]["tau"][number - 1] == pytest.approx(
                tau, abs=2e-3
            )  # float32 distances tie where float64 ones nearly do
            checked += 1
    assert checked >= 20 and "left out" not in said and "kept its order" in said
    assert f"{lines['SE-BCE-Tune id']['mean']:.3f}" in said


def test_the_texts_as_reference_leave_out_what_has_no_text(runs, capsys, tmp_path):
    said = inspect(
        capsys,
        "discrepancy",
        runs / "SE-BCE",
        runs / TRIPLE,
        "--reference=frozen_text",
        "--trained_only=True",
        f"--output={tmp_path}",
        "--plots=False",
    )
    found = json.loads((tmp_path / "discrepancy.json").read_text())
    assert [line["space"] for line in found["lines"]] == [
        "id",
        "id",
        "aligned_id",
        "aligned_text",
        "aligned",
        "text",
        "final",
    ] and found["reference"]["run"] == TRIPLE
    counts = training_counts()
    gone = sum("i5" in pair or not all(counts[item] for item in pair) for pair in pairs_by_hand())
    assert (
        found["left_out"] == gone > 0
        and f"{gone} pairs are left out: an item has no vector in a space" in said
        and "or no training event." in said
    )
    assert not (tmp_path / "discrepancy.png").exists()


def test_a_sample_is_drawn_from_the_seed_and_everything_written_is_the_same_again(
    runs, capsys, tmp_path
):
    pytest.importorskip("matplotlib")
    for folder in ("a", "b"):
        inspect(
            capsys,
            "discrepancy",
            runs / "SE-BCE",
            runs / TRIPLE,
            "--pairs=9",
            "--negatives=1",
            "--seed=4",
            "--distance=euclidean",
            f"--output={tmp_path / folder}",
        )
        inspect(
            capsys,
            "separation",
            runs / TRIPLE,
            "--groups=random",
            "--seed=4",
            f"--output={tmp_path / folder}",
        )
        inspect(capsys, "gates", runs / TRIPLE, runs / "by-user", f"--output={tmp_path / folder}")
    assert (
        max(
            row["pairs"]
            for row in json.loads((tmp_path / "a" / "discrepancy.json").read_text())["buckets"]
        )
        == 9
    )
    files = sorted(file.name for file in (tmp_path / "a").iterdir())
    assert files == sorted(
        f"{kind}.{ending}"
        for kind in ("discrepancy", "separation", "gates")
        for ending in ("md", "json", "png")
    )
    assert all(
        (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        for name in files
    )
    drawn = words_in(tmp_path / "a" / "discrepancy.png")
    assert (
        "frequency bucket of the target (1: most frequent), pairs" in drawn
        and f"{TRIPLE}: aligned_id" in drawn
    )
    assert "weight of the expert" in words_in(tmp_path / "a" / "gates.png")


def auc_by_hand(near, far) -> float:
    return float(np.mean([(f > n) + 0.5 * (f == n) for f in far for n in near]))


def test_separation_of_the_nearest_and_farthest_in_another_space(runs, capsys, tmp_path):
    said = inspect(
        capsys,
        "separation",
        runs / "SE-BCE",
        runs / TRIPLE,
        "--spaces=aligned_id",
        "--share=0.2",
        f"--output={tmp_path}",
    )
    found, names = json.loads((tmp_path / "separation.json").read_text()), catalogue(runs)
    ids, counts = {name: number for number, name in enumerate(names, 1)}, training_counts()
    (line,) = found["lines"]
    before, after = id_table(runs, "SE-BCE").numpy(), id_table(runs, TRIPLE, "aligned").numpy()
    ranges = {
        "warm": (51, math.inf),
        "median": (7, 50),
        "cold": (1, 6),
        "unseen": (0, 0),
        "all": (0, math.inf),
    }
    for part, (low, high) in ranges.items():
        mine = [(ids[a], ids[t]) for a, t in pairs_by_hand() if low <= counts[t] <= high]
        assert found["parts"].get(part, 0) == len(mine)
        if int(0.2 * len(mine)) < 1:
            assert line["parts"].get(part) is None
            continue
        reference, other = (
            [np.float32(cosine(v[a], v[t])) for a, t in mine] for v in (before, after)
        )
        size = int(0.2 * len(mine) + 1e-9)
        order = np.argsort(reference, kind="stable")
        told = line["parts"][part]
        assert told["near_pairs"] == told["far_pairs"] == size and sum(told["all"]) == len(mine)
        assert told["auc"] == pytest.approx(
            auc_by_hand(*(np.array(other)[places] for places in (order[:size], order[-size:]))),
            abs=0.02,
        )
    assert "20% nearest" in said and f"{line['parts']['all']['auc']:.3f}" in said


def test_separation_from_random_pairs_counts_every_pair(runs, capsys, tmp_path):
    inspect(
        capsys,
        "separation",
        runs / "SE-BCE",
        "--groups=random",
        f"--output={tmp_path}",
        "--plots=False",
    )
    found = json.loads((tmp_path / "separation.json").read_text())
    assert (
        [line["space"] for line in found["lines"]] == ["id"]
        and found["reference"] is None
        and found["share"] is None
    )
    told = found["lines"][0]["parts"]["all"]
    assert (
        told["near_pairs"] == found["pairs"] == len(pairs_by_hand())
        and told["far_pairs"] <= told["near_pairs"]
    )
    assert 0 <= told["auc"] <= 1 and sum(told["all"]) == told["near_pairs"] + told["far_pairs"]


@given(st.integers(0, 10**6), st.integers(1, 4))
def test_random_partners_are_others_of_the_bucket(seed, buckets):
    chance = np.random.default_rng(seed)
    bucket = np.concatenate([[0], chance.integers(1, buckets + 1, 12)])
    behaviour, target = chance.integers(1, 13, (2, 60))
    found = random_partners(ItemPairs(behaviour, target, bucket[target]), bucket, seed)
    possible = [
        (a, bucket[t])
        for a, t in zip(behaviour, target)
        if set(np.flatnonzero(bucket == bucket[t])) - {a, 0}
    ]
    assert list(zip(found.behaviour, found.bucket)) == possible
    assert (found.behaviour != found.target).all() and (bucket[found.target] == found.bucket).all()


def test_random_partners_are_all_equally_likely():
    bucket = np.array([0, 2, 1, 1, 1, 1, 2])
    found = random_partners(
        ItemPairs(np.full(6000, 3), np.full(6000, 2), np.ones(6000, int)), bucket, 1
    )
    drawn = Counter(found.target.tolist())
    assert set(drawn) == {2, 4, 5} and all(
        abs(count - 2000) < 5 * math.sqrt(6000 * 2 / 9) for count in drawn.values()
    )
    with pytest.raises(ValueError, match="no pair"):
        separation_of(np.zeros(0), np.ones(2))


def test_gates_are_the_softmax_of_the_weights_that_the_run_left(runs, capsys, tmp_path):
    said = inspect(capsys, "gates", runs / TRIPLE, f"--output={tmp_path}", "--plots=False")
    (run,) = json.loads((tmp_path / "gates.json").read_text())["runs"]
    expected = read_weights(runs / TRIPLE)[0]["item_encoder.gate.logits"].softmax(1)
    names, counts = catalogue(runs), training_counts()
    bucket = buckets_by_hand(names, counts)
    assert run["experts"] == ["id", "aligned", "text"] and not torch.allclose(
        expected[1:], torch.full((10, 3), 1 / 3), atol=1e-3
    )
    for row in run["buckets"]:
        mine = [name for name in names if bucket[name] == row["bucket"]]
        assert row["items"] == row["rows"] == len(mine) and row["training_events"] == sum(
            counts[name] for name in mine
        )
        if mine:
            assert [row["mean"][name] for name in run["experts"]] == pytest.approx(
                expected[row["bucket"]].tolist(), abs=1e-6
            )
            assert (
                sum(row["mean"].values()) == pytest.approx(1, abs=1e-6)
                and f"{row['mean']['aligned']:.3f}" in said
            )


def test_gates_that_read_users_are_told_by_the_targets_bucket(runs, capsys, tmp_path):
    import recbole_precise as rp

    said = inspect(capsys, "gates", runs / "by-user", f"--output={tmp_path}", "--plots=False")
    (run,) = json.loads((tmp_path / "gates.json").read_text())["runs"]
    _, model, _, _, _, test = rp.load_data_and_model(
        str(runs / "by-user"), {"show_progress": False}
    )
    model.eval()
    weights: dict[int, list] = {}
    with torch.no_grad():
        for number in range(len(test._dataset)):  # one case at a time
            case = test._dataset[torch.tensor([number])]
            bucket = model.item_encoder.bucket[case["item_id"]]
            states = model.last_states(case["item_id_list"], case["item_length"], case["user_id"])
            weights.setdefault(int(bucket), []).append(
                model.item_encoder.gate(bucket[:, None], states)[0, 0].tolist()
            )
    assert (
        sum(row["rows"] for row in run["buckets"]) == len(test._dataset)
        and run["rows"] == "test cases"
    )
    for row in run["buckets"]:
        mine = np.array(weights.get(row["bucket"], []))
        assert row["rows"] == len(mine)
        if len(mine):
            assert list(row["mean"].values()) == pytest.approx(
                mine.mean(0).tolist(), abs=1e-5
            ) and list(row["std"].values()) == pytest.approx(mine.std(0).tolist(), abs=1e-5)
    assert "±" in said


def test_gains_are_the_slices_of_both_results_with_the_test_of_compare(runs, capsys, tmp_path):
    said = inspect(
        capsys,
        "gains",
        runs / TRIPLE,
        runs / "SASRec",
        "--metric=NDCG@10",
        "--slices=frequency buckets popularity",
        "--resamples=499",
        f"--output={tmp_path}",
    )
    found = json.loads((tmp_path / "gains.json").read_text())["slices"]
    a, b = (json.loads((runs / name / "result.json").read_text()) for name in (TRIPLE, "SASRec"))
    checked = 0
    for name, row in found.items():
        if name == "all":
            expected = [result["test"]["ndcg@10"] for result in (a, b)]
        else:
            assert row["cases"] == a["slices"][name]["n"] == b["slices"][name]["n"]
            if not row["cases"]:
                assert "difference" not in row
                continue
            expected = [result["slices"][name]["test"]["ndcg@10"] for result in (a, b)]
        assert (
            [row["mean_a"], row["mean_b"]] == pytest.approx(expected, abs=1e-12)
            and row["low"] <= row["difference"] <= row["high"]
            and row["p_holm"] >= row["p_value"]
        )
        assert (
            row["gain"] is None
            if not expected[1]
            else row["gain"] == pytest.approx(expected[0] / expected[1] - 1)
        )
        checked += 1
    assert (
        checked >= 12
        and found["unseen"]["cases"] > 0
        and f"{found['all']['difference']:+.4f}" in said
    )
    out = tmp_path / "compared.json"
    assert (
        cli.main(
            [
                "compare",
                str(runs / TRIPLE),
                str(runs / "SASRec"),
                "--metric=ndcg@10",
                "--resamples=499",
                f"--output={out}",
            ]
        )
        == 0
    )
    whole = json.loads(out.read_text())["metrics"]["ndcg@10"]
    assert all(
        found["all"][key] == whole[key] for key in ("difference", "low", "high", "p_value", "users")
    )
    assert (tmp_path / "gains.png").stat().st_size > 10_000 and "over SASRec" in words_in(
        tmp_path / "gains.png"
    )


MISTAKES = [
    (["gates", "SASRec"], "SASRec in '{runs}/SASRec' has no gate"),
    (
        ["gates", "aligned-alone"],
        "ended before the phase finetune, which trains the gate; it is ranked by the expert "
        "aligned alone.",
    ),
    (["gates", "SE-BCE-Tune"], "has no gate: it has one expert, id."),
    (
        ["discrepancy", "SE-BCE", "SE-BCE-Tune", "--reference=frozen_text"],
        "No run has the space 'frozen_text'; '{runs}/SE-BCE' (PAD) has id, final.",
    ),
    (
        ["discrepancy", "SE-BCE", "SASRec", "--spaces=text"],
        "'{runs}/SASRec' (SASRec) has none of the spaces text; it has id.",
    ),
    (
        ["discrepancy", "SE-BCE", "--spaces=alined_id"],
        "There is no space 'alined_id'. Did you mean 'aligned_id'?",
    ),
    (
        ["discrepancy", "SE-BCE"],
        "There is nothing to hold against the space 'id' of '{runs}/SE-BCE'",
    ),
    (["discrepancy", "SE-BCE", "other-items"], "have other items, or the same in another order"),
    (["discrepancy", "SE-BCE", "SE-BCE"], "is named twice."),
    (["discrepancy", "SE-BCE", "nowhere"], "'{runs}/nowhere' does not exist."),
    (
        ["separation", "SE-BCE", "SE-BCE-Tune", "--share=0.6"],
        "--share must be a number above 0 and at most 0.5",
    ),
    (["separation", "SE-BCE", "--negatives=1"], "Unknown option '--negatives' of inspect."),
    (["gains", "SE-BCE"], "inspect gains takes two sides, not 1"),
    (["gains", "SE-BCE", "SASRec", "--slices=history"], "--slices: there is no kind 'history'."),
    (["gains", "SE-BCE", "other-items"], "These runs cannot be compared"),
    (["gates"], "inspect gates needs a run directory or several"),
    (["gate", "SE-BCE"], "inspect knows no 'gate'. Did you mean 'gates'?"),
    ([], "inspect needs to know what to look at, discrepancy, separation, gates, gains"),
]


@pytest.mark.parametrize(
    ("words", "message"), MISTAKES, ids=[" ".join(words) or "nothing" for words, _ in MISTAKES]
)
def test_a_mistake_is_one_sentence(words, message, runs, capsys):
    named = (
        [words[0], *(word if word.startswith("--") else runs / word for word in words[1:])]
        if words
        else []
    )
    assert message.format(runs=runs) in refused(capsys, *named)
