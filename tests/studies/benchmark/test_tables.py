"""Tables and plots of runs whose numbers are known: every printed number is looked up, recomputed,
or counted.
"""

from __future__ import annotations

import csv
import io
import statistics
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from recbole_precise.errors import DataError
from recbole_precise.evaluation.metrics import per_case
from recbole_precise.studies.benchmark.cells import Cell
from recbole_precise.studies.benchmark.plan import read_plan
from recbole_precise.studies.benchmark.running import Outcome
from recbole_precise.studies.benchmark.summary import commit, p_text, summarize
from recbole_precise.studies.benchmark.tables import (
    csv_text,
    escape,
    latex,
    main_table,
    markdown,
    significance_table,
)
from recbole_precise.studies.figures import words_in

#: Row -> ranks of each seed. Ours hits more than the base, which hits more than Pop.
RNG = np.random.default_rng(5)
RANKS = {
    "Ours_1": [RNG.integers(1, 14, 120) for _ in range(3)],
    "SASRec": [RNG.integers(1, 25, 120) for _ in range(3)],
    "GRU4Rec": [RNG.integers(1, 25, 120) for _ in range(2)],
    "Pop": [RNG.integers(1, 51, 120)],
}
METRICS = ("ndcg@10", "recall@10", "recall@5")


@pytest.fixture
def summary(tmp_path, leave_run, write_plan) -> dict:
    file = write_plan(
        title="A shop", note="Tuned by hand.", datasets=["shop"], seeds=[1, 2, 3],
        metrics=list(METRICS), slices=["warm", "cold"], against="SASRec", resamples=9999,
        models={"Ours_1": {"model": "PRECISE-ID", "note": "50% off & more"},
            "SASRec": {"baseline": True}, "GRU4Rec": {"baseline": True}, "Pop": {"baseline": True}},
        published={name: {"source": "a paper", "datasets": {"shop": {"ndcg@10": value}}} for name,
            value in (("SASRec", 0.8), ("PAD", 0.9))},
    )  # fmt: skip
    return summarize(
        read_plan(str(file)),
        outcomes(read_plan(str(file)), tmp_path, leave_run),
        "recbole-precise benchmark plan.yaml",
    )


def outcomes(plan, tmp_path: Path, leave_run, **changes) -> list[Outcome]:
    found = []
    for row in plan.rows:
        for place, seed in enumerate(row.seeds):
            cell = Cell("shop", "shop", row, seed, {}, {}, tmp_path / row.name / f"seed-{seed}")
            if place < len(RANKS[row.name]):
                leave_run(
                    cell.folder,
                    RANKS[row.name][place],
                    row.model,
                    seed,
                    **changes.get(row.name, {}),
                )
                found.append(Outcome(cell, "finished"))
            else:
                found.append(Outcome(cell, "failed", "out of luck"))
    return found


def mean_std(row: str, metric: str) -> tuple[float, float | None]:
    values = [per_case(ranks, metric).mean() for ranks in RANKS[row]]
    return statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None


def test_means_spreads_places_and_gains(summary):
    rows = {row["name"]: row for row in summary["datasets"]["shop"]["rows"]}
    for metric in METRICS:  # recall@5 is not in result.json and follows from the ranks
        expected = {name: mean_std(name, metric) for name in RANKS}
        base = max(expected[name][0] for name in ("SASRec", "GRU4Rec", "Pop"))
        order = sorted(expected, key=lambda name: -expected[name][0])
        assert order[0] == "Ours_1"
        for name, (mean, std) in expected.items():
            entry = rows[name]["test"][metric]
            assert entry["mean"] == pytest.approx(mean) and entry["std"] == (
                None if std is None else pytest.approx(std)
            )
            assert entry["place"] == {order[0]: 1, order[1]: 2}.get(name)
            assert entry["gain"] == (pytest.approx(mean / base - 1) if name == "Ours_1" else None)
        assert summary["datasets"]["shop"]["best_baseline"][metric] == max(
            ("SASRec", "GRU4Rec", "Pop"), key=lambda name: expected[name][0]
        )
    assert rows["Ours_1"]["slices"]["warm"]["n"] == 60 and rows["Ours_1"]["slices"]["warm"][
        "ndcg@10"
    ]["mean"] == pytest.approx(
        statistics.fmean(per_case(ranks[:60], "ndcg@10").mean() for ranks in RANKS["Ours_1"])
    )
    assert summary["hours"] == pytest.approx(
        sum(6 + seed % 3 for seeds in RANKS.values() for seed in range(1, len(seeds) + 1)) / 3600
    )


def test_paired_tests_are_scipys_and_holms(summary):
    tests = {(test["row"], test["metric"]): test for test in summary["significance"]["tests"]}
    assert set(tests) == {
        (row, metric) for row in ("Ours_1", "GRU4Rec", "Pop") for metric in METRICS
    }
    for (row, metric), test in tests.items():
        ours, base = (
            np.mean([per_case(ranks, metric) for ranks in RANKS[name]], axis=0)
            for name in (row, "SASRec")
        )
        p = stats.permutation_test(
            (ours - base,),
            lambda x, axis: x.mean(axis=axis),
            permutation_type="samples",
            vectorized=True,
            n_resamples=9999,
            random_state=0,
        ).pvalue
        assert test["difference"] == pytest.approx((ours - base).mean()) and test[
            "p_value"
        ] == pytest.approx(p, abs=0.05)
        assert test["low"] < test["difference"] < test["high"]
    p_values = sorted(test["p_value"] for test in tests.values())
    assert min(test["p_holm"] for test in tests.values()) == pytest.approx(
        min(1, 9 * p_values[0])
    )  # nine different questions
    assert all(test["p_holm"] >= test["p_value"] for test in tests.values())
    assert (
        tests["Ours_1", "ndcg@10"]["significant"] and not tests["GRU4Rec", "ndcg@10"]["significant"]
    )


def test_markdown_says_it_all(summary):
    text = markdown(summary)
    line = next(
        line for line in main_table(summary, "shop").splitlines() if line.startswith("| Ours_1")
    )
    mean, std = mean_std("Ours_1", "ndcg@10")
    assert f"| **{mean:.4f} ± {std:.4f}**\\* |" in line and "| 3 |" in line
    assert (
        sum(
            text.count(f"<u>{mean_std(name, metric)[0]:.4f}")
            for name in RANKS
            for metric in METRICS
        )
        >= 3
    )
    for part in ("# A shop", "\n\nTuned by hand.\n\n", "`recbole-precise "
                                                       "benchmark plan.yaml`", "torch 2.13.0", 
                                                               "120 test "
                                                               "cases, "
                                                               "ranked among "
                                                               "50 candidates", "warm (n = 60)",
                                                               "| 2 of 3 |",
                 "1 (draws nothing)", "*Published:* PAD: a paper.", "Ours_1: 50% off & more",
                 "## Failed cells", "out of luck", "p (Holm)"):  # fmt: skip
        assert part in text, part
    assert "**0.9" not in text and "**0.8" not in text  # a published number is never the best
    header, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in main_table(summary, "shop").splitlines()
    ]
    published = {row[0]: row[header.index("ndcg@10 published")] for row in rows}
    assert {name: value for name, value in published.items() if value} == {
        "SASRec": "0.8000",
        "PAD": "0.9000",
    } and list(published).count("SASRec") == 1
    widths = {line.count(" | ") for line in significance_table(summary).splitlines()}
    assert widths == {7}


def test_percent(summary):
    mean, std = mean_std("Ours_1", "ndcg@10")
    assert f"**{100 * mean:.2f} ± {100 * std:.2f}**" in main_table(
        {**summary, "percent": True}, "shop"
    )


def test_latex_is_a_table_of_equal_rows(summary):
    text = latex(summary, "shop")
    lines = [line for line in text.splitlines() if line.endswith(r"\\")]
    (columns,) = (line for line in text.splitlines() if line.startswith(r"\begin{tabular}"))
    assert {line.count(" & ") for line in lines} == {
        len(columns.removeprefix(r"\begin{tabular}{").removesuffix("}")) - 1
    }
    assert [text.count(rf"\{rule}rule") for rule in ("top", "mid", "bottom")] == [1, 2, 1]
    mean, std = mean_std("Ours_1", "recall@10")
    assert (
        rf"\textbf{{{mean:.4f} $\pm$ {std:.4f}}}$^{{*}}$" in text
        and r"Ours\_1 & " in text
        and text.count(r"\underline{") == 3
    )
    assert (
        text.count("{") == text.count("}")
        and escape("a_b & 5% {x}~\\") == r"a\_b \& 5\% \{x\}\textasciitilde{}\textbackslash{}"
    )


def test_csv_keeps_full_precision(summary):
    lines = list(csv.DictReader(io.StringIO(csv_text(summary))))
    assert (
        len(lines) == 4 * 3 + 2
        and None not in lines[-1].values()
        and all(None not in line for line in lines)
    )
    for line in lines[:-2]:
        mean, _ = mean_std(line["row"], line["metric"])
        assert (
            float(line["mean"]) == pytest.approx(mean, rel=1e-12)
            and line["against"] == ("" if line["row"] == "SASRec" else "SASRec")
            and line["cases"] == "120"
        )
    assert (lines[-1]["kind"], lines[-1]["mean"], lines[-1]["source"]) == (
        "published",
        "0.9",
        "a paper",
    )


def test_plots_name_their_axes_units_cases_and_seeds(summary, tmp_path):
    pytest.importorskip("matplotlib")
    from recbole_precise.studies.benchmark.plots import draw

    files = draw(summary, tmp_path / "plots")
    assert [file.name for file in files] == ["shop-slices.png", "shop-time.png", "shop-curves.png"]
    assert all(file.read_bytes().startswith(b"\x89PNG") for file in files)
    pictures = {file.stem.removeprefix("shop-"): words_in(file) for file in files}
    assert all("120 test cases" in text and "Ours_1" in text for text in pictures.values())
    assert (
        "warm, n = 60" in pictures["slices"]
        and "ndcg@10 on the test cases of the slice (fraction)" in pictures["slices"]
        and "3 seeds" in pictures["time"]
    )
    assert (
        "ndcg@10, test, n = 120 (fraction)" in pictures["time"]
        and "Wall time of a run" in pictures["time"]
        and "Pop (1 seed)" in pictures["time"]
    )
    assert "ndcg@10, validation, n = 120 (fraction)" in pictures["curves"]


def test_many_rows_get_a_panel_each(summary, tmp_path):
    pytest.importorskip("matplotlib")
    from recbole_precise.studies.benchmark.plots import curves

    part = summary["datasets"]["shop"]
    trained = next(row for row in part["rows"] if row["name"] == "SASRec")
    assert len(curves(summary, "shop").axes) == 1
    part["rows"] += [{**trained, "name": f"copy {number}"} for number in range(6)]
    of_rows = [axes for axes in curves(summary, "shop").axes if axes.axison]
    titles = [axes.get_title() for axes in of_rows]
    assert len(titles) == len(set(titles)) == 10 and {
        "Ours_1 (3 seeds)",
        "GRU4Rec (2 seeds)",
        "copy 5 (3 seeds)",
    } < set(titles)
    seconds, valid = zip(
        *[
            (record["seconds"], record["valid"])
            for record in trained["curves"][0]
            if record["valid"] is not None
        ],
        strict=True,
    )
    of_copy = [
        line
        for line in of_rows[titles.index("copy 5 (3 seeds)")].lines
        if line.get_marker() == "o" and list(line.get_xdata()) == list(seconds)
    ]
    assert of_copy and list(of_copy[0].get_ydata()) == list(valid)


@pytest.mark.parametrize("copies", [4, 6])
def test_panels_leave_no_empty_row_and_their_legend_covers_nothing(summary, copies):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    from recbole_precise.studies.benchmark.plots import curves

    rows = summary["datasets"]["shop"]["rows"]
    trained = next(row for row in rows if row["name"] == "SASRec")
    floor = next(row for row in rows if row["name"] == "Pop")
    floor.update(draws_nothing=True, curves=[])
    rows += [{**trained, "name": f"copy {number}"} for number in range(copies + 1)]
    figure = curves(summary, "shop")
    FigureCanvasAgg(figure).draw()
    shown = [axes for axes in figure.axes if axes.axison]
    lowest = min(axes.get_position().y0 for axes in figure.axes)
    assert len(shown) == 4 + copies and any(axes.get_position().y0 == lowest for axes in shown)
    (legend,) = figure.legends or [axes.get_legend() for axes in figure.axes if axes.get_legend()]
    assert [text.get_text() for text in legend.get_texts()] == ["Pop (not trained)"]
    texts = [
        text for text in (figure._suptitle, figure._supxlabel, figure._supylabel) if text.get_text()
    ]
    others = [thing.get_window_extent() for thing in (*shown, *texts)]
    assert len(texts) == 3 and not any(legend.get_window_extent().overlaps(box) for box in others)


def test_the_star_is_at_the_best_of_the_phase_that_is_tested(summary):
    pytest.importorskip("matplotlib")
    from recbole_precise.studies.benchmark.plots import curves

    for row in summary["datasets"]["shop"]["rows"]:
        row["curves"] = [
            [
                {"epoch": epoch, "seconds": 1.0 + epoch, "valid": valid, "tested": epoch > 1}
                for epoch, valid in enumerate((0.1, 0.9, 0.3, 0.5, 0.4))
            ]
            for _ in row["curves"]
        ]
    stars = [line for line in curves(summary, "shop").axes[0].lines if line.get_marker() == "*"]
    assert stars and {(line.get_xdata()[0], line.get_ydata()[0]) for line in stars} == {(4.0, 0.5)}


def test_a_slice_without_a_hit_has_no_scale(summary):
    pytest.importorskip("matplotlib")
    from recbole_precise.studies.benchmark.plots import by_slice

    for row in summary["datasets"]["shop"]["rows"]:
        row["slices"]["cold"]["ndcg@10"] = {
            **row["slices"]["cold"]["ndcg@10"],
            "mean": 0.0,
            "std": 0.0,
        }
    warm, cold = by_slice(summary, "shop").axes
    assert list(cold.get_xticks()) == [0] and len(warm.get_xticks()) > 1 and warm.get_xlim()[0] == 0


def test_rows_of_different_protocols_are_refused(tmp_path, leave_run, write_plan):
    plan = read_plan(str(write_plan(datasets=["shop"], seeds=[1, 2], models=["SASRec", "Pop"])))
    other = {
        "protocol": {
            "split": {"LS": "valid_and_test"},
            "mask_history": True,
            "ties": "against the target",
            "candidates": 50,
            "target_scene": None,
        }
    }
    with pytest.raises(
        DataError,
        match="'SASRec' and 'Pop' on shop were ranked under different protocols .mask_history: "
        "False and True.",
    ):
        summarize(plan, outcomes(plan, tmp_path, leave_run, Pop=other))


def test_nothing_finished_yet_is_a_report_too(write_plan):
    plan = read_plan(str(write_plan(datasets=["shop"], models=["Pop"], against="Pop")))
    cell = Cell("shop", "shop", plan.rows[0], 2020, {}, {}, Path("nowhere"))
    text = markdown(summarize(plan, [Outcome(cell, "waiting")]))
    assert "## Not run yet\n\n- shop Pop" in text and "No cell is finished" in text


def test_small_pieces(tmp_path):
    assert [p_text(p) for p in (0.00001, 0.0123, 0.2)] == ["<0.001", "0.012", "0.20"]
    assert commit(tmp_path) is None
