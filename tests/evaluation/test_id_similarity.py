"""The diagnostic of alternate training against loops, and as a command on real runs."""

import json

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise import cli
from recbole_precise.evaluation import id_similarity as module
from recbole_precise.evaluation.id_similarity import id_similarity
from recbole_precise.finished import load_data_and_model
from recbole_precise.studies.figures import words_in


def cosine(a, b):
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


@given(st.integers(4, 30), st.integers(1, 3), st.integers(0, 10**6), st.sampled_from([2, 512]))
def test_nearest_pairs_are_the_definition(n, neighbours, seed, block):
    chance = np.random.default_rng(seed)
    ids, items = chance.normal(size=(n, 3)), chance.normal(size=(n, 5))
    before, module._BLOCK = module._BLOCK, block
    try:
        found = id_similarity(ids, items, neighbours, seed)
    finally:
        module._BLOCK = before
    for item in range(n):
        others = sorted(
            (other for other in range(n) if other != item),
            key=lambda other: -cosine(items[item], items[other]),
        )[:neighbours]
        np.testing.assert_allclose(
            sorted(found.similar[item]),
            sorted(cosine(ids[item], ids[other]) for other in others),
            atol=1e-5,
        )
    assert (
        found.random.shape == (n, neighbours) and (found.random < 1 - 1e-9).all()
    )  # never with itself
    assert found.gap == pytest.approx(found.similar.mean() - found.random.mean(), abs=1e-6)


def test_it_tells_learnt_ids_from_random_ones():
    chance = np.random.default_rng(0)
    text = chance.normal(size=(400, 16))
    learnt, random = text @ chance.normal(size=(16, 8)), chance.normal(size=(400, 8))
    assert id_similarity(learnt, text).gap > 0.4
    assert abs(id_similarity(random, text).gap) < 0.03


@pytest.mark.slow
def test_the_command_compares_runs(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    cache = f"--text_cache_dir={tmp_path / 'cache'}"
    words = [
        "--dataset=ml-100k",
        "--user_inter_num_interval=[5,40]",
        "--embedding_size=8",
        "--token_size=8",
        "--n_layers=1",
        "--epochs=2",
        "--gpu_id=",
        "--show_progress=False",
        cache,
    ]
    for name, more in (("joint", []), ("alternate", ["--alternate=True"])):
        assert cli.main(["--model=PRECISE-UT", *words, *more, f"--run_dir={tmp_path / name}"]) == 0
    assert (
        cli.main(
            [
                "inspect",
                "similarity",
                str(tmp_path / "joint"),
                str(tmp_path / "alternate"),
                f"--output={tmp_path / 'out'}",
                cache,
            ]
        )
        == 0
    )
    said = capsys.readouterr().out
    assert "alternate (PRECISE-UT, alternate)" in said and "similar pairs" in said
    summary = json.loads((tmp_path / "out" / "similarity.json").read_text())
    for run, folder in zip(summary["runs"], ("joint", "alternate"), strict=True):
        assert run["run"] == folder and run["alternate"] == (folder == "alternate")
        _, model, _, train, *_ = load_data_and_model(
            tmp_path / folder, {"show_progress": False, "text_cache_dir": str(tmp_path / "cache")}
        )
        trained = np.flatnonzero(train._dataset.train_item_counts().numpy())
        with torch.no_grad():
            ids, vectors = (
                model.item_encoder.parts[0].table.weight.numpy()[trained],
                model.item_encoder.all_items().numpy()[trained],
            )
        found = id_similarity(ids, vectors, 10, 0)
        assert (run["items"], run["gap"]) == (len(trained), pytest.approx(found.gap, abs=1e-6))
        for kind in ("similar", "random"):
            assert (
                run[kind] == pytest.approx(getattr(found, kind).mean(), abs=1e-6)
                and sum(run["counts"][kind]) == getattr(found, kind).size
            )
    drawn = words_in(tmp_path / "out" / "similarity.png")
    for words in (
        "cosine of two items' ID vectors",
        "density",
        "trained items",
        "random pairs, mean",
    ):
        assert words in drawn


def test_a_run_without_ids_or_texts_is_told(tmp_path, capsys):
    assert (
        cli.main(
            [
                "--model=Pop",
                "--dataset=ml-100k",
                "--show_progress=False",
                f"--run_dir={tmp_path / 'pop'}",
            ]
        )
        == 0
    )
    capsys.readouterr()
    assert cli.main(["inspect", "similarity", str(tmp_path / "pop")]) == 2
    assert "have no vectors of both ID and text" in capsys.readouterr().err
    assert (
        cli.main(["inspect", "similarity"]) == 2
        and "needs a run directory" in capsys.readouterr().err
    )
    assert (
        cli.main(["inspect", "similarity", str(tmp_path / "pop"), "--neighbours=x"]) == 2
        and "--neighbours must be a whole number" in capsys.readouterr().err
    )
