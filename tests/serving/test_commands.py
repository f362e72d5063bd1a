"""`recommend` and `evaluate` on real runs of ml-100k, and their mistakes."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_precise import cli
from recbole_precise.errors import UserError

SIZES = {
    "gpu_id": "", "show_progress": "False", "epochs": 1, "tensorboard": "False", "state": "ERROR",
    "embedding_size": 8, "token_size": 8, "n_layers": 1,
    "train_batch_size": 64, "MAX_ITEM_LIST_LENGTH": 20, "neighbour_texts": 0.5,
}  # fmt: skip
NEW = [
    {
        "item_id": "twin",
        "movie_title": "Toy Story",
        "release_year": "1995",
        "class": "Animation Children's Comedy",
    },
    {
        "item_id": "later",
        "movie_title": "Star Wars Returns",
        "release_year": "1999",
        "class": "Action Sci-Fi",
    },
]


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Path:
    """A folder with the runs `text` (with items held out), `id` and `SASRec`."""
    folder = tmp_path_factory.mktemp("runs")
    argv, sys.argv = sys.argv, ["test"]
    try:
        for name, model, more in (
            ("text", "PRECISE-UT", {"holdout_items": 0.1}),
            ("id", "PRECISE-ID", {}),
            ("SASRec", "SASRec", {"epochs": 0}),
        ):
            settings = {
                key: value
                for key, value in SIZES.items()
                if model != "SASRec"
                or key not in ("embedding_size", "token_size", "n_layers", "neighbour_texts")
            }
            arguments = [
                f"--{key}={value}"
                for key, value in {**settings, **more, "run_dir": folder / name}.items()
            ]
            assert cli.main(["run", f"--model={model}", "--dataset=ml-100k", *arguments]) == 0
    finally:
        sys.argv = argv
    return folder


@pytest.fixture
def new_file(tmp_path: Path) -> Path:
    file = tmp_path / "new.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in NEW) + "\n")
    return file


def run(capsys, *arguments: object) -> str:
    status = cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert status == 0, captured.err
    return captured.out


def recommended(capsys, folder: Path, name: str, output: Path, *arguments: object) -> list[dict]:
    run(capsys, "recommend", f"--run_dir={folder / name}", f"--output={output}", *arguments)
    return [json.loads(line) for line in output.read_text().splitlines()]


def loaded(folder: Path):
    from command_lines import command_line

    from recbole_precise import load_data_and_model

    with command_line([]):
        return load_data_and_model(folder)


@pytest.mark.parametrize("name", ["text", "SASRec"])
def test_recommend_is_a_sort_of_all_scores(runs, capsys, tmp_path, name):
    config, model, dataset, *_ = loaded(runs / name)
    model.eval()
    store, length = dataset.store, config["MAX_ITEM_LIST_LENGTH"]
    for seen in ("exclude", "include"):
        rows = recommended(
            capsys,
            runs,
            name,
            tmp_path / "x.jsonl",
            "--users=196 22 1",
            "--topk=7",
            f"--seen={seen}",
        )
        for user in ("196", "22", "1"):
            number = dataset.field2token_id["user_id"][user]
            history = store.fields["item_id"][store.user == number]
            padded = torch.zeros(1, length, dtype=torch.int64)
            padded[0, : min(len(history), length)] = history[-length:]
            with torch.no_grad():
                scores = model.full_sort_predict(
                    {
                        "item_id_list": padded,
                        "item_length": torch.tensor([min(len(history), length)]),
                    }
                ).view(-1)
            scores[0] = -torch.inf
            if seen == "exclude":
                scores[history] = -torch.inf
            best = torch.sort(scores, descending=True, stable=True)
            mine = [row for row in rows if row["user"] == user]
            assert [row["rank"] for row in mine] == list(range(1, 8))
            assert [row["item"] for row in mine] == [
                dataset.field2id_token["item_id"][i] for i in best.indices[:7]
            ]
            assert [row["score"] for row in mine] == pytest.approx(
                best.values[:7].tolist(), abs=1e-4
            )
            assert all(row["text"] for row in mine) and not any(row["new"] for row in mine)


def test_recommend_from_a_file_and_as_a_table(runs, capsys, tmp_path):
    (tmp_path / "users.txt").write_text("196\n\n22\n")
    run(
        capsys,
        "recommend",
        f"--run_dir={runs / 'text'}",
        f"--users_file={tmp_path / 'users.txt'}",
        "--topk=2",
        f"--output={tmp_path / 'x.tsv'}",
    )
    lines = [line.split("\t") for line in (tmp_path / "x.tsv").read_text().splitlines()]
    assert lines[0] == ["user", "rank", "item", "score", "new", "text"] and [
        line[:2] for line in lines[1:]
    ] == [["196", "1"], ["196", "2"], ["22", "1"], ["22", "2"]]
    shown = run(capsys, "recommend", f"--run_dir={runs / 'text'}", "--users=196", "--topk=2")
    assert lines[1][2] in shown and lines[1][5] in shown


def test_new_items_are_ranked_by_their_text(runs, capsys, tmp_path, new_file):
    alone = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "a.jsonl",
        "--history=50 172",
        "--topk=2000",
        "--seen=include",
    )
    grown = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "b.jsonl",
        "--history=50 172",
        "--topk=2000",
        "--seen=include",
        f"--items={new_file}",
    )
    only = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "c.jsonl",
        "--history=50 172",
        f"--items={new_file}",
        "--only_new=True",
    )
    assert (
        len(alone) == 1682
        and len(grown) == 1684
        and {row["item"] for row in only} == {"twin", "later"}
        and all(row["new"] for row in only)
    )
    before, after = ({row["item"]: row["score"] for row in rows} for rows in (alone, grown))
    assert [after[item] for item in before] == pytest.approx(list(before.values()), abs=1e-5)
    assert {row["item"]: row["score"] for row in only} == pytest.approx(
        {item: after[item] for item in ("twin", "later")}, abs=1e-5
    )
    assert {row["item"]: row["text"] for row in only}[
        "later"
    ] == "Star Wars Returns (1999) Action Sci-Fi"
    again = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "d.jsonl",
        "--history=twin later",
        f"--items={new_file}",
        "--topk=5",
    )
    assert len(again) == 5 and not {"twin", "later"} & {
        row["item"] for row in again
    }  # what is in the history is left out


def test_evaluate_repeats_the_run_and_leaves_its_result(runs, capsys, tmp_path):
    for name in ("text", "SASRec"):
        result = (runs / name / "result.json").read_bytes()
        told = json.loads(result)
        printed = run(
            capsys, "evaluate", f"--run_dir={runs / name}", f"--output={tmp_path / name}.json"
        )
        report = json.loads((tmp_path / f"{name}.json").read_text())
        assert (
            report["test"] == told["test"]
            and report["slices"] == told["slices"]
            and report["protocol"] == told["protocol"]
        )
        assert report.get("cold") == told.get("cold") and printed.startswith("test result")
        assert (runs / name / "result.json").read_bytes() == result
    assert "holdout" in report["slices"] or name == "SASRec"


def test_evaluate_otherwise(runs, capsys, tmp_path, new_file):
    run(
        capsys,
        "evaluate",
        f"--run_dir={runs / 'text'}",
        "--split=valid",
        "--metrics=[MRR]",
        "--topk=[5,20]",
        "--slices=[history]",
        "--cold=False",
    )
    report = json.loads((runs / "text" / "evaluation-valid.json").read_text())
    assert (
        list(report["valid"]) == ["mrr@5", "mrr@20"]
        and "cold" not in report
        and all(name.startswith("history") for name in report["slices"])
    )
    run(capsys, "evaluate", f"--run_dir={runs / 'text'}", "--split=valid", "--cold=False")
    assert (runs / "text" / "evaluation-valid-2.json").exists()
    out, told = tmp_path / "x.json", json.loads((runs / "text" / "result.json").read_text())
    run(
        capsys,
        "evaluate",
        f"--run_dir={runs / 'text'}",
        f"--items={new_file}",
        f"--output={out}",
        "--cold=False",
    )
    grown = json.loads(out.read_text())
    assert (
        grown["protocol"]["candidates"] == told["protocol"]["candidates"] + 2
        and grown["new_items"]["readable"] == 2
    )
    assert (
        grown["test"]["recall@10"] <= told["test"]["recall@10"]
        and 0 <= grown["new_items"]["share_of_top_10"] < 1
    )
    run(
        capsys,
        "evaluate",
        f"--run_dir={runs / 'text'}",
        "--mask_history=True",
        f"--output={out}",
        "--cold=False",
    )
    assert json.loads(out.read_text())["protocol"]["mask_history"] is True


def test_the_run_tells_of_its_held_out_items(runs):
    from recbole_precise.training.cold_report import read_cold_ranks

    told = json.loads((runs / "text" / "result.json").read_text())
    assert (
        told["protocol"]["holdout_items"] == 0.1
        and told["slices"]["holdout"]["n"] + told["slices"]["kept"]["n"] == 943
    )
    cold = told["cold"]
    assert cold["held_out_items"] == 168 and cold["test"]["cases"] == told["slices"]["holdout"]["n"]
    ranks = read_cold_ranks(runs / "text" / "cold.npz", "events", "PRECISE-UT")
    assert np.mean(ranks.values("recall@10")) == pytest.approx(
        cold["events"]["metrics"]["PRECISE-UT"]["recall@10"]["mean"]
    )
    assert cold["events"]["metrics"]["chance"]["recall@10"]["mean"] == pytest.approx(10 / 168)


def test_the_functions_return_what_the_commands_write(runs, capsys, tmp_path, new_file):
    import recbole_precise

    run_dir = runs / "text"
    rows = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "x.jsonl",
        "--users=196 22",
        "--topk=3",
        f"--items={new_file}",
    )
    found = recbole_precise.recommend(run_dir, users=["196", "22"], topk=3, items=new_file)
    assert found.to_dicts() == rows and found.difference is None
    assert len(found) == 6 and found[3].user == "22" and found[3].rank == 1
    frame = found.to_frame()
    assert list(frame.columns) == ["user", "rank", "item", "score", "new", "text"]
    assert frame["item"].tolist() == [row["item"] for row in rows]
    (best,) = recbole_precise.recommend(run_dir, history=["50", "172"], topk=1)
    assert best.user == "history" and not best.new

    output = tmp_path / "x.json"
    words = ["--topk=[5,20]", "--metrics=[MRR]", "--split=valid", f"--output={output}"]
    run(capsys, "evaluate", f"--run_dir={run_dir}", "--cold=False", *words)
    before = sorted(path.name for path in run_dir.iterdir())
    done = recbole_precise.evaluate(
        run_dir, split="valid", cold=False, topk=[5, 20], metrics=["MRR"]
    )
    told = json.loads(output.read_text())
    assert done.metrics == told["valid"] and list(done.metrics) == ["mrr@5", "mrr@20"]
    assert json.loads(json.dumps(done.to_dict())) == told
    assert done.write(tmp_path / "y.json").read_text() == output.read_text()
    assert sorted(path.name for path in run_dir.iterdir()) == before
    assert recbole_precise.evaluate(run_dir, cold=False, topk=3).metrics.keys() >= {"recall@3"}


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({}, "needs one of users and history"),
        ({"users": ["1"], "history": ["1"]}, "needs one of users and history"),
        ({"users": "1"}, "users must be a list of names"),
        ({"history": []}, "history must be a list of names"),
        ({"users": ["1"], "topk": 0}, "topk must be a whole number above 0"),
        ({"users": ["1"], "only_new": True}, "only_new needs items"),
        ({"users": ["1"], "seen": "includ"}, "Did you mean 'include'?"),
        ({"users": ["1"], "data_pth": "x"}, "'data_pth' is no setting that .* 'data_path'?"),
        ({"users": ["nobody"]}, "There is no user 'nobody' in the run."),
    ],
)
def test_a_mistake_in_a_call_is_one_sentence(runs, options, sentence):
    import recbole_precise

    with pytest.raises(UserError, match=sentence):
        recbole_precise.recommend(runs / "text", **options)


def test_a_mistake_in_a_call_of_evaluate(runs, tmp_path):
    import recbole_precise

    with pytest.raises(UserError, match="split must be one of test, valid, not 'vali'"):
        recbole_precise.evaluate(runs / "text", split="vali")
    with pytest.raises(UserError, match="'evaluator' is no setting"):
        recbole_precise.evaluate(runs / "text", evaluator="recbole")
    with pytest.raises(UserError, match="nowhere' does not exist"):
        recbole_precise.evaluate(tmp_path / "nowhere")


MISTAKES = [
    (["recommend", "--users=1"], "recommend needs --run_dir"),
    (["evaluate"], "evaluate needs --run_dir"),
    (["recommend", "--run_dir=nowhere", "--users=1"], "'nowhere' does not exist"),
    (["evaluate", "--run_dir=nowhere"], "'nowhere' does not exist"),
    (["recommend", "--run_dir={text}"], "needs one of --users"),
    (["recommend", "--run_dir={text}", "--users=1", "--history=1"], "not several"),
    (["recommend", "--run_dir={text}", "--users=1", "--topk=0"], "--topk"),
    (
        ["recommend", "--run_dir={text}", "--users=1", "--seen=maybe"],
        "--seen must be one of exclude, include",
    ),
    (["recommend", "--run_dir={text}", "--users=1", "--only_new=True"], "--only_new needs --items"),
    (
        ["recommend", "--run_dir={text}", "--users=1", "--output=x.csv"],
        "--output must end in .tsv or .jsonl",
    ),
    (["recommend", "--run_dir={text}", "--users=1", "--user=2"], "Did you mean 'users'?"),
    (
        ["recommend", "--run_dir={text}", "--users=1", "--n_layers=3"],
        "--n_layers is no option of recommend",
    ),
    (["recommend", "--run_dir={text}", "--users=99999"], "There is no user '99999' in the run."),
    (
        ["recommend", "--run_dir={text}", "--history=1 50x"],
        "There is no item '50x' in the run. Did you mean '50'?",
    ),
    (["recommend", "--run_dir={text}", "--users_file=nobody.txt"], "'nobody.txt' cannot be read"),
    (["evaluate", "--run_dir={text}", "--split=train"], "--split must be one of test, valid"),
    (["evaluate", "--run_dir={text}", "--output={text}/result.json"], "never writes over"),
    (["evaluate", "--run_dir={text}", "--topk=0"], "topk"),
    (
        ["evaluate", "--run_dir={text}", "--items={new}", "--evaluator=recbole"],
        "--evaluator is no option",
    ),
    (["recommend", "--run_dir={id}", "--users=1", "--items={new}"], "PRECISE-ID reads no text"),
    (["evaluate", "--run_dir={SASRec}", "--items={new}"], "SASRec reads no text"),
    (
        ["recommend", "--run_dir={text}", "--users=1", "--items=none.jsonl"],
        "none.jsonl: there is no such file",
    ),
]


@pytest.mark.parametrize(
    ("arguments", "said"), MISTAKES, ids=[" ".join(arguments) for arguments, _ in MISTAKES]
)
def test_a_mistake_is_one_sentence_and_status_2(
    runs, new_file, capsys, tmp_path, monkeypatch, arguments, said
):
    monkeypatch.chdir(tmp_path)
    places = {"text": runs / "text", "id": runs / "id", "SASRec": runs / "SASRec", "new": new_file}
    status = cli.main([argument.format(**places) for argument in arguments])
    captured = capsys.readouterr()
    assert (
        (status, captured.out) == (2, "") and said in captured.err and captured.err.count("\n") == 1
    )


ITEM_FILES = {
    "twice": ([NEW[0], NEW[0]], "both describe item_id 'twin'"),
    "taken": ([{**NEW[0], "item_id": "50"}], "'50' is in the catalogue of the run already"),
    "no text": (
        [{"item_id": "x", "movie_title": "", "release_year": "", "class": ""}],
        "none of the 1 items has a text",
    ),
    "no columns": ([{"item_id": "x", "title": "A film"}], "there is no column 'movie_title'"),
    "no ids": ([{"movie_title": "A film"}], "there is no column 'item_id'"),
}


@pytest.mark.parametrize("name", ITEM_FILES)
def test_a_file_of_new_items_that_cannot_be(runs, capsys, tmp_path, name):
    rows, said = ITEM_FILES[name]
    file = tmp_path / "bad.jsonl"
    file.write_text("\n".join(json.dumps(row) for row in rows) + "\n")
    status = cli.main(["recommend", f"--run_dir={runs / 'text'}", "--users=1", f"--items={file}"])
    captured = capsys.readouterr()
    assert (
        (status, captured.out) == (2, "") and said in captured.err and captured.err.count("\n") == 1
    )


def test_the_items_may_be_an_atomic_file(runs, capsys, tmp_path):
    file = tmp_path / "new.item"
    file.write_text(
        "item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq\nn1\tAlien "
        "Again\t1999\tHorror Sci-Fi\n"
    )
    rows = recommended(
        capsys,
        runs,
        "text",
        tmp_path / "x.jsonl",
        "--users=1",
        f"--items={file}",
        "--only_new=True",
    )
    assert [row["item"] for row in rows] == ["n1"]
