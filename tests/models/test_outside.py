"""A model in a file outside the package, through every command: docs/adding-a-model.md."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import recbole_precise
from recbole_precise import registry
from recbole_precise.cli import main
from recbole_precise.errors import ConfigError

ROOT = Path(recbole_precise.__file__).parents[1]
PAGE = (ROOT / "docs" / "adding-a-model.md").read_text(encoding="utf-8")
SMALL = [
    "--data_path=.", "--epochs=2", "--embedding_size=8", "--inner_size=8", "--n_heads=1",
    "--n_layers=1", "--show_progress=False", "--threads=1", "--tensorboard=False",
    "--load_col={inter: [user_id, item_id, timestamp]}",
]  # fmt: skip


def block(title: str) -> str:
    return re.search(rf"```\w+\n# {re.escape(title)}\n(.*?)```", PAGE, re.DOTALL)[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The files of the page beside a small data set, `shop`."""
    place = tmp_path_factory.mktemp("outside")
    for name in ("popular_sasrec.py", "plan.yaml"):
        (place / name).write_text(block(name))
    rows = [
        f"u{user}\ti{(user * 7 + step * (1 + user % 3)) % 20}\t{step}"
        for user in range(1, 31)
        for step in range(6 + user % 3)
    ]
    (place / "shop").mkdir()
    (place / "shop" / "shop.inter").write_text(
        "user_id:token\titem_id:token\ttimestamp:float\n" + "\n".join(rows) + "\n"
    )
    return place


def command(folder, *arguments, status=0):
    done = subprocess.run(
        [sys.executable, "-m", "recbole_precise", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert done.returncode == status, done.stderr[-3000:]
    return done.stdout if status == 0 else done.stderr


def with_sizes(line: str) -> list[str]:
    words = line.split()[1:]
    if words[0] in ("evaluate", "recommend"):
        return [*words, "--data_path=."]
    if words[0] == "compare":
        return words
    return [*words, *SMALL]


def test_the_file_is_short():
    assert len(block("popular_sasrec.py").splitlines()) < 60


def test_the_commands_of_the_page_run(folder):
    lines = re.search(r"```bash\n(recbole-precise --model=popular.*?)```", PAGE, re.DOTALL)[1]
    ran = {line.split()[1]: command(folder, *with_sizes(line)) for line in lines.splitlines()}
    assert {"evaluate", "recommend", "compare", "tune", "benchmark"} <= ran.keys()
    result = json.loads((folder / "saved" / "popular" / "result.json").read_text())
    assert result["model"] == "PopularSASRec"
    assert "'recall@10'" in ran["evaluate"]
    assert ran["recommend"].count("u1") >= 10
    assert "Popular" in ran["benchmark"] and "SASRec-CE" in ran["benchmark"]
    assert "popularity_weight" in ran["tune"]

    # Asked without the file, the run says how: a folder does not choose what code runs.
    said = command(folder, "evaluate", "--run_dir=saved/popular", "--data_path=.", status=2)
    assert f"--model={folder / 'popular_sasrec.py'}:PopularSASRec" in said


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--popularity_wait=1"], ["popularity_wait", "Did you mean 'popularity_weight'?"]),
        (["--popularity_weight=-1"], ["popularity_weight", "at least 0, not -1"]),
        (["--softmax=sampled"], ["softmax", "one of full"]),
    ],
)
def test_settings_of_a_model_from_outside_are_checked(folder, arguments, words):
    model = "--model=popular_sasrec.py:PopularSASRec"
    said = command(folder, model, "--dataset=shop", *arguments, *SMALL, status=2)
    assert all(word in said for word in words) and said.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "spec", "words"),
    [
        (None, "x.py:A", ["'x.py' of a model does not exist"]),
        ("1 +\n", "x.py:A", ["'x.py' of a model cannot be imported: line 1: SyntaxError"]),
        ("a = 1\nb = a / 0\n", "x.py:A", ["line 2: ZeroDivisionError"]),
        ("class Abc: pass\n", "x.py:Abd", ["no class 'Abd'", "Did you mean 'Abc'?"]),
        ("class Abc: pass\n", "x.py:Abc", ["The class Abc", "is no model: it must derive from"]),
        (None, "no_such_package.models:A", ["cannot be imported", "no_such_package"]),
        (
            "from recbole.model.sequential_recommender import SASRec as S\nclass GRU4Rec(S): pass",
            "x.py:GRU4Rec",
            ["has the name of a model of RecBole"],
        ),
    ],
)
def test_a_file_that_holds_no_model_is_a_sentence(
    content, spec, words, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / "x.py").write_text(content)
    assert main([f"--model={spec}", "--dataset=ml-100k"]) == 2
    said = capsys.readouterr().err
    assert all(word in said for word in words) and said.count("\n") == 1


def test_a_class_of_recboles_kind_runs_from_python(folder, tmp_path, monkeypatch):
    """Without settings of its own, and made inside a function: no other process finds it."""
    from recbole.model.sequential_recommender import SASRec

    class Shifted(SASRec):
        """SASRec under another name."""

    monkeypatch.chdir(folder)
    settings = {
        "data_path": ".", "epochs": 1, "hidden_size": 8, "inner_size": 8, "n_heads": 1,
        "n_layers": 1, "show_progress": False, "train_neg_sample_args": None,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "run_dir": str(tmp_path / "r"),
    }  # fmt: skip
    found = recbole_precise.run_recbole(model=Shifted, dataset="shop", config_dict=settings)
    plain = recbole_precise.run_recbole(
        model="SASRec", dataset="shop", config_dict={**settings, "run_dir": str(tmp_path / "s")}
    )
    assert found["test_result"] == plain["test_result"]


def test_an_installed_package_offers_models_by_name(folder, monkeypatch):
    monkeypatch.setattr(
        registry,
        "installed_models",
        lambda: {"Popular-SASRec": f"{folder / 'popular_sasrec.py'}:PopularSASRec"},
    )
    entry = registry.resolve("popular_sasrec")
    assert entry.load().__name__ == "PopularSASRec" and entry.ours
    with pytest.raises(ConfigError, match="Did you mean 'Popular-SASRec'"):
        registry.resolve("Popular-SASRek")
