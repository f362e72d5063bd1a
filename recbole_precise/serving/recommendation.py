"""The top items of users, or of a history, from a finished run.

New items, which came after training, may be among them.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from recbole_precise.config.known_keys import check_askable
from recbole_precise.errors import ConfigError, DataError, did_you_mean, not_one_of
from recbole_precise.finished import FinishedRun, load_finished
from recbole_precise.runs.vocabulary import Difference
from recbole_precise.serving.top import top_items

#: What the history of no user is called.
HISTORY = "history"
_BLOCK = 512  # rows that are scored at once
_SCORE_BYTES = 8  # a score in the order of a sort


@dataclass(frozen=True)
class Recommendation:
    """An item that is recommended.

    Attributes:
        user: name of the user, or `history`.
        rank: 1 for the best.
        item: name of the item.
        score: of the model.
        new: whether the item came after training.
        text: of the item; empty where the run has no texts.
    """

    user: str
    rank: int
    item: str
    score: float
    new: bool
    text: str


@dataclass(frozen=True)
class Recommendations(Sequence[Recommendation]):
    """Recommendations of all rows: users in the order asked for, best items first.

    Attributes:
        rows: the recommendations.
        difference: how the data at hand differ from those of the run; None when they do not.
    """

    rows: tuple[Recommendation, ...]
    difference: Difference | None = None

    def __getitem__(self, index: Any) -> Any:
        return self.rows[index]

    def __len__(self) -> int:
        return len(self.rows)

    def to_dicts(self) -> list[dict[str, Any]]:
        """Return a mapping of each row; `data` is added where the data have changed."""
        rows = [dataclasses.asdict(row) for row in self.rows]
        if self.difference is not None:
            for row in rows:
                row["data"] = f"{self.difference.name}, changed"
        return rows

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a column for each field of `Recommendation`."""
        columns = [field.name for field in dataclasses.fields(Recommendation)]
        return pd.DataFrame(map(dataclasses.astuple, self.rows), columns=columns)


def recommend(
    run_dir: str | os.PathLike[str],
    *,
    users: Sequence[str] | None = None,
    history: Sequence[str] | None = None,
    topk: int = 10,
    items: str | os.PathLike[str] | None = None,
    only_new: bool = False,
    seen: str = "exclude",
    **settings: Any,
) -> Recommendations:
    """Recommend items to users, or to whoever has a history, from a finished run.

    Example:
        >>> recbole_precise.recommend("saved/run", users=["u1"], topk=5).to_frame()

    Args:
        run_dir: of a finished run.
        users: names of users, whose whole histories are read.
        history: names of items instead of users, the oldest first; new items may be among them.
        topk: number of items for each user.
        items: a file of new items, which came after training.
        only_new: rank the new items among themselves.
        seen: `exclude` or `include` the items of the history.
        settings: of the run, such as `data_path`, that do not change what was trained.

    Returns:
        The recommendations; equal scores in the order of the catalogue.

    Raises:
        ConfigError: an argument is wrong, or the run cannot be asked.
        DataError: a user or an item is unknown.
        CheckpointError: there is no finished run.
    """
    wanted = _wanted(users, history)
    if topk < 1:
        raise ConfigError(f"topk must be a whole number above 0, not {topk}.")
    if only_new and items is None:
        raise ConfigError("only_new needs items, the file with the new items.")
    if seen not in ("exclude", "include"):
        raise ConfigError(f"seen {not_one_of(seen, ('exclude', 'include'))}")
    check_askable(settings)
    file = None if items is None else str(items)
    run = load_finished(str(run_dir), settings, file, whole_histories=True)
    rows = recommendations_of(run, wanted, topk, only_new=only_new, seen=seen)
    return Recommendations(tuple(rows), run.difference)


def _wanted(users: Sequence[str] | None, history: Sequence[str] | None) -> dict[str, list[str]]:
    """Either the users or the history, under its name."""
    if (users is None) == (history is None):
        raise ConfigError("recommend needs one of users and history.")
    wanted = {"users": users} if history is None else {"history": history}
    for name, names in wanted.items():
        if isinstance(names, str) or not names:
            raise ConfigError(f"{name} must be a list of names with one at least.")
    return {name: list(map(str, names or ())) for name, names in wanted.items()}


def recommendations_of(
    run: FinishedRun,
    wanted: Mapping[str, Sequence[str]],
    k: int,
    *,
    only_new: bool = False,
    seen: str = "exclude",
) -> Iterator[Recommendation]:
    """Recommend from a run that is loaded.

    Args:
        run: the finished run, with whole histories.
        wanted: {"users": names} or {"history": names of items}.
        k: number of items for each row.
        only_new: new items alone are candidates.
        seen: `exclude` or `include` what is in the history.

    Yields:
        The recommendations, best first.
    """
    if not hasattr(run.dataset, "store"):
        raise ConfigError(
            f"recommend reads histories, but {run.config['model']} is no sequential model."
        )
    device = run.config["device"]
    allowed = torch.ones(len(run.tokens), dtype=torch.bool)
    if only_new:
        allowed[: run.first_new] = False
    names, histories, batches = _histories(run, wanted)
    budget = int((run.config["score_budget_mb"] or 64) * 2**20)
    step = _BLOCK
    if not hasattr(run.model, "user_vectors"):
        step = max(1, min(_BLOCK, budget // (_SCORE_BYTES * len(run.tokens))))
    texts = run.texts()
    for low in range(0, len(names), step):
        rows = np.arange(low, min(low + step, len(names)))
        excluded = None
        if seen == "exclude":
            own = [histories[row] for row in rows]
            row_of_item = np.repeat(np.arange(len(rows)), [len(items) for items in own])
            excluded = (
                torch.from_numpy(row_of_item).to(device),
                torch.from_numpy(np.concatenate(own)).to(device),
            )
        found = top_items(
            run.model, batches(rows), k, allowed=allowed, excluded=excluded, budget_bytes=budget
        )
        for row, items, scores in zip(
            rows, found.items.tolist(), found.scores.tolist(), strict=True
        ):
            for rank, (item, score) in enumerate(zip(items, scores, strict=True), start=1):
                if score == -float("inf"):
                    break
                new = item >= run.first_new
                name = str(run.tokens[item])
                yield Recommendation(names[row], rank, name, score, new, texts[item])


def _histories(
    run: FinishedRun, wanted: Mapping[str, Sequence[str]]
) -> tuple[list[str], list[np.ndarray], Callable[[np.ndarray], Any]]:
    """Return each row's name, its user's history, and what the model reads of it.

    Returns:
        Names of the rows; item ids of each row's whole history, in all scenes; and a function from
        row numbers to the model's input.
    """
    if "history" in wanted:
        place = {token: number for number, token in enumerate(run.tokens.tolist())}
        ids = [_known(place, token, "item") for token in wanted["history"]]
        history = np.array(ids, dtype=np.int64)
        batch = _batch_of(run, history)
        return [HISTORY], [history], lambda rows: batch
    dataset = run.dataset
    device = run.config["device"]
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
    begin = store.offsets[:-1].numpy()[at]
    end = store.offsets[1:].numpy()[at]
    histories = [items[low:high] for low, high in zip(begin, end, strict=True)]
    return list(wanted["users"]), histories, lambda rows: part[row_of[rows]].to(device)


def _batch_of(run: FinishedRun, history: np.ndarray) -> dict[str, torch.Tensor]:
    """Return the model's input for a history without a user."""
    dataset = run.dataset
    device = run.config["device"]
    length = int(run.config["MAX_ITEM_LIST_LENGTH"])
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
    return {name: value.to(device) for name, value in batch.items()}


def _known(numbers: Any, token: str, kind: str) -> int:
    """Return the id of a user's or an item's name.

    Raises:
        DataError: there is none; it names the nearest.
    """
    number = numbers.get(token)
    if not number:  # 0 is the padding
        others = [name for name in numbers if name != "[PAD]"]
        raise DataError(f"There is no {kind} '{token}' in the run.{did_you_mean(token, others)}")
    return int(number)
