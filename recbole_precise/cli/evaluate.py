"""`evaluate`: a finished run evaluated once more."""

from __future__ import annotations

from argparse import Namespace

from recbole_precise.cli.parser import CommandParser
from recbole_precise.cli.settings import add_new_items, add_run_dir, check_settings, need_recbole
from recbole_precise.cli.values import file, switch


def add_arguments(parser: CommandParser) -> None:
    """Declare the options."""
    parser.description = (
        "evaluate a finished run once more: other metrics or masks (--metrics, --topk, "
        "--mask_history, --slices), the other split, new items among the candidates"
    )
    add_run_dir(parser)
    parser.add_argument("--split", choices=("test", "valid"), default="test", help="test, or valid")
    add_new_items(parser)
    parser.add_argument(
        "--cold",
        type=switch,
        default=True,
        help="False: without the report on items that were held out of training",
    )
    parser.add_argument(
        "--output",
        type=file(replaces=".json"),
        metavar="FILE.json",
        help="default: evaluation-SPLIT.json beside the run's result",
    )


def main(args: Namespace) -> None:
    """Print the metrics and write them to `--output`, or beside the run's own result."""
    need_recbole()
    check_settings(args, "evaluate")
    from recbole_precise.serving.evaluation import check_output, evaluate

    check_output(args.run_dir, args.output)
    found = evaluate(
        args.run_dir, split=args.split, items=args.items, cold=args.cold, **args.settings
    )
    print(found.to_text())
    print(f"Written: {found.write(args.output)}")
