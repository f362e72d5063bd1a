"""Measure a data set.

Each figure is beside the same figure of random copies, and a verdict follows from them.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.metrics import per_case
from recbole_precise.evaluation.significance import holm
from recbole_precise.studies.audit import describe, transitions
from recbole_precise.studies.audit.chance import (
    Chance,
    Estimate,
    beside,
    interval,
    mean,
    per_user,
    share,
)
from recbole_precise.studies.audit.histories import Histories
from recbole_precise.studies.audit.order import Ascending
from recbole_precise.studies.audit.text import Likeness

CUT = 10
MEMORY = (1, 2, 3, 5, 10)  # last items that a score is made from
DISTANCES = tuple(range(1, 21))
_FEW = 20  # random copies for figures that no question hangs on
#: Random copies below which the smallest p-value could not survive the correction for all
#: questions.
LEAST_SHUFFLES = 239
DEFAULT_SHUFFLES = 299
SHUFFLED = "histories shuffled"
REDRAWN = "ties redrawn"
DEALT = "texts dealt anew to items"


@dataclass(frozen=True)
class Measure:
    """One figure of the report.

    Attributes:
        title: what it is, in words. unit: share (shown in %), gain (a metric, shown in %), items or
            cosine.
        of: what `estimate.n` counts.
        chance: the figure in random copies, or None where there is nothing to compare with.
        adjusted_p: p-value after Holm's correction over all questions of the audit, or None where
            there is no question.
    """

    title: str
    unit: str
    of: str
    estimate: Estimate
    chance: Chance | None = None
    adjusted_p: float | None = None

    @property
    def in_copies(self) -> Chance:
        """The figure in random copies, of a measure that was set beside some."""
        assert self.chance is not None, f"{self.title}: no copies were made"
        return self.chance


@dataclass
class Audit:
    """What `examine` found; `curves` are for plots: name -> rows of numbers."""

    sizes: dict[str, int | float]
    lengths: dict[str, float]
    frequencies: dict[str, Any]
    times: dict[str, Any]
    settings: dict[str, Any]
    measures: dict[str, Measure] = field(default_factory=dict)
    curves: dict[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Convert to plain values, as for JSON."""
        return asdict(self)


def examine(
    data: Histories,
    *,
    orders: Mapping[str, np.ndarray],
    text_vectors: np.ndarray | None = None,
    mask_history: bool = False,
    shuffles: int = DEFAULT_SHUFFLES,
    most_events: int = 500_000,
    seed: int = 0,
    progress: Callable[[int], object] | None = None,
) -> Audit:
    """Measure a data set.

    Args:
        orders: name -> int64 `[n_items]`, orders of the catalogue that histories may follow
            (`order.orders_of`).
        text_vectors: dense or sparse `[n_items, width]`, rows of length 1, or 0 for items without
            text.
        mask_history: items of the history are no candidates, as in the evaluation of models.
        shuffles: random copies that each figure is set beside.
        most_events: copies are made of a random part of the users with at most so many events; so
            are the figures beside them.
        progress: called with the number of copies done.

    Raises ConfigError when there are no test targets, or too few copies for a p-value to mean
    anything.
    """
    check_shuffles(shuffles)
    if not len(data.test):
        raise ConfigError("There are no test targets: give eval_args a split that has some.")
    rng = np.random.default_rng(seed)
    part = data.some_users(most_events, rng)
    audit = Audit(
        describe.sizes(data),
        describe.quantiles(np.diff(data.offsets)),
        describe.frequencies(data),
        describe.times(data),
        {"mask_history": mask_history, "shuffles": shuffles, "seed": seed, "orders": list(orders),
            "text": text_vectors is not None,
         "users compared with copies": part.users, "events compared with copies": len(part.items)},
    )  # fmt: skip
    _Examination(
        data, part, orders, text_vectors, mask_history, shuffles, rng, progress or (lambda n: None)
    ).into(audit)
    family = {
        name: measure.chance.p
        for name, measure in audit.measures.items()
        if measure.chance is not None and measure.chance.p is not None
    }
    for name, adjusted in holm(family).items():
        measure = audit.measures[name]
        audit.measures[name] = Measure(
            measure.title, measure.unit, measure.of, measure.estimate, measure.chance, adjusted
        )
    return audit


def check_shuffles(shuffles: int) -> int:
    """Return the number of random copies.

    Raises:
        ConfigError: there are too few.
    """
    if shuffles < LEAST_SHUFFLES:
        raise ConfigError(
            f"shuffles must be at least {LEAST_SHUFFLES}, not {shuffles}: with fewer no p-value "
            "is small enough to answer all questions."
        )
    return shuffles


class _Examination:
    """One run of `examine`. Figures set beside copies are of `part`, all others of `data`."""

    def __init__(
        self, data, part, orders, text_vectors, mask_history, shuffles, rng, progress
    ) -> None:
        self.data = data
        self.part = part
        self.mask_history = mask_history
        self.shuffles = shuffles
        self.rng = rng
        self.progress = progress
        self.orders = {name: Ascending(part, place) for name, place in orders.items()}
        self.likeness = None if text_vectors is None else Likeness(part, text_vectors, rng)
        self.has_ties = bool((np.diff(part.tie_group) == 0).any())

    def into(self, audit: Audit) -> None:
        shuffled, redrawn = self._copies()
        self.measures = audit.measures
        self.audit = audit
        self._floors(audit)
        self._order(shuffled, redrawn)
        self._catalogue_order(shuffled, redrawn)
        self._memory()
        self._targets(shuffled)
        self._text(shuffled)
        size = np.diff(self.data.offsets)
        audit.curves["history lengths"] = np.bincount(size).tolist()
        audit.curves["training events by rank"] = np.sort(self.data.counts()[1:])[::-1].tolist()
        audit.curves["sizes of ties"] = np.bincount(np.bincount(self.data.tie_group)).tolist()

    # --- Random copies ------------------------------------------------------------------------

    def _copies(self) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
        """Return the figures of random copies: name -> one value per copy.

        There are two mappings: figures of shuffled histories, and figures of histories whose ties
        were redrawn.
        """
        shuffled = defaultdict(list)
        redrawn = defaultdict(list)
        for number in range(self.shuffles):
            for name, value in self._figures(self.part.shuffled(self.rng), everything=True).items():
                shuffled[name].append(value)
            if self.has_ties:
                for name, value in self._figures(
                    self.part.shuffled(self.rng, within_ties=True), everything=False
                ).items():
                    redrawn[name].append(value)
            self.progress(number + 1)
        return shuffled, redrawn

    def _figures(self, copy: Histories, everything: bool) -> dict[str, float]:
        table = transitions.following(copy)
        forward = float(self._gains(copy, [table]).mean())
        figures = {"forward": forward}
        for name, order in self.orders.items():
            figures[f"tied {name}"] = order.index(copy.items, tied=True)
        if not everything:
            return figures
        figures["gap"] = forward - float(self._gains(copy, [table.T.tocsr()]).mean())
        successors, inside = transitions.branching(copy, table)
        figures.update(successors=float(successors.mean()), inside=float(inside.mean()))
        figures["unseen"] = float((copy.counts()[copy.items[copy.test]] == 0).mean())
        figures["repeat"] = float(_repeats(copy).mean())
        for name, order in self.orders.items():
            figures[f"all {name}"] = order.index(copy.items, tied=False)
            figures[f"surplus {name}"] = order.surplus(copy.items)
        if self.likeness is not None:
            figures["text"] = self.likeness.consecutive(copy.items)
        return figures

    def _gains(self, data: Histories, tables: list | None) -> np.ndarray:
        """Return nDCG@10 of each test target under counts.

        The counts are transitions from the last items, or popularity alone.
        """
        rows = None if tables is None else transitions.rows_of_last(data, tables)
        return per_case(transitions.ranks(data, rows, self.mask_history), f"ndcg@{CUT}")

    # --- Measures -----------------------------------------------------------------------------

    def _floors(self, audit: Audit) -> None:
        data = self.data
        table = transitions.following(self.data)
        owner = self.data.owner[self.data.test]
        scores = {
            "Pop": None,
            "Transition": transitions.rows_of_last(data, [table]),
            "Transition backwards": transitions.rows_of_last(data, [table.T.tocsr()]),
        }
        reached: dict[str, dict[str, Any]] = {}
        for name, rows in scores.items():
            reached[name] = {}
            for masked in (False, True):
                ranks = transitions.ranks(data, rows, masked)
                metrics = {
                    f"hit@{CUT}": share(ranks <= CUT, owner),
                    f"ndcg@{CUT}": mean(per_case(ranks, f"ndcg@{CUT}"), owner),
                }
                reached[name]["history masked" if masked else "all items are candidates"] = {
                    metric: asdict(value) for metric, value in metrics.items()
                }
        audit.curves["floors"] = reached

    def _order(self, shuffled, redrawn) -> None:
        part = self.part
        table = transitions.following(self.part)
        forward = self._gains(part, [table])
        backward = self._gains(part, [table.T.tocsr()])
        value = float(forward.mean())
        cases = "test targets"
        owner = part.owner[part.test]
        estimate = mean(forward, owner)
        self._add(
            "order",
            f"nDCG@{CUT} of forward transitions",
            "gain",
            cases,
            estimate,
            beside(value, shuffled["forward"], SHUFFLED, "greater"),
        )
        if self.has_ties:
            # Every copy keeps what order there is between ties: their mean is what survives when
            # ties tell nothing.
            kept = float(np.mean(redrawn["forward"]))
            moved = Estimate(
                kept,
                kept - (estimate.value - estimate.low),
                kept + (estimate.high - estimate.value),
                len(forward),
            )
            self._add("order beyond ties", "... with the order inside ties "
                                           "redrawn (mean of "
                                           f"{self.shuffles})", "gain", cases, moved,
                      beside(kept, shuffled["forward"], SHUFFLED, "greater"))  # fmt: skip
            self._add("order inside ties", "... as it stands, beside copies "
                                           "with redrawn ties", "gain", cases, estimate,
                      beside(value, redrawn["forward"], REDRAWN, "greater"))  # fmt: skip
        gap = mean(forward - backward, owner)
        self._add(
            "direction",
            f"nDCG@{CUT} forward less backward transitions",
            "gain",
            cases,
            gap,
            beside(gap.value, shuffled["gap"], SHUFFLED, "two"),
        )
        successors, inside = transitions.branching(part, table)
        self._add("branching", "items that follow the last item somewhere in "
                               "training", "items", cases, mean(successors.astype(float), owner),
                  beside(float(successors.mean()), shuffled["successors"], SHUFFLED,
                      None))  # fmt: skip
        self._add("target follows", "targets that follow the last item "
                                    "somewhere in training", "share", cases, share(inside, owner),
                  beside(float(inside.mean()), shuffled["inside"], SHUFFLED, None))  # fmt: skip

    def _catalogue_order(self, shuffled, redrawn) -> None:
        pairs = "consecutive pairs"
        items = self.part.items
        curve = {}
        for name, order in self.orders.items():
            if self.has_ties:
                estimate = order.index_estimate(items, tied=True)
                self._add(f"tie order, {name}", "pairs of one time in "
                                                f"ascending order of {name}", "share", pairs,
                                                estimate,
                          beside(estimate.value, redrawn[f"tied {name}"], REDRAWN,
                              "two"))  # fmt: skip
            estimate = order.index_estimate(items, tied=False)
            self._add(f"catalogue order, {name}", "all consecutive pairs in "
                                                  f"ascending order of {name}", "share", pairs,
                                                  estimate,
                      beside(estimate.value, shuffled[f"all {name}"], SHUFFLED, None))  # fmt: skip
            estimate = order.surplus_estimate(items)
            if not math.isnan(estimate.value):
                self._add(f"neighbours' order, {name}", "... neighbours "
                                                        "less events 2 to 5 "
                                                        "apart, order of "
                                                        f"{name}", "share", pairs, estimate,
                          beside(estimate.value, shuffled[f"surplus {name}"], SHUFFLED,
                              None if self.has_ties else "greater"))  # fmt: skip
            found = [(distance, order.at_distance(self.part, distance)) for distance in DISTANCES]
            curve[name] = [
                {"distance": distance, **asdict(estimate)}
                for distance, estimate in found
                if estimate.n >= 100
            ]
        self.audit.curves["ascending by distance"] = curve
        data = self.data
        consecutive = data.pairs(1)
        tied = data.tie_group[consecutive] == data.tie_group[consecutive + 1]
        estimate = interval(
            *per_user(tied, np.ones(len(tied)), data.owner[consecutive], data.users), len(tied)
        )
        self._add("ties", "consecutive pairs of one time", "share", pairs, estimate)

    def _memory(self) -> None:
        gains = self._memory_gains(self.part)
        copies = [self._memory_gains(self.part.shuffled(self.rng)) for _ in range(_FEW)]
        rows = []
        longest = MEMORY[-1]
        owner = self.part.owner[self.part.test]
        for items in MEMORY:
            chance = beside(
                float(gains[items].mean()), [copy[items].mean() for copy in copies], SHUFFLED, None
            )
            rows.append(
                {"last items": items, **asdict(mean(gains[items], owner)), "chance": asdict(chance)}
            )
        self.audit.curves["memory"] = rows
        for items, title in ((1, "the last item alone"), (2, "the last two items")):
            value, parts = per_user(gains[items], gains[longest], owner, self.part.users)
            relative = None
            if all(copy[longest].any() for copy in copies):
                relative = beside(
                    value,
                    [copy[items].mean() / copy[longest].mean() for copy in copies],
                    SHUFFLED,
                    None,
                )
            title = f"nDCG@{CUT} from {title}, relative to the last {longest}"
            self._add(
                f"last {items}",
                title,
                "share",
                "test targets",
                interval(value, parts, len(owner)),
                relative,
            )

    def _memory_gains(self, data: Histories) -> dict[int, np.ndarray]:
        tables = [transitions.following(data, distance) for distance in range(1, MEMORY[-1] + 1)]
        return {items: self._gains(data, tables[:items]) for items in MEMORY}

    def _targets(self, shuffled) -> None:
        part = self.part
        owner = part.owner[part.test]
        unseen = part.counts()[part.items[part.test]] == 0
        repeat = _repeats(part)
        self._add("unseen", "test targets without a "
                            "training event", "share", "test targets", share(unseen, owner),
                  beside(float(unseen.mean()), shuffled["unseen"], SHUFFLED, "two"))  # fmt: skip
        self._add("repeats", "test targets that their "
                             "user had before", "share", "test targets", share(repeat, owner),
                  beside(float(repeat.mean()), shuffled["repeat"], SHUFFLED, None))  # fmt: skip

    def _text(self, shuffled) -> None:
        if self.likeness is None:
            return
        likeness = self.likeness
        items = self.part.items
        estimate, cosines = likeness.consecutive_estimate(items)
        if not estimate.n:
            return
        dealt = [likeness.consecutive(likeness.dealt_anew()[items]) for _ in range(self.shuffles)]
        pairs = "consecutive pairs"
        self._add(
            "text",
            "cosine of the texts of consecutive items",
            "cosine",
            pairs,
            estimate,
            beside(estimate.value, dealt, DEALT, "greater"),
        )
        self._add(
            "text order",
            "... beside shuffled histories",
            "cosine",
            pairs,
            estimate,
            beside(estimate.value, shuffled["text"], SHUFFLED, "greater"),
        )
        at_random = likeness.random_pairs(items)
        self._add(
            "text at random",
            "cosine of the texts of random events' items",
            "cosine",
            "random pairs",
            mean(at_random),
        )
        edges = np.linspace(min(0.0, float(cosines.min())), 1, 41)
        self.audit.curves["text"] = {
            "edges": edges.tolist(),
            "consecutive": (np.histogram(cosines, edges)[0] / len(cosines)).tolist(),
            "random": (np.histogram(at_random, edges)[0] / max(len(at_random), 1)).tolist(),
        }

    def _add(
        self,
        name: str,
        title: str,
        unit: str,
        of: str,
        estimate: Estimate,
        chance: Chance | None = None,
    ) -> None:
        self.measures[name] = Measure(title, unit, of, estimate, chance)


def _repeats(data: Histories) -> np.ndarray:
    """Bool `[cases]`: is the target among the user's earlier items."""
    case, event = data.test_history
    repeat = np.zeros(len(data.test), dtype=bool)
    repeat[case[data.items[event] == data.items[data.test][case]]] = True
    return repeat
