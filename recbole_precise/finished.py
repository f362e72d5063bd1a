"""A finished run, loaded to be asked: its model and data, and perhaps items that came later.

Users and items are known by name. The data at hand may have other rows, users and items than those
that the run was trained on: its names keep the rows of its tables (`Vocabulary`), and what a model
derives from training comes from the run's own directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from logging import getLogger
from pathlib import Path
from typing import Any

import numpy as np
from recbole.utils import init_seed

from recbole_precise import registry
from recbole_precise.config import read_settings
from recbole_precise.data.new_items import read_new_items
from recbole_precise.errors import CheckpointError, ConfigError, DataError, TextError
from recbole_precise.models.build import build_model
from recbole_precise.plugin.config import Config
from recbole_precise.plugin.data_settings import encoding_options
from recbole_precise.plugin.pickles.checkpoints import (
    apply_changes,
    check_other_parameter,
    load_recbole_checkpoint,
    with_settings_of_a_file,
)
from recbole_precise.plugin.preparation import (
    create_dataset,
    data_preparation,
    described,
    reads_columns,
)
from recbole_precise.runs.folder import find_run, load_into
from recbole_precise.runs.identity import check_text_encoder, data_identity
from recbole_precise.runs.manifest import check_file
from recbole_precise.runs.vocabulary import Difference, Vocabulary, read_vocabulary


@dataclass
class FinishedRun:
    """A run that can be asked.

    Attributes:
        dataset: the data at hand under the run's names. loaders: of its split; empty where the
            run is asked about whole histories alone.
        tokens: item names by id, new ones at the end.
        readable: bool `[new items]`, whether the model can read their text.
        difference: how the data differ from those of the run; None when they do not.
    """

    config: Any
    model: Any
    dataset: Any
    loaders: tuple
    tokens: np.ndarray
    readable: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    new_texts: list[str] = field(default_factory=list)
    difference: Difference | None = None

    @property
    def first_new(self) -> int:
        """Id of the first new item."""
        return len(self.tokens) - len(self.readable)

    def texts(self) -> list[str]:
        """Return the text of every item, by id; empty where the run has none."""
        known = [""] * self.first_new
        if hasattr(self.dataset, "item_texts"):
            # A run without text needs no texts to be asked.
            with contextlib.suppress(TextError, ConfigError, DataError):
                known = self.dataset.item_texts()
        return known + self.new_texts


@dataclass
class SavedRun:
    """What a run directory, or a .pth of RecBole, holds."""

    path: Path
    config: Any
    weights: Mapping[str, Any]
    other: Any
    identity: Mapping[str, Any]
    known: Vocabulary | None

    @classmethod
    def read(
        cls,
        path: str | os.PathLike,
        changes: Mapping[str, Any] | None,
        command_line: Sequence[str] | None = None,
    ) -> SavedRun:
        """Read settings, weights and vocabulary.

        Args:
            path: a run directory, the model.safetensors in one, or a .pth that RecBole wrote.
            changes: settings that override those of the run.
            command_line: as of `Config`.

        Raises:
            CheckpointError: there is no finished run, or a file of it is damaged.
        """
        path = Path(path)
        if path.suffix == ".pth":
            trust = bool((changes or {}).get("trust_pickle"))
            checkpoint = load_recbole_checkpoint(path, trust)
            config = checkpoint["config"]
            apply_changes(config, changes, path)
            other = checkpoint.get("other_parameter")
            getLogger("recbole_precise").warning(
                "'%s' holds no names: its rows are taken for the users and items in the order in "
                "which the data files name them now. Ask it only about the files it was trained "
                "on.",
                path,
            )
            return cls(path, config, checkpoint["state_dict"], other, {}, None)
        run = find_run(path)
        config = config_of(run.path, changes, command_line)
        known = read_vocabulary(run.path)
        weights, other = run.load_weights()
        state = run.load_final()
        assert state is not None, "weights are those of a finished training"
        return cls(run.path, config, weights, other, state["identity"], known)

    def data(self) -> tuple[Any, ...]:
        """Prepare (data set, loaders of training, validation and testing), under the run's names.

        Raises:
            CheckpointError: the run can only be asked about its own data, and these are others.
        """
        init_seed(self.config["seed"], self.config["reproducibility"])
        dataset = create_dataset(self.config, self.known)
        self.check(dataset)
        loaders = data_preparation(self.config, dataset)
        if self.known is None and "data" in self.identity:
            self._check_without_names(loaders[0]._dataset)
        return dataset, *loaders

    def model(self, train_set: Any) -> Any:
        """Build the trained model."""
        init_seed(self.config["seed"], self.config["reproducibility"])
        if hasattr(train_set, "as_trained"):
            train_set = train_set.as_trained()
        model: Any = build_model(self.config, train_set, lambda: self.weights)
        check_text_encoder(self.identity, model, f"'{self.path}'")
        load_into(model, self.weights, self.path)
        other = self.other
        if self.path.suffix == ".pth":
            other = check_other_parameter(model, other, self.path)
        model.load_other_parameter(other)
        return model

    def check(self, dataset: Any) -> None:
        """Refuse data that the run's names are not enough to understand.

        Raises:
            CheckpointError: see above.
        """
        if self.known is None:
            return
        reason = reads_columns(dataset, registry.resolve(self.config["model"]).ours)
        if reason is None:
            return
        then = self.known.data.get("files", {})
        now = described(dataset)["files"]
        changed = sorted({name for name in {*then, *now} if then.get(name) != now.get(name)})
        if changed:
            raise CheckpointError(
                f"'{self.path}': {', '.join(changed)} {'is' if len(changed) == 1 else 'are'} not "
                "as "
                f"the run had {'it' if len(changed) == 1 else 'them'}, and "
                f"{self.config['model']} can "
                f"only be asked about the same files: {reason}. Bring them back (data_path), or "
                "train "
                "again."
            )

    def _check_without_names(self, train_set: Any) -> None:
        then = self.identity["data"]
        now = data_identity(train_set)
        differing = sorted(key for key in then if then[key] != now.get(key))
        if differing:
            shown = ", ".join(
                f"{key} {then[key]:,} then, {now[key]:,} now"
                for key in differing
                if isinstance(then[key], int)
            )
            raise CheckpointError(
                f"'{self.path}' was left by an earlier version, which kept no names of users and "
                "items, and the data at hand are not those that it was trained on"
                f"{f' ({shown})' if shown else ' (other names, or another order)'}: its vectors "
                "would go to the wrong items. Bring back the files (data_path), or train again."
            )

    def difference(self, dataset: Any) -> Difference | None:
        """How the data at hand differ from the run's; None where they do not, or cannot."""
        known = self.known
        if known is None or not hasattr(dataset, "digest"):
            return None
        then = known.data
        names = dataset.field2id_token
        new_users = np.asarray(names[dataset.uid_field], dtype=str)[len(known.users) :]
        there = {
            field: dataset.found_names(field) for field in (dataset.uid_field, dataset.iid_field)
        }
        gone_users = [
            name for name in known.users[1:].tolist() if name not in there[dataset.uid_field]
        ]
        gone_items = [
            name for name in known.items[1:].tolist() if name not in there[dataset.iid_field]
        ]
        same = then.get("digest") == dataset.digest
        if same and not (len(new_users) or gone_users or gone_items or dataset.new_items):
            return None
        return Difference(
            str(self.config["dataset"]),
            int(then.get("events", 0)),
            dataset.events_read,
            new_users.tolist(),
            gone_users,
            dataset.new_items,
            gone_items,
            dataset.left_out,
        )


def config_of(
    run_dir: Path,
    changes: Mapping[str, Any] | None,
    command_line: Sequence[str] | None = None,
) -> Config:
    """Return the settings that a run directory holds, changed.

    `command_line` is that of `Config`.
    """
    settings = run_dir / "config.yaml"
    check_file(run_dir, settings.name)
    if not settings.is_file():
        raise CheckpointError(
            f"'{settings}' is missing: without the settings of the run its model cannot be built."
        )
    # Whether pickles and code are trusted is for the one who asks to say, not for a folder.
    changes = {"trust_pickle": False, **(changes or {})}
    model = changes.pop("model", None)
    then = read_settings(settings)
    if model is None:
        check_model_is_known(then, run_dir)
    elif (name := registry.resolve(str(model)).name) != then.get("model"):
        raise ConfigError(f"'{run_dir}' holds a run of {then.get('model')}, not of {name}.")
    return Config(
        model=model,
        config_file_list=[str(settings)],
        config_dict=changes,
        command_line=command_line,
    )


def check_model_is_known(settings: Mapping[str, Any], run_dir: Path) -> None:
    """Refuse a run whose model's class is in a file that nobody named.

    Raises:
        ConfigError: with the option that names it. A folder must not choose what code runs.
    """
    source = settings.get("model_source")
    name = str(settings.get("model"))
    if source is None or registry.find(name) is not None or name in registry.installed_models():
        return
    raise ConfigError(
        f"'{run_dir}' holds a run of {name}, a model from outside this package "
        f"({source}). If you trust that code, name it: --model={source}"
    )


@with_settings_of_a_file
def load_data_and_model(
    model_file: str | os.PathLike,
    config_dict: Mapping[str, Any] | None = None,
    *,
    command_line: Sequence[str] | None = None,
) -> tuple[Any, ...]:
    """Load a run as `recbole.quick_start.load_data_and_model` does, by name.

    Args:
        model_file: a run directory, the model.safetensors in one, or a .pth that RecBole wrote.
        config_dict: settings to change, such as `data_path` on another machine.
        command_line: as of `Config`.

    Returns:
        (config, model, dataset, train_data, valid_data, test_data)

    Raises:
        CheckpointError: there is no finished run, a file of it is damaged, or it cannot be asked
            about these data.
    """
    saved = SavedRun.read(model_file, config_dict, command_line)
    dataset, *loaders = saved.data()
    _warn_of(saved.difference(dataset))
    return saved.config, saved.model(loaders[0]._dataset), dataset, *loaders


def load_data(
    run_dir: str | os.PathLike,
    config_dict: Mapping[str, Any] | None = None,
    *,
    command_line: Sequence[str] | None = None,
) -> tuple[Any, ...]:
    """(config, dataset, train_data, valid_data, test_data) of a run, without its model."""
    saved = SavedRun.read(run_dir, config_dict, command_line)
    dataset, *loaders = saved.data()
    _warn_of(saved.difference(dataset))
    return saved.config, dataset, *loaders


def _warn_of(difference: Difference | None) -> None:
    if difference is not None:
        getLogger("recbole_precise").warning("%s", difference.in_words())


@with_settings_of_a_file
def load_finished(
    run_dir: str,
    settings: Mapping[str, Any],
    items: str | None = None,
    *,
    whole_histories: bool = False,
) -> FinishedRun:
    """Load a run directory to be asked.

    Args:
        items: a file with new items (see `read_new_items`), which then follow the others.
        whole_histories: do not split the data; a user's whole history is what is asked about.

    Raises:
        CheckpointError: there is no finished run, or it cannot be asked about these data.
        ConfigError: a model that reads no text cannot rank new items.
    """
    saved = SavedRun.read(run_dir, dict(settings), command_line=[])
    if whole_histories and saved.known is not None:
        init_seed(saved.config["seed"], saved.config["reproducibility"])
        dataset = create_dataset(saved.config, saved.known, whole_histories=True)
        saved.check(dataset)
        loaders: tuple = ()
        if hasattr(dataset, "prepare_histories"):
            dataset.prepare_histories()
            model = saved.model(dataset)
        else:
            model, loaders = None, ()
    else:
        dataset, *parts = saved.data()
        loaders = tuple(parts)
        model = saved.model(loaders[0]._dataset)
    if model is not None:
        model.eval()
    config = saved.config
    known = np.asarray(dataset.field2id_token[dataset.iid_field], dtype=str)
    run = FinishedRun(config, model, dataset, loaders, known, difference=saved.difference(dataset))
    if items is None:
        return run
    if not hasattr(model, "extend_catalogue") or getattr(model, "text_encoder", None) is None:
        raise ConfigError(
            f"{config['model']} reads no text, so it knows nothing of new items: --items needs a "
            "run "
            "of a model with text, such as PRECISE-UT."
        )
    new = read_new_items(
        items,
        dataset.iid_field,
        set(known.tolist()),
        config["item_text"],
        **encoding_options(config),
    )
    run.readable = model.extend_catalogue(new.states)
    run.tokens = np.concatenate([known, np.asarray(new.tokens, dtype=str)])
    run.new_texts = new.texts
    blind = int((~run.readable).sum())
    if blind:
        getLogger("recbole_precise").warning(
            "%s: %s of %s items have no text that the model knows a word of; it treats them as "
            "items "
            "without text.",
            items,
            blind,
            len(new.tokens),
        )
    return run
