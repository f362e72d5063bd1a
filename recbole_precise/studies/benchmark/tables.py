"""A summary as tables: Markdown for people, LaTeX (booktabs) for papers, CSV for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import Any

from recbole_precise.evaluation.list_metrics import SMALLER_IS_BETTER, is_share
from recbole_precise.studies.benchmark.summary import p_text, scale, sign_test
from recbole_precise.studies.text_tables import markdown_table

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def protocol_text(summary: Mapping[str, Any], dataset: str) -> str:
    """How the numbers of a data set were made, in a line."""
    part = summary["datasets"][dataset]
    protocol = part["protocol"]
    if protocol is None:
        return "no cell is finished"
    split = (
        ", ".join(f"{key}: {value}" for key, value in protocol["split"].items())
        if isinstance(protocol["split"], Mapping)
        else str(protocol["split"])
    )
    split = "leave one out" if split == "LS: valid_and_test" else split
    history = (
        "items of the history excluded"
        if protocol["mask_history"]
        else "items of the history stay candidates"
    )
    ties = f"ties {protocol['ties']}"
    scene = f", target scene {protocol['target_scene']}" if protocol.get("target_scene") else ""
    return (
        f"{split}, {part['cases']:,} test cases, ranked among "
        f"{_count(protocol['candidates'])} candidates, {history}, {ties}{scene}"
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """Write the whole report as Markdown."""
    parts = [f"# {summary['title']}", _origin(summary), summary.get("note")]
    for dataset in summary["datasets"]:
        parts += [
            f"## {dataset}",
            protocol_text(summary, dataset)[0].upper() + protocol_text(summary, dataset)[1:] + ".",
            main_table(summary, dataset),
            _legend(summary, dataset),
        ]
        slices = slice_table(summary, dataset)
        if slices:
            parts += [f"### {summary['metrics'][0]} by slice of the test cases", slices]
    if summary["significance"] and summary["significance"]["tests"]:
        parts += ["## Paired tests", significance_table(summary), _method(summary)]
    for skipped in (summary["significance"] or {}).get("skipped", []):
        parts.append(
            f"No paired test of {skipped['row']} on {skipped['dataset']}: {skipped['why']}"
        )
    if summary["failed"]:
        parts += [
            "## Failed cells",
            "\n".join(
                f"- {failed['cell']} (`{failed['folder']}`): {failed['words']}"
                for failed in summary["failed"]
            ),
        ]
    if summary["waiting"]:
        parts += ["## Not run yet", "\n".join(f"- {name}" for name in summary["waiting"])]
    return "\n\n".join(part for part in parts if part) + "\n"


def main_table(summary: Mapping[str, Any], dataset: str) -> str:
    """Rows by metrics: mean ± standard deviation over seeds, the best bold, the second underlined.

    Published numbers in columns of their own.
    """
    metrics = summary["metrics"]
    part = summary["datasets"][dataset]
    gains = bool(part["best_baseline"])
    published = _published(part)
    header = ["model"]
    for metric in metrics:
        unit = " %" if summary["percent"] and is_share(metric) else ""
        header += [
            metric + unit,
            *(["gain"] if gains else []),
            *([f"{metric}{unit} published"] if published else []),
        ]
    header += ["seeds", "training s", "parameters"]
    rows = []
    for row in part["rows"]:
        line = [row["name"]]
        for metric in metrics:
            entry = row["test"].get(metric)
            text = _mean_and_std(entry, summary["percent"], metric)
            if entry:
                text = {1: f"**{text}**", 2: f"<u>{text}</u>"}.get(entry["place"], text) + (
                    "\\*" if _significant(summary, dataset, row["name"], metric) else ""
                )
            line.append(text)
            if gains:
                line.append(
                    "best baseline"
                    if part["best_baseline"].get(metric) == row["name"]
                    else _gain(entry)
                )
            if published:
                line.append(_published_text(published, row["name"], metric, summary["percent"]))
        rows.append(
            [*line, _seeds(row), f"{row['seconds']['train']['mean']:.0f}", f"{row['parameters']:,}"]
        )
    for name in _not_measured(part):
        line = [name]
        for metric in metrics:
            line += [
                "",
                *([""] if gains else []),
                _published_text(published, name, metric, summary["percent"]),
            ]
        rows.append([*line, "", "", ""])
    return markdown_table(header, rows)


def _published(part: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Row -> its published metrics."""
    return {entry["name"]: entry["test"] for entry in part["published"]}


def _not_measured(part: Mapping[str, Any]) -> list[str]:
    """Names with published numbers that no row of the benchmark has."""
    measured = {row["name"] for row in part["rows"]}
    return [entry["name"] for entry in part["published"] if entry["name"] not in measured]


def _published_text(
    published: Mapping[str, Mapping[str, float]], name: str, metric: str, percent: bool
) -> str:
    value = published.get(name, {}).get(metric)
    return "" if value is None else scale(value, percent, metric)


def slice_table(summary: Mapping[str, Any], dataset: str) -> str:
    """Rows by slices, the first metric, with the number of test cases in the header.

    Empty without slices.
    """
    part = summary["datasets"][dataset]
    metric = summary["metrics"][0]
    names = [
        name for name in summary["slices"] if any(name in row["slices"] for row in part["rows"])
    ]
    if not names:
        return ""
    count = {
        name: next(row["slices"][name]["n"] for row in part["rows"] if name in row["slices"])
        for name in names
    }
    rows = [
        [
            row["name"],
            *(
                _mean_and_std(row["slices"].get(name, {}).get(metric), summary["percent"])
                for name in names
            ),
        ]
        for row in part["rows"]
    ]
    return markdown_table(["model", *(f"{name} (n = {count[name]:,})" for name in names)], rows)


def significance_table(summary: Mapping[str, Any]) -> str:
    """Every paired test: difference, interval, p-value and Holm's."""
    found = summary["significance"]
    header = [
        f"against {found['against']}",
        "metric",
        "difference",
        f"{100 * found['confidence']:g}% interval",
        "p",
        "p (Holm)",
        "users",
        "seeds",
    ]
    factor, places = (100, 2) if summary["percent"] else (1, 4)
    rows = [
        [
            f"{test['row']} on {test['dataset']}",
            test["metric"],
            f"{factor * test['difference']:+.{places}f}",
            f"{factor * test['low']:+.{places}f} to {factor * test['high']:+.{places}f}",
            p_text(test["p_value"]),
            p_text(test["p_holm"]) + ("\\*" if test["significant"] else ""),
            f"{test['users']:,}",
            f"{test['seeds_a']} and {test['seeds_b']}",
        ]
        for test in found["tests"]
    ]
    return markdown_table(header, rows)


def latex(summary: Mapping[str, Any], dataset: str) -> str:
    r"""Write a table environment with booktabs rules; needs \usepackage{booktabs}."""
    metrics = summary["metrics"]
    part = summary["datasets"][dataset]
    gains = bool(part["best_baseline"])
    published = _published(part)
    header = ["Model"]
    for metric in metrics:
        unit = r" (\%)" if summary["percent"] and is_share(metric) else ""
        header += [
            escape(metric) + unit,
            *(["Gain"] if gains else []),
            *(["Published"] if published else []),
        ]
    header.append("Seeds")
    lines = []
    for row in part["rows"]:
        cells = [escape(row["name"])]
        for metric in metrics:
            entry = row["test"].get(metric)
            text = _mean_and_std(entry, summary["percent"], metric).replace(" ± ", r" $\pm$ ")
            if entry:
                text = {1: rf"\textbf{{{text}}}", 2: rf"\underline{{{text}}}"}.get(
                    entry["place"], text
                ) + ("$^{*}$" if _significant(summary, dataset, row["name"], metric) else "")
            cells.append(text)
            if gains:
                cells.append(
                    "base"
                    if part["best_baseline"].get(metric) == row["name"]
                    else escape(_gain(entry))
                )
            if published:
                cells.append(_published_text(published, row["name"], metric, summary["percent"]))
        lines.append(" & ".join([*cells, str(len(row["seeds"]))]) + r" \\")
    for number, name in enumerate(_not_measured(part)):
        cells = [escape(name)]
        for metric in metrics:
            cells += [
                "",
                *([""] if gains else []),
                _published_text(published, name, metric, summary["percent"]),
            ]
        lines += ([r"\midrule"] if number == 0 else []) + [" & ".join([*cells, ""]) + r" \\"]
    caption = (
        f"{escape(dataset)}: {escape(protocol_text(summary, dataset))}. "
        f"{escape(_latex_legend(summary, dataset))}"
    )
    return "\n".join(
        [
            r"% \usepackage{booktabs}", r"\begin{table}", r"\centering", rf"\caption{{{caption}}}",
            rf"\label{{tab:{dataset}}}",
            rf"\begin{{tabular}}{{l{'r' * (len(header) - 1)}}}", r"\toprule",
            " & ".join(header) + r" \\", r"\midrule", *lines, r"\bottomrule",
            r"\end{tabular}", r"\end{table}", "",
        ]
    )  # fmt: skip


def csv_text(summary: Mapping[str, Any]) -> str:
    """One line for each data set, row and metric, numbers in full precision, as fractions."""
    out = io.StringIO()
    write = csv.writer(out, lineterminator="\n").writerow
    write(
        [
            "dataset",
            "row",
            "model",
            "recipe",
            "kind",
            "metric",
            "mean",
            "std",
            "seeds",
            "valid_mean",
            "gain",
            "difference",
            "low",
            "high",
            "p_value",
            "p_holm",
            "against",
            "cases",
            "train_seconds",
            "total_seconds",
            "parameters",
            "peak_memory_mb",
            "source",
        ]
    )
    against = (summary["significance"] or {}).get("against")
    for dataset, part in summary["datasets"].items():
        for row in part["rows"]:
            for metric, entry in row["test"].items():
                test = sign_test(summary, dataset, row["name"], metric) or {}
                sort = "baseline" if row["baseline"] else "measured"
                valid = row["valid"].get(metric, {}).get("mean")
                paired = [
                    test.get(key) for key in ("difference", "low", "high", "p_value", "p_holm")
                ]
                seconds = [row["seconds"][kind]["mean"] for kind in ("train", "total")]
                write([dataset, row["name"], row["model"], row["recipe"], sort, metric,
                    entry["mean"], entry["std"], len(row["seeds"]), valid, entry["gain"], *paired,
                       against if test else None, part["cases"], *seconds, row["parameters"],
                       row["peak_memory_mb"], None])  # fmt: skip
        for entry in part["published"]:
            for metric, value in entry["test"].items():
                write(
                    [
                        dataset,
                        entry["name"],
                        None,
                        None,
                        "published",
                        metric,
                        value,
                        *[None] * 15,
                        entry["source"],
                    ]
                )
    return out.getvalue()


def escape(text: str) -> str:
    """Text as LaTeX shows it."""
    return "".join(_LATEX.get(character, character) for character in text)


# --- Pieces -----------------------------------------------------------------------------------


def _mean_and_std(entry: Mapping[str, Any] | None, percent: bool, metric: str = "") -> str:
    if not entry or entry["mean"] is None:
        return "-"
    mean = scale(entry["mean"], percent, metric)
    return mean if entry["std"] is None else f"{mean} ± {scale(entry['std'], percent, metric)}"


def _gain(entry: Mapping[str, Any] | None) -> str:
    return "" if not entry or entry["gain"] is None else f"{100 * entry['gain']:+.1f}%"


def _seeds(row: Mapping[str, Any]) -> str:
    if row["draws_nothing"]:
        return "1 (draws nothing)"
    return (
        str(len(row["seeds"]))
        if len(row["seeds"]) == row["seeds_wanted"]
        else f"{len(row['seeds'])} of {row['seeds_wanted']}"
    )


def _significant(summary: Mapping[str, Any], dataset: str, row: str, metric: str) -> bool:
    test = sign_test(summary, dataset, row, metric)
    return bool(test and test["significant"])


def _count(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else str(value)


def _legend(summary: Mapping[str, Any], dataset: str) -> str:
    part = summary["datasets"][dataset]
    text = "Mean ± standard deviation over seeds; best **bold**, second <u>underlined</u>"
    if part["best_baseline"]:
        text += "; gain: relative to the best baseline row of the column"
    smaller = [
        metric for metric in summary["metrics"] if metric.partition("@")[0] in SMALLER_IS_BETTER
    ]
    if smaller:
        text += f"; of {' and '.join(smaller)} less is better"
    if summary["significance"] and summary["significance"]["tests"]:
        text += f"; \\* differs from {summary['significance']['against']} (paired test below)"
    sources = [
        f"*Published:* {entry['name']}: "
        f"{entry['source']}{'; ' + entry['note'] if entry['note'] else ''}."
        for entry in part["published"]
    ]
    recipes = [
        f"{row['name']} has the recipe {row['recipe']}."
        for row in part["rows"]
        if row["recipe"] not in (None, "best")
    ]
    notes = [f"{row['name']}: {row['note']}" for row in part["rows"] if row["note"]]
    begun = [f"{row['name']} after {row['after']}" for row in part["rows"] if row["after"]]
    if begun:
        notes.append(
            "Begun with the weights of another row's run of the same seed, whose time is "
            f"counted too: {', '.join(begun)}."
        )
    if part["published"]:
        sources.append(
            "Published numbers were not measured here and take no part in bold, underline, gain "
            "and tests."
        )
    return "\n".join([text + ".", *(f"\n{line}" for line in (*recipes, *notes, *sources))])


def _latex_legend(summary: Mapping[str, Any], dataset: str) -> str:
    part = summary["datasets"][dataset]
    text = "Mean and standard deviation over seeds; best bold, second underlined."
    if part["best_baseline"]:
        text += " Gain over the best baseline."
    if summary["significance"] and summary["significance"]["tests"]:
        level = 1 - summary["significance"]["confidence"]
        text += (
            f" * differs from {summary['significance']['against']} (paired sign-flip test "
            f"over users, Holm-corrected, p < {level:g})."
        )
    return text + "".join(
        f" Published {entry['name']}: {entry['source']}." for entry in part["published"]
    )


def _method(summary: Mapping[str, Any]) -> str:
    found = summary["significance"]
    return (
        "The unit is the user; a user's value is the mean over seeds. Interval: "
        f"{found['resamples']:,} bootstrap resamples of users and of each row's seeds; p: "
        f"{found['resamples']:,} flips of the signs of whole users' differences; p (Holm): "
        f"corrected for all {len(found['tests'])} tests of this report (metrics that ask "
        f"the same question counted once). \\* marks p (Holm) < {1 - found['confidence']:g} with "
        "an interval that excludes 0."
    )


def _origin(summary: Mapping[str, Any]) -> str:
    environment = summary["environment"]
    versions = ", ".join(
        f"{key} {_both(environment[key])}"
        for key in ("recbole_precise", "recbole", "torch", "numpy", "python", "platform", "device")
        if environment.get(key)
    )
    lines = [
        f"`{summary['command']}`" if summary["command"] else "",
        f"{summary['made']}; commit {summary['commit'] or 'unknown'}; {versions}; threads a "
        f"cell: {_both(environment.get('threads', '?'))}",
    ]
    lines.append(f"{summary['hours']:.2f} hours of runs (sum over cells)")
    return "  \n".join(filter(None, lines))


def _both(value: Any) -> str:
    return " and ".join(map(str, value)) if isinstance(value, list) else str(value)
