"""`compare`: its numbers against brute force, and what it refuses to compare."""

from __future__ import annotations

import json
from itertools import product

import numpy as np
import pytest

from recbole_precise import cli
from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.evaluation.metrics import per_case
from recbole_precise.studies.benchmark.pairing import corrected, find_runs

A = np.array([1, 3, 9, 2, 30, 4, 1, 7])
B = np.array([2, 3, 40, 11, 30, 9, 1, 20])


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = cli.main(["compare", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_every_metric_of_two_runs(leave_run, tmp_path, capsys):
    a, b = leave_run(tmp_path / "a", A), leave_run(tmp_path / "b", B, "GRU4Rec")
    status, out, _ = run(capsys, a, b, f"--output={tmp_path / 'out.json'}")
    found = json.loads((tmp_path / "out.json").read_text())
    assert (
        status == 0
        and list(found["metrics"]) == ["recall@10", "ndcg@10", "hit@10"]
        and found["b"] == {"model": "GRU4Rec", "seeds": [2020], "folders": [str(b)]}
    )
    for metric, test in found["metrics"].items():
        d = per_case(A, metric) - per_case(B, metric)
        exact = np.mean(
            [
                abs(np.dot(signs, d)) >= abs(d.sum()) - 1e-12
                for signs in product((-1, 1), repeat=len(d))
            ]
        )
        assert (test["difference"], test["p_value"]) == (
            pytest.approx(d.mean()),
            pytest.approx(exact),
        )
        assert f"{test['mean_a']:.4f}" in out and f"{test['difference']:+.4f}" in out
    ps = [found["metrics"][metric]["p_value"] for metric in ("recall@10", "ndcg@10")]
    assert (
        found["metrics"]["hit@10"]["p_holm"]
        == found["metrics"]["recall@10"]["p_holm"]
        == pytest.approx(max(2 * min(ps), ps[0]))
    )
    assert "shop, test split, 8 users" in out and "A: SASRec, 1 run (seed 2020)" in out


def test_the_function_returns_what_the_command_writes(leave_run, tmp_path, capsys):
    import recbole_precise

    a, b = leave_run(tmp_path / "a", A), leave_run(tmp_path / "b", B, "GRU4Rec")
    words = ["--metric=ndcg@10 hit@3", "--resamples=199", f"--output={tmp_path / 'out.json'}"]
    _, out, _ = run(capsys, a, b, *words)
    found = recbole_precise.compare(a, b, metrics=["ndcg@10", "hit@3"], resamples=199)
    assert found.to_dict() == json.loads((tmp_path / "out.json").read_text())
    assert found.to_text() == out.rstrip("\n")
    assert found.tests["ndcg@10"].p_value <= found.adjusted["ndcg@10"]
    with pytest.raises(ConfigError, match="split must be one of test, valid"):
        recbole_precise.compare(a, b, split="train")


def test_seeds_by_pattern_and_by_list(leave_run, tmp_path, capsys):
    rng = np.random.default_rng(0)
    ranks = {
        name: [rng.integers(1, high, 40) for _ in range(2)] for name, high in (("a", 12), ("b", 30))
    }
    for name, seeds in ranks.items():
        for seed, found in enumerate(seeds):
            leave_run(tmp_path / name / f"seed-{seed}", found, name, seed)
    (tmp_path / "a" / "seed-2").mkdir()  # a cell under way
    status, out, _ = run(
        capsys,
        "--metric",
        "ndcg@5 hit@3",
        tmp_path / "a" / "seed-*",
        f"{tmp_path / 'b' / 'seed-0'}, {tmp_path / 'b' / 'seed-1'}",
    )
    means = {
        name: np.mean([per_case(found, "ndcg@5").mean() for found in seeds])
        for name, seeds in ranks.items()
    }
    assert status == 0 and "A: a, 2 runs (seeds 0, 1)" in out
    line = next(line for line in out.splitlines() if line.startswith("ndcg@5"))
    assert line.split()[1:4] == [
        f"{means['a']:.4f}",
        f"{means['b']:.4f}",
        f"{means['a'] - means['b']:+.4f}",
    ]


def test_runs_in_another_order_of_rows_are_paired(leave_run, tmp_path, capsys):
    users, order = np.arange(1, 9), np.random.default_rng(1).permutation(8)
    a, b = (
        leave_run(tmp_path / "a", A, users=users),
        leave_run(tmp_path / "b", A[order], "Pop", users=users[order]),
    )
    assert run(capsys, a, b, "--metric=ndcg@10")[1].splitlines()[6].split()[3] == "+0.0000"


def test_what_cannot_be_compared_is_a_sentence(leave_run, tmp_path, capsys):
    a = leave_run(tmp_path / "a", A)
    protocol = json.loads((a / "result.json").read_text())["protocol"]
    rows = {
        "other targets": (
            leave_run(tmp_path / "t", A, targets=np.arange(11, 19)),
            "not ranked on the same rows: 8 of 8 differ, first user u1 with target",
        ),
        "fewer rows": (
            leave_run(tmp_path / "f", A[:5]),
            "seed 0 of a has 8 rows, seed 0 of b has 5",
        ),
        "protocol": (
            leave_run(tmp_path / "p", A, protocol={**protocol, "mask_history": True}),
            "with mask_history False, '",
        ),
        "data set": (leave_run(tmp_path / "d", A, dataset="mall"), "is of the data set shop, '"),
        "nothing": (tmp_path / "nowhere", "does not exist"),
        "unfinished": (tmp_path, "is no finished run"),
    }
    for other, message in rows.values():
        status, out, err = run(capsys, a, other)
        assert (status, out, err.count("\n")) == (2, "", 1) and message in err, err
    (rows["fewer rows"][0] / "ranks.npz").unlink()
    assert "holds no ranks.npz" in run(capsys, a, rows["fewer rows"][0])[2]
    leave_run(tmp_path / "x" / "1", A, "Pop")
    leave_run(tmp_path / "x" / "2", A, "GRU4Rec")
    assert "is one model with several seeds" in run(capsys, a, tmp_path / "x" / "*")[2]


def test_one_side_is_one_setting(leave_run, tmp_path, capsys):
    for seed, width in ((1, 64), (2, 64), (3, 32)):
        leave_run(tmp_path / f"{seed}", A, seed=seed)
        (tmp_path / f"{seed}" / "config.yaml").write_text(
            f"hidden_size: {width}\nseed: {seed}\ncheckpoint_dir: here-{seed}\n"
        )
    assert run(capsys, tmp_path / "[12]", tmp_path / "3")[0] == 0
    status, _, err = run(capsys, tmp_path / "[123]", tmp_path / "3")
    assert (
        status == 2
        and f"must differ in their seed alone, but '{tmp_path / '1'}' has hidden_size: 64 and "
        f"'{tmp_path / '3'}' has hidden_size: 32."
        in err
    )


def test_runs_of_one_side_may_begin_after_runs_of_their_own_seed(leave_run, tmp_path, capsys):
    """But after runs of one setting."""
    for seed, rate in ((1, 0.1), (2, 0.1), (3, 0.2)):
        for name, more in (
            (f"first-{seed}", f"learning_rate: {rate}"),
            (f"{seed}", f"warm_start: {tmp_path / f'first-{seed}'}"),
        ):
            leave_run(tmp_path / name, A, seed=seed)
            (tmp_path / name / "config.yaml").write_text(f"hidden_size: 64\nseed: {seed}\n{more}\n")
    assert run(capsys, tmp_path / "[12]", tmp_path / "3")[0] == 0
    status, _, err = run(capsys, tmp_path / "[123]", tmp_path / "3")
    assert (
        status == 2
        and f"'{tmp_path / '1'}' has (of its warm_start) learning_rate: 0.1 and "
        f"'{tmp_path / '3'}' has (of its warm_start) learning_rate: 0.2."
        in err
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a"], "compare takes two sides, not 1"),
        (["a", "b", "c"], "not 3: .* Quote a pattern"),
        (
            ["a", "b", "--metrics=ndcg@10"],
            "Unknown option '--metrics' of compare. Did you mean 'metric'?",
        ),
        (["a", "b", "--split=train"], "--split must be one of test, valid"),
        (
            ["a", "b", "--confidence=2"],
            "--confidence must be a number above 0 and below 1, not '2'.",
        ),
        (["a", "b", "--resamples=many"], "--resamples must be a whole number from 99 on"),
        (["none-*", "b"], "'none-[*]' matches no finished run"),
        (["a", "b", "--metric="], "--metric names no metric; write one or several"),
        (["a", "b", "--metric= , "], "--metric names no metric"),
        (["a", "b", "--output="], "--output is empty"),
    ],
)
def test_mistakes(arguments, message, capsys, tmp_path, monkeypatch):
    import re

    monkeypatch.chdir(tmp_path)
    status, _, err = run(capsys, *arguments)
    assert status == 2 and err.count("\n") == 1 and re.search(message, err), err


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ("auc", "metric 'auc' is none of ranks"),
        ("ndgc@10", "Did you mean 'ndcg'?"),
        ("ndcg", "metric 'ndcg' is none of ranks"),
        ("ndcg@", "with a cut-off"),
        ("ndcg@0", "with a cut-off"),
        ("ndcg@\u00b2", "with a cut-off"),
        ("ndcg@" + "9" * 400, "with a cut-off"),
        (
            "recall@10,giniindex@10",
            "metric 'giniindex@10' is of all rows together and has no value a user",
        ),
    ],
)
def test_an_unknown_metric_is_refused(leave_run, tmp_path, capsys, metric, message):
    a, b = leave_run(tmp_path / "a", A), leave_run(tmp_path / "b", B)
    status, out, err = run(capsys, a, b, f"--metric={metric}")
    assert (status, out, err.count("\n")) == (2, "", 1) and message in err, err


def test_runs_without_a_metric_in_common_are_refused(leave_run, tmp_path, capsys):
    a, b = leave_run(tmp_path / "a", A), leave_run(tmp_path / "b", B, test={"itemcoverage@10": 0.5})
    status, _, err = run(capsys, a, b)
    assert status == 2 and "have no metric of ranks of the test split in common" in err
    assert run(capsys, a, b, "--metric=ndcg@10")[0] == 0


def test_finding_runs(leave_run, tmp_path):
    a = leave_run(tmp_path / "a", A)
    assert find_runs(f"{a}") == [a]
    with pytest.raises(ConfigError, match="is named twice"):
        find_runs(f"{a},{a}")
    with pytest.raises(CheckpointError, match="matches no finished run"):
        find_runs(f"{tmp_path}/z*")


def test_corrected_counts_a_question_once():
    found = corrected({("x", "recall@10"): 0.02, ("x", "hit@10"): 0.02, ("y", "recall@10"): 0.5})
    assert found == pytest.approx(
        {("x", "recall@10"): 0.04, ("x", "hit@10"): 0.04, ("y", "recall@10"): 0.5}
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "benchmark needs --plan: one of "),
        (["--plan=ml-100"], "There is no plan 'ml-100'. Did you mean 'ml-100k'?"),
        (["ml-100k", "prime-pantry"], "benchmark takes one plan"),
        (["ml-100k", "--jobs=0"], "--jobs must be a whole number above 0, not '0'."),
        (
            ["ml-100k", "--seeds=a"],
            "--seeds must be different whole numbers, as in --seeds='2020 2021', not 'a'.",
        ),
        (["ml-100k", "--plots=maybe"], "--plots must be True or False"),
        (["ml-100k", "--epoch=3"], "Unknown key 'epoch': no model of the plan"),
        (["ml-100k", "--models=Pop 'SASRec"], "--models: a quote in Pop 'SASRec is never closed"),
        (["ml-100k", '--datasets="ml-100k'], "--datasets: a quote in"),
        (["ml-100k", "--models="], "--models names nothing; leave it out for all of the plan's."),
        (["ml-100k", "--models=''"], "--models names nothing"),
        (["ml-100k", "--datasets= "], "--datasets names nothing"),
        (["ml-100k", "--output="], "--output is empty"),
        (["ml-100k", "--runs="], "--runs is empty"),
        (["ml-100k", "--models=SASRek"], "has no row 'SASRek'. Did you mean 'SASRec'?"),
    ],
)
def test_mistakes_of_benchmark(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["benchmark", *arguments]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1 and message in captured.err
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_shows_the_commands_and_leaves_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["benchmark", "ml-100k", "--dry_run=True", "--epochs=1", "--seeds=5 6"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 8 * 2 + 4 and all(
        "--epochs=1" in line and "--resume=True" in line for line in lines
    )
    assert list(tmp_path.iterdir()) == []
