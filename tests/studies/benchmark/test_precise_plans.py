"""The plan of PRECISE's Table III: its rows are the runs of the data sets' own plans, with what
tuning found.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from recbole_precise.studies.benchmark.cells import make_cells
from recbole_precise.studies.benchmark.plan import read_plan

DATASETS = ("ml-100k", "prime-pantry")
TUNED = Path(__file__).resolve().parents[3] / "benchmarks" / "results" / "tuned"
KEYS = {"learning_rate", "hidden_dropout_prob", "dropout_prob"}


@pytest.fixture
def folders(data_path, tmp_path):
    """`folders(plan, dataset)`: row -> run directory of its first seed."""

    def of(plan: str, dataset: str) -> dict[str, Path]:
        cells = make_cells(
            read_plan(plan, seeds=[2020], datasets=[dataset]),
            tmp_path / "runs",
            {} if dataset == "ml-100k" else {"data_path": data_path},
        )
        return {cell.row.name: cell.folder for cell in cells}

    return of


@pytest.mark.parametrize("dataset", DATASETS)
def test_rows_of_the_data_sets_own_plan_are_the_same_runs(folders, dataset):
    table, own = folders("precise-table3", dataset), folders(dataset, dataset)
    shared = set(table) & set(own)
    assert {
        "PRECISE-UT",
        "PRECISE-UT shipped",
        "SASRec",
        "GRU4Rec",
        "BERT4Rec",
        "Pop",
        "GraphForward",
    } <= shared
    assert {name: table[name] for name in shared} == {name: own[name] for name in shared}
    assert len(set(table.values())) == len(table)
    pad = folders("pad-table2", dataset)
    assert all(
        table[name] == pad[name] for name in ("SASRec", "GRU4Rec", "SASRec-CE", "SASRec-Text")
    )


@pytest.mark.parametrize(
    ("plan", "dataset"),
    [
        *((dataset, dataset) for dataset in DATASETS),
        *((plan, dataset) for plan in ("precise-table3", "pad-table2") for dataset in DATASETS),
    ],
)
def test_rows_have_what_tuning_found(plan, dataset):
    rows = read_plan(plan).rows
    names = {row.name for row in rows}
    for row in rows:
        settings = {**row.settings, **row.by_dataset.get(dataset, {})}
        of_model = row.recipe == "default" or row.name == f"{row.model} tuned"
        found = TUNED / f"{row.model if of_model else row.name}-{dataset}" / "best.yaml"
        as_it_ships = f"{row.name} tuned" in names  # that row has what was found
        tuned = yaml.safe_load(found.read_text()) if found.exists() and not as_it_ships else {}
        given = {key: value for key, value in settings.items() if key in KEYS}
        assert given == pytest.approx(
            {key: value for key, value in tuned.items() if key in KEYS}, rel=1e-3
        ), row.name
