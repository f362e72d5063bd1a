"""Plans: those that ship hold what they promise, and every mistake in one is a sentence that says
where.
"""

from __future__ import annotations

import pytest

from recbole_precise.errors import ConfigError
from recbole_precise.studies.benchmark.plan import read_plan, shipped_plans

ROWS = [
    "PRECISE-UT",
    "PRECISE-ID",
    "PRECISE-LLM",
    "PRECISE-Pool",
    "SASRec",
    "GRU4Rec",
    "BERT4Rec",
    "Pop",
    "Transition",
    "GraphHeuristic",
    "GraphForward",
]


@pytest.mark.parametrize("name", ["ml-100k", "prime-pantry"])
def test_shipped_plans_hold_our_models_recboles_and_the_floors(name):
    plan = read_plan(name)
    rows = [row for row in plan.rows if row.name != "PRECISE-UT shipped"]
    assert (
        [row.name for row in rows] == ROWS
        and list(plan.datasets) == [name]
        and plan.against == "SASRec"
    )
    assert [len(row.seeds) for row in rows] == [3] * 7 + [1] * 4
    assert {row.name for row in plan.rows if row.baseline} == set(ROWS[4:])


def test_published_numbers_of_pantry():
    plan = read_plan("prime-pantry")
    found = {
        entry.name: tuple(
            round(100 * entry.values["prime-pantry"][metric], 2)
            for metric in ("recall@10", "ndcg@10")
        )
        for entry in plan.published
    }
    assert (
        found == {"SASRec": (2.63, 1.29), "SMEM": (3.43, 1.74), "PAD": (3.83, 1.91)}
        and plan.percent
    )


def test_every_shipped_plan_can_be_read():
    assert {"ml-100k", "prime-pantry"} <= set(shipped_plans())
    assert all(read_plan(name).rows for name in shipped_plans())


def test_rows_seeds_and_opponent_can_be_chosen():
    plan = read_plan("ml-100k", seeds=[7], models=["SASRec", "Pop"], against="Pop")
    assert [(row.name, row.seeds) for row in plan.rows] == [
        ("SASRec", (7,)),
        ("Pop", (7,)),
    ] and plan.against == "Pop"
    assert (
        read_plan("ml-100k", models=["Pop"]).against is None
    )  # its opponent is not among the rows


def test_what_a_row_begins_after_comes_along(write_plan):
    models = {
        "SASRec": {},
        "GRU4Rec": {},
        "second": {"model": "SASRec", "after": "SASRec"},
        "third": {"model": "SASRec", "after": "second"},
    }
    plan = read_plan(str(write_plan(datasets=["shop"], models=models)), models=["third"])
    assert [row.name for row in plan.rows] == ["SASRec", "second", "third"]


def test_a_row_like_another_differs_by_what_it_says(write_plan):
    base = {
        "model": "SASRec",
        "recipe": "paper",
        "baseline": True,
        "seeds": [5],
        "note": "n",
        "settings": {"epochs": 3, "metrics": {"a": 1}},
        "datasets": {"shop": {"loss_type": "CE", "n_layers": 1}},
    }
    change = {
        "like": "base",
        "seeds": [7],
        "settings": {"metrics": {"b": 2}, "dropout": None},
        "datasets": {"shop": {"n_layers": None}, "mall": {"epochs": 9}},
    }
    plan = read_plan(
        str(
            write_plan(
                datasets=["shop", "mall"],
                models={
                    "Pop": None,
                    "base": base,
                    "changed": change,
                    "again": {"like": "changed"},
                    "Pop too": {"like": "Pop"},
                },
            )
        )
    )
    row = plan.row("changed")
    assert (row.model, row.recipe, row.baseline, row.seeds, row.note) == (
        "SASRec",
        "paper",
        True,
        (7,),
        None,
    )
    assert row.settings == {"epochs": 3, "metrics": {"b": 2}, "dropout": None}
    assert row.by_dataset == {"shop": {"loss_type": "CE", "n_layers": None}, "mall": {"epochs": 9}}
    again, before = plan.row("again"), plan.row("base")
    assert (again.settings, again.by_dataset, again.seeds) == (
        row.settings,
        row.by_dataset,
        row.seeds,
    )
    assert (
        before.settings == base["settings"]
        and before.by_dataset == base["datasets"]
        and before.note == "n"
    )
    assert plan.row("Pop too").model == "Pop"


MISTAKES = [
    ({"modles": ["Pop"]}, "unknown key 'modles'. Did you mean 'models'?"),
    ({"models": []}, "the key 'models' is missing"),
    (
        {"models": {"Pop": {"modle": "Pop"}}},
        "models: Pop: unknown key 'modle'. Did you mean 'model'?",
    ),
    ({"models": ["Popp"]}, "models: Popp: Unknown model 'Popp'. Did you mean 'Pop'?"),
    ({"models": ["Pop", "Pop"]}, "a name stands there twice"),
    ({"models": {"Pop": 3}}, "'Pop' must hold lines of the form 'key: value'"),
    (
        {"models": {"Pop": {"settings": {"seed": 1}}}},
        "the benchmark sets 'seed' itself. Seeds stand in `seeds`.",
    ),
    (
        {"models": {"Pop": {"datasets": {"shp": {}}}}},
        "the plan has no data set 'shp'. Did you mean 'shop'?",
    ),
    ({"datasets": {"likes": {"dataset": 3}}}, "datasets: likes: dataset must be a name, not 3."),
    ({"models": {"Pop": {"baseline": "yes"}}}, "baseline: must be True or False, not 'yes'."),
    (
        {"models": {"SASRec": {"like": "Pop"}, "Pop": {}}},
        "models: SASRec: like names a row that stands above it; there is no 'Pop'.",
    ),
    (
        {"models": {"SASRec": {}, "second": {"like": "SASRek"}}},
        "there is no 'SASRek'. Did you mean 'SASRec'?",
    ),
    ({"models": {"SASRec": {}, "second": {"like": 3}}}, "there is no 3."),
    (
        {"models": {"SASRec": {"settings": 3}, "second": {"like": "SASRec", "settings": {}}}},
        "models: SASRec: settings: must hold lines",
    ),
    (
        {"models": {"SASRec": {"after": "Pop"}}},
        "models: SASRec: after names a row that stands above it; there is no 'Pop'.",
    ),
    ({"models": {"SASRec": {"after": "SASRec"}}}, "after names a row that stands above it"),
    (
        {"models": {"SASRec": {"after": 3}}},
        "models: SASRec: after must be the name of a row, not 3.",
    ),
    (
        {"models": {"SASRec": {}, "second": {"model": "SASRec", "after": "SASRek"}}},
        "Did you mean 'SASRec'?",
    ),
    (
        {"models": {"Pop": {}, "SASRec": {"after": "Pop"}}},
        "it cannot begin after 'Pop', which trains nothing.",
    ),
    (
        {
            "models": {
                "SASRec": {"seeds": [1]},
                "second": {"model": "SASRec", "after": "SASRec", "seeds": [1, 2]},
            }
        },
        "it has seeds that the row it begins after, 'SASRec', has not: [2].",
    ),
    (
        {
            "models": {
                "SASRec": {},
                "second": {"model": "SASRec", "after": "SASRec", "settings": {"warm_start": "x"}},
            }
        },
        "warm_start and after ('SASRec') both say",
    ),
    ({"note": 3}, "note must be text, not 3."),
    ({"seeds": [1, 1]}, "seeds: a seed stands there twice."),
    ({"seeds": ["a"]}, "seeds: must be a list of whole numbers"),
    ({"metrics": ["NDCG@10"]}, "'NDCG@10' is no metric of ranks"),
    ({"metrics": ["ndcg"]}, "with a cut-off, as in ndcg@10"),
    ({"against": "Pap"}, "there is no row 'Pap'. Did you mean 'Pop'?"),
    ({"confidence": 95}, "confidence: must be a number between 0 and 1"),
    ({"resamples": 3}, "resamples: must be a whole number from 99 on"),
    ({"published": {"X": {"datasets": {"shop": {"ndcg@10": 0.1}}}}}, "say where the numbers stand"),
    (
        {"published": {"X": {"source": "a paper", "datasets": {"shop": {"ndcg@10": 3.83}}}}},
        "ndcg@10 must be a fraction from 0 to 1, not 3.83.",
    ),
]


@pytest.mark.parametrize(("content", "message"), MISTAKES, ids=[message for _, message in MISTAKES])
def test_a_mistake_says_where(content, message, write_plan):
    file = write_plan(**{"datasets": ["shop"], "models": ["Pop"], **content})
    with pytest.raises(ConfigError) as caught:
        read_plan(str(file))
    assert str(caught.value).startswith(f"Plan '{file}'") and message in str(caught.value)


def test_no_such_plan():
    with pytest.raises(ConfigError, match="There is no plan 'ml-100'. Did you mean 'ml-100k'?"):
        read_plan("ml-100")
    with pytest.raises(ConfigError, match="Plan 'nowhere.yaml' does not exist."):
        read_plan("nowhere.yaml")
    with pytest.raises(ConfigError, match="--models: .* no row 'Popp'. Did you mean 'Pop'?"):
        read_plan("ml-100k", models=["Popp"])
