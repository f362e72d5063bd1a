"""`audit`: can this data set support a claim about sequence models?"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from recbole_precise.cli.commands import need_recbole, options_beside_a_run
from recbole_precise.cli.options import switch, whole_number
from recbole_precise.files import output_folder
from recbole_precise.system.locking import exclusive

_PATIENCE = 60.0  # seconds to wait for another report that is being written into the same folder


def main(arguments: Sequence[str]) -> None:
    """Examine a data set.

    Print the report and write audit.md, audit.json and plots into `--output`.
    """
    own, options, rest = options_beside_a_run("audit", arguments, "it looks at the data alone")
    output = output_folder(own["output"], "--output") if "output" in own else None
    draw = switch(own, "plots", True)
    counts = {
        name: whole_number(own, name, None) for name in ("shuffles", "most_events") if name in own
    }
    need_recbole()
    from recbole_precise.studies.audit import examine, judge, plots, report
    from recbole_precise.studies.audit.examine import DEFAULT_SHUFFLES, check_shuffles
    from recbole_precise.studies.audit.load import load
    from recbole_precise.studies.figures import need_matplotlib

    shuffles = check_shuffles(counts.setdefault("shuffles", DEFAULT_SHUFFLES))
    if draw:
        need_matplotlib()
    loaded = load(options, rest, own.get("text", "words"))

    def progress(done: int) -> None:
        if sys.stderr.isatty():
            print(
                f"\rRandom copies: {done} of {shuffles} ",
                end="\n" if done == shuffles else "",
                file=sys.stderr,
                flush=True,
            )

    audit = examine(
        loaded.data, orders=loaded.orders, text_vectors=loaded.text_vectors,
        mask_history=loaded.mask_history,
        seed=loaded.seed, progress=progress, **counts,
    )  # fmt: skip
    verdict = judge(audit)
    facts = {"split": loaded.split, "text": loaded.text}
    folder = output or loaded.folder
    with exclusive(folder, "--output", wait=_PATIENCE):
        pictures = plots.write(folder / "plots", loaded.name, audit) if draw else []
        report.write(
            folder, loaded.name, audit, verdict, facts, [f"plots/{file.name}" for file in pictures]
        )
    print(report.to_text(report.sections(loaded.name, audit, verdict, facts)))
    print(
        f"\nWritten: {folder / 'audit.md'}, audit.json"
        + (" and plots/ (PNG and SVG)" if draw else "")
    )
