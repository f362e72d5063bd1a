"""`recommend`: the top items of users, or of a history typed in, from a finished run.

Also among items that came after training.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from recbole_precise.cli.commands import VERBS, need_recbole
from recbole_precise.cli.options import one_of, switch, whole_number, words
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.verb_options import own_of, take_own
from recbole_precise.errors import ConfigError, DataError, did_you_mean
from recbole_precise.files import output_file

if TYPE_CHECKING:
    import torch

    from recbole_precise.finished import FinishedRun

COLUMNS = ("user", "rank", "item", "score", "new", "text")
_TYPED_IN = "history"  # the user of a history that was typed in


def main(arguments: Sequence[str]) -> None:
    """Print the top items, or write them to `--output` (.tsv or .jsonl)."""
    given = parse_arguments(arguments, strict=True)
    own = take_own("recommend", given)
    settings = settings_of("recommend", given)
    k, only_new, seen = _checked(own)
    wanted = _wanted(own)
    need_recbole()
    from recbole_precise.finished import load_finished

    run = load_finished(own["run_dir"], settings, own.get("items"), whole_histories=True)
    rows = list(recommend(run, wanted, k, only_new=only_new, seen=seen))
    if run.difference is not None:
        print(run.difference.in_words())
        rows = [{**row, "data": f"{run.difference.name}, changed"} for row in rows]
    if "output" in own:
        _write(output_file(own["output"], "--output"), rows)
        print(f"Written: {own['output']} ({len(rows)} rows)")
    else:
        from recbole_precise.studies.text_tables import text_table

        shown = [
            [str(row[column]) if column != "score" else f"{row[column]:.6g}" for column in COLUMNS]
            for row in rows
        ]
        print(text_table(list(COLUMNS), shown))


def settings_of(verb: str, given: dict[str, str]) -> dict[str, str]:
    """The settings that a finished run may be asked with.

    A ConfigError for any other and for a missing --run_dir.
    """
    need_recbole()
    from recbole_precise.finished import ASKABLE

    own = own_of(verb)
    for key in given:
        if key not in ASKABLE:
            raise ConfigError(
                f"--{key} is no option of {verb} and no setting that a finished run can be asked "
                f"with.{did_you_mean(key, [*own, *ASKABLE])} "
                f"Options: {', '.join('--' + name for name in own)}."
            )
    return dict(given)


def _checked(own: dict[str, str]) -> tuple[int, bool, str]:
    """(topk, only_new, seen), or a ConfigError for the first option that is wrong."""
    if not own.get("run_dir"):
        raise ConfigError(
            "recommend needs --run_dir, the directory of a finished run: recbole-precise "
            f"{VERBS['recommend'].usage}."
        )
    topk, only_new = whole_number(own, "topk", 10), switch(own, "only_new", False)
    if only_new and "items" not in own:
        raise ConfigError("--only_new needs --items, the file with the new items.")
    seen = one_of(own, "seen", ("exclude", "include"))
    if "output" in own and output_file(own["output"], "--output").suffix not in (".tsv", ".jsonl"):
        raise ConfigError(f"--output must end in .tsv or .jsonl, not '{own['output']}'.")
    return topk, only_new, seen


def _wanted(own: dict[str, str]) -> dict[str, list[str]]:
    """{"users": names} or {"history": item names}."""
    given = [key for key in ("users", "users_file", "history") if key in own]
    if len(given) != 1:
        raise ConfigError(
            'recommend needs one of --users="u1 u2", --users_file=FILE (a name a line) and '
            '--history="i1 i2"' + (", not several." if given else ".")
        )
    if given == ["users_file"]:
        try:
            lines = Path(own["users_file"]).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(
                f"--users_file '{own['users_file']}' cannot be read: {error}."
            ) from error
        names = [line.strip() for line in lines if line.strip()]
    else:
        names = words(own[given[0]], given[0])
    if not names:
        raise ConfigError(
            f"--{given[0]} names nobody." if given != ["history"] else "--history names no item."
        )
    return {"history" if given == ["history"] else "users": names}


def recommend(
    run: FinishedRun,
    wanted: dict[str, list[str]],
    k: int,
    *,
    only_new: bool = False,
    seen: str = "exclude",
) -> Iterator[dict[str, Any]]:
    """One mapping of `COLUMNS` for each recommended item: best first, equal scores in the order of
    the catalogue.

    Args:
        wanted: {"users": names}, whose whole histories are read, or {"history": item names}, oldest
            first, which may be new items.
        only_new: new items alone are candidates. seen: `exclude` or `include` what is in the
            history.
    """
    import torch

    from recbole_precise.serving.top import top_items

    if not hasattr(run.dataset, "store"):
        raise ConfigError(
            f"recommend reads histories, but {run.config['model']} is no sequential model."
        )
    allowed = torch.ones(len(run.tokens), dtype=torch.bool)
    if only_new:
        allowed[: run.first_new] = False
    names, histories, batches = _histories(run, wanted)
    budget = int((run.config["score_budget_mb"] or 64) * 2**20)
    step = (
        512
        if hasattr(run.model, "user_vectors")
        else max(1, min(512, budget // (8 * len(run.tokens))))
    )
    texts = run.texts()
    for low in range(0, len(names), step):
        rows = np.arange(low, min(low + step, len(names)))
        excluded = None
        if seen == "exclude":
            row = np.repeat(np.arange(len(rows)), [len(histories[r]) for r in rows])
            excluded = (
                torch.from_numpy(row),
                torch.from_numpy(np.concatenate([histories[r] for r in rows])),
            )
        device = run.config["device"]
        if excluded is not None:
            excluded = tuple(part.to(device) for part in excluded)
        found = top_items(
            run.model, batches(rows), k, allowed=allowed, excluded=excluded, budget_bytes=budget
        )
        for name, items, scores in zip(
            (names[r] for r in rows), found.items.tolist(), found.scores.tolist()
        ):
            for rank, (item, score) in enumerate(zip(items, scores), start=1):
                if score == -float("inf"):
                    break
                yield {
                    "user": name,
                    "rank": rank,
                    "item": str(run.tokens[item]),
                    "score": score,
                    "new": item >= run.first_new,
                    "text": texts[item],
                }


def _histories(
    run: FinishedRun, wanted: dict[str, list[str]]
) -> tuple[list[str], list[np.ndarray], Callable[[np.ndarray], Any]]:
    """What each row is called, what its user has had, and what the model reads of it.

    Returns:
        Names of the rows; item ids of each row's whole history, in all scenes; and a function from
        row numbers to the model's input.
    """
    if "history" in wanted:
        place = {token: number for number, token in enumerate(run.tokens.tolist())}
        ids = [_known(place, token, "item") for token in wanted["history"]]
        history = np.array(ids, dtype=np.int64)
        batch = _typed_in(run, history)
        return [_TYPED_IN], [history], lambda rows: batch
    dataset, device = run.dataset, run.config["device"]
    numbers = dataset.field2token_id[dataset.uid_field]
    users = np.array([_known(numbers, name, "user") for name in wanted["users"]], dtype=np.int64)
    part = dataset.next_rows()
    here = part.store.user_ids.numpy()
    for name, number in zip(wanted["users"], users, strict=True):
        if number not in here:
            scene = run.config["target_scene"]
            where = "the data set" if scene is None else f"the target scene '{scene}'"
            raise DataError(
                f"User '{name}' has no event in {where}, so there is nothing to recommend from."
            )
    row_of = np.searchsorted(here, users)
    store = dataset.all_events
    items = store.fields[dataset.iid_field].numpy()
    at = np.searchsorted(store.user_ids.numpy(), users)
    begin, end = store.offsets[:-1].numpy()[at], store.offsets[1:].numpy()[at]
    histories = [items[low:high] for low, high in zip(begin, end, strict=True)]
    return list(wanted["users"]), histories, lambda rows: part[row_of[rows]].to(device)


def _typed_in(run: FinishedRun, history: np.ndarray) -> dict[str, torch.Tensor]:
    """The model's input for a history without a user."""
    import torch

    dataset, config = run.dataset, run.config
    length = int(config["MAX_ITEM_LIST_LENGTH"])
    names = dataset.inter_feat.interaction.names
    last = history[-length:]
    padded = torch.zeros(1, length, dtype=torch.int64)
    padded[0, : len(last)] = torch.from_numpy(last)
    item_list = next(name for name, source in names.lists.items() if source == dataset.iid_field)
    batch = {
        names.user: torch.zeros(1, dtype=torch.int64),
        item_list: padded,
        names.length: torch.tensor([len(last)]),
    }
    return {name: value.to(config["device"]) for name, value in batch.items()}


def _known(numbers: Any, token: str, kind: str) -> int:
    """The id of a user's or an item's name; a DataError with the nearest name."""
    number = numbers.get(token)
    if not number:  # 0 is the padding
        raise DataError(
            f"There is no {kind} '{token}' in the "
            f"run.{did_you_mean(token, [name for name in numbers if name != '[PAD]'])}"
        )
    return int(number)


def _write(path: Path, rows: list[dict[str, Any]]) -> None:
    from recbole_precise.runs.checkpoint import write_atomically

    if path.suffix == ".jsonl":
        lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    else:
        plain = str.maketrans("\t\r\n", "   ")
        columns = [*COLUMNS, *(["data"] if any("data" in row for row in rows) else [])]
        cells = ([str(row[column]).translate(plain) for column in columns] for row in rows)
        lines = ["\t".join(line) for line in (columns, *cells)]
    write_atomically(
        path,
        lambda partial: partial.write_text("\n".join(lines) + "\n", encoding="utf-8"),
        "the recommendations",
    )
