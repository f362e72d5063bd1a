"""RecBole's Trainer with phases, exact ranks, and runs that a kill cannot spoil."""

from __future__ import annotations

import functools
import io
import os
from collections import OrderedDict
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from logging import getLogger
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.trainer import Trainer
from recbole.utils import ModelType, WandbLogger, dict2str, get_gpu_usage, set_color
from tqdm import tqdm

from recbole_precise import registry
from recbole_precise.errors import CheckpointError, ConfigError
from recbole_precise.evaluation.draws import own_draws
from recbole_precise.evaluation.list_metrics import (
    LIST_METRICS,
    exact_metrics,
    is_exact_metric,
    is_list_metric,
)
from recbole_precise.evaluation.metrics import RANK_METRICS
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.plugin.pickles.checkpoints import (
    check_other_parameter,
    load_recbole_checkpoint,
)
from recbole_precise.plugin.preparation import described
from recbole_precise.runs.checkpoint import write_atomically
from recbole_precise.runs.folder import RunFolder, load_into, read_weights
from recbole_precise.runs.packing import (
    generator_state,
    rng_state,
    set_generator_state,
    set_rng_state,
)
from recbole_precise.runs.result import write_settings
from recbole_precise.runs.vocabulary import ITEMS, keep_names
from recbole_precise.training import judging
from recbole_precise.training.events import EventWriter
from recbole_precise.training.loop import PhasedTraining
from recbole_precise.training.memory import keep_freed_memory
from recbole_precise.training.phases import Phase
from recbole_precise.training.processes import Processes, averaged
from recbole_precise.training.schedule import learning_rate_factor
from recbole_precise.training.steps import LossSum, Stepper
from recbole_precise.training.views import begin_epoch

_GPU_REPORT = 20  # steps between two readings of the GPU's memory for the progress bar


class PreciseTrainer(PhasedTraining, Trainer):
    """Trains and evaluates our models and RecBole's; the arithmetic of a step and of early stopping
    is RecBole's.

    Beside RecBole's attributes:
        run_folder: the directory of the run; made when `fit` first saves.
        ranks: split ('valid', 'test') -> `Ranks` of the last evaluation of it.
        results: split -> metrics of that evaluation, not rounded.
        progress: epochs, losses and phases so far (`Progress`).
        processes: this process among those that train the model; 0 writes the files and decides
            what a clock decides.
    """

    def __init__(self, config, model) -> None:
        # Not Trainer's own __init__: it makes directories wherever the process happens to run, and
        # of several processes it knows those with GPUs and one phase alone.
        self.config, self.model, self.processes = config, model, Processes.of(config)
        if self.processes.count > 1:
            if config["device"].type == "cuda":
                self.model = model = torch.nn.SyncBatchNorm.convert_sync_batchnorm(model)
            self.processes.share(
                [*model.parameters(), *model.buffers()]
            )  # each was built with a seed of its own
        self.logger = getLogger()
        self.run_folder = self._choose_folder()
        self.checkpoint_dir, self.saved_model_file = (
            str(self.run_folder.path),
            str(self.run_folder.weights),
        )
        self.tensorboard = EventWriter(
            self.run_folder.path if config["tensorboard"] is not False else None
        )
        self.wandblogger = WandbLogger(config)
        self.learner, self.learning_rate, self.weight_decay = (
            config["learner"],
            config["learning_rate"],
            config["weight_decay"],
        )
        self.epochs, self.stopping_step, self.train_minutes = (
            config["epochs"],
            config["stopping_step"],
            config["train_minutes"],
        )
        self.eval_step = min(config["eval_step"], self.epochs)
        self.clip_grad_norm = config["clip_grad_norm"]
        self.valid_metric, self.valid_metric_bigger = (
            config["valid_metric"].lower(),
            config["valid_metric_bigger"],
        )
        self.test_batch_size = (
            judging.RECBOLES_PAIRS
        )  # not eval_batch_size, which would change last bits
        self.device = config["device"]
        self.gpu_available = torch.cuda.is_available() and self.device.type == "cuda"
        self.enable_amp, self.enable_scaler = (
            config["enable_amp"],
            torch.cuda.is_available() and config["enable_scaler"],
        )
        self.start_epoch = self.cur_step = 0
        self.best_valid_score = -np.inf if self.valid_metric_bigger else np.inf
        self.best_valid_result = None
        self.train_loss_dict: dict[int, float] = {}
        self.eval_type = config["eval_type"]
        self.eval_collector, self.evaluator = Collector(config), Evaluator(config)
        self.item_tensor = self.tot_item_num = None
        self.optimizer = self._build_optimizer() if any(True for _ in model.parameters()) else None
        self._training_part: Any = None
        self.exact = self._can_rank_exactly()
        if not self.exact and any(map(is_list_metric, config["metrics"])):
            self.logger.warning(judging.RECBOLES_LIST_METRICS)
        self.ranks: dict[str, Ranks] = {}
        self.results: dict[str, dict[str, float]] = {}
        self._begin_phased()

    def _choose_folder(self) -> RunFolder:
        config = self.config
        folder = (
            RunFolder(Path(config["run_dir"]))
            if config["run_dir"]
            else RunFolder.named(
                Path(config["checkpoint_dir"]), f"{config['model']}-{config['dataset']}"
            )
        )
        return RunFolder(self.processes.agree(folder.path))

    def _make_folder(self, train_set, held: ExitStack) -> None:
        """Make the run directory, held until `held` ends.

        Of two runs that chose one name in the same second, the second takes another.
        """
        if not self.config["run_dir"]:
            path = self.run_folder.path
            self.run_folder = RunFolder(
                self.processes.first_does(lambda: RunFolder.made_at(path).path)
            )
            self.checkpoint_dir, self.saved_model_file = (
                str(self.run_folder.path),
                str(self.run_folder.weights),
            )
            self.tensorboard.move(self.run_folder.path)

        def claim() -> None:
            held.enter_context(self.run_folder.hold())
            self.run_folder.claim(bool(self.config["resume"]))
            if not self.run_folder.begun:
                write_settings(self.run_folder.path / "config.yaml", self.config)
            if not (self.run_folder.begun and (self.run_folder.path / ITEMS).exists()):
                keep_names(self.run_folder.path, train_set, described(train_set))

        self.processes.first_does(claim)

    def _can_rank_exactly(self) -> bool:
        """Whether evaluation goes through exact ranks; a ConfigError when it should and cannot."""
        config = self.config
        if config["MODEL_TYPE"] != ModelType.SEQUENTIAL or config["evaluator"] == "recbole":
            if config["mask_history"] and config["MODEL_TYPE"] == ModelType.SEQUENTIAL:
                raise ConfigError(
                    "mask_history needs evaluator: exact; RecBole's own evaluator never leaves "
                    "out the history of a sequential model."
                )
            return False
        for metric in config["metrics"]:
            if not is_exact_metric(metric):
                raise ConfigError(
                    f"metric '{metric}' does not follow from ranks and top lists "
                    f"({', '.join((*RANK_METRICS, *LIST_METRICS))} do): set evaluator: recbole."
                )
        for split, mode in config["eval_args"]["mode"].items():
            if mode != "full":
                raise ConfigError(
                    f"eval_args: mode '{mode}' of {split} samples candidates, exact ranks are "
                    "over all items: set evaluator: recbole, or mode: full."
                )
        return True

    # --- Training -----------------------------------------------------------------------------

    def fit(
        self,
        train_data,
        valid_data=None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Callable[[int, float], Any] | None = None,
    ) -> tuple[float, dict[str, float] | None]:
        """Train all phases; returns the best validation score (exact) and result (rounded as
        RecBole prints it).

        Args:
            saved: write checkpoints, and the best weights at the end, into the run directory.
            callback_fn: called with (epoch, validation score) after each validation.
        """
        if self.device.type == "cpu" and self.config["keep_freed_memory"] is not False:
            keep_freed_memory()
        # Importing RecBole's sequential models switches anomaly detection on for the whole process
        # (sine.py): every backward pass is slower for it, and a NaN is a stack trace. Losses are
        # looked at here anyway.
        with ExitStack() as held, torch.autograd.set_detect_anomaly(False):
            if saved:
                self._make_folder(train_data._dataset, held)
            self.know_training(train_data)
            if self.config["train_neg_sample_args"].get("dynamic", False):
                train_data.get_model(self.model)
            return self._fit_phases(
                train_data, valid_data, verbose, saved, show_progress, callback_fn
            )

    def know_training(self, train_data) -> None:
        """Take what metrics need of the training data.

        `fit` does so, and a finished run is evaluated after it.
        """
        self._training_part = train_data._dataset
        if not self.exact:
            self.eval_collector.data_collect(train_data)

    def _default_phases(self) -> list[Phase]:
        return [Phase(name="train", epochs=self.epochs)]

    def _train_epoch(self, train_data, epoch_idx: int, loss_func=None, show_progress: bool = False):
        """One pass over the training data, from the batch where a resumed run stood.

        Returns the sum of the losses.
        """
        self.model.train()
        loss_func = loss_func or self.model.calculate_loss
        progress = self.progress if self._tracks_batches else None
        rate = self.optimizer.param_groups[0].get(
            "initial_lr", self.optimizer.param_groups[0]["lr"]
        )
        losses = LossSum(
            self.device,
            f"epoch {epoch_idx} (learning_rate {rate:g})",
            progress.loss if progress else None,
        )
        stepper = self._stepper_of(self.optimizer)
        generator = getattr(train_data, "generator", None)
        done = progress.batch if progress else 0
        if done:
            set_generator_state(generator, progress.epoch_generator)
        elif progress:
            progress.epoch_generator = generator_state(generator)
        begin_epoch(train_data, epoch_idx, generator)
        total = len(train_data)
        batches = iter(train_data)
        for _ in range(done):  # the sampler gives its batches in order alone
            next(batches)
        if done:
            set_rng_state(self._resumed_rng, self._generators)
        title = set_color(f"Train {epoch_idx:>5}", "pink")
        with (
            tqdm(total=total, initial=done, ncols=100, desc=title)
            if show_progress
            else nullcontext() as bar
        ):
            for number, interaction in enumerate(batches, start=done):
                self._schedule(number, total)
                losses.add(
                    stepper.step(
                        functools.partial(self._averaged, loss_func), self._to_device(interaction)
                    )
                )
                if progress:
                    progress.batch = number + 1
                    self._maybe_checkpoint(losses)
                if bar is not None:
                    bar.update()
                    if self.gpu_available and number % _GPU_REPORT == 0:
                        bar.set_postfix_str(
                            set_color("GPU RAM: " + get_gpu_usage(self.device), "yellow")
                        )
        self.processes.share(
            self.model.buffers()
        )  # running statistics, which each process has of its own rows
        return self.processes.mean(losses.total())

    def _stepper_of(self, optimizer: torch.optim.Optimizer) -> Stepper:
        """The stepper of an optimizer; fp16's scale is kept as long as the optimizer is."""
        if self._stepper is None or self._stepper.optimizer is not optimizer:
            amp_dtype = (self.config["amp_dtype"] or "bf16") if self.enable_amp else None
            self._stepper = Stepper(
                self.model, optimizer, self.device, amp_dtype=amp_dtype, clip=self.clip_grad_norm
            )
        if self._averaged is None:
            self._averaged = averaged(self.model, self.processes)
        return self._stepper

    def _schedule(self, batch: int, batches: int) -> None:
        """Set the learning rate of the step; without schedule and warm-up nothing is touched."""
        schedule, warmup = (
            self.config["lr_schedule"] or "constant",
            self.config["warmup_steps"] or 0,
        )
        if self._phase is None or (schedule == "constant" and not warmup):
            return
        step = (self.progress.epoch - self.progress.phase_start) * batches + batch
        factor = learning_rate_factor(schedule, step, self._phase.epochs * batches, warmup)
        for group in self.optimizer.param_groups:
            group.setdefault("initial_lr", group["lr"])
            group["lr"] = group["initial_lr"] * factor

    def _to_device(self, interaction: Interaction) -> Interaction:
        """A batch on the model's device; copies to a GPU do not wait for it."""
        if self.device.type != "cuda":
            return interaction.to(self.device)
        return Interaction(
            {
                name: value.pin_memory().to(self.device, non_blocking=True)
                for name, value in interaction.interaction.items()
            }
        )

    def resume_checkpoint(self, resume_file) -> None:
        """RecBole's way to go on, which starts anew from the best epoch.

        Ours goes on where the run stopped.
        """
        raise CheckpointError(
            f"To go on with '{resume_file}', set run_dir to its directory and resume: True; fit "
            "then continues the run."
        )

    # --- Weights ------------------------------------------------------------------------------

    def _other_parameter(self) -> dict[str, Any]:
        """What RecBole's models keep beside their weights.

        Modules among it are in the state_dict already.
        """
        return {
            name: value
            for name, value in self.model.other_parameter().items()
            if not isinstance(value, torch.nn.Module)
        }

    def _save_checkpoint(self, epoch: int, verbose: bool = True, **kwargs) -> None:
        """Save the weights as they are: for RecBole's own loops (trainers of single models)."""
        if not self.processes.first:
            return
        folder = RunFolder(Path(kwargs.get("saved_model_file", self.saved_model_file)).parent)
        state = {
            "epoch": epoch,
            "progress": self.progress.state(),
            "identity": self._settings_identity(),
            "rng": rng_state(),
        }
        folder.save_final(self._weights(), self._other_parameter(), state)
        if verbose:
            self.logger.info(set_color("Saving current", "blue") + f": {folder.weights}")

    def _load_best(self, model_file: str | os.PathLike | None) -> None:
        file = Path(model_file or self.saved_model_file)
        other = self.processes.first_does(lambda: self._read_best(file, model_file is None))
        self.processes.share(self.model.state_dict().values())
        self.model.load_other_parameter(other)
        self.logger.info(f"Loading model structure and parameters from {file}")

    def _read_best(self, file: Path, own: bool) -> dict[str, Any]:
        """Load the weights of `file` (or, of an `own` one that was not saved, the best in memory).

        Returns what stands beside them.
        """
        if file.suffix == ".pth":
            checkpoint = load_recbole_checkpoint(file, bool(self.config["trust_pickle"]))
            weights = checkpoint["state_dict"]
            other = check_other_parameter(self.model, checkpoint.get("other_parameter"), file)
        elif own and not file.exists() and self._best is not None:
            weights, other = self._best["weights"], self._best["other"]  # trained with saved=False
        elif not file.exists():
            raise CheckpointError(
                f"'{file}' does not exist: train with saved=True first, or give "
                "load_best_model=False or a model_file."
            )
        else:
            weights, other = read_weights(file)
        load_into(self.model, weights, file)
        return other

    # --- Evaluation ---------------------------------------------------------------------------

    @torch.no_grad()
    def evaluate(
        self, eval_data, load_best_model: bool = True, model_file=None, show_progress: bool = False
    ) -> OrderedDict | None:
        """Metrics of a split, named and rounded as RecBole does; exact ones in `results`, ranks in
        `ranks`.

        Args:
            load_best_model: evaluate the best weights of the run, or those in `model_file` (a run
                directory, its model.safetensors, or a .pth of RecBole's), and leave them in the
                model.
        """
        if not eval_data:
            return None
        if load_best_model:
            self._load_best(model_file)
        started, split = perf_counter(), self._split_of(eval_data)
        with own_draws(*self._generators.values(), getattr(eval_data, "generator", None)):
            if self.exact and isinstance(eval_data, FullSortEvalDataLoader):
                result = self._evaluate_exactly(eval_data, split, show_progress)
            else:
                result = self._evaluate_like_recbole(eval_data, show_progress)
                self.results[split] = dict(result)
        self.seconds_evaluated = perf_counter() - started
        return result

    def _split_of(self, eval_data) -> str:
        if eval_data is self._valid_data:
            return "valid"
        phase = getattr(getattr(eval_data, "_sampler", None), "phase", None)
        return phase if phase in ("valid", "test") else "test"

    def _evaluate_like_recbole(self, eval_data, show_progress: bool) -> OrderedDict:
        """RecBole's evaluator, in process 0: its means over processes count padded rows twice, and
        sums like coverage have none.
        """
        was_training, result = self.model.training, None
        if self.processes.first:
            self.model.eval()
            found = self._collect_like_recbole(eval_data, show_progress)
            result = OrderedDict((name, float(value)) for name, value in found.items())
            self.wandblogger.log_eval_metrics(result, head="eval")
        self.model.train(was_training)
        return self.processes.agree(result)

    def _collect_like_recbole(self, eval_data, show_progress: bool) -> OrderedDict:
        """RecBole's loop of `evaluate`, over batches whose size and draws follow from no
        setting.
        """
        dataset = eval_data._dataset
        full = isinstance(eval_data, FullSortEvalDataLoader)
        if full and self.item_tensor is None:
            self.item_tensor = dataset.get_item_feature().to(self.device)
        self.tot_item_num = dataset.item_num
        judge = self._full_sort_batch_eval if full else self._neg_sample_batch_eval
        by_pairs = judging.rates_pairs(self.model, AbstractRecommender)
        rows = judging.rows_of_recboles_batch(eval_data, dataset.item_num, full, by_pairs)
        shown = {"total": eval_data.sample_size, "desc": set_color("Evaluate   ", "pink")}
        with tqdm(ncols=100, **shown) if show_progress else nullcontext() as bar:
            progress = bar.update if bar is not None else None
            batches = judging.recboles_batches(eval_data, rows, self.config["seed"], progress)
            for interaction, scores, *positive in map(judge, batches):
                self.eval_collector.eval_batch_collect(scores, interaction, *positive)
        self.eval_collector.model_collect(self.model)
        return self.evaluator.evaluate(self.eval_collector.get_data_struct())

    def _evaluate_exactly(self, eval_data, split: str, show_progress: bool) -> OrderedDict:
        config, dataset = self.config, eval_data._dataset
        score = rows = None
        if judging.rates_pairs(self.model, AbstractRecommender):
            features = dataset.get_item_feature().to(self.device)
            score = judging.score_by_pairs(self.model, features, dataset.item_num)
            rows = judging.pair_block(dataset.item_num)[0]
        shown = judging.shown_items(config, dataset, self._training_part)
        title = set_color("Evaluate   ", "pink")
        with (
            tqdm(total=len(dataset), ncols=100, desc=title)
            if show_progress
            else nullcontext() as bar
        ):
            ranks = judging.rank_split(
                self.model, eval_data, self.device, mask_history=bool(config["mask_history"]),
                seed=config["seed"],
                budget_bytes=int((config["score_budget_mb"] or 64) * 2**20), score=score,
                progress=bar.update if bar is not None else None,
                processes=self.processes, rows=rows, shown=shown,
            )  # fmt: skip
        exact = self.processes.agree(
            exact_metrics(ranks.rank, shown, config["metrics"], config["topk"])
        )
        self.ranks[split], self.results[split] = ranks, exact
        places = config["metric_decimal_place"]
        # NumPy's rounding, which is RecBole's, differs from Python's in rare last digits.
        result = OrderedDict(
            (name, float(np.float64(value).round(places))) for name, value in exact.items()
        )
        self.wandblogger.log_eval_metrics(result, head="eval")
        return result

    def _log_epoch(self, epoch: int, seconds: float, loss, verbose: bool) -> None:
        if verbose:
            self.logger.info(self._generate_train_loss_output(epoch, 0.0, seconds, loss))
        self._add_train_loss_to_tensorboard(epoch, loss)
        self.wandblogger.log_metrics(
            {"epoch": epoch, "train_loss": loss, "train_step": epoch}, head="train"
        )

    def _log_validation(
        self, epoch: int, seconds: float, score: float, result: dict, number: int, verbose: bool
    ) -> None:
        if verbose:
            title = (
                set_color("epoch %d evaluating", "green")
                + " ["
                + set_color("time", "blue")
                + ": %.2fs, "
                + set_color("valid_score", "blue")
                + ": %f]"
            )
            self.logger.info(title % (epoch, seconds, score))
            self.logger.info(set_color("valid result", "blue") + ": \n" + dict2str(result))
        self.tensorboard.add_scalar(
            "Vaild_score", score, epoch
        )  # RecBole's spelling: its dashboards stay comparable
        self.wandblogger.log_metrics({**result, "valid_step": number}, head="valid")


def get_trainer(config) -> type:
    """The trainer class for a configured model: ours, below a trainer that RecBole has for this
    model alone (S3Rec).

    A model with a trainer outside RecBole's Trainer (XGBoost, LightGBM) keeps it.
    """
    from recbole.utils import get_trainer as recbole_trainer

    entry = registry.find(config["model"])
    if entry is not None and entry.ours:
        return PreciseTrainer
    own = recbole_trainer(config["MODEL_TYPE"], config["model"])
    return combined(own)


@functools.cache
def combined(own: type) -> type:
    """A trainer of RecBole's over ours instead of over RecBole's Trainer."""
    if own is Trainer or issubclass(own, PreciseTrainer):
        return PreciseTrainer if own is Trainer else own
    if not issubclass(own, Trainer):
        return own
    members: dict[str, Any] = {"__doc__": f"{own.__name__} of RecBole over PreciseTrainer."}
    if hasattr(own, "save_pretrained_model"):

        def save_pretrained_model(self, epoch, saved_model_file) -> None:
            """As RecBole's, into the run directory and in the pickle protocol of its other
            checkpoints.
            """
            if self.processes.first:
                state = {
                    "config": self.config,
                    "epoch": epoch,
                    "state_dict": self.model.state_dict(),
                    "other_parameter": self._other_parameter(),
                }
                state["optimizer"] = self.optimizer.state_dict()
                content = (
                    io.BytesIO()
                )  # torch says nothing that a reader understands of a disk that is full
                torch.save(state, content, pickle_protocol=4)
                write_atomically(
                    Path(saved_model_file),
                    lambda partial: partial.write_bytes(content.getbuffer()),
                    "the pretrained model",
                )
            self.saved_model_file = saved_model_file

        members["save_pretrained_model"] = save_pretrained_model
    return type(f"Precise{own.__name__}", (own, PreciseTrainer), members)
