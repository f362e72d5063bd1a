"""Settings that cannot go together, each refused with one sentence before any data is read."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from recbole_precise import registry
from recbole_precise.config import model_files, our_file
from recbole_precise.config.known_keys import downloads
from recbole_precise.data.scenes import columns_read
from recbole_precise.errors import ConfigError, DataError, did_you_mean, shown
from recbole_precise.evaluation.list_metrics import LIST_METRICS, is_exact_metric, is_list_metric
from recbole_precise.evaluation.metrics import RANK_METRICS
from recbole_precise.files import output_file, output_folder
from recbole_precise.nn.gates import FREE_GATES
from recbole_precise.registry import Entry

BUNDLED = "ml-100k"  # RecBole carries it and reads it from its own folder, whatever data_path says.


def data_sets_in(folder: Path) -> list[str]:
    """Return the names of the data sets in a folder.

    They are its folders that hold an .inter file of their own name.
    """
    if not folder.is_dir():
        return []
    return sorted(
        path.name
        for path in folder.iterdir()
        if path.is_dir() and any(path.glob(f"{path.name}*.inter"))
    )


def check_dataset_exists(dataset: str, given: Mapping[str, Any]) -> None:
    """Refuse a data set whose .inter file is missing, and list those that are there."""
    if dataset == BUNDLED:
        return
    folder = Path(str(given.get("data_path") or "dataset/"))
    parts = given.get("benchmark_filename")
    wanted = (
        [f"{dataset}.{part}.inter" for part in parts]
        if isinstance(parts, list) and parts
        else [f"{dataset}.inter"]
    )
    missing = [name for name in wanted if not (folder / dataset / name).is_file()]
    if not missing:
        return
    if (folder / dataset).is_dir():
        raise DataError(
            f"Data set '{dataset}': the file '{folder / dataset / missing[0]}' is missing."
        )
    names = [*data_sets_in(folder), BUNDLED]
    address = downloads().get(dataset)
    offer = (
        f" RecBole's authors offer it at {address}: unpack it into '{folder / dataset}'."
        if address
        else ""
    )
    raise DataError(
        f"Data set '{dataset}' is not in data_path '{folder}' (there should be "
        f"'{folder / dataset / missing[0]}')."
        f"{offer or did_you_mean(dataset, names)} At hand: {', '.join(names)}."
    )


def check_additional_files(settings: Mapping[str, Any], model: str) -> None:
    """Refuse a missing file of additional features.

    GRU4RecKG and KSR, for example, need entity vectors.
    """
    for suffix in settings.get("additional_feat_suffix") or ():
        file = Path(settings["data_path"], f"{settings['dataset']}.{suffix}")
        if not file.is_file():
            raise DataError(
                f"{model} reads the file '{file.name}' (additional_feat_suffix), which is not in "
                f"'{file.parent.resolve()}'."
            )


def check(
    settings: Mapping[str, Any], entry: Entry, model_class: type, given: Mapping[str, Any]
) -> None:
    """Check all settings of a run together; `given` holds those that the user gave."""
    for rule in _RULES:
        rule(settings, entry, model_class, given)


def _variant(settings, entry: Entry, model_class, given) -> None:
    for key, value in entry.preset.items():
        if given.get(key, value) != value:
            raise ConfigError(
                f"{entry.name} is {entry.settings} with {key}: {value}, which {key}: "
                f"{given[key]} contradicts; say --model={entry.settings} to choose {key}."
            )


def _recipe(settings, entry: Entry, model_class, given) -> None:
    if (
        settings.get("recipe") == "paper"
        and entry.ours
        and not any(our_file("model", f"{name}.paper") for name in model_files(entry.settings))
    ):
        raise ConfigError(
            f"{entry.name} has no recipe 'paper'; leave recipe out or set it to best."
        )


def _resume(settings, entry, model_class, given) -> None:
    for key in ("run_dir", "checkpoint_dir"):
        if settings.get(key) is not None:
            settings[key] = str(output_folder(str(settings[key]), key))
    if settings.get("result_file") is not None:
        output_file(str(settings["result_file"]), "result_file", replaces=".json")
    if settings.get("resume") and not settings.get("run_dir"):
        raise ConfigError("resume needs run_dir, the directory of the run to go on with.")


def _metric_names(settings) -> list[str]:
    metrics = settings["metrics"]
    return [metrics] if isinstance(metrics, str) else list(metrics)


def _metrics(settings, entry, model_class, given) -> None:
    """Check that metrics exist, cut-offs are counts, and early stopping's metric is computed."""
    from recbole.evaluator import metric_types, metrics_dict

    known = {cls.__name__ for cls in metrics_dict.values()}
    names, topk = _metric_names(settings), settings["topk"]
    if not names:
        raise ConfigError("metrics must name at least one metric.")
    for name in names:
        if not isinstance(name, str) or name.lower() not in metric_types:
            raise ConfigError(
                f"metrics: there is no metric {shown(name)}.{did_you_mean(shown(name), known)}"
            )
    kinds = {metric_types[name.lower()] for name in names}
    if len(kinds) > 1:
        raise ConfigError(
            f"metrics: {', '.join(names)} cannot be computed together, some rank items and some "
            "rate pairs; choose one kind."
        )
    cuts = [topk] if isinstance(topk, int) else topk
    if not cuts or not all(isinstance(k, int) and not isinstance(k, bool) and k > 0 for k in cuts):
        raise ConfigError(f"topk must be a count above 0 or a list of them, not {topk!r}.")
    possible = {f"{name}@{k}".lower(): f"{name}@{k}" for name in names for k in cuts} | {
        name.lower(): name for name in names if name.lower() in _WITHOUT_CUT
    }
    if settings["valid_metric"].lower() not in possible:
        raise ConfigError(
            f"valid_metric '{settings['valid_metric']}' is not among the metrics computed: "
            f"{', '.join(possible.values())}; change valid_metric, metrics or topk."
        )


_WITHOUT_CUT = {"gauc", "auc", "mae", "rmse", "logloss"}


def _evaluator(settings, entry, model_class, given) -> None:
    if settings.get("evaluator") == "exact" and not exact_ranks_suffice(settings):
        raise ConfigError(
            "evaluator: exact ranks the whole catalogue for one target per row (metrics "
            f"{', '.join((*RANK_METRICS, *LIST_METRICS))}; "
            "eval_args mode full; sequential models); set evaluator: recbole or leave it out."
        )
    lists = [name for name in _metric_names(settings) if is_list_metric(name)]
    if (
        lists
        and _is_sequential(settings)
        and not exact_ranks_suffice(settings)
        and given.get("evaluator") != "recbole"
    ):
        raise ConfigError(
            f"metrics: {', '.join(lists)} are right over lists from the whole catalogue alone: "
            "set eval_args mode: full and leave "
            "out metrics that are no ranks (GAUC), or say evaluator: recbole for RecBole's "
            "numbers, which count the padding item."
        )


def exact_ranks_suffice(settings: Mapping[str, Any]) -> bool:
    """Return whether exact ranks and the top lists give everything that is asked for.

    The ranks are those of one target per row among all items.
    """
    modes = settings["eval_args"].get("mode", "full")
    whole = all(mode == "full" for mode in (modes.values() if isinstance(modes, dict) else [modes]))
    return (
        _is_sequential(settings)
        and whole
        and all(is_exact_metric(str(name)) for name in _metric_names(settings))
    )


def _is_sequential(settings) -> bool:
    return getattr(settings.get("MODEL_TYPE"), "name", None) == "SEQUENTIAL"


def _is_share(value: Any) -> bool:
    return (
        isinstance(value, (int, float))
        and not isinstance(value, bool)
        and value >= 0
        and math.isfinite(value)
        and value < 1e9
    )


_EVAL_ARGS = ("split", "group_by", "order", "mode")
_MODE = re.compile(r"full|labeled|(uni|pop)[1-9]\d{0,5}")


def _eval_args(settings, entry, model_class, given) -> None:
    """Check that the split is one of RecBole's, and that sequences are split in order of time."""
    args = settings["eval_args"]
    for key in args:
        if key not in _EVAL_ARGS:
            raise ConfigError(
                f"eval_args: unknown key '{key}'.{did_you_mean(str(key), _EVAL_ARGS)}"
            )
    split = args.get("split")
    if not isinstance(split, dict) or len(split) != 1:
        raise ConfigError(
            "eval_args: split must be one of {RS: [0.8, 0.1, 0.1]}, {TS: [0.8, 0.1, 0.1]} "
            f"or {{LS: valid_and_test}}, not {split!r}."
        )
    ((kind, value),) = split.items()
    if kind in ("RS", "TS"):
        if (
            not isinstance(value, (list, tuple))
            or len(value) != 3
            or not all(_is_share(x) for x in value)
            or sum(value) <= 0
        ):
            raise ConfigError(
                f"eval_args: split {kind} needs three shares for training, validation and test "
                f"such as [0.8, 0.1, 0.1], not {value!r}."
            )
    elif kind == "LS":
        if value not in ("valid_and_test", "valid_only", "test_only"):
            raise ConfigError(
                "eval_args: split LS must be valid_and_test, valid_only or test_only, not "
                f"{value!r}."
            )
    elif kind == "DAYS":
        if (
            not isinstance(value, (list, tuple))
            or len(value) != 2
            or not all(type(x) is int and x >= 0 for x in value)
            or not sum(value)
        ):
            raise ConfigError(
                "eval_args: split DAYS needs two numbers of days, for validation and for test, "
                f"such as [1, 1], not {value!r}."
            )
        if not _is_sequential(settings):
            raise ConfigError(
                f"eval_args: the split DAYS is for models of sequences; {entry.name} takes "
                "RecBole's RS (by share), TS (by time) or LS (leave one out)."
            )
        if settings.get("time_order") == "recbole":
            raise ConfigError(
                "eval_args: the split DAYS needs the times as read; leave out time_order: "
                "recbole, which rounds them."
            )
    else:
        raise ConfigError(
            f"eval_args: unknown split '{kind}'; RecBole has RS (by share), TS (by time) and LS "
            "(leave one out), and there is DAYS (the last days)."
        )
    if args.get("order") not in ("RO", "TO", None):
        raise ConfigError(
            f"eval_args: order must be TO (by time) or RO (random), not {args['order']!r}."
        )
    if _is_sequential(settings) and args.get("order") != "TO":
        raise ConfigError(
            f"eval_args: {entry.name} learns from sequences, so order must be TO (by time)."
        )
    if args.get("group_by") not in ("user", "none", None):
        raise ConfigError(f"eval_args: group_by must be user or none, not {args['group_by']!r}.")
    modes = args.get("mode", "full")
    for phase in modes if isinstance(modes, dict) else ():
        if phase not in ("valid", "test"):
            raise ConfigError(
                "eval_args: mode has the parts valid and test, not "
                f"{phase!r}.{did_you_mean(str(phase), ('valid', 'test'))}"
            )
    for mode in modes.values() if isinstance(modes, dict) else [modes]:
        if not isinstance(mode, str) or not _MODE.fullmatch(mode):
            raise ConfigError(
                "eval_args: mode must be full, uni<number>, pop<number> (a number below a "
                f"million) or labeled, not {mode!r}."
            )
    if _is_sequential(settings) and settings.get("repeatable") is False:
        raise ConfigError(
            f"repeatable must be True for {entry.name}: RecBole evaluates sequences only with "
            "repeats; mask_history leaves out seen items."
        )


def _rows(settings, entry, model_class, given) -> None:
    length, stride = settings["MAX_ITEM_LIST_LENGTH"], settings.get("window_stride")
    if stride is not None and stride > length:
        raise ConfigError(
            f"window_stride {stride} is longer than a window (MAX_ITEM_LIST_LENGTH {length}): "
            "targets between windows would never be trained."
        )
    windows = getattr(model_class, "trains_on_windows", False)
    if settings.get("train_rows") == "windows" and not windows:
        raise ConfigError(
            f"train_rows: windows needs a model that learns at all positions; {entry.name} "
            "learns from one target per row (prefixes)."
        )
    if (
        stride is not None
        and (settings.get("train_rows") == "prefixes" or not windows)
        and "window_stride" in given
    ):
        raise ConfigError("window_stride has no meaning with train_rows: prefixes.")


def _widths(settings, entry: Entry, model_class, given) -> None:
    if "match_width" not in settings:
        return
    id_size, token_size, heads = (
        settings["embedding_size"],
        settings["token_size"],
        settings["n_heads"],
    )
    width, formula = id_size + token_size, "embedding_size + token_size"
    if settings["variant"] in ("id", "llm") and not settings["match_width"]:
        width, formula = (
            (id_size, "embedding_size")
            if settings["variant"] == "id"
            else (token_size, "token_size")
        )
    if width % heads:
        raise ConfigError(
            f"{formula} = {width} cannot be shared evenly by n_heads = {heads}; choose n_heads "
            f"among the divisors of {width}."
        )


def _experts(settings, entry, model_class, given) -> None:
    experts, top = settings.get("n_experts"), settings.get("top_experts")
    if isinstance(experts, int) and isinstance(top, int) and top > experts:
        raise ConfigError(f"top_experts {top} is more than n_experts {experts}.")


def _targeted(settings, entry, model_class, given) -> None:
    if "targeted_rows" not in settings:
        return
    if settings.get("train_rows"):
        raise ConfigError(
            f"train_rows: {settings['train_rows']} says nothing for {entry.name}: universal "
            "training has windows, targeted training what targeted_rows says."
        )
    if settings["targeted_rows"] == "windows" and settings["targeted_attention"] == "full":
        raise ConfigError(
            "targeted_rows: windows needs the causal mask, without which a position sees its own "
            "target: set targeted_rows: prefixes or targeted_attention: causal."
        )


def _softmax(settings, entry: Entry, model_class, given) -> None:
    if entry.ours and settings.get("softmax") == "sampled":
        if settings.get("label_smoothing"):
            raise ConfigError(
                "label_smoothing needs the full softmax; set softmax: full or label_smoothing: 0."
            )
        if settings.get("target_horizon", 1) > 1:
            raise ConfigError(
                "target_horizon needs the full softmax; set softmax: full or target_horizon: 1."
            )
    if entry.ours and settings.get("train_neg_sample_args") is not None:
        raise ConfigError(
            f"train_neg_sample_args must be empty for {entry.name}: it draws its own negatives "
            "(n_negatives, negative_source)."
        )


def _normalisation(settings, entry, model_class, given) -> None:
    if settings.get("normalize_field") and settings.get("normalize_all"):
        raise ConfigError(
            "normalize_field and normalize_all cannot both be set; unset one of them."
        )


def _columns(settings, entry, model_class, given) -> None:
    """Check that a sequence has its user, item and time columns."""
    columns = (settings.get("load_col") or {}).get("inter")
    if (
        not _is_sequential(settings)
        or not isinstance(columns, (list, tuple))
        or settings.get("benchmark_filename")
    ):
        return
    for key in ("USER_ID_FIELD", "ITEM_ID_FIELD", "TIME_FIELD"):
        if settings[key] not in columns:
            raise ConfigError(
                f"load_col: inter lists no column {shown(settings[key])} ({key}), which "
                f"{entry.name} needs.{did_you_mean(settings[key], map(str, columns))}"
            )


def load_scene_columns(settings: dict[str, Any]) -> None:
    """Add the columns that define the scenes to load_col, which a user need not repeat."""
    load = settings.get("load_col")
    if load and isinstance(load.get("inter"), (list, tuple)):
        read = columns_read(settings)
        for column, key in read.items():
            if not str(column).strip():
                raise ConfigError(f"{key} must name a column of .inter, not {shown(column)}.")
        missing = [column for column in read if column not in load["inter"]]
        settings["load_col"] = {**load, "inter": [*load["inter"], *missing]}


def _scenes(settings, entry: Entry, model_class, given) -> None:
    """Check that scenes can be distinguished, and there is a target to view them from."""
    rules = columns_read(settings)  # which reads the rules
    target = settings.get("target_scene")
    if target is None:
        if settings.get("scene_view"):
            raise ConfigError(
                f"scene_view: {settings['scene_view']} says nothing without target_scene, the "
                "scene that is evaluated."
            )
        return
    if not rules:
        raise ConfigError(
            f"target_scene '{target}' needs scene_field (a token column of .inter that names "
            f'scenes) or scene_rules, such as {{{target}: "rating >= 4"}}.'
        )
    if not settings.get("scene_field") and target not in map(str, settings["scene_rules"]):
        names = [str(name) for name in settings["scene_rules"]]
        raise ConfigError(
            f"target_scene '{target}' is no rule in scene_rules.{did_you_mean(target, names)} "
            f"Rules: {', '.join(names)}."
        )
    if not _is_sequential(settings):
        raise ConfigError(f"target_scene is for models of sequences; {entry.name} is none.")
    if settings.get("benchmark_filename"):
        raise ConfigError(
            "target_scene cannot be split beforehand (benchmark_filename); remove one of the two "
            "keys."
        )


def _holdout(settings, entry: Entry, model_class, given) -> None:
    """Items and users are held out of sequences, by this package's dataset."""
    key = next((key for key in ("holdout_items", "holdout_users") if settings.get(key)), None)
    if key is None:
        return
    import recbole.data.dataset

    if not _is_sequential(settings) or (
        hasattr(recbole.data.dataset, f"{entry.name}Dataset") and not entry.ours
    ):
        raise ConfigError(
            f"{key} takes events out of training sequences, which {entry.name} does not read "
            "through this package's dataset: leave it out."
        )
    if settings.get("benchmark_filename"):
        raise ConfigError(f"{key} needs a split by eval_args: remove benchmark_filename.")


def _pad(settings, entry: Entry, model_class, given) -> None:
    """Check the settings of PAD and its rivals.

    The backbone exists, its width can be shared by the heads, and the phases and experts can be
    trained.
    """
    if not entry.ours or "backbone" not in settings:
        return
    name = settings["backbone"]
    own = name.lower() == "transformer"
    found = None
    if not own:
        found = registry.find(name)
        if found is None or found.ours or ".sequential_recommender." not in found.target:
            names = ["transformer", *registry.sequential_names()]
            raise ConfigError(
                "backbone must be transformer or a sequential model of RecBole such as SASRec, "
                f"GRU4Rec or Caser, not '{name}'.{did_you_mean(name, names)}"
            )
    width, heads = settings["embedding_size"], settings["n_heads"]
    if (own or (found is not None and found.name == "SASRec")) and width % heads:
        raise ConfigError(
            f"embedding_size {width} cannot be shared evenly by n_heads = {heads}; choose "
            f"n_heads among the divisors of {width}."
        )
    for key in ("experts", "phases"):
        if not settings[key] or len(set(settings[key])) < len(settings[key]):
            raise ConfigError(
                f"{key} must name at least one of them, each once, not {settings[key]!r}."
            )
    parts = settings["infonce_subvectors"]
    if parts > 1 and settings["align_kernel"] != "infonce":
        raise ConfigError(
            f"infonce_subvectors: {parts} says nothing with align_kernel: "
            f"{settings['align_kernel']}; set align_kernel: infonce or leave it out."
        )
    for key in ("infonce_subvectors", "cross_heads"):
        if width % settings.get(key, 1):
            raise ConfigError(
                f"embedding_size {width} cannot be shared evenly by {key} = {settings[key]}."
            )
    if settings["late_weight"] is not None and settings["gate"] not in FREE_GATES:
        raise ConfigError(
            "late_weight needs a gate whose first weights can be chosen, "
            f"{' or '.join(FREE_GATES)}, not gate: {settings['gate']}; change one of them."
        )
    if (
        settings["experts"] == ["text"]
        and settings["pretrained_expert"] != "text"
        and "finetune" not in settings["phases"]
    ):
        raise ConfigError(
            "The text expert alone is trained in the phase finetune, which phases leaves out."
        )


def _text_form(settings, entry: Entry, model_class, given) -> None:
    """Check that the model can read texts in this form.

    Trained token vectors are a form for the towers of PAD and its rivals, codes one for the others.
    """
    if not entry.ours or "text_form" not in settings:
        return
    form, towers = settings["text_form"], "backbone" in settings
    forms = (
        ("vectors",)
        if entry.name == "LLM-ESR"
        else ("vectors", "tokens")
        if towers
        else ("vectors", "codes")
    )
    if form not in forms:
        hint = "." if towers else "; PRECISE-LLM and PRECISE-Pool have trained token vectors."
        raise ConfigError(
            f"text_form must be {' or '.join(forms)} for {entry.name}, not '{form}'{hint}"
        )
    if form == "tokens" and settings["text_mlp_layers"]:
        raise ConfigError(
            f"text_mlp_layers: {settings['text_mlp_layers']} says nothing with text_form: "
            "tokens, which has no MLP; set it to 0."
        )


def _memory(settings, entry: Entry, model_class, given) -> None:
    """Check that transitions are not counted twice and that the loss can take the memory."""
    if not entry.ours or settings.get("transition_memory") is None:
        return
    if settings.get("neighbour_transitions"):
        weight = settings["neighbour_transitions"]
        raise ConfigError(
            f"transition_memory is the trained form of neighbour_transitions (here {weight:g}): "
            "set neighbour_transitions: 0, or leave transition_memory out."
        )
    if settings.get("gate") == "expert_output" and settings["loss"] == "softmax":
        raise ConfigError(
            "transition_memory does not go with gate: expert_output under the softmax over all "
            "items; choose another gate or loss: bce."
        )


def reads_text_vectors(settings: Mapping[str, Any]) -> bool:
    """Whether a model that knows `text_tuning` has text vectors to tune with these settings."""
    return settings.get("text_form") != "tokens" and bool(
        {"aligned", "text"} & set(settings.get("experts", ("text",)))
    )


def _text_tuning(settings, entry: Entry, model_class, given) -> None:
    """Check that there are text vectors to tune where settings say how to tune them."""
    if not entry.ours or "text_tuning" not in settings:
        return
    if settings["text_tuning"] in (None, "none"):
        idle = next(
            (
                key
                for key in settings
                if key.startswith("text_tuning_") and settings[key] is not None
            ),
            None,
        )
        if idle:
            raise ConfigError(
                f"{idle}: {settings[idle]} says nothing without text_tuning: cooccurrence; set "
                f"that, or leave {idle} out."
            )
    elif not reads_text_vectors(settings):
        if settings["text_form"] == "tokens":
            raise ConfigError(
                f"text_tuning: {settings['text_tuning']} tunes one vector an item, and "
                "text_form: tokens reads none; leave one of the two out."
            )
        raise ConfigError(
            f"text_tuning: {settings['text_tuning']} has no text vectors to tune with experts: "
            f"[{', '.join(settings['experts'])}]; add aligned or text, or leave it out."
        )


_RULES = (
    _variant, _recipe, _resume, _metrics, _eval_args, _evaluator, _rows, _widths, _experts,
    _targeted, _softmax, _normalisation, _columns, _scenes, _holdout, _pad, _text_form, _memory,
    _text_tuning,
)  # fmt: skip
