"""How a trainer evaluates a split: by exact ranks, or with RecBole's evaluator."""

from __future__ import annotations

from collections import OrderedDict
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.utils import ModelType, set_color
from tqdm import tqdm

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.draws import own_draws
from recbole_precise.evaluation.list_metrics import LIST_METRICS, is_exact_metric, is_list_metric
from recbole_precise.evaluation.metrics import RANK_METRICS
from recbole_precise.evaluation.ranking import Ranks
from recbole_precise.plugin.training_settings import ranking_settings
from recbole_precise.training import judging
from recbole_precise.training.loop import Evaluated

if TYPE_CHECKING:
    from recbole_precise.plugin.trainer import PreciseTrainer


def can_rank_exactly(config: Any) -> bool:
    """Whether evaluation goes through exact ranks.

    Raises:
        ConfigError: it should, and the settings ask for what ranks cannot give.
    """
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


class Evaluation:
    """Evaluates the splits of a run for its trainer.

    Attributes:
        exact: whether by exact ranks; else with RecBole's evaluator.
        ranks: split ('valid', 'test') -> ranks of the last evaluation of it.
        results: split -> metrics of that evaluation, not rounded.
        training_part: of the data, None before it is known.
    """

    def __init__(self, trainer: PreciseTrainer) -> None:
        metrics = trainer.config["metrics"]
        self.exact = can_rank_exactly(trainer.config)
        self.ranks: dict[str, Ranks] = {}
        self.results: dict[str, dict[str, float]] = {}
        self.training_part: Any = None
        self._trainer = trainer
        if not self.exact and any(map(is_list_metric, metrics)):
            trainer.logger.warning(judging.RECBOLES_LIST_METRICS)

    def split_of(self, eval_data: Any) -> str:
        """Return the name of a split, `valid` or `test`."""
        if eval_data is self._trainer.loop.valid_loader:
            return "valid"
        phase = getattr(getattr(eval_data, "_sampler", None), "phase", None)
        return phase if phase in ("valid", "test") else "test"

    def know_training(self, train_data: Any) -> None:
        """Take what metrics need of the training data."""
        self.training_part = train_data._dataset
        if not self.exact:
            self._trainer.eval_collector.data_collect(train_data)

    def measure(self, eval_data: Any, show_progress: bool) -> Evaluated:
        """Measure a split, with metrics named and rounded as in RecBole.

        Its draws are its own.
        """
        trainer = self._trainer
        generators = (*trainer.loop.generators, getattr(eval_data, "generator", None))
        exact = self.exact and isinstance(eval_data, FullSortEvalDataLoader)
        measure = self._by_ranks if exact else self._like_recbole
        split = self.split_of(eval_data)
        with own_draws(*generators):
            found = measure(eval_data, show_progress)
        self.results[split] = dict(found.exact)
        if found.ranks is not None:
            self.ranks[split] = found.ranks
        if trainer.processes.first:
            trainer.wandblogger.log_eval_metrics(found.shown, head="eval")
        return found

    def _by_ranks(self, eval_data: Any, show_progress: bool) -> Evaluated:
        trainer = self._trainer
        dataset = eval_data._dataset
        score = None
        rows = None
        if judging.rates_pairs(trainer.model, AbstractRecommender):
            features = dataset.get_item_feature().to(trainer.device)
            score = judging.score_by_pairs(trainer.model, features, dataset.item_num)
            rows = judging.pair_block(dataset.item_num)[0]
        with _bar(len(dataset), show_progress) as bar:
            ranks, exact = judging.evaluate_exactly(
                trainer.model,
                eval_data,
                trainer.device,
                ranking_settings(trainer.config),
                training_part=self.training_part,
                score=score,
                rows=rows,
                progress=None if bar is None else bar.update,
                processes=trainer.processes,
            )
        places = trainer.config["metric_decimal_place"]
        # NumPy's rounding, which is RecBole's, differs from Python's in rare last digits.
        shown = OrderedDict(
            (name, float(np.float64(value).round(places))) for name, value in exact.items()
        )
        return Evaluated(shown, exact, ranks)

    def _like_recbole(self, eval_data: Any, show_progress: bool) -> Evaluated:
        """RecBole's evaluator, in process 0.

        Its means over processes count padded rows twice, and sums like coverage have none.
        """
        trainer = self._trainer
        was_training = trainer.model.training
        result = OrderedDict[str, float]()
        if trainer.processes.first:
            trainer.model.eval()
            found = self._collect(eval_data, show_progress)
            result.update((name, float(value)) for name, value in found.items())
        trainer.model.train(was_training)
        result = trainer.processes.agree(result)
        return Evaluated(result, dict(result))

    def _collect(self, eval_data: Any, show_progress: bool) -> dict[str, Any]:
        """RecBole's loop of `evaluate`.

        The size of its batches, and what they draw, follow from no setting.
        """
        trainer = self._trainer
        dataset = eval_data._dataset
        full = isinstance(eval_data, FullSortEvalDataLoader)
        if full and trainer.item_tensor is None:
            trainer.item_tensor = dataset.get_item_feature().to(trainer.device)
        trainer.tot_item_num = dataset.item_num
        judge = trainer._full_sort_batch_eval if full else trainer._neg_sample_batch_eval
        by_pairs = judging.rates_pairs(trainer.model, AbstractRecommender)
        rows = judging.rows_of_recboles_batch(eval_data, dataset.item_num, full, by_pairs)
        with _bar(eval_data.sample_size, show_progress) as bar:
            progress = None if bar is None else bar.update
            batches = judging.recboles_batches(eval_data, rows, trainer.config["seed"], progress)
            for interaction, scores, *positive in map(judge, batches):
                trainer.eval_collector.eval_batch_collect(scores, interaction, *positive)
        trainer.eval_collector.model_collect(trainer.model)
        return trainer.evaluator.evaluate(trainer.eval_collector.get_data_struct())


def _bar(total: int, show_progress: bool) -> Any:
    if not show_progress:
        return nullcontext()
    return tqdm(total=total, ncols=100, desc=set_color("Evaluate   ", "pink"))
