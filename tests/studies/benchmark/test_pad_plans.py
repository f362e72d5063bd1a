"""The plans of PAD's tables: every row is a run that would start, on each data set, and the
published numbers are those printed.
"""

from __future__ import annotations

import pytest

from recbole_precise.errors import ConfigError
from recbole_precise.studies.benchmark.cells import make_cells
from recbole_precise.studies.benchmark.plan import read_plan

PLANS = ("pad-table2", "pad-table2-paper", "pad-table3", "pad-controls", "pad-figures")
OWN = ("prime-pantry", "pad-electronics", "pad-mind")


@pytest.mark.parametrize("name", PLANS)
def test_every_row_can_start_and_no_two_rows_are_one_run(name, data_path, tmp_path):
    plan = read_plan(name, seeds=[1])
    assert "prime-pantry" in plan.datasets and not {"pad-electronics", "pad-mind"} & set(
        plan.datasets
    )
    cells = make_cells(
        read_plan(name, seeds=[1], datasets=["prime-pantry"]),
        tmp_path / "runs",
        {"data_path": data_path},
    )
    assert [cell.row.name for cell in cells] == [row.name for row in plan.rows]
    digests = [cell.folder.parent.name.rpartition("-")[2] for cell in cells]
    assert len(set(digests)) == len(digests)
    assert all(
        cell.identity["settings"]["MAX_ITEM_LIST_LENGTH"] == 20
        and cell.identity["settings"]["mask_history"]
        for cell in cells
    )


def test_electronics_and_mind_are_run_where_they_are_named(data_path, tmp_path):
    plan = read_plan(
        "pad-table2", seeds=[1], models=["PAD", "SASRec"], datasets=["pad-electronics", "pad-mind"]
    )
    cells = make_cells(plan, tmp_path / "runs", {"data_path": data_path})
    assert [(cell.source, cell.row.name) for cell in cells] == [
        (name, row)
        for name in ("pad-electronics", "pad-mind")
        for row in ("transformer", "second phase", "PAD", "SASRec")
    ]
    assert all(
        cell.identity["settings"]["eval_args"]["mode"]
        in ("full", {"valid": "full", "test": "full"})
        for cell in cells
    )
    assert {entry.name: set(entry.values) for entry in plan.published}["DisCo"] == {
        "pad-electronics",
        "pad-mind",
    }


def test_the_same_pad_stands_in_all_plans(data_path, tmp_path):
    """So that its runs are shared: a plan that changes a setting on the way would compare with
    another PAD.
    """
    folders = set()
    for name in ("pad-table2", "pad-table3", "pad-controls", "pad-figures"):
        *before, cell = make_cells(
            read_plan(name, seeds=[1], models=["PAD"], datasets=["prime-pantry"]),
            tmp_path / "runs",
            {"data_path": data_path},
        )
        assert [each.row.name for each in before] == [
            "transformer",
            "second phase",
        ] and cell.chain() == [*before, cell]
        folders.add(tuple(each.folder for each in cell.chain()))
    assert len(folders) == 1


@pytest.mark.parametrize("name", PLANS)
def test_a_row_goes_through_the_phases_of_pad_once_each_and_in_order(name):
    """Whatever it begins after: no phase is left out that its experts have, none is trained twice,
    and what it begins with has its backbone and its texts.
    """
    rows = {row.name: row for row in read_plan(name).rows}

    def way(row) -> list[str]:
        begun = way(rows[row.after]) if row.after else []
        return begun + list(row.settings.get("phases", ["pretrain", "align", "finetune"]))

    for row in rows.values():
        if row.model != "PAD":
            continue
        phases = way(row)
        assert phases == [
            phase for phase in ("pretrain", "align", "finetune") if phase in phases
        ], row.name
        if row.after:
            before = rows[row.after].settings
            assert row.settings.get("backbone") == before.get("backbone")
            trains_texts = "align" in way(rows[row.after])
            for key in ("align", "align_kernel", "mmd_rows", "text_layers"):
                assert not trains_texts or row.settings.get(key) == before.get(key), (row.name, key)


def test_published_numbers_are_those_of_the_paper():
    """The gains that the paper prints in words: over SMEM on Electronics and Prime Pantry, and what
    the gate's ablation loses on MIND.
    """
    published = {
        entry.name: entry.values for entry in read_plan("pad-table2", datasets=list(OWN)).published
    }
    assert list(published) == [
        "SASRec",
        "Hybrid",
        "MoRec",
        "CTRL",
        "MAKE",
        "DisCo",
        "SMEM",
        "PAD",
    ] and all(set(values) == set(OWN) for values in published.values())
    gain = {
        name: published["PAD"][name]["ndcg@10"] / published["SMEM"][name]["ndcg@10"] - 1
        for name in OWN
    }
    assert gain["pad-electronics"] == pytest.approx(0.0760, abs=2e-4) and gain[
        "prime-pantry"
    ] == pytest.approx(0.0954, abs=2e-4)
    figures = {
        entry.name: entry.values for entry in read_plan("pad-figures", datasets=list(OWN)).published
    }
    assert figures["global gate"]["pad-mind"]["recall@10"] / published["PAD"]["pad-mind"][
        "recall@10"
    ] - 1 == pytest.approx(-0.0306, abs=1e-4)
    for name in PLANS[1:]:  # the same numbers wherever they stand
        for entry in read_plan(name, datasets=[*OWN]).published:
            source = {
                "SASRec + PAD": "PAD",
                "no alignment": "SMEM",
                "ID expert": "SASRec",
                "text expert": "MoRec",
                "ID + text in one vector": "Hybrid",
            }.get(entry.name, entry.name)
            if source in published:
                assert all(
                    values == published[source][dataset] for dataset, values in entry.values.items()
                )


def test_backbones_are_compared_with_themselves():
    rows = {row.name: row for row in read_plan("pad-table3").rows}
    for name in ("SASRec", "GRU4Rec", "Caser"):
        alone, with_pad = dict(rows[name].settings), dict(rows[f"{name} + PAD"].settings)
        assert (
            alone.pop("experts") == ["id"]
            and alone.pop("phases") == ["pretrain"]
            and alone.pop("text_tuning") == "none"
            and alone == {"backbone": name}
        )
        assert (
            with_pad == {"backbone": name, "phases": ["align", "finetune"]}
            and rows[f"{name} + PAD"].after == name
        )
    short, long = rows["Caser"], rows["Caser in 12 minutes"]
    assert (
        long.settings == {**short.settings, "train_minutes": 12}
        and long.by_dataset == short.by_dataset == rows["Caser + PAD"].by_dataset
    )


def test_data_sets_on_request_can_not_be_all(write_plan):
    file = write_plan(datasets={"shop": {"on_request": True}}, models=["Pop"])
    with pytest.raises(ConfigError, match="datasets: all of them are on_request"):
        read_plan(str(file))
    assert list(
        read_plan(
            str(write_plan(datasets={"shop": {}, "mall": {"on_request": True}}, models=["Pop"]))
        ).datasets
    ) == ["shop"]
    with pytest.raises(ConfigError, match="datasets: mall: on_request: must be True or False"):
        read_plan(
            str(write_plan(datasets={"shop": {}, "mall": {"on_request": "yes"}}, models=["Pop"]))
        )


def test_pad_where_users_are_few_stands_beside_the_runs_of_table_2(data_path, tmp_path):
    """Its rows can start, are runs of their own, and those that have a name in pad-table2 are the
    same runs, but PAD, which has other settings.
    """
    plan, runs = read_plan("pad-few-users", seeds=[1]), tmp_path / "runs"
    cells = {cell.row.name: cell for cell in make_cells(plan, runs, {"data_path": data_path})}
    assert list(cells) == [row.name for row in plan.rows] and len(
        {cell.folder for cell in cells.values()}
    ) == len(cells)
    table2 = {
        cell.row.name: cell
        for cell in make_cells(
            read_plan("pad-table2", seeds=[1], datasets=["ml-100k"]), runs, {"data_path": data_path}
        )
    }
    assert {
        name for name in cells if name in table2 and cells[name].folder == table2[name].folder
    } == {"PAD tuned", "Hybrid", "SASRec-CE", "SASRec-Text", "GraphHeuristic"}
    assert [cell.row.name for cell in cells["PAD begun quietly"].chain()] == [
        "backbone",
        "aligned copy",
        "PAD begun quietly",
    ]
    settings, quiet = (
        dict(cells["PAD"].identity["settings"]),
        dict(cells["PAD begun quietly"].identity["settings"]),
    )
    assert quiet.pop("late_weight") == 0.01 and quiet == settings
