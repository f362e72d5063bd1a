"""The demo and the stock entry points, from end to end on a small shop."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest

from recbole_precise import cli


@pytest.fixture
def shop(write_dataset) -> dict[str, object]:
    """Settings of a data set in which the next item follows from the last."""
    generator = random.Random(0)
    events = [
        (f"u{user}", f"i{(user + step * generator.randint(1, 2)) % 30}", step)
        for user in range(50)
        for step in range(8)
    ]
    path = write_dataset(
        "shop", events, [(f"i{item}", f"thing number {item}") for item in range(30)]
    )
    return {
        "data_path": str(path), "load_col": {"inter": ["user_id", "item_id", "timestamp"],
            "item": ["item_id"]}, "item_text": "{title}",
        "epochs": 1, "show_progress": False, "gpu_id": "",
        "checkpoint_dir": str(path.parent / "saved"), "text_cache_dir": str(path.parent / "cache"),
    }  # fmt: skip


def test_the_demo_prints_a_table_and_leaves_results(shop, capsys):
    assert (
        cli.main(["demo", "--dataset=shop", *(f"--{key}={value}" for key, value in shop.items())])
        == 0
    )
    lines = capsys.readouterr().out.strip().splitlines()
    assert [line.split()[0] for line in lines[-5:]] == [
        "PRECISE-UT",
        "Pop",
        "Transition",
        "GraphHeuristic",
        "GraphForward",
    ]
    found = [
        json.loads(file.read_text()) for file in Path(shop["checkpoint_dir"]).glob("*/result.json")
    ]
    assert {result["model"] for result in found} == {
        "PRECISE-UT",
        "Pop",
        "Transition",
        "GraphHeuristic",
        "GraphForward",
    }
    assert len({json.dumps(result["protocol"], sort_keys=True) for result in found}) == 1


def test_encode_and_then_run_without_a_language_model(shop, capsys):
    settings = [f"--{key}={value}" for key, value in shop.items()]
    assert cli.main(["encode", "--dataset=shop", *settings]) == 0
    assert capsys.readouterr().out.startswith("shop: 30 texts, ")
    code = (
        "import sys; sys.modules['transformers'] = None; from recbole_precise.cli import "
        "main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "--model=PRECISE-UT", "--dataset=shop", *settings]
    environment = {**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[2])}
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment, timeout=900, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("model", ["PRECISE-UT", "precise_id", "Transition"])
def test_stock_recbole_runs_our_models_and_loads_their_runs(model, shop, monkeypatch):
    monkeypatch.chdir(Path(shop["data_path"]).parent)  # RecBole writes its logs where it runs
    from recbole.quick_start import load_data_and_model, run_recbole

    import recbole_precise

    settings = {**shop, "state": "ERROR"}
    stock = run_recbole(model, "shop", config_dict=settings)
    ours = recbole_precise.run_recbole(model, "shop", config_dict={**settings, "run_dir": "mine"})
    assert stock["test_result"] == ours["test_result"]
    for place in ("mine", "mine/model.safetensors"):
        config, loaded, *_ = load_data_and_model(place)
        assert config["model"] == recbole_precise.registry.resolve(model).name and isinstance(
            loaded, recbole_precise.get_model(model)
        )


def test_stock_recbole_runs_and_loads_its_own_models_under_any_torch(shop, monkeypatch):
    monkeypatch.chdir(Path(shop["data_path"]).parent)
    from recbole.quick_start import load_data_and_model, run_recbole

    run_recbole(
        "SASRec", "shop", config_dict={**shop, "train_neg_sample_args": None, "state": "ERROR"}
    )
    (file,) = Path(shop["checkpoint_dir"]).glob("SASRec*.pth")
    config, model, dataset, *_ = load_data_and_model(str(file))
    assert config["model"] == "SASRec" and model.n_items == dataset.item_num == 31


def test_tuning_finds_our_models(shop, monkeypatch):
    hyperopt = pytest.importorskip("hyperopt")
    assert hyperopt
    monkeypatch.chdir(Path(shop["data_path"]).parent)
    from recbole.quick_start import objective_function
    from recbole.trainer import HyperTuning

    file = Path("fixed.yaml")
    file.write_text(
        json.dumps({**shop, "model": "PRECISE-ID", "dataset": "shop", "state": "ERROR"})
    )
    tuning = HyperTuning(
        objective_function,
        algo="exhaustive",
        early_stop=10,
        params_dict={"choice": {"learning_rate": [0.001, 0.01]}},
        fixed_config_file_list=[str(file)],
    )
    tuning.run()
    assert tuning.best_params["learning_rate"] in (0.001, 0.01) and len(tuning.params2result) == 2
