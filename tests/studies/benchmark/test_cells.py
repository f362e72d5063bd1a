"""Cells: their command lines give the plan's values, and their directories change exactly when a
result could.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.config import parse_value, schema
from recbole_precise.config.arguments import parse_arguments, positional
from recbole_precise.errors import ConfigError
from recbole_precise.studies.benchmark.cells import as_text, make_cells
from recbole_precise.studies.benchmark.plan import read_plan

plain = st.recursive(
    st.one_of(
        st.none(),
        st.booleans(),
        st.integers(-(10**9), 10**9),
        st.floats(allow_nan=False, allow_infinity=False),
        st.text(st.characters(exclude_categories=("Cs",)), max_size=12),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3),
    ),
    max_leaves=6,
)


@given(
    st.sampled_from(
        [
            "learning_rate",
            "item_text",
            "load_col",
            "train_neg_sample_args",
            "some_key_of_a_model",
            "user_inter_num_interval",
        ]
    ),
    plain,
)
def test_a_value_of_a_plan_is_the_same_on_the_command_line(key, value):
    entry = schema.known_key(key)
    if entry and entry.types == ("str",) and not (value is None or isinstance(value, str)):
        return  # a key that takes text alone refuses other values
    settings = parse_arguments([f"--{key}={as_text(key, value)}"], strict=True)
    assert parse_value(settings[key], entry.types if entry else ()) == value


def test_texts_of_plans_stay_readable():
    assert (
        as_text("learner", "adamw") == "adamw"
        and as_text("epochs", 3) == "3"
        and as_text("item_text", "{title} {brand}") == "{title} {brand}"
    )
    assert as_text("some_key", "5") == "'5'"


@pytest.fixture
def cells_of(write_plan, ring, tmp_path):
    """`cells_of(models, extra=..., settings=...)` -> row name -> its cells.

    `keep`: rows, as of --models.
    """

    def make(models, extra=None, threads=None, keep=None, **content):
        plan = read_plan(
            str(
                write_plan(
                    **{"datasets": {"ring": ring}, "seeds": [1, 2], "models": models, **content}
                )
            ),
            models=keep,
        )
        rows: dict[str, list] = {}
        for cell in make_cells(plan, tmp_path / "runs", extra, threads):
            rows.setdefault(cell.row.name, []).append(cell)
        return rows

    return make


def test_a_row_has_a_directory_and_every_seed_one_in_it(cells_of):
    rows = cells_of(
        {
            "SASRec": None,
            "a small/SASRec": {"model": "SASRec", "settings": {"hidden_size": 16}},
            "Pop": None,
        }
    )
    assert [len(cells) for cells in rows.values()] == [2, 2, 1]
    folders = [cell.folder for cells in rows.values() for cell in cells]
    assert len(set(folders)) == 5 and len({folder.parent for folder in folders}) == 3
    assert [folder.name for folder in folders] == ["seed-1", "seed-2", "seed-1", "seed-2", "seed-1"]
    assert (
        folders[2].parent.name.startswith("a_small_SASRec-")
        and folders[2].parents[1].name == "ring"
    )
    assert (
        "--hidden_size=16" in rows["a small/SASRec"][0].arguments()
        and "--seed=2" in rows["a small/SASRec"][1].arguments()
    )


def test_the_directory_changes_when_the_result_could(cells_of, ring):
    def folder(**changes):
        return cells_of({"SASRec": {"settings": changes.pop("settings", {})}}, **changes)["SASRec"][
            0
        ].folder

    first = folder()
    assert (
        first
        == folder()
        == folder(threads=2)
        == folder(extra={"checkpoint_seconds": "5"})
        == folder(settings={"tensorboard": True})
    )
    others = {
        folder(settings={"hidden_size": 32}),
        folder(extra={"epochs": "1"}),
        folder(datasets={"ring": {**ring, "MAX_ITEM_LIST_LENGTH": 5}}),
    }
    assert len(others) == 3 and first not in others
    assert folder(settings={"hidden_size": 64}) == first  # the default, said aloud
    file = Path(ring["data_path"], "ring", "ring.inter")
    file.write_text(file.read_text() + "u1\ti1\t99999999\n")
    assert folder() != first


def test_what_a_row_begins_after_is_part_of_what_it_is(cells_of):
    def cells(**settings):
        return cells_of(
            {
                "SASRec": {"settings": settings},
                "second": {"model": "SASRec", "after": "SASRec"},
                "third": {"model": "SASRec", "after": "second"},
            }
        )

    rows, others = cells(), cells(hidden_size=32)
    assert [cell.begins_after for cell in rows["second"]] == rows["SASRec"] and rows["third"][
        1
    ].chain() == [rows[name][1] for name in ("SASRec", "second", "third")]
    assert f"--warm_start={rows['SASRec'][1].folder}" in rows["second"][1].arguments() and not any(
        "warm_start" in text for text in rows["SASRec"][0].arguments()
    )
    assert not {cell.folder for name in rows for cell in rows[name]} & {
        cell.folder for name in others for cell in others[name]
    }
    alone = cells_of({"second": {"model": "SASRec"}})["second"][0]
    assert (
        alone.folder.name == rows["second"][0].folder.name
        and alone.folder != rows["second"][0].folder
    )
    with pytest.raises(
        ConfigError,
        match="row 'second': warm_start is given, but it begins after the row 'SASRec'.",
    ):
        cells_of(
            {"SASRec": {}, "second": {"model": "SASRec", "after": "SASRec"}},
            extra={"warm_start": "x"},
        )


def test_a_shared_setting_goes_to_the_rows_that_know_it(cells_of):
    rows = cells_of(
        ["SASRec", "Pop"], settings={"hidden_size": 16, "epochs": 2}, extra={"n_layers": "1"}
    )
    assert {"--hidden_size=16", "--epochs=2", "--n_layers=1"} <= set(rows["SASRec"][0].arguments())
    assert {
        key for key in ("hidden_size", "epochs", "n_layers") if key in rows["Pop"][0].settings
    } == {"epochs"}
    with pytest.raises(
        ConfigError,
        match="Unknown key 'hiden_size': no model of the plan .* reads it. Did you mean "
        "'hidden_size'?",
    ):
        cells_of(["SASRec", "Pop"], extra={"hiden_size": "16"})


def test_a_setting_of_the_plan_may_be_for_rows_that_are_left_out(cells_of):
    whole = cells_of(["SASRec", "Pop"], settings={"hidden_size": 16})
    part = cells_of(["SASRec", "Pop"], keep=["Pop"], settings={"hidden_size": 16})
    assert list(part) == ["Pop"] and part["Pop"][0].folder == whole["Pop"][0].folder
    with pytest.raises(
        ConfigError,
        match="Unknown key 'hiden_size': no model of the plan .* reads it. Did you mean "
        "'hidden_size'?",
    ):
        cells_of(["SASRec", "Pop"], keep=["Pop"], settings={"hiden_size": 16})
    with pytest.raises(
        ConfigError,
        match=r"--hidden_size: none of the models that run \(Pop\) reads it; only rows that "
        r"--models leaves out do.",
    ):
        cells_of(["SASRec", "Pop"], keep=["Pop"], extra={"hidden_size": "16"})


def test_the_command_line_goes_before_a_row_and_a_row_before_the_plan(cells_of):
    models = {
        "SASRec": {
            "settings": {"hidden_size": 16, "n_layers": 1},
            "datasets": {"ring": {"n_layers": 3}},
        }
    }
    (cell, _) = cells_of(
        models, settings={"hidden_size": 8, "n_heads": 1}, extra={"hidden_size": "32"}
    )["SASRec"]
    assert {"--hidden_size=32", "--n_layers=3", "--n_heads=1"} <= set(cell.arguments())


def test_mistakes_are_told_before_anything_runs(cells_of, tmp_path):
    with pytest.raises(
        ConfigError,
        match="row 'SASRec' on ring: Unknown key 'hiden_size'.*Did you mean 'hidden_size'",
    ):
        cells_of({"Pop": None, "SASRec": {"settings": {"hiden_size": 3}}})
    with pytest.raises(
        ConfigError,
        match="rows 'Pop' and 'SASRec' would be ranked under different protocols .mask_history: "
        "False and True.",
    ):
        cells_of({"Pop": None, "SASRec": {"settings": {"mask_history": True}}})
    with pytest.raises(
        ConfigError, match="--seed: the benchmark sets 'seed' itself; --seeds says which."
    ):
        cells_of(["Pop"], extra={"seed": "3"})
    assert not (tmp_path / "runs").exists()


def test_positional_arguments_are_told_from_values():
    assert positional(["ml-100k", "--jobs", "2", "--runs=x", "y", "--resume", "z"]) == (
        ["ml-100k", "y", "z"],
        ["--jobs", "2", "--runs=x", "--resume"],
    )


def test_two_tasks_on_one_data_set(cells_of, ring):
    """Entries of their own in table and folder, one data set for RecBole, one protocol each."""
    tasks = {
        name: {"dataset": "ring", **ring, "MAX_ITEM_LIST_LENGTH": length}
        for name, length in (("short", 5), ("long", 9))
    }
    cells = cells_of({"SASRec": None}, datasets=tasks)["SASRec"]
    assert [cell.dataset for cell in cells] == ["short", "short", "long", "long"] and {
        cell.source for cell in cells
    } == {"ring"}
    assert {cell.folder.parents[1].name for cell in cells} == {"short", "long"}
    assert (
        all("--dataset=ring" in cell.arguments() for cell in cells)
        and "--MAX_ITEM_LIST_LENGTH=9" in cells[2].arguments()
    )


def test_an_empty_key_of_a_newer_version_changes_no_directory(cells_of, monkeypatch):
    """Finished cells are found again after an upgrade that only adds keys without a value."""
    from recbole_precise.plugin.config import Config

    before = [cell.folder for cell in cells_of({"SASRec": None})["SASRec"]]
    init = Config.__init__

    def with_a_new_key(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.final_config_dict["a_key_of_tomorrow"] = None

    monkeypatch.setattr(Config, "__init__", with_a_new_key)
    assert [cell.folder for cell in cells_of({"SASRec": None})["SASRec"]] == before
