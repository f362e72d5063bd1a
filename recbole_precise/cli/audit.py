"""`audit`: can this data set support a claim about sequence models?"""

from __future__ import annotations

import sys
from argparse import Namespace

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import (
    add_data_set,
    as_words,
    check_run_settings,
    need_recbole,
    refuse_model,
    run_of,
)
from recbole_precise.cli.values import folder, switch, whole_number
from recbole_precise.system.locking import exclusive

_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "can the data set support a claim about sequence models? Report, figures and plots"
    )
    add_data_set(parser)
    parser.add_argument(
        "--output",
        type=folder,
        metavar="saved/audit-DATASET",
        help="folder of audit.md, audit.json and the plots",
    )
    parser.add_argument(
        "--text", default="words", help="likeness of texts: words, encoder, or none"
    )
    parser.suggestions["text"] = lambda: ("words", "encoder", "none")
    parser.add_argument(
        "--shuffles",
        type=whole_number(),
        default=299,
        help="random copies that each figure is set beside",
    )
    parser.add_argument(
        "--most_events",
        type=whole_number(),
        default=500_000,
        help="copies are made of random users with at most so many events",
    )
    parser.add_argument(
        "--plots", type=switch, default=True, help="False: draw nothing, and need no matplotlib"
    )


def main(args: Namespace) -> None:
    """Examine a data set, print the report, and write it and the plots into `--output`."""
    refuse_model(args, "audit", "it looks at the data alone")
    need_recbole()
    check_run_settings(args, "Transition")
    from recbole_precise.studies.audit import examine, judge, plots, report
    from recbole_precise.studies.audit.examine import check_shuffles
    from recbole_precise.studies.audit.load import load
    from recbole_precise.studies.figures import need_matplotlib

    check_shuffles(args.shuffles)
    if args.plots:
        need_matplotlib()
    loaded = load(run_of(args), as_words(args.settings), args.text)
    audit = examine(
        loaded.data,
        orders=loaded.orders,
        text_vectors=loaded.text_vectors,
        mask_history=loaded.mask_history,
        seed=loaded.seed,
        progress=lambda done: _show_progress(done, args.shuffles),
        shuffles=args.shuffles,
        most_events=args.most_events,
    )
    verdict = judge(audit)
    facts: dict[str, object] = {"split": loaded.split, "text": loaded.text}
    target = args.output or loaded.folder
    with exclusive(target, "--output", wait=_PATIENCE):
        pictures = plots.write(target / "plots", loaded.name, audit) if args.plots else []
        shown = [f"plots/{file.name}" for file in pictures]
        report.write(target, loaded.name, audit, verdict, facts, shown)
    print(report.to_text(report.sections(loaded.name, audit, verdict, facts)))
    drawn = " and plots/" if args.plots else ""
    print(f"\nWritten: {target / 'audit.md'}, audit.json{drawn}")


def _show_progress(done: int, shuffles: int) -> None:
    if sys.stderr.isatty():
        end = "\n" if done == shuffles else ""
        print(f"\rRandom copies: {done} of {shuffles} ", end=end, file=sys.stderr, flush=True)
