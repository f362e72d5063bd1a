"""RecBole's Config with our defaults, and with every mistake found before any data is read.

Precedence as in RecBole: command line, then `config_dict`, then config files, then defaults.
Defaults are RecBole's own, then ours: properties/overall.yaml, properties/model/<Name>.yaml (our
models alone), properties/dataset/<data set>.yaml (every model, so that all share a vocabulary and a
protocol).
"""

from __future__ import annotations

import copy
import functools
import logging
import os
import sys
from collections.abc import Iterable, Mapping
from datetime import timedelta
from typing import Any

from recbole.config import Config as RecBoleConfig
from recbole.utils import ModelType

from recbole_precise import registry
from recbole_precise.config import (
    SettingsLoader,
    model_settings,
    our_settings,
    parse_value,
    read_settings,
    schema,
    settings_class,
    written_here,
)
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.config.key import Key
from recbole_precise.config.known_keys import (
    COMMAND_LINE,
    our_keys,
    recbole_keys,
    unknown_key,
)
from recbole_precise.errors import ConfigError, shown
from recbole_precise.plugin.checks import rules
from recbole_precise.plugin.checks.heeded import check_heeded
from recbole_precise.plugin.checks.known_keys import keys_of_model
from recbole_precise.plugin.checks.shapes import Given, check_shapes
from recbole_precise.plugin.launch import MEETING_SECONDS, under_torchrun

logger = logging.getLogger("recbole_precise")

DICT = "in config_dict"

_CATEGORIES = {
    "Run": (
        "recipe",
        "run_dir",
        "result_file",
        "resume",
        "checkpoint_seconds",
        "threads",
        "log_flops",
        "tensorboard",
        "trust_pickle",
    ),
    "Steps": (
        "amp_dtype",
        "lr_schedule",
        "warm_start",
        "train_minutes",
        "train_clock",
        "keep_freed_memory",
        "warmup_steps",
    ),
    "Sequence": (
        "train_rows",
        "window_stride",
        "window_shift",
        "sequence_fields",
        "time_order",
        "tie_break",
        "tie_seed",
    ),
    "Scenes": ("scene_field", "scene_rules", "target_scene", "scene_view"),
    "Ranking": ("evaluator", "mask_history", "score_budget_mb", "slices"),
    "Cold items": ("holdout_items", "holdout_users", "holdout_by", "holdout_seed"),
}

#: Columns that RecBole loads of a data set that it does not know; a sequence needs times as well.
_WITHOUT_TIMES = {"inter": ["user_id", "item_id"]}


def _union(first: Mapping[str, list], second: Mapping[str, list]) -> dict[str, list]:
    """Columns to load that are in either mapping."""
    return {
        suffix: list(dict.fromkeys([*first.get(suffix, ()), *second.get(suffix, ())]))
        for suffix in {**first, **second}
    }


@functools.cache
def _defaults_in(file: str) -> dict[str, Any]:
    return read_settings(file)


def _check_text(key: str, value: Any, where: str) -> None:
    """Refuse text that no file and no path can hold, in a value and in all that it contains."""
    if isinstance(value, str):
        if "\x00" in value or (
            not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value)
        ):
            raise ConfigError(
                f"{shown(key)} ({where}) holds a character that is no text: {ascii(value)[:80]}."
            )
    elif isinstance(value, (list, tuple)):
        for part in value:
            _check_text(key, part, where)
    elif isinstance(value, dict):
        for name, part in value.items():
            _check_text(key, name, where)
            _check_text(key, part, where)


def _name_of_number(key: str, value: int | float, where: str) -> str:
    """Return a number that is given where a name is wanted, as text."""
    try:
        return str(value)
    except ValueError:  # more digits than Python prints
        raise ConfigError(f"{key} ({where}) must be text, not {shown(value)}.") from None


class Config(RecBoleConfig):
    """Settings of a run, read as `config["key"]`.

    Args:
        model: name of a model (case, hyphens and underscores do not matter) or a model class.
        dataset: name of a data set: the folder `<data_path>/<dataset>` with `<dataset>.inter` in
            it.
        config_file_list: YAML files; a later one overrides an earlier one.
        config_dict: settings that override those of files.
        drawn: keys of `config_dict` that a search drew; they may be idle beside the other values of
            their trial.
        command_line: arguments `--key=value`, which override everything else; unknown ones are
            refused. None reads sys.argv, as RecBole does, and skips those that it does not know.

    Raises:
        ConfigError, DataError: on a mistake in the settings, before any data is read.
    """

    parameters: dict[str, list[str]]

    def __init__(
        self,
        model: str | type | None = None,
        dataset: str | None = None,
        config_file_list: list[str] | None = None,
        config_dict: Mapping[str, Any] | None = None,
        *,
        drawn: Iterable[str] = (),
        command_line: Iterable[str] | None = None,
    ) -> None:
        self._command_line = None if command_line is None else list(command_line)
        self._where: dict[str, str] = {}
        # Keys that were not chosen for this run: drawn by a search, or repeated from a file that
        # this package wrote.
        self._unchosen: dict[str, bool] = {}
        self._drawn = list(drawn)
        self._ignorable: set[str] = set()
        if isinstance(config_file_list, (str, os.PathLike)):
            config_file_list = [config_file_list]
        super().__init__(model, dataset, config_file_list, dict(config_dict or {}))

    # --- What the user gave -------------------------------------------------------------------

    def _init_parameters_category(self) -> None:
        super()._init_parameters_category()
        # Copies: RecBole appends to lists that every Config of the process shares.
        self.parameters = {name: list(keys) for name, keys in self.parameters.items()}
        self.parameters.update({name: list(keys) for name, keys in _CATEGORIES.items()})
        self.parameters["Text"] = [key for key in schema.OVERALL if "text" in key]

    def _build_yaml_loader(self):
        return SettingsLoader

    def _load_config_files(self, file_list) -> dict[str, Any]:
        merged: dict[str, Any] = {}
        for file in file_list or ():
            read = self._convert_config_dict(read_settings(file), f"in '{file}'", typed=True)
            if written_here(file):
                self._unchosen.update(dict.fromkeys(read, True))
            merged.update(read)
        return merged

    def _load_variable_config_dict(self, config_dict) -> dict[str, Any]:
        converted = self._convert_config_dict(config_dict or {}, DICT)
        self._unchosen.update(dict.fromkeys(self._drawn, True))
        return converted

    def _load_cmd_line(self) -> dict[str, Any]:
        if self._command_line is not None:
            pairs = parse_arguments(self._command_line, strict=True)
        elif "ipykernel_launcher" in sys.argv[0]:
            return {}
        else:
            pairs = parse_arguments(sys.argv[1:], strict=False)
            self._ignorable = set(pairs)
        return self._convert_config_dict(pairs, COMMAND_LINE)

    @property
    def command_line(self) -> list[str] | None:
        """The arguments that a command was given, None where there was no command."""
        return self.__dict__.get("_command_line")

    def _convert_config_dict(
        self, config_dict, where: str = DICT, typed: bool = False
    ) -> dict[str, Any]:
        """Return the settings with texts turned into values; remember where each came from.

        YAML has given the values of a file their types already (`typed`); RecBole's tuning hands
        over lists as texts.
        """
        converted = {}
        for key, value in config_dict.items():
            _check_text(key, key, where)
            _check_text(key, value, where)
            entry = schema.known_key(key)
            if isinstance(value, str) and not typed:
                value = parse_value(value, entry.types if entry else ())
            if (
                entry is not None
                and entry.types == ("str",)
                and isinstance(value, (int, float))
                and not isinstance(value, bool)
            ):
                value = _name_of_number(
                    key, value, where
                )  # a data set, a folder or a column may be named by a number
            converted[key] = value
            self._where[key] = where
            self._unchosen.pop(key, None)
        return converted

    # --- Model, data set and defaults ---------------------------------------------------------

    def _get_model_and_dataset(self, model, dataset):
        given = self.external_config_dict
        model = model if model is not None else given.get("model")
        dataset = dataset if dataset is not None else given.get("dataset")
        if model is None:
            raise ConfigError(
                "No model was given: say --model=PRECISE-UT, or any model of RecBole."
            )
        if dataset is None:
            raise ConfigError(
                "No data set was given: say --dataset=ml-100k, or the name of a folder in "
                "data_path."
            )
        dataset = str(dataset)
        entry = (
            registry.resolve(model) if isinstance(model, str) else registry.entry_of_class(model)
        )
        if entry.source is not None:
            # Known by its class alone; a finished run says where that is.
            given["model_source"] = entry.source
            self._unchosen["model_source"] = True
        rules.check_dataset_exists(dataset, given)
        return entry.name, entry.load() if isinstance(model, str) else model, dataset

    @property
    def entry(self) -> registry.Entry:
        """The model's entry in the registry."""
        # Looked up each time: what a Config keeps as an attribute goes into the checkpoints of
        # RecBole's trainers.
        named = registry.find(self.model)
        return (
            named
            if named is not None and named.load() is self.model_class
            else registry.entry_of_class(self.model_class)
        )

    def _load_internal_config_dict(self, model, model_class, dataset) -> None:
        # A class derived from a model of RecBole's begins with that model's defaults.
        stock = model if self.entry.ours else self.entry.settings
        super()._load_internal_config_dict(stock, model_class, dataset)
        self._check_keys(model_class)
        recipe = self.external_config_dict.get("recipe", "best")
        columns, split = (
            self.internal_config_dict.get("load_col"),
            self.internal_config_dict["eval_args"],
        )
        self.internal_config_dict.update(our_settings(self.entry, dataset, recipe))
        if dataset == rules.BUNDLED and not self.entry.ours:
            # RecBole gives some models (SASRecF, FDSA, DIN, ...) more columns of ml-100k than our
            # protocol needs.
            self.internal_config_dict["load_col"] = _union(
                columns, self.internal_config_dict["load_col"]
            )
        if not self.entry.ours and split.get("mode", "full") != "full":
            # DIN and DIEN rate pairs against sampled items; their metrics exist for no other mode.
            self.internal_config_dict["eval_args"] = {
                **self.internal_config_dict["eval_args"],
                "mode": split["mode"],
            }

    def _update_internal_config_dict(self, file) -> dict[str, Any]:
        """RecBole's own defaults, each of its files read once a process."""
        content = copy.deepcopy(_defaults_in(os.path.realpath(file)))
        self.internal_config_dict.update(content)
        return content

    def _check_keys(self, model_class: type) -> None:
        """Refuse keys that nobody reads and values that a key does not take.

        Pass over foreign arguments of a script.
        """
        own = keys_of_model(self.entry, model_class)
        known = recbole_keys() | our_keys() | own.keys()
        for key in list(self.external_config_dict):
            where = self._where.get(key, DICT)
            if key not in known and self.entry.ours and key in model_settings(self.entry.settings):
                if self._unchosen.get(key):
                    continue  # a finished run repeats what its model took over and does not read
                if where == DICT or self.entry.preset:
                    # One dict serves several models, and one command the variants of a model.
                    logger.warning(
                        "%s does nothing for %s: it never reads it.", key, self.entry.name
                    )
                    continue
            if key not in known:
                if key in self._ignorable and where == COMMAND_LINE:
                    logger.warning(
                        "--%s is no setting of RecBole or of this package and is passed over.", key
                    )
                    del self.external_config_dict[key]
                    continue
                raise unknown_key(key, where, self.entry, known)
            entry = self.key_of(key, own)
            if entry is not None:
                entry.check(key, self.external_config_dict[key], where)

    def key_of(self, name: str, own: Mapping[str, Any]) -> Key | None:
        """Return the values that a key takes for this model."""
        declared = settings_class(self.entry.settings).declared().get(name)
        if declared is not None and name not in schema.RECBOLE and name not in schema.OVERALL:
            return declared.key
        return schema.entry_for(name, ours=self.entry.ours, default=own.get(name))

    def _get_final_config_dict(self) -> dict[str, Any]:
        final = super()._get_final_config_dict()
        given = self.external_config_dict
        if isinstance(given.get("eval_args"), dict):
            # RecBole replaces the mapping whole, so that naming the mode alone would lose the order
            # of time.
            final["eval_args"] = {**self.internal_config_dict["eval_args"], **given["eval_args"]}
        sequential = final["MODEL_TYPE"] == ModelType.SEQUENTIAL
        if sequential and "load_col" not in given and final["load_col"] == _WITHOUT_TIMES:
            final["load_col"] = {
                "inter": [final["USER_ID_FIELD"], final["ITEM_ID_FIELD"], final["TIME_FIELD"]]
            }
        if sequential:
            rules.load_scene_columns(final)
        if sequential and final["eval_args"].get("order") != "TO" and "eval_args" not in given:
            # RecBole gives GRU4RecKG and KSR no split of their own, and refuses the general one for
            # sequences.
            final["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
        if (
            sequential
            and final.get("loss_type") == "CE"
            and not hasattr(self.model_class, "input_type")
            and "train_neg_sample_args" not in given
        ):
            final["train_neg_sample_args"] = (
                None  # RecBole's default draws negatives and then refuses them
            )
        if "evaluator" not in given and not rules.exact_ranks_suffice(final):
            final["evaluator"] = (
                "recbole"  # sampled candidates, ratings, or several targets per user
            )
        if (
            final.get("text_tuning")
            and "text_tuning" not in given
            and not rules.reads_text_vectors(final)
        ):
            final["text_tuning"] = (
                # the data set's best settings, which know nothing of the user's choice of experts
                None
            )
        check_shapes(Given(final, self.dataset, self.where))
        rules.check(final, self.entry, self.model_class, given)
        asked = {key: value for key, value in given.items() if not self._unchosen.get(key)}
        # Programs hand one dict to several models, and variants of a model share a command.
        shared = {key for key in asked if self._where.get(key) == DICT or self.entry.preset}
        check_heeded(
            final,
            self.entry,
            self.model_class,
            self.dataset,
            asked,
            self.internal_config_dict,
            self.where,
            shared,
        )
        return final

    def _set_default_parameters(self) -> None:
        try:
            super()._set_default_parameters()
        except (ValueError, TypeError, RuntimeError, NotImplementedError) as error:
            raise ConfigError(str(error)) from error  # what RecBole itself refuses
        rules.check_additional_files(self.final_config_dict, self.model)

    # --- Device -------------------------------------------------------------------------------

    def _init_device(self) -> None:
        """Choose the device.

        It is the CPU without use_gpu or gpu_id, and no GPU but those that CUDA_VISIBLE_DEVICES
        leaves.
        """
        import torch

        final = self.final_config_dict
        gpus = final["gpu_id"]
        gpus = (
            ",".join(map(str, gpus))
            if isinstance(gpus, (list, tuple))
            else ""
            if gpus is None
            else str(gpus)
        )
        final["gpu_id"] = gpus
        use_gpu = final["use_gpu"] and gpus != ""
        if use_gpu and "CUDA_VISIBLE_DEVICES" not in os.environ:
            os.environ["CUDA_VISIBLE_DEVICES"] = gpus
        if use_gpu and not torch.cuda.is_available():
            self._miss_gpu()
            use_gpu = False
        self._check_text_device()
        if "local_rank" not in final:
            final["single_spec"], final["local_rank"] = True, 0
            final["device"] = torch.device("cuda" if use_gpu else "cpu")
            return
        self._join_process_group(use_gpu)

    def _miss_gpu(self) -> None:
        """Handle a GPU that the user asked for and that is absent.

        It is an error, or a warning where RecBole's default is repeated.
        """
        for key, default in (("gpu_id", "0"), ("use_gpu", "True")):
            if key not in self.external_config_dict or self._unchosen.get(key):
                continue
            value = str(self.final_config_dict[key])
            message = f"{key}: {value} ({self.where(key)}) asks for a GPU, but torch finds none"
            if self.where(key) == COMMAND_LINE or value != default:
                raise ConfigError(f"{message}; leave {key} out to run on the CPU.")
            if not self.final_config_dict.get("local_rank"):
                logger.warning("%s: this run is on the CPU.", message)
            return

    def _check_text_device(self) -> None:
        """Refuse a text_device that is none, or that this machine lacks."""
        import torch

        name = self.final_config_dict.get("text_device")
        if name is None:
            return
        where = f"text_device: {shown(name)} ({self.where('text_device')})"
        try:
            device = torch.device(name)
        except (RuntimeError, ValueError) as error:
            raise ConfigError(f"{where} is no device of torch, such as cpu or cuda:0.") from error
        if device.type not in ("cpu", "cuda", "mps", "xpu"):
            raise ConfigError(
                f"{where} is no device that texts are encoded on; take cpu or cuda:0."
            )
        count = torch.cuda.device_count() if device.type == "cuda" else 1
        if device.type == "cuda" and (
            not torch.cuda.is_available() or (device.index or 0) >= count
        ):
            raise ConfigError(
                f"{where} asks for a GPU that torch does not find; leave it out, or set "
                "text_device: cpu."
            )

    def _join_process_group(self, use_gpu: bool) -> None:
        """RecBole's launch of several processes, over gloo where there is no GPU."""
        import torch

        final = self.final_config_dict
        rank = final["local_rank"]
        missing = [key for key in ("nproc", "world_size", "ip", "port") if key not in final]
        if missing:
            raise ConfigError(
                f"local_rank: {rank} ({self.where('local_rank')}) is for processes that were "
                f"launched together, and {', '.join(missing)} "
                "are not given: leave it out, and say --nproc, or start the command with torchrun."
            )
        if use_gpu and torch.cuda.device_count() < final["nproc"]:
            raise ConfigError(
                f"nproc is {final['nproc']}, but only {torch.cuda.device_count()} GPUs are "
                "visible; list as many in gpu_id."
            )
        rank_of_all, count = rank + (final.get("offset") or 0), final["world_size"]
        # torchrun's own process listens at its port already: only the environment tells how to meet
        # there.
        meeting = "env://" if under_torchrun() else f"tcp://{final['ip']}:{final['port']}"
        patience = timedelta(seconds=MEETING_SECONDS)
        try:
            # The store alone has the short patience: a process may wait for another's evaluation
            # longer than for its start.
            store, rank_of_all, count = next(
                torch.distributed.rendezvous(meeting, rank_of_all, count, timeout=patience)
            )
            store.set_timeout(patience)
            torch.distributed.init_process_group(
                backend="nccl" if use_gpu else "gloo",
                store=store,
                rank=rank_of_all,
                world_size=count,
            )
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise ConfigError(
                f"Process {rank_of_all} of {count} cannot meet the others at "
                f"{final['ip']}:{final['port']} within {MEETING_SECONDS} seconds: "
                f"{reason} Start all machines at about the same time, or choose another ip or port."
            ) from error
        final["single_spec"] = False
        final["device"] = torch.device("cuda", rank) if use_gpu else torch.device("cpu")
        if use_gpu:
            torch.cuda.set_device(rank)
        if rank_of_all != 0:
            final.update(state="error", show_progress=False, verbose=False, log_wandb=False)

    def where(self, key: str) -> str:
        """Where the value of a key comes from, in words."""
        return self._where.get(key, "default")
