"""`compare`: is one model better than another, or is it luck? Any two finished runs, or several
seeds of each.
"""

from __future__ import annotations

from collections.abc import Sequence

from recbole_precise.cli.commands import VERBS, own_options
from recbole_precise.cli.options import number, one_of, whole_number
from recbole_precise.config.arguments import positional
from recbole_precise.config.verb_options import own_of
from recbole_precise.errors import ConfigError
from recbole_precise.files import output_file


def main(arguments: Sequence[str]) -> None:
    """Print means, differences, intervals and p-values of every metric."""
    sides, rest = positional(arguments)
    settings = own_options("compare", rest, required=(), optional=own_of("compare"))
    if len(sides) != 2:
        many = " Quote a pattern, so that the shell leaves it alone." if len(sides) > 2 else ""
        raise ConfigError(
            f"compare takes two sides, not {len(sides)}: recbole-precise "
            f"{VERBS['compare'].usage}.{many}"
        )
    if "metric" in settings:
        _asked(settings["metric"])
    split, confidence = (
        one_of(settings, "split", ("test", "valid")),
        number(settings, "confidence", 0.95, above=0, below=1),
    )
    resamples, seed = (
        whole_number(settings, "resamples", 9999, least=99),
        whole_number(settings, "seed", 0, least=0),
    )
    output = (
        output_file(settings["output"], "--output", replaces=".json")
        if "output" in settings
        else None
    )
    from recbole_precise.studies.benchmark.pairing import (
        check_comparable,
        compare_runs,
        corrected,
        find_runs,
        rank_metrics,
        read_runs,
    )

    a, b = (read_runs(find_runs(side), split) for side in sides)
    check_comparable(a, b)
    metrics = (
        _asked(settings["metric"])
        if "metric" in settings
        else rank_metrics([*a.results, *b.results], split)
    )
    if not metrics:
        raise ConfigError(
            f"These runs have no metric of ranks of the {split} split in common; name one, as in "
            "--metric=ndcg@10."
        )
    tests = compare_runs(a, b, metrics, confidence=confidence, n_resamples=resamples, seed=seed)
    adjusted = {
        key[0]: p
        for key, p in corrected({(metric,): test.p_value for metric, test in tests.items()}).items()
    }
    print(_report(a, b, tests, adjusted, split))
    if output is not None:
        from recbole_precise.runs.checkpoint import write_json

        content = {
            metric: {**test.to_dict(), "p_holm": adjusted[metric]} for metric, test in tests.items()
        }
        sides = {
            name: {
                "model": runs.model,
                "seeds": runs.seeds,
                "folders": [str(folder) for folder in runs.folders],
            }
            for name, runs in (("a", a), ("b", b))
        }
        write_json(output, {"split": split, **sides, "metrics": content}, "the comparison")


def _asked(text: str) -> list[str]:
    """The metrics that `--metric` names, each once."""
    metrics = list(dict.fromkeys(text.lower().replace(",", " ").split()))
    if not metrics:
        raise ConfigError(
            "--metric names no metric; write one or several, as in --metric='ndcg@10 recall@10', "
            "or leave it out."
        )
    return metrics


def _report(a, b, tests, adjusted, split: str) -> str:
    from recbole_precise.studies.benchmark.summary import p_text
    from recbole_precise.studies.text_tables import text_table

    any_test = next(iter(tests.values()))
    percent = f"{100 * any_test.confidence:g}%"
    rows = [
        [
            metric, f"{test.mean_a:.4f}", f"{test.mean_b:.4f}", f"{test.difference:+.4f}", 
                    f"{test.low:+.4f} to "
                    f"{test.high:+.4f}", p_text(test.p_value),
            p_text(adjusted[metric]),
        ]
        for metric, test in tests.items()
    ]  # fmt: skip
    head = (
        f"{a.results[0]['dataset']}, {split} split, {any_test.users:,} users\n  A: "
        f"{_side(a)}\n  B: {_side(b)}"
    )
    note = (
        f"{percent} interval: bootstrap over users and, where a side has several, its seeds; p: "
        "sign flips of whole users' differences; p (Holm): corrected for the "
        "metrics above, those that ask the same question counted once."
    )
    columns = ["metric", "A", "B", "A - B", f"{percent} interval", "p", "p (Holm)"]
    return f"{head}\n\n{text_table(columns, rows)}\n\n{note}"


def _side(runs) -> str:
    seeds = ", ".join(map(str, runs.seeds))
    return (
        f"{runs.model}, {len(runs.folders)} run{'s' if len(runs.folders) > 1 else ''} "
        f"(seed{'s' if len(runs.folders) > 1 else ''} {seeds}), "
        f"{runs.folders[0]}{', ...' if len(runs.folders) > 1 else ''}"
    )
