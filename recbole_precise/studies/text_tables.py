"""Results of runs side by side, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recbole_precise.errors import DataError
from recbole_precise.evaluation.test_cases import same_cases


def text_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns under a header, the first to the left and the others to the right."""
    widths = [max(len(line[column]) for line in [header, *rows]) for column in range(len(header))]

    def line(cells: Sequence[str]) -> str:
        first, *others = cells
        return "  ".join(
            [
                first.ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
            ]
        ).rstrip()

    return "\n".join([line(header), "  ".join("-" * width for width in widths), *map(line, rows)])


def markdown_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown, with a header and rows; a bar inside a cell is escaped."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def results_table(
    results: Sequence[Mapping], metrics: Sequence[str] = ("recall@10", "ndcg@10", "mrr@10")
) -> str:
    """Write a table with one line for each result.json.

    It has the test metrics, the number of parameters and the seconds of training.

    Only runs of one data set under one protocol, tested on the same cases, are comparable: the
    table says which, and refuses to mix them.

    Raises:
        DataError: two results are not comparable.
    """
    if not results:
        return "no results"
    first = results[0]
    for result in results[1:]:
        if result["dataset"] != first["dataset"] or result["protocol"] != first["protocol"]:
            raise DataError(
                f"{result['model']} on {result['dataset']} and {first['model']} on "
                f"{first['dataset']} were evaluated under different protocols: "
                f"{result['protocol']} and {first['protocol']}"
            )
        cases, others = result.get("test_cases"), first.get("test_cases")
        if cases and others and not same_cases(cases, others):
            raise DataError(
                f"{result['model']} and {first['model']} on {first['dataset']} were not tested "
                f"on the same cases ({cases['rows']} and "
                f"{others['rows']} rows): events were dropped, or the files changed, in one of "
                "the runs. Run both on the same data."
            )
    rows = [
        [
            result["model"],
            *(
                f"{result['test'][metric]:.4f}" if metric in result["test"] else "-"
                for metric in metrics
            ),
            f"{result['parameters']:,}",
            f"{result['seconds'].get('train', 0.0):.0f}",
        ]
        for result in results
    ]
    protocol = first["protocol"]
    history = (
        "items of the history excluded"
        if protocol.get("mask_history")
        else "all items are candidates"
    )
    title = f"{first['dataset']}, test split, {history}"
    return f"{title}\n\n{text_table(['model', *metrics, 'parameters', 'training s'], rows)}"
