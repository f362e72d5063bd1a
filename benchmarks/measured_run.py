"""One measurement of `model_cost.py`: a model in a process of its own, some batches of each phase,
a ranking, the peak of memory.

What is measured and how: the docstring there.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import multiprocessing
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from mmd import resident_mb
from sasrec_curve import stock_data, stock_model

#: Of every run here; nothing is written, nothing validated.
FIXED = {
    "epochs": 2,
    "eval_step": 0,
    "gpu_id": "",
    "show_progress": False,
    "state": "ERROR",
    "tensorboard": False,
}
#: Seconds of processor time up to which a ranking is done twice: what the first one loads counts
#: for little in a longer one.
RANK_TWICE = 3.0


class Failed(Exception):
    """A model could not be measured."""


@dataclass(frozen=True)
class Case:
    """A model to measure: with `settings` beside the shared ones, and in RecBole without us where
    `plain`.
    """

    name: str
    model: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    plain: bool = False


@dataclass(frozen=True)
class Prepared:
    """A case with its settings and its loaders of training and test rows."""

    case: Case
    config: Any
    train: Any
    test: Any


def prepare(case: Case, dataset: str, settings: Mapping[str, Any]) -> Prepared:
    """Read the data of a case."""
    from recbole.utils import init_seed

    import recbole_precise as rp

    config = rp.Config(
        model=case.model,
        dataset=dataset,
        config_dict={**FIXED, **settings, **case.settings},
        command_line=[],
    )
    if case.plain:
        return Prepared(case, *_plain_data(config))
    init_seed(config["seed"], config["reproducibility"])
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    return Prepared(case, config, train, test)


def _plain_data(ours) -> tuple:
    """(config, training, test loader) of plain RecBole, with the sizes and columns that our command
    gives the model.
    """
    from recbole_precise.plugin.checks.known_keys import keys_of_model

    own = [
        key
        for key, default in keys_of_model(ours.entry, ours.model_class).items()
        if default is not None
    ]
    shared = {
        key: ours[key]
        for key in (*own, "load_col", "train_batch_size", "eval_batch_size", "learning_rate")
    }
    folder = ours.external_config_dict.get("data_path")
    config, (train, _, test) = stock_data(
        ours["dataset"],
        ours["MAX_ITEM_LIST_LENGTH"],
        ours["seed"],
        folder,
        epochs=2,
        model=ours["model"],
        state="ERROR",
        **shared,
    )
    return config, train, test


def prepare_process(ready: Sequence[Prepared]) -> None:
    """Do once what every forked process would do again: import what a first optimizer imports,
    encode the texts, let go of what reading left behind.
    """
    import torch

    import recbole_precise.plugin.trainer  # noqa: F401

    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])
    ours = next(
        (prepared for prepared in ready if not prepared.case.plain and prepared.config.entry.ours),
        None,
    )
    if ours is not None:
        with contextlib.suppress(
            Failed
        ):  # without texts there is nothing to encode; models that need them tell it themselves
            in_child(lambda: ours.train._dataset.token_states() and None)
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)  # memory that is free here would hide what a model takes


class FirstBatches:
    """A loader that hands out `count` batches or, where that is None, batches for `seconds` of
    processor time; at least one.

    handed: how many it has handed out. began: (wall, processor) clock when the first was asked for.
    """

    def __init__(self, loader, count: int | None, seconds: float) -> None:
        self.loader, self.count, self.seconds, self.handed = loader, count, seconds, 0
        self.dataset = vars(loader).get(
            "dataset"
        )  # the list of row numbers, which a loader of RecBole's hides behind its data set

    def __getattr__(self, name: str) -> Any:
        return getattr(self.loader, name)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        self.began = clocks()
        batches = iter(self.loader)
        while not self.handed or not self._over():
            batch = next(batches, None)
            if batch is None:
                return
            self.handed += 1
            yield batch

    def _over(self) -> bool:
        return (
            clocks()[1] - self.began[1] >= self.seconds
            if self.count is None
            else self.handed >= self.count
        )


def clocks() -> tuple[float, float]:
    """(wall, processor) time."""
    return time.perf_counter(), time.process_time()


def targets_of(loader) -> int:
    """How many targets an epoch over a training loader trains."""
    if (
        loader.config["transform"] == "mask_itemseq"
    ):  # BERT4Rec's; it leaves out what is masked at a row's first place
        return sum(int((batch["MASK_INDEX"] > 0).sum()) for batch in loader)
    return loader._dataset.inter_num


def _phase_of(trainer):
    """The phase that a trainer of ours is in; None for RecBole's."""
    return getattr(getattr(trainer, "loop", None), "phase", None)


class Stopwatch:
    """Takes the place of a trainer's `_train_epoch`: of each phase the first epoch is a short
    warm-up, the second is timed.

    epochs: a line a phase. counts: phase -> batches to measure; where it is missing, as many as
        `seconds` allow, and targets are counted.
    """

    def __init__(self, trainer, counts: Mapping[str, int], seconds: float) -> None:
        self.trainer, self.counts, self.seconds = trainer, counts, seconds
        self.train_epoch, self.warm, self.epochs = trainer._train_epoch, set(), []
        trainer._train_epoch = self

    def __call__(self, loader, *args, **kwargs):
        phase = getattr(_phase_of(self.trainer), "name", "train")
        if phase not in self.warm:
            self.warm.add(phase)
            return self.train_epoch(FirstBatches(loader, None, self.seconds / 4), *args, **kwargs)
        part = FirstBatches(loader, self.counts.get(phase), self.seconds)
        called = clocks()
        loss = self.train_epoch(part, *args, **kwargs)
        ended, scale = clocks(), len(loader) / part.handed
        wall, processor = (
            begun - start + (end - begun) * scale
            for start, begun, end in zip(called, part.began, ended)
        )
        row = {
            "phase": phase,
            "batches_measured": part.handed,
            "batches": len(loader),
            "wall": wall,
            "processor": processor,
        }
        self.epochs.append(row if phase in self.counts else {**row, "targets": targets_of(loader)})
        return loss


def measure(
    prepared: Prepared, counts: Mapping[str, int], seconds: float, threads: int
) -> dict[str, Any]:
    """Build the model of a case, train some of each phase, rank the test rows: times, memory,
    sizes.
    """
    import torch

    before = resident_mb("RssAnon")
    torch.set_num_threads(threads)
    with tempfile.TemporaryDirectory() as scratch:
        if prepared.case.plain:
            os.chdir(scratch)  # RecBole's Trainer makes folders where it stands
        model, trainer = (_plain_trainer if prepared.case.plain else _trainer)(prepared)
        watch = Stopwatch(trainer, counts, seconds)
        if prepared.case.plain:
            for epoch in range(2):
                trainer._train_epoch(prepared.train, epoch)
        else:
            trainer.fit(prepared.train, verbose=False, saved=False)
        ranking = _rank(model, trainer, prepared.test)
        if ranking["processor"] < RANK_TWICE:
            ranking = _rank(model, trainer, prepared.test)
        os.chdir("/")  # a folder that somebody stands in cannot be deleted everywhere
    return {
        "epochs": watch.epochs,
        "ranking": ranking,
        "added_mb": resident_mb("VmHWM") - resident_mb("RssFile") - before,
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
    }


def _rank(model, trainer, test) -> dict[str, float]:
    """Seconds of ranking all test rows, the catalogue encoded anew."""
    if hasattr(model, "forget_catalogue"):
        model.forget_catalogue()
    began = clocks()
    trainer.evaluate(test, load_best_model=False)
    wall, processor = (end - start for start, end in zip(began, clocks()))
    return {"wall": wall, "processor": processor}


def _trainer(prepared: Prepared) -> tuple:
    """Model and trainer of our command.

    Every phase of the model has two epochs and no validation.
    """
    from recbole.utils import init_seed

    from recbole_precise import registry
    from recbole_precise.plugin.trainer import get_trainer

    config = prepared.config
    init_seed(config["seed"], config["reproducibility"])
    model = registry.get_model(config["model"])(config, prepared.train._dataset).to(
        config["device"]
    )
    if hasattr(model, "phases"):
        plan = [
            replace(phase, epochs=2, validate=False, validate_start=False)
            for phase in model.phases()
        ]
        model.phases = lambda: plan
    return model, get_trainer(config)(config, model)


def _plain_trainer(prepared: Prepared) -> tuple:
    return stock_model(prepared.config, prepared.train)


def in_child(function: Callable, *given) -> Any:
    """What `function(*given)` returns in a process forked for it.

    Failed when it raises or the process dies.
    """
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)

    def work() -> None:
        try:
            there.send((True, function(*given)))
        except Exception as error:
            there.send((False, f"{type(error).__name__}: {error}"))

    process = context.Process(target=work)
    process.start()
    there.close()
    try:
        done, answer = here.recv()
    except EOFError:
        process.join()
        done, answer = (
            False,
            f"its process ended with status {process.exitcode}, as one does for which memory is "
            "too small",
        )
    process.join()
    if not done:
        raise Failed(answer)
    return answer
