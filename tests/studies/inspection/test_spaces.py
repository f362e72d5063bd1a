"""Which spaces a model's items are in, and how runs are told apart and refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from inspected_data import write_data

import recbole_precise as rp
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.studies.inspection.runs import (
    SPACES,
    Rows,
    SpacesOfRun,
    choose,
    item_spaces,
    labels,
    pairs_of,
)


@pytest.fixture(scope="module")
def build(tmp_path_factory):
    """`build(model, **settings)`: a model with its first values on the small data set."""
    folder = tmp_path_factory.mktemp("spaces")
    write_data(folder / "ring")

    def make(name: str, **settings):
        shared = {"data_path": str(folder), "text_cache_dir": str(folder / "cache"), "gpu_id": "",
            "show_progress": False, "state": "ERROR", "item_text": "{title}",
                  "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
                  "MAX_ITEM_LIST_LENGTH": 7}  # fmt: skip
        config = rp.Config(model=name, dataset="ring", config_dict={**shared, **settings})
        train, *_ = rp.data_preparation(config, rp.create_dataset(config))
        torch.manual_seed(0)
        return rp.get_model(name)(config, train._dataset).eval()

    return make


def test_of_a_model_with_ids_and_texts(build):
    model = build("PRECISE-UT", embedding_size=8, token_size=8, n_layers=1)
    spaces = item_spaces(model)
    assert list(spaces) == ["id", "text", "final"] and set(spaces) <= set(SPACES)
    table = model.item_encoder.parts[0].table.weight.detach().numpy()
    assert np.array_equal(
        item_spaces(
            build("PRECISE-UT", embedding_size=8, token_size=8, n_layers=1, unseen_id="initial")
        )["id"],
        table,
    )
    never = ~model.item_encoder.parts[0].trained.numpy()
    assert never.sum() > 1 and np.array_equal(
        spaces["id"], np.where(never[:, None], 0, table)
    )  # as it ranks them
    assert (
        np.array_equal(spaces["final"], model.item_vectors().numpy()) and len(spaces["text"]) == 41
    )


@pytest.mark.parametrize("name", ["PAD", "LEARN"])
def test_of_a_model_whose_texts_are_tuned(build, name):
    """Both forms of the texts, so that they can be held against each other."""
    model = build(
        name,
        embedding_size=8,
        n_layers=1,
        text_tuning="cooccurrence",
        text_tuning_steps=2,
        text_tuning_width=4,
    )
    spaces = item_spaces(model)
    text = model.item_encoder.text if name == "PAD" else model.item_encoder.parts[0].text
    assert np.array_equal(spaces["frozen_text"], text.plain.numpy()) and np.array_equal(
        spaces["tuned_text"], text.vectors.numpy()
    )
    assert set(spaces) <= set(SPACES) and not np.array_equal(
        spaces["tuned_text"], spaces["frozen_text"]
    )
    assert "tuned_text" not in item_spaces(build(name, embedding_size=8, n_layers=1))


def test_of_models_of_recbole_and_of_one_that_knows_no_vectors(build):
    model = build("BERT4Rec", hidden_size=8, inner_size=8, n_layers=1, train_neg_sample_args=None)
    assert model.item_embedding.num_embeddings > 41 and [
        len(vectors) for vectors in item_spaces(model).values()
    ] == [41]  # without the mask
    assert item_spaces(build("Pop")) == {}


@pytest.mark.parametrize(
    "experts", [["id"], ["aligned"], ["text"], ["id", "text"], ["id", "aligned", "text"]]
)
def test_of_pad_those_of_the_experts_that_speak(build, experts):
    model = build("PAD", embedding_size=8, n_layers=1, experts=experts)
    own = {"id": ["id"], "aligned": ["aligned_id", "aligned_text", "aligned"], "text": ["text"]}
    for phase in model.phases():
        model.set_phase(phase)
        spoken = {"pretrain": ["id"], "align": ["aligned"]}.get(phase.name, experts)
        spaces = item_spaces(model)
        text = ["frozen_text"] if experts != ["id"] else []
        assert model.speaking() == tuple(spoken) and list(spaces) == [
            *(name for expert in spoken for name in own[expert]),
            *text,
            "final",
        ]
        if len(spoken) > 1:
            parts = np.concatenate([spaces[expert] for expert in spoken], 1)
            np.testing.assert_allclose(
                spaces["final"], parts / len(spoken), atol=1e-6
            )  # every share is the same at first
        else:
            assert np.array_equal(spaces["final"], spaces[spoken[0]])
        if "aligned" in spoken:
            np.testing.assert_allclose(
                spaces["aligned"], spaces["aligned_id"] + spaces["aligned_text"], atol=1e-6
            )


def test_labels_are_the_shortest_ends_that_differ():
    assert labels([Path("/a/PAD-1/seed-1"), Path("/a/PAD-2/seed-1")]) == [
        "PAD-1/seed-1",
        "PAD-2/seed-1",
    ]
    assert labels([Path("/a/one"), Path("/b/two")]) == ["one", "two"]
    with pytest.raises(ConfigError, match="'/a/one' is named twice"):
        labels([Path("/a/one"), Path("/a/one")])


def run_with(label: str, *spaces: str) -> SpacesOfRun:
    return SpacesOfRun(
        label, Path(label), "PAD", {name: np.ones((3, 2)) for name in spaces}, spaces
    )


def test_the_reference_is_the_first_run_that_has_it():
    runs = [
        run_with("a", "id"),
        run_with("b", "id", "frozen_text", "text"),
        run_with("c", "frozen_text"),
    ]
    home, lines = choose(runs, "frozen_text", None)
    assert home is runs[1] and [run.name(space) for run, space in lines] == [
        "a: id",
        "b: id",
        "b: text",
        "c: frozen_text",
    ]
    assert choose(runs, None, ["id", "frozen_text"])[0] is None
    with pytest.raises(
        ConfigError, match=r"'c' \(PAD\) has none of the spaces id; it has frozen_text."
    ):
        choose(runs, "id", ["id"])


def test_pairs_that_a_space_does_not_know_are_counted():
    rows = Rows(
        "shop",
        "valid",
        np.array([[1, 2], [3, 0], [2, 4]]),
        np.array([4, 4, 1]),
        np.array([0, 5, 0, 3, 2]),
    )
    known, all_known = np.array([[0, 0], [1, 1], [1, 0], [0, 0], [2, 1]]), np.ones((5, 2))
    pairs, left_out = pairs_of(rows, [known, all_known], per_bucket=10)
    assert (
        sorted(zip(pairs.behaviour.tolist(), pairs.target.tolist()))
        == [(1, 4), (2, 1), (2, 4), (4, 1)]
        and left_out == 1
    )  # item 3 has no vector
    pairs, left_out = pairs_of(rows, [all_known], per_bucket=10, trained_only=True)
    assert (
        sorted(zip(pairs.behaviour.tolist(), pairs.target.tolist())) == [(1, 4), (3, 4), (4, 1)]
        and left_out == 2
    )  # item 2 was never trained
    with pytest.raises(DataError, match="The validation split of shop gives no pair of items"):
        pairs_of(rows, [np.zeros((5, 2))], per_bucket=10)


def test_two_sides_of_one_model_are_named_by_what_tells_them_apart():
    from recbole_precise.studies.inspection.gains import _names

    def side(folder: str, seeds=(1, 2)) -> list[Path]:
        return [Path("/runs/shop") / folder / f"seed-{seed}" for seed in seeds]

    assert _names(side("PAD-3b1d1ae0"), side("ID_expert-889fa25f")) == ["PAD", "ID_expert"]
    assert _names(side("PAD-3b1d1ae0"), side("PAD-889fa25f")) == ["PAD-3b1d1ae0", "PAD-889fa25f"]
    assert _names(side("PAD-3b1d1ae0", (1,)), side("PAD-3b1d1ae0", (2,))) == ["seed-1", "seed-2"]
    assert _names([Path("/runs/first")], [Path("/runs/second")]) == ["first", "second"]
