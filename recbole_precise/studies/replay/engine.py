"""Replay periods: universal training, and two targeted models.

One of the targeted models reloads the universal weights.

Each period is first asked (both targeted models rank its cases) and then trained. A finished period
is a checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from recbole_precise import registry
from recbole_precise.data.sequences import RowColumns, RowFields
from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.metrics import metrics_from_ranks
from recbole_precise.evaluation.ranking import Ranks, rank_rows
from recbole_precise.files import make_folder
from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.nn.item_encoders import IdEncoder
from recbole_precise.plugin.dataset import Rows
from recbole_precise.plugin.preparation import create_dataset, described
from recbole_precise.plugin.trainer import loop_of_periods
from recbole_precise.runs.folder import RunFolder
from recbole_precise.runs.identity import catalogue_digest, data_identity, settings_identity
from recbole_precise.runs.result import write_settings
from recbole_precise.runs.vocabulary import keep_names
from recbole_precise.studies.replay.batches import ShuffledRows
from recbole_precise.studies.replay.known import BeforeTheFirst, bring_up_to_date, check_causal
from recbole_precise.studies.replay.periods import period_numbers
from recbole_precise.studies.replay.prequential import cases_of, items_of_windows, windows_of
from recbole_precise.studies.replay.scene import Scene
from recbole_precise.studies.replay.shares import exposure_share, reload
from recbole_precise.training.phases import Phase

ARMS = ("with", "without")
UNIVERSAL = "PRECISE-UT"
TARGETED = "PRECISE-TT"
#: What models know of events, in the identity of a replay: one that knew items of later periods is
#: not gone on with.
KNOWN = "events so far"


@dataclass(frozen=True)
class Options:
    """What sets a replay apart; see docs/replay.md.

    `reload_every`: periods between two reloads. `blend`: share of the universal weights in a reload
        after the first.
    `memory`: periods whose targets universal training sees again in each period; None: all so far.
        `cases`: first or all.
    """

    period: str = "week"
    time_unit: str = "s"
    reload_every: int = 1
    blend: float = 1.0
    memory: int | None = None
    cases: str = "all"


class Replay:
    """One seed's replay of a data set.

    Args:
        config: of PRECISE-TT, whose keys hold those of PRECISE-UT; `epochs` and `targeted_epochs`
            count for each period.
        folder: where its checkpoints and final models are; one that holds periods of the same
            replay is gone on with.

    Raises ConfigError, DataError, TextError, CheckpointError.
    """

    def __init__(self, config: Any, options: Options, folder: Path) -> None:
        _check(config)
        self.config = config
        self.options = options
        self.folder = RunFolder(folder)
        self.dataset = create_dataset(config)
        self.train_part = train = self.dataset.build()[0]
        number, self.periods = period_numbers(
            self.dataset.raw_times(), options.period, options.time_unit
        )
        item = self.dataset.iid_field
        self.names = RowFields(
            self.dataset.uid_field,
            self.dataset.item_list_length_field,
            {f"{item}{config['LIST_SUFFIX']}": item},
        )
        self.scene = Scene(self.dataset.store, number, item)
        self.target = self.scene.target()
        self.length = config["MAX_ITEM_LIST_LENGTH"]
        before = BeforeTheFirst(train)
        self.universal = self._model(UNIVERSAL, before)
        self.arms = {arm: self._model(TARGETED, before) for arm in ARMS}
        for model in self.arms.values():
            reload(
                model, dict(self.universal.named_parameters()), 1.0
            )  # rows of items yet unseen are one in all models
        self._fresh = {name: tensor.clone() for name, tensor in _id_tables(self.universal).items()}
        self.trained = np.zeros(
            self.dataset.item_num, dtype=bool
        )  # items that universal training has seen
        self.loaded = {
            arm: self.trained.copy() for arm in ARMS
        }  # those of them that came into the arm
        self.own = (
            self.trained.copy()
        )  # items in the rows of targeted training, which are those of both arms
        self.rows: list[dict[str, Any]] = []
        self.ranks: dict[str, list[Ranks]] = {arm: [] for arm in ARMS}
        data = {**data_identity(train), "catalogue": catalogue_digest(self.dataset)}
        self.identity = {
            "settings": settings_identity(config.final_config_dict),
            "replay": asdict(options),
            "known": KNOWN,
            "data": data,
        }

    # --- Run ----------------------------------------------------------------------------------

    def run(self, told: Callable[[str], None] = lambda line: None) -> None:
        """Replay what is left; `rows` and `ranks` then hold every period.

        `told`: called with a line after each period.
        """
        with self.folder.hold():
            self._run(told)

    def _run(self, told: Callable[[str], None]) -> None:
        self._resume(told)
        for now in range(len(self.rows), len(self.periods)):
            row = self._ask(now)
            self._train(now)
            self.rows.append(row)
            self._save()
            shown = (
                "no case"
                if not row["cases"]
                else ", ".join(
                    f"{arm} reload {row['metrics'][arm][self.metric]:.4f}" for arm in ARMS
                )
            )
            told(
                f"{row['period']}: {row['events']} events, {row['cases']} cases, {self.metric} "
                f"{shown}"
            )
        self._leave_models()

    @property
    def metric(self) -> str:
        """The metric that is drawn and compared."""
        return f"ndcg@{self._cuts[0]}"

    @property
    def _cuts(self) -> list[int]:
        topk = self.config["topk"]
        return [topk] if isinstance(topk, int) else list(topk)

    def _ask(self, now: int) -> dict[str, Any]:
        """Return what is known of a period before anything of it is trained."""
        here = self.target.period == now
        row: dict[str, Any] = {
            "number": now,
            "period": self.periods[now],
            "events": int(here.sum()),
            "items": len(np.unique(self.target.items[here])),
        }
        row["share"] = {
            arm: exposure_share(self.target.items[here], self.loaded[arm]) for arm in ARMS
        }
        ends = (
            cases_of(self.target.offsets, self.target.period, now, self.options.cases == "first")
            if now
            else np.zeros(0, dtype=np.int64)
        )
        row["cases"] = len(ends)
        row["metrics"] = {}
        if len(ends):
            for arm in ARMS:
                ranks = self._rank(self.arms[arm], torch.from_numpy(ends))
                self.ranks[arm].append(ranks)
                row["metrics"][arm] = metrics_from_ranks(ranks.rank, ("recall", "ndcg"), self._cuts)
        return row

    @torch.no_grad()
    def _rank(self, model: NextItemRecommender, ends: Tensor) -> Ranks:
        rows = Rows(self.target.rows(self.names, ends, self.length))
        scene = self.target
        config = self.config

        def batches(lo: int, hi: int) -> tuple[Any, Tensor, tuple[Tensor, Tensor] | None]:
            interaction = rows[slice(lo, hi)]
            excluded = (
                scene.store.history(ends[lo:hi], scene.item) if config["mask_history"] else None
            )
            return interaction.to(config["device"]), interaction[scene.item], excluded

        users = scene.store.users_of(ends).numpy()
        budget = int((config["score_budget_mb"] or 64) * 2**20)
        return rank_rows(
            model,
            users,
            batches,
            n_items=self.dataset.item_num,
            budget_bytes=budget,
            seed=config["seed"],
        )

    def _train(self, now: int) -> None:
        scene = self.scene
        options = self.options
        counts = self._counts(now)
        known = counts.numpy() > 0
        if (scene.period == now).any():
            low = 0 if options.memory is None else max(0, now - options.memory + 1)
            stride = self.config["window_stride"] or self.length
            end, supervised = windows_of(scene.offsets, scene.period, low, now, self.length, stride)
            if len(end):
                rows = scene.rows(self.names, end, self.length, supervised, stride)
                self.trained[items_of_windows(scene.items, end, rows.lengths())] = True
                bring_up_to_date(
                    self.universal, torch.from_numpy(self.trained), counts, self.config
                )
                self._fit(self.universal, rows, known, [now, 0])
        ends = self._targeted_rows(now)
        for arm in ARMS:
            if now == 0 or (arm == "with" and now % options.reload_every == 0):
                reload(
                    self.arms[arm],
                    dict(self.universal.named_parameters()),
                    options.blend if now else 1.0,
                )
                self.loaded[arm] = self.trained.copy()
            bring_up_to_date(
                self.arms[arm], torch.from_numpy(self.loaded[arm] | self.own), counts, self.config
            )
            if len(ends):
                # Both arms draw the same numbers, so that they differ by the reload alone.
                self._fit(
                    self.arms[arm], self.target.rows(self.names, ends, self.length), known, [now, 1]
                )

    def _counts(self, now: int) -> Tensor:
        """int64 `[items]`: events of each item up to the period `now`."""
        return torch.from_numpy(
            np.bincount(self.scene.items[self.scene.period <= now], minlength=self.dataset.item_num)
        )

    def _targeted_rows(self, now: int) -> Tensor:
        """Return targets of targeted training in the period `now`.

        The items of their rows are the arms' own from then on.
        """
        ends = torch.from_numpy(cases_of(self.target.offsets, self.target.period, now))
        lengths = self.target.store.history_length(ends, self.length)
        self.own[items_of_windows(self.target.items, ends, lengths)] = True
        return ends

    def _fit(
        self, model: NextItemRecommender, columns: RowColumns, known: np.ndarray, draw: list[int]
    ) -> None:
        """Train a period's epochs with an optimizer of its own.

        Vectors of items without an event so far end as they began.
        """
        config = self.config
        phase = _phase_of(model)
        size = phase.train_batch_size or config["train_batch_size"]
        # The rows of a period are laid out already, whatever view of the data the phase asks for.
        phase = replace(phase, train_batch_size=None, train_rows=None, scene_view=None)
        loop = loop_of_periods(config, model, f"period {self.periods[draw[0]]}, ")
        seed = int(np.random.SeedSequence([config["seed"], *draw]).generate_state(1)[0])
        torch.manual_seed(seed)
        loop.fit(ShuffledRows(Rows(columns), size), None, phases=[phase], verbose=False)
        model.eval()
        unknown = torch.from_numpy(~known)
        with torch.no_grad():
            for name, table in _id_tables(model).items():
                table[unknown] = self._fresh[name][unknown]
        model.forget_catalogue()

    # --- Files --------------------------------------------------------------------------------

    def _resume(self, told: Callable[[str], None]) -> None:
        parts = self.folder.load_checkpoint(self.identity, told)
        if parts is None:
            if self.folder.begun:
                self.folder.claim(resume=False)  # says what stands there
            return
        state = parts["training"]
        self.rows = state["rows"]
        self.trained = state["trained"].numpy()
        self.loaded = {arm: state["loaded"][arm].numpy() for arm in ARMS}
        self.ranks = {
            arm: [Ranks(*(part.numpy() for part in kept)) for kept in state["ranks"][arm]]
            for arm in ARMS
        }
        self.universal.load_state_dict(parts["weights"]["universal"])
        for arm, model in self.arms.items():
            model.load_state_dict(parts["weights"][arm])
        for now in range(len(self.rows)):
            self._targeted_rows(now)
        if self.rows:
            counts = self._counts(len(self.rows) - 1)
            bring_up_to_date(self.universal, torch.from_numpy(self.trained), counts, self.config)
            for arm, model in self.arms.items():
                bring_up_to_date(
                    model, torch.from_numpy(self.loaded[arm] | self.own), counts, self.config
                )
        told(
            f"Going on in '{self.folder.path}' after {len(self.rows)} of {len(self.periods)} "
            "periods."
        )

    def _save(self) -> None:
        ranks = {
            arm: [
                [
                    torch.from_numpy(np.ascontiguousarray(part))
                    for part in (kept.user_id, kept.target, kept.rank)
                ]
                for kept in self.ranks[arm]
            ]
            for arm in ARMS
        }
        loaded = {arm: torch.from_numpy(self.loaded[arm]) for arm in ARMS}
        state = {
            "identity": self.identity,
            "rows": self.rows,
            "trained": torch.from_numpy(self.trained),
            "loaded": loaded,
            "ranks": ranks,
        }
        models = {"universal": self.universal, **self.arms}
        self.folder.store.save(
            {
                "training": state,
                "weights": {name: dict(model.state_dict()) for name, model in models.items()},
            }
        )

    def _leave_models(self) -> None:
        """Leave the targeted models of the last period as run directories."""
        for arm, model in self.arms.items():
            run = RunFolder(self.folder.path / f"{arm}-reload")
            make_folder(run.path, "a model")
            write_settings(run.path / "config.yaml", self.config.final_config_dict)
            names = described(self.train_part)
            keep_names(run.path, self.train_part, names, trained=self.trained)
            run.save_final(
                model.state_dict(), model.other_parameter() or {}, {"identity": self.identity}
            )

    def _model(self, name: str, train: Any) -> NextItemRecommender:
        torch.manual_seed(self.config["seed"])
        model = registry.get_model(name)(self.config, train).to(self.config["device"])
        if hasattr(model, "set_stage"):
            model.set_stage("targeted")
        return model.eval()


def _phase_of(model: NextItemRecommender) -> Phase:
    """Targeted training's phase, or the one phase of universal training."""
    return model.phases()[-1]


def _id_tables(model: NextItemRecommender) -> Mapping[str, Tensor]:
    """Trainable ID vectors by the place of their encoder among the parts: `[items, width]` each."""
    return {
        str(place): part.table.weight
        for place, part in enumerate(model.item_encoder.parts)
        if isinstance(part, IdEncoder)
    }


def _check(config: Any) -> None:
    """Refuse settings that would let the future in, or that a replay has no use for."""
    check_causal(config)
    for key, unused in (
        ("alternate", "each period is one short phase"),
        ("warm_start", "the first period is where training begins"),
    ):
        if config[key]:
            raise ConfigError(f"replay has no use for {key}: {unused}.")
    if not config["single_spec"]:
        raise ConfigError("replay runs in a single process: leave out nproc.")
