"""A run whose files contradict each other is refused by everything that reads its numbers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from command_lines import command_line

from recbole_precise import cli
from recbole_precise.errors import CheckpointError, ConfigError, DataError
from recbole_precise.runs.checked import read_checked
from recbole_precise.studies.benchmark.cells import Cell
from recbole_precise.studies.benchmark.plan import read_plan
from recbole_precise.studies.benchmark.running import Outcome
from recbole_precise.studies.benchmark.summary import summarize
from recbole_precise.studies.benchmark.tables import csv_text, latex, main_table, markdown

A = np.array([1, 3, 9, 2, 30, 4, 1, 7])
B = np.array([2, 3, 40, 11, 30, 9, 1, 20])
HISTORY = np.array([3, 4, 5, 3, 4, 5, 3, 4])


def change_result(folder: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads((folder / "result.json").read_text())
    change(content)
    (folder / "result.json").write_text(json.dumps(content))


def change_ranks(folder: Path, **changes: Any) -> None:
    """Replace arrays of ranks.npz; None takes one out."""
    with np.load(folder / "ranks.npz") as arrays:
        content = {name: arrays[name] for name in arrays.files}
    content.update(changes)
    np.savez(
        folder / "ranks.npz",
        **{name: array for name, array in content.items() if array is not None},
    )


def refusal(capsys, *arguments: Any) -> str:
    """What the command says; it must be one line, with status 2 and nothing else."""
    status = cli.main(list(map(str, arguments)))
    captured = capsys.readouterr()
    assert (status, captured.out, captured.err.count("\n")) == (2, "", 1), captured
    return captured.err


def set_key(*path: str | int, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        content[path[-1]] = value

    return change


def without(*path: str | int) -> Callable[[dict[str, Any]], None]:
    def change(content: Any) -> None:
        for key in path[:-1]:
            content = content[key]
        del content[path[-1]]

    return change


RESULTS = {
    "a test metric": (set_key("test", "ndcg@10", value=0.9876), [
            "test ndcg@10 is 0.9876, but "
            "the ranks in"]),
    "a last digit": (lambda c: c["valid"].update({"recall@10": c["valid"]["recall@10"] + 1e-9}),
        ["valid recall@10 is"]),
    "a metric that is no number": (set_key("test", "ndcg@10", value=None), [
            "'test: ndcg@10' must be a number "
            "from 0 to 1, not None"]),
    "NaN": (set_key("test", "ndcg@10", value=float("nan")), ["'test: ndcg@10' must be", "nan"]),
    "a metric as text": (set_key("test", "ndcg@10", value="0.5"), ["'test: ndcg@10' must be",
        "'0.5'"]),
    "a metric above 1": (set_key("test", "hit@10", value=1.5), [
            "'test: hit@10' must be a number "
            "from 0 to 1, not 1.5"]),
    "a metric below 0": (set_key("test", "itemcoverage@10", value=-0.5), [
            "'test: itemcoverage@10' "
            "must be"]),
    "a metric that ranks cannot have": (set_key("test", "mrr@0", value=0.5), ["'mrr@0'"]),
    "an added metric": (set_key("test", "mrr@10", value=0.5), ["test mrr@10 is 0.5"]),
    "no model": (without("model"), ["the key 'model' is missing"]),
    "no ties": (without("protocol", "ties"), ["the key 'protocol: ties' is missing"]),
    "no total": (without("seconds", "total"), ["the key 'seconds: total' is missing"]),
    "no slices": (without("slices"), ["the key 'slices' is missing"]),
    "no epochs": (without("phases", 0, "epochs"), ["the key 'phases[0]: epochs' is missing"]),
    "metrics as a list": (set_key("test", value=[0.5]), ["'test' must be a mapping, not [0.5]"]),
    "a seed as text": (set_key("seed", value="2020"), ["'seed' must be a whole number, not "
                                                       "'2020'"]),
    "seconds without end": (set_key("seconds", "total", value=float("inf")), [
            "'seconds' must be a mapping "
            "of numbers"]),
    "a slice as a number": (set_key("slices", "warm", value=0.3), [
            "'slices' must be a mapping "
            "of mappings"]),
    "a slice's metric": (set_key("slices", "warm", "test", "ndcg@10", value=2.0), [
            "'slices: warm: test: "
            "ndcg@10'"]),
    "an epoch's metric": (set_key("curve", 0, "valid", "ndcg@10", value=7),
        ["'curve[0]: valid: ndcg@10'"]),
    "other test cases": (set_key("test_cases", "sha256", value="0" * 64), [
            "its test rows are not those "
            "of", "sha256"]),
    "another number of cases": (set_key("test_cases", "rows", value=9), [
            "its test rows are not those "
            "of", "rows 8 and 9"]),
    "no digest": (without("test_cases", "sha256"), ["the key 'test_cases: sha256' is missing"]),
}  # fmt: skip


@pytest.mark.parametrize("name", RESULTS)
def test_a_changed_result(leave_run, tmp_path, capsys, name):
    change, said = RESULTS[name]
    a, b = (
        leave_run(tmp_path / "a", A, history=HISTORY),
        leave_run(tmp_path / "b", B, "Pop", history=HISTORY),
    )
    change_result(a, change)
    for sides in ((a, b), (b, a)):
        text = refusal(capsys, "compare", *sides)
        assert all(part in text for part in said) and str(a) in text and str(b) not in text, text
        assert "recbole-precise evaluate" in text and f"delete '{a}'" in text
    read_checked(b)
    # The digests say the same of what contradicts nothing; a run of an earlier version has none.
    (a / "manifest.json").unlink()
    assert all(part in refusal(capsys, "compare", a, b) for part in said)


def test_a_change_that_contradicts_nothing_is_found_by_its_digest(leave_run, tmp_path, capsys):
    a, b = (
        leave_run(tmp_path / "a", A, history=HISTORY),
        leave_run(tmp_path / "b", B, "Pop", history=HISTORY),
    )
    change_result(a, set_key("seconds", "train", value=1.0))
    assert f"'{a / 'result.json'}' is not the file that the run left" in refusal(
        capsys, "compare", a, b
    )


RANKS = {
    "no rank": ({"test_rank": None, "test_user": None, "test_item": None},
        "it holds no ranks of the split 'test'"),
    "no users": ({"test_user": None}, "the column 'test_user' is missing"),
    "fewer users": ({"test_user": np.array(["u1"])}, "its columns have different lengths"),
    "a rank 0": ({"test_rank": np.array([0, 3, 9, 2, 30, 4, 1, 7])}, "'test_rank' has a rank 0"),
    "a rank behind all candidates": ({"test_rank": np.array([1, 3, 9, 2, 51, 4, 1, 7])},
        "'test_rank' has a rank 51 among 50 candidates"),
    "half a rank": ({"test_rank": A + 0.5}, "'test_rank' must be a column of whole numbers, not "
                                            "of float64"),
    "a table of ranks": ({"test_rank": A[:, None]}, "in the shape (8, 1)"),
    "ids for tokens": ({"test_item": np.arange(8)}, "'test_item' must be a column of text"),
    "no name": ({"test_item": np.array(["i2", "", *["i3"] * 6])},
        "a row of 'test_item' names nothing"),
    "padding": ({"test_user": np.array(["[PAD]", *(f"u{n}" for n in range(7))])},
        "a row of 'test_user' names nothing"),
    "a user twice": ({"test_user": np.array(["u1", *(f"u{n}" for n in range(1, 8))])},
        "user u1 has 2 rows in the split 'test'"),
    "better ranks": ({"test_rank": np.ones(8, dtype=np.int64)}, "but the ranks in"),
    "better ranks of validation": ({"valid_rank": np.ones(8, dtype=np.int64)},
        "valid recall@10 is"),
    "other targets": ({"test_item": np.array([f"i{n}" for n in range(11, 19)])},
        "its test rows are not those of"),
    "another history": ({"test_history": HISTORY + 1}, "its test rows are not those of"),
    "a history of less than nothing": ({"test_history": HISTORY - 9}, "has a history of -6 events"),
    "no history": ({"test_history": None}, "its test rows are not those of"),
}  # fmt: skip


@pytest.mark.parametrize("name", RANKS)
def test_changed_ranks(leave_run, tmp_path, capsys, name):
    changes, said = RANKS[name]
    a, b = (
        leave_run(tmp_path / "a", A, history=HISTORY),
        leave_run(tmp_path / "b", B, "Pop", history=HISTORY),
    )
    change_ranks(a, **changes)
    text = refusal(capsys, "compare", a, b)
    assert said in text and str(a) in text, text


def test_a_masked_target_stands_behind_all_candidates(leave_run, tmp_path):
    protocol = json.loads((leave_run(tmp_path / "a", A) / "result.json").read_text())[
        "protocol"
    ] | {"mask_history": True}
    for last, fits in ((51, True), (52, False)):
        folder = leave_run(tmp_path / f"{last}", np.append(A, last), protocol=protocol)
        if fits:
            read_checked(folder)
        else:
            with pytest.raises(CheckpointError, match="a rank 52 among 50 candidates"):
                read_checked(folder)


def test_several_rows_of_a_user_where_the_protocol_has_them(leave_run, tmp_path):
    protocol = json.loads((leave_run(tmp_path / "a", A) / "result.json").read_text())["protocol"]
    users = [1, 1, 2, 2, 3, 3, 4, 4]
    read_checked(
        leave_run(
            tmp_path / "b", A, users=users, protocol={**protocol, "split": {"RS": [0.8, 0.1, 0.1]}}
        )
    )
    before = leave_run(tmp_path / "c", A, users=users)
    with pytest.raises(CheckpointError, match="user u1 has 2 rows"):
        read_checked(before)
    (before / "config.yaml").write_text("benchmark_filename: [train, valid, test]\n")
    read_checked(before)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("model: Pop", "model is 'Pop', but"),
        ("dataset: mall", "dataset is 'mall', but"),
        ("seed: 3", "seed is 3, but"),
        ("mask_history: true", "mask_history is True, but"),
        ("evaluator: recbole", "evaluator is False, but"),
        ("target_scene: buy", "target_scene is 'buy', but"),
        (
            "eval_args: {split: {LS: test_only}, order: TO}",
            "eval_args: split is {'LS': 'test_only'}, but",
        ),
        ("seed: [", "it cannot be read"),
    ],
)
def test_settings_of_another_run(leave_run, tmp_path, capsys, line, said):
    a, b = leave_run(tmp_path / "a", A), leave_run(tmp_path / "b", B, "Pop")
    (a / "config.yaml").write_text(
        "model: SASRec\ndataset: shop\nseed: 2020\nmask_history: false\neval_args: {split: {LS: "
        "valid_and_test}}\n"
    )
    assert cli.main(["compare", str(a), str(b)]) == 0
    capsys.readouterr()
    (a / "config.yaml").write_text(line + "\n")
    text = refusal(capsys, "compare", a, b)
    assert said in text and str(a / "config.yaml") in text, text


@pytest.fixture
def trained(ring, tmp_path) -> Path:
    """A run of SASRec on the ring, as the package leaves it."""
    from recbole_precise import run_recbole

    small = {
        **ring,
        "hidden_size": 16,
        "inner_size": 16,
        "n_layers": 1,
        "epochs": 2,
        "train_neg_sample_args": None,
        "show_progress": False,
    }
    for model in ("SASRec", "Pop"):
        with command_line([]):
            run_recbole(
                model=model,
                dataset="ring",
                config_dict={
                    **(small if model == "SASRec" else ring),
                    "run_dir": str(tmp_path / model),
                },
            )
    return tmp_path / "SASRec"


def test_a_run_that_the_package_left(trained, ring, tmp_path, capsys):
    """It is believed.

    One slice, one setting or one copied file is enough that it is not, and a resumed run says so
    too.
    """
    run = read_checked(trained)
    cases = run.result["test_cases"]
    assert cases == run.cases.digest() and cases["history_length"] and cases["rows"] == 60
    lines = [
        line.split("\t")
        for line in Path(ring["data_path"], "ring", "ring.inter").read_text().splitlines()[1:]
    ]
    events = {user: sum(line[0] == user for line in lines) for user in run.cases.user}
    assert run.cases.history.tolist() == [
        events[user] - 1 for user in run.cases.user
    ]  # not cut at 6
    pop = tmp_path / "Pop"
    assert cli.main(["compare", str(trained), str(pop)]) == 0
    capsys.readouterr()

    def tampered(name: str) -> Path:
        return shutil.copytree(trained, tmp_path / name)

    for name in ("cold", "top20", "frequency_bucket_03", "history_6_to_10", "new_target"):
        folder = tampered(name)
        content = json.loads((folder / "result.json").read_text())
        part = content["slices"][name]
        assert part["n"]
        part["test"]["ndcg@10"] = min(1.0, part["test"]["ndcg@10"] + 0.1)
        (folder / "result.json").write_text(json.dumps(content))
        assert "ndcg@10 of the slices" in refusal(capsys, "compare", folder, pop)
        part["test"]["ndcg@10"] -= 0.1
        part["n"] += 1
        (folder / "result.json").write_text(json.dumps(content))
        assert "rows together, but the run has 60" in refusal(capsys, "compare", folder, pop)
    edited = tampered("edited")
    settings = yaml.safe_load((edited / "config.yaml").read_text())
    (edited / "config.yaml").write_text(yaml.safe_dump({**settings, "data_path": "elsewhere"}))
    read_checked(edited)  # where the data lies decides nothing
    (edited / "config.yaml").write_text(yaml.safe_dump({**settings, "hidden_size": 8}))
    assert "hidden_size is 8, but the run was trained with 16 (state.json)" in refusal(
        capsys, "compare", edited, pop
    )
    mixed = tampered("mixed")
    shutil.copy(pop / "ranks.npz", mixed / "ranks.npz")
    assert "but the ranks in" in refusal(capsys, "compare", mixed, pop)
    shutil.copy(pop / "result.json", mixed / "result.json")
    assert "model is 'SASRec', but" in refusal(capsys, "compare", mixed, pop)
    resumed = tampered("resumed")
    change_result(resumed, set_key("test", "ndcg@10", value=0.9))
    with (
        command_line([]),
        pytest.raises(CheckpointError, match="test ndcg@10 is 0.9, but the ranks"),
    ):
        from recbole_precise import run_recbole

        run_recbole(
            config_file_list=[str(resumed / "config.yaml")],
            config_dict={**ring, "run_dir": str(resumed), "resume": True},
        )


# --- Tables -----------------------------------------------------------------------------------


def table(plan, tmp_path: Path) -> dict[str, Any]:
    outcomes = []
    for row in plan.rows:
        for seed in row.seeds:
            outcomes.append(
                Outcome(
                    Cell("shop", "shop", row, seed, {}, {}, tmp_path / row.name / f"seed-{seed}"),
                    "finished",
                )
            )
    return summarize(plan, outcomes)


@pytest.fixture
def plan(write_plan):
    return read_plan(
        str(
            write_plan(
                datasets=["shop"],
                seeds=[1, 2],
                models={"SASRec": {}, "Pop": {"baseline": True}},
                against="Pop",
            )
        )
    )


def leave_rows(leave_run, tmp_path: Path, changes: dict[tuple[str, int], dict[str, Any]]) -> None:
    for model, seeds in (("SASRec", (1, 2)), ("Pop", (1,))):
        for seed in seeds:
            leave_run(
                tmp_path / model / f"seed-{seed}",
                A if model == "SASRec" else B,
                model,
                seed,
                **changes.get((model, seed), {}),
            )


def test_a_table_refuses_a_changed_result(leave_run, tmp_path, plan):
    leave_rows(leave_run, tmp_path, {})
    table(plan, tmp_path)
    change_result(tmp_path / "SASRec" / "seed-2", set_key("test", "recall@10", value=0.99))
    with pytest.raises(CheckpointError, match="seed-2.*test recall@10 is 0.99"):
        table(plan, tmp_path)


@pytest.mark.parametrize(("key", "value"), [("model", "GRU4Rec"), ("dataset", "mall"), ("seed", 7)])
def test_a_table_refuses_the_run_of_another_cell(leave_run, tmp_path, plan, key, value):
    leave_rows(leave_run, tmp_path, {})
    change_result(tmp_path / "SASRec" / "seed-1", set_key(key, value=value))
    (tmp_path / "SASRec" / "seed-1" / "manifest.json").unlink()
    with pytest.raises(
        CheckpointError,
        match=f"is of a run with {key} {value!r}, but the directory is that of shop SASRec seed 1",
    ):
        table(plan, tmp_path)


@pytest.mark.parametrize(
    ("other", "said"),
    [
        ({"history": HISTORY + (np.arange(8) == 3)}, "1 of 8 test cases of 'SASRec' and 1 of 8 "
                                                     "of 'Pop' differ, such as user u4 with "
                                                     "target i5: 3 earlier events and 4"),
        ({"targets": np.where(np.arange(8) < 2, 40, 1 + np.arange(1, 9) % 50)},
            "2 of 8 test cases of 'SASRec' and 2 of 8 of 'Pop' differ"),
        ({"users": np.arange(2, 10), "history": np.roll(HISTORY, -1)},
            "such as user u1 with target i2, which 'SASRec' alone has"),
        ({"history": None, "users": np.arange(2, 10)}, "1 of 8 test cases of 'SASRec' and 1 of 8 "
                                                       "of 'Pop' differ"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("old", [False, True])
def test_a_table_refuses_rows_of_other_test_cases(leave_run, tmp_path, plan, other, said, old):
    """Of older runs, which have no digest, users and targets are compared."""
    alike = {"history": None if old else HISTORY}
    changes = {
        ("SASRec", 1): alike,
        ("SASRec", 2): alike,
        ("Pop", 1): {**alike, **other, **({"history": None} if old else {})},
    }
    leave_rows(leave_run, tmp_path, changes)
    if old and set(other) == {"history"}:
        table(plan, tmp_path)  # the history of the older runs is not known
        return
    with pytest.raises(
        DataError, match="'SASRec' and 'Pop' on shop were not tested on the same cases"
    ) as error:
        table(plan, tmp_path)
    assert said in str(error.value), error.value
    assert str(tmp_path / "SASRec" / "seed-1") in str(error.value) and str(
        tmp_path / "Pop" / "seed-1"
    ) in str(error.value)


def test_compare_refuses_other_test_cases(leave_run, tmp_path, capsys):
    a, b = (
        leave_run(tmp_path / "a", A, history=HISTORY),
        leave_run(tmp_path / "b", B, "Pop", history=HISTORY * 2),
    )
    text = refusal(capsys, "compare", a, b)
    assert (
        "they were not tested on the same cases. 8 of 8 test cases of" in text
        and "user u1 with target i2: 3 earlier events and 6" in text
    )


def test_metrics_beyond_accuracy_in_tables(leave_run, tmp_path, write_plan):
    """Less is better where it is.

    Percentages of shares alone; no paired test, since they have no value a user.
    """
    metrics = ["ndcg@10", "itemcoverage@10", "giniindex@10", "averagepopularity@10"]
    values = {"SASRec": (0.5, 0.8, 120.0), "Pop": (0.25, 0.9, 150.0), "GRU4Rec": (0.4, 0.7, 100.0)}
    plan = read_plan(
        str(
            write_plan(
                datasets=["shop"],
                seeds=[1],
                metrics=metrics,
                percent=True,
                against="Pop",
                models={"SASRec": {}, "Pop": {"baseline": True}, "GRU4Rec": {"baseline": True}},
            )
        )
    )
    for model, (coverage, gini, popularity) in values.items():
        folder = leave_run(tmp_path / model / "seed-1", B if model == "Pop" else A, model, 1)
        more = {
            "itemcoverage@10": coverage,
            "giniindex@10": gini,
            "averagepopularity@10": popularity,
        }
        change_result(folder, lambda content, more=more: content["test"].update(more))
        (folder / "manifest.json").unlink()
    summary = table(plan, tmp_path)
    rows = {row["name"]: row["test"] for row in summary["datasets"]["shop"]["rows"]}
    assert [rows[name]["itemcoverage@10"]["place"] for name in values] == [1, None, 2]
    assert [rows[name]["giniindex@10"]["place"] for name in values] == [2, None, 1]
    best = summary["datasets"]["shop"]["best_baseline"]
    assert (
        best["itemcoverage@10"] == best["giniindex@10"] == best["averagepopularity@10"] == "GRU4Rec"
    )
    assert rows["SASRec"]["itemcoverage@10"]["gain"] == pytest.approx(0.25)
    assert rows["SASRec"]["averagepopularity@10"]["gain"] == pytest.approx(
        -0.2
    )  # a fifth more popular is a fifth worse
    assert {test["metric"] for test in summary["significance"]["tests"]} == {"ndcg@10"}
    shown = main_table(summary, "shop")
    assert (
        "averagepopularity@10 |" in shown
        and "giniindex@10 % |" in shown
        and "| **100.0000** |" in shown
        and "| **70.00** |" in shown
    )
    assert "of giniindex@10 and averagepopularity@10 less is better" in markdown(summary)
    assert r"averagepopularity@10 & " in latex(summary, "shop") and "giniindex@10,0.8," in csv_text(
        summary
    )


def test_plans_that_cannot_have_such_columns(write_plan, ring, tmp_path):
    from recbole_precise.studies.benchmark.cells import make_cells

    with pytest.raises(ConfigError, match="'giniindex@10' cannot be the first"):
        read_plan(str(write_plan(datasets=["ring"], models=["Pop"], metrics=["giniindex@10"])))
    with pytest.raises(ConfigError, match="it names no metric"):
        read_plan(str(write_plan(datasets=["ring"], models=["Pop"], metrics=[])))
    for settings, fits in (
        ({}, False),
        ({"metrics": ["NDCG", "GiniIndex"], "topk": [5], "valid_metric": "NDCG@5"}, False),
        ({"metrics": ["NDCG", "GiniIndex"], "topk": [5, 10]}, True),
    ):
        plan = read_plan(
            str(
                write_plan(
                    datasets=["ring"],
                    models=["Pop"],
                    metrics=["ndcg@10", "giniindex@10"],
                    settings={**ring, **settings},
                )
            )
        )
        if fits:
            assert len(make_cells(plan, tmp_path)) == 1
        else:
            with pytest.raises(
                ConfigError, match="row 'Pop' on ring: its runs would not compute giniindex@10"
            ):
                make_cells(plan, tmp_path)
