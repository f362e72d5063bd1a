"""Read the item spaces of finished runs.

It also chooses the pairs of items that are measured in all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError, DataError, did_you_mean
from recbole_precise.evaluation.discrepancy import ItemPairs, item_pairs
from recbole_precise.finished import load_finished
from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.item_encoders import IdEncoder, ItemEncoder, ItemPart, members
from recbole_precise.nn.text_vectors import FrozenText, TextVectors
from recbole_precise.nn.towers import AlignedTower, ItemTower

#: The splits whose rows can be looked at, in words.
SPLITS = {"valid": "validation", "test": "test"}
#: Why a pair has no distance in a space.
NO_VECTOR = (
    "an item has no vector in a space (it has no text, or was never trained and unseen_id is zero)"
)
#: What items are vectors in, by name.
SPACES = {
    "id": "the ID vectors of the ID expert, or of a model with one table",
    "aligned_id": "the ID vectors of the aligned expert",
    "aligned_text": "the texts' vectors of the aligned expert, behind its MLP",
    "aligned": "both, fused",
    "text": "the texts' vectors of the text expert, behind its MLP, or of a model with one way "
    "to read texts",
    "frozen_text": "the texts' vectors as the text encoder gives them",
    "tuned_text": "those vectors behind the adapter of text_tuning",
    "final": "what is ranked by: the experts' vectors side by side, weighed by the gate",
}


@dataclass(frozen=True)
class SpacesOfRun:
    """A run's item vectors: space -> float `[items, width]`.

    `usual`: the spaces that are looked at when none are named.
    """

    label: str
    folder: Path
    model: str
    spaces: Mapping[str, np.ndarray]
    usual: tuple[str, ...]

    def name(self, space: str) -> str:
        """Return the name of a space in this run."""
        return f"{self.label}: {space}"


@dataclass(frozen=True)
class Rows:
    """What pairs are made of.

    `history` int64 `[rows, length]`, 0 where it is shorter, the `target` that followed, and the
    `counts` of training events `[items]`.
    """

    dataset: str
    split: str
    history: np.ndarray
    target: np.ndarray
    counts: np.ndarray

    def buckets(self, number: int = 10) -> np.ndarray:
        """int64 `[items]`: each item's frequency bucket, 1 (most frequent) ..

        `number`; 0 for the padding.
        """
        return frequency_buckets(torch.from_numpy(self.counts), number).numpy()


def item_spaces(model: Any) -> dict[str, np.ndarray]:
    """Return the spaces of a model's items, those of `SPACES` that it has.

    Of PAD's experts only those that speak.
    """
    found: dict[str, torch.Tensor] = {}
    with torch.no_grad():
        final = model.item_vectors() if hasattr(model, "item_vectors") else None
        items = getattr(model, "item_encoder", None)
        table = getattr(model, "item_embedding", None)
        if isinstance(items, GatedItems):
            active = members((items.towers[name] for name in items.active), ItemTower)
            for name, tower in zip(items.active, active):
                if isinstance(tower, AlignedTower):
                    found["aligned_id"] = tower.id_rows(None)
                    found["aligned_text"] = tower.text_rows(None)
                found[name] = tower.rows(None)
            found |= _text_spaces(items.text)
        elif isinstance(items, ItemEncoder):
            for part in members(items.parts, ItemPart):
                found.setdefault("id" if isinstance(part, IdEncoder) else "text", part.rows(None))
                if isinstance(part, TextVectors) and part.text.is_tuned:
                    found |= _text_spaces(part.text)
        elif isinstance(table, torch.nn.Embedding):
            found["id"] = table.weight[: model.n_items]
        if final is not None:
            found["final"] = final
    return {name: vectors.detach().float().cpu().numpy() for name, vectors in found.items()}


def _text_spaces(text: FrozenText | None) -> dict[str, torch.Tensor]:
    """Return a model's frozen text vectors, and the same tuned where they are."""
    if text is None:
        return {}
    return {"frozen_text": text.plain, **({"tuned_text": text.vectors} if text.is_tuned else {})}


def labels(folders: Sequence[Path]) -> list[str]:
    """Return the shortest ends of the paths that distinguish them."""
    parts = [folder.resolve().parts for folder in folders]
    for depth in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-depth:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    raise ConfigError(f"'{folders[0]}' is named twice.")


def load_runs(
    folders: Sequence[Path], changes: Mapping[str, Any] | None
) -> Iterator[tuple[str, Path, Any]]:
    """(label, folder, `FinishedRun`) of each run, loaded when its turn comes."""
    for label, folder in zip(labels(folders), folders, strict=True):
        yield label, folder, load_finished(str(folder), {"show_progress": False, **(changes or {})})


def read_spaces(
    folders: Sequence[Path], split: str, changes: Mapping[str, Any]
) -> tuple[list[SpacesOfRun], Rows]:
    """Return the spaces of every run, and the rows of the first run's data set.

    Raises DataError when the runs do not have the same items, ConfigError for a run without item
    vectors.
    """
    runs: list[SpacesOfRun] = []
    rows = None
    first = None
    for label, folder, run in load_runs(folders, changes):
        if rows is None or first is None:
            rows = _rows_of(run, split)
            first = run.tokens
        elif not np.array_equal(first, run.tokens):
            raise DataError(
                f"'{folders[0]}' and '{folder}' have other items, or the same in another order: "
                "their vectors cannot be compared. Run both on one data set."
            )
        spaces = item_spaces(run.model)
        if not spaces:
            raise ConfigError(
                f"{run.config['model']} in '{folder}' has no item vectors that could be looked at."
            )
        runs.append(SpacesOfRun(label, folder, run.config["model"], spaces, _usual(spaces, runs)))
    assert rows is not None, "at least one run is named"
    return runs, rows


def _usual(spaces: Mapping[str, np.ndarray], earlier: Sequence[SpacesOfRun]) -> tuple[str, ...]:
    """Return the spaces that are shown when none are named.

    They are all but `final` where one other space is the same vectors, and the texts that an
    earlier run has shown.
    """
    usual = []
    for name, vectors in spaces.items():
        if name == "final" and any(
            np.array_equal(vectors, other) for key, other in spaces.items() if key != name
        ):
            continue
        if name == "frozen_text" and any(
            np.array_equal(vectors, run.spaces[name]) for run in earlier if name in run.spaces
        ):
            continue
        usual.append(name)
    return tuple(usual)


def _rows_of(run: Any, split: str) -> Rows:
    train = run.loaders[0]._dataset
    part = run.loaders[("train", "valid", "test").index(split)]._dataset
    if not hasattr(train, "train_item_counts"):
        raise ConfigError(
            f"{run.config['model']} reads its data with RecBole's {type(train).__name__}, which "
            "knows no training frequencies: name a run of a sequential model."
        )
    interaction = part[np.arange(len(part))]
    history = interaction[f"{part.iid_field}{run.config['LIST_SUFFIX']}"].numpy()
    return Rows(
        run.config["dataset"],
        split,
        history,
        interaction[part.iid_field].numpy(),
        train.train_item_counts().numpy(),
    )


def choose(
    runs: Sequence[SpacesOfRun], reference: str | None, wanted: Sequence[str] | None
) -> tuple[SpacesOfRun | None, list[tuple[SpacesOfRun, str]]]:
    """Choose the reference and the spaces that are compared with it.

    They are the first run that has the space `reference`, and the (run, space) pairs.

    Without a `reference` there is no such run, and all that is wanted is looked at.

    Raises ConfigError for a space that does not exist, that no run has, or a run with none of those
    that are wanted.
    """
    for name in (*([reference] if reference else []), *(wanted or ())):
        if name not in SPACES:
            raise ConfigError(
                f"There is no space '{name}'.{did_you_mean(name, SPACES)} The spaces are "
                f"{', '.join(SPACES)}."
            )
    home = next((run for run in runs if reference in run.spaces), None)
    if reference and home is None:
        raise ConfigError(
            f"No run has the space '{reference}'; '{runs[0].folder}' ({runs[0].model}) has "
            f"{', '.join(runs[0].spaces)}."
        )
    lines = []
    for run in runs:
        mine = [name for name in (run.usual if wanted is None else wanted) if name in run.spaces]
        if not mine and run is not home and wanted is not None:
            raise ConfigError(
                f"'{run.folder}' ({run.model}) has none of the spaces {', '.join(wanted)}; it "
                f"has {', '.join(run.spaces)}."
            )
        lines += [(run, name) for name in mine if run is not home or name != reference]
    if not lines:
        assert home is not None, "without a reference every run gives a line"
        raise ConfigError(
            f"There is nothing to hold against the space '{reference}' of '{home.folder}': name "
            f"another run, or other --spaces ({', '.join(home.spaces)})."
        )
    return home, lines


def pairs_of(
    rows: Rows,
    spaces: Sequence[np.ndarray],
    *,
    per_bucket: int,
    negatives: int = 0,
    trained_only: bool = False,
    seed: int = 0,
) -> tuple[ItemPairs, int]:
    """Return the pairs that all `spaces` can measure, and how many were left out.

    They are a sample where there are many.

    An item without text has a text vector of zeros and no distance, and so has the ID vector of one
    that was never trained where the model ranks it by zeros (`unseen_id`). `trained_only` leaves
    out pairs with an item that no training event has, whose ID vector is where chance put it.
    """
    usable = np.logical_and.reduce([vectors.any(1) for vectors in spaces])
    if trained_only:
        usable &= rows.counts > 0
    drawn = item_pairs(rows.history, rows.target, rows.buckets(), per_bucket, negatives, seed)
    pairs = drawn.take(usable[drawn.behaviour] & usable[drawn.target])
    if not len(pairs):
        raise DataError(
            f"The {SPLITS[rows.split]} split of {rows.dataset} gives no pair of items that all "
            "spaces know."
        )
    return pairs, len(drawn) - len(pairs)
