"""A finished run as tables read it.

Nothing that its files say is believed before it fits the other files.

result.json holds what ranks.npz says again as metrics, config.yaml says how the run was made, and
state.json seals the settings that it was trained with. A number that was changed by hand, or a file
of another run, contradicts one of them.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from recbole_precise.config import read_settings
from recbole_precise.errors import CheckpointError, UserError
from recbole_precise.evaluation.list_metrics import NOT_A_SHARE, is_list_metric
from recbole_precise.evaluation.metrics import is_rank_metric, metrics_from_ranks
from recbole_precise.evaluation.ranks import Ranks
from recbole_precise.evaluation.test_cases import TestCases
from recbole_precise.runs.checkpoint import read_json
from recbole_precise.runs.folder import RunFolder
from recbole_precise.runs.identity import settings_identity
from recbole_precise.runs.manifest import check_file
from recbole_precise.runs.result import RANKS, RESULT, read_arrays

SETTINGS = "config.yaml"
SPLITS = ("valid", "test")
#: How far a metric of result.json may lie from what the ranks give.
TOLERANCE = 1e-12
#: Slices of one kind that share out all rows among them; `top20` and `rest80` leave out what was
#: never trained.
_PARTITIONS = (
    ("warm", "median", "cold", "unseen"),
    ("top20", "rest80", "unseen"),
    tuple(f"frequency_bucket_{number:02d}" for number in range(1, 11)),
    (
        "history_1_to_5",
        "history_6_to_10",
        "history_11_to_20",
        "history_21_to_50",
        "history_over_50",
    ),
    ("repeat_target", "new_target"),
    ("holdout", "kept"),
)
#: Metrics without an upper end.
_UNBOUNDED = NOT_A_SHARE | {"mae", "rmse", "logloss"}
_EXACT_TIES = "against the target"


@dataclass(frozen=True)
class CheckedRun:
    """A run whose files agree.

    Attributes:
        result: the content of result.json.
        ranks: split -> its ranks, by token; empty for a run that RecBole's evaluator judged.
        cases: the rows of the test split; None where there are no ranks to give them.
    """

    folder: Path
    result: dict[str, Any]
    ranks: Mapping[str, Ranks]
    cases: TestCases | None


def read_checked(folder: Path) -> CheckedRun:
    """Read result.json and ranks.npz of a run directory.

    Raises:
        CheckpointError: a file is missing, damaged, or contradicts another one; it says which,
            where and what to do.
    """
    folder = Path(folder)
    # Not `read_result`, which asks for the digest first: a contradiction says more, which number
    # and what it should be.
    result = read_json(folder / RESULT)
    _check_form(folder, result)
    _check_settings(folder, result)
    arrays = _read_ranks(folder, result)
    ranks = {
        split: _ranks_of(folder, result, arrays, split)
        for split in SPLITS
        if f"{split}_rank" in arrays
    }
    for split, found in ranks.items():
        _check_metrics(folder, result, split, found)
    _check_slices(folder, result, ranks)
    cases = None
    if "test" in ranks:
        cases = TestCases(ranks["test"].user_id, ranks["test"].target, arrays.get("test_history"))
        _check_cases(folder, result, cases)
    _check_digests(folder)
    return CheckedRun(folder, result, ranks, cases)


def _check_digests(folder: Path) -> None:
    """Hold the files against the run's manifest, where there is one."""
    for name in (RESULT, RANKS):
        if (folder / name).is_file():
            check_file(folder, name)


def _wrong(folder: Path, file: str, what: str) -> CheckpointError:
    return CheckpointError(
        f"'{folder / file}': {what} The file was changed, or is of another run. `recbole-precise "
        "evaluate "
        f"--run_dir={folder}` measures the run again; to put it right, delete '{folder}' and run "
        "it again."
    )


# --- The form of result.json ------------------------------------------------------------------


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_amount(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < math.inf


def _is_optional(is_kind: Any, value: Any) -> bool:
    return value is None or is_kind(value)


def _is_mapping(value: Any) -> bool:
    return isinstance(value, dict)


def _is_mapping_of(is_kind: Any, value: Any) -> bool:
    return isinstance(value, dict) and all(map(is_kind, value.values()))


def _is_list_of_mappings(value: Any) -> bool:
    return isinstance(value, list) and all(map(_is_mapping, value))


def _is_candidates(value: Any) -> bool:
    return _is_text(value) or (_is_count(value) and value > 0)


#: Key -> (whether a value is of its kind, that kind in words, whether older versions left the key
#: out).
_FORM: dict[str, tuple[Any, str, bool]] = {
    "model": (_is_text, "text", False),
    "dataset": (_is_text, "text", False),
    "recipe": (partial(_is_optional, _is_text), "text or null", False),
    "seed": (_is_count, "a whole number", False),
    "protocol": (_is_mapping, "a mapping", False),
    "valid": (_is_mapping, "a mapping", False),
    "test": (_is_mapping, "a mapping", False),
    "test_cases": (_is_mapping, "a mapping", True),
    "slices": (partial(_is_mapping_of, _is_mapping), "a mapping of mappings", False),
    "phases": (_is_list_of_mappings, "a list of mappings", False),
    "curve": (_is_list_of_mappings, "a list of mappings", True),
    "seconds": (partial(_is_mapping_of, _is_amount), "a mapping of numbers from 0 on", False),
    "parameters": (_is_count, "a whole number", False),
    "peak_memory_mb": (_is_amount, "a number from 0 on", False),
    "environment": (_is_mapping, "a mapping", False),
    "text_encoder": (partial(_is_optional, _is_mapping), "a mapping or null", False),
}
#: The same of the parts of result.json, by the key that holds them.
_PARTS: dict[str, dict[str, tuple[Any, str, bool]]] = {
    "protocol": {
        "split": (_is_mapping, "a mapping", False),
        "mask_history": (lambda value: isinstance(value, bool), "true or false", False),
        "ties": (_is_text, "text", False),
        "candidates": (_is_candidates, "a whole number above 0 or text", False),
        "target_scene": (partial(_is_optional, _is_text), "text or null", True),
    },
    "test_cases": {
        "rows": (_is_count, "a whole number", False),
        "history_length": (lambda value: isinstance(value, bool), "true or false", False),
        "sha256": (_is_text, "text", False),
        "user_item_sha256": (_is_text, "text", False),
    },
    "seconds": {"total": (_is_amount, "a number from 0 on", False)},
}
_OF_PHASE = {"epochs": (_is_count, "a whole number", False)}
_OF_EPOCH = {
    "epoch": (_is_count, "a whole number", False),
    "seconds": (_is_amount, "a number from 0 on", False),
    "valid": (partial(_is_optional, _is_mapping), "a mapping or null", False),
}


def _check_form(folder: Path, result: Mapping[str, Any]) -> None:
    """All keys that tables read are there and of their type, and every metric is in its range."""
    _check_keys(folder, result, _FORM, "")
    for key, form in _PARTS.items():
        if key in result:
            _check_keys(folder, result[key], form, f"{key}: ")
    for form, key in ((_OF_PHASE, "phases"), (_OF_EPOCH, "curve")):
        for number, record in enumerate(result.get(key, [])):
            _check_keys(folder, record, form, f"{key}[{number}]: ")
    for split in SPLITS:
        _check_range(folder, result[split], split)
    for number, record in enumerate(result.get("curve", [])):
        _check_range(folder, record["valid"] or {}, f"curve[{number}]: valid")
    for name, part in result["slices"].items():
        _check_keys(
            folder,
            part,
            {"n": (_is_count, "a whole number", False), "test": (_is_mapping, "a mapping", False)},
            f"slices: {name}: ",
        )
        _check_range(folder, part["test"], f"slices: {name}: test")


def _check_keys(
    folder: Path, content: Mapping[str, Any], form: Mapping[str, tuple[Any, str, bool]], where: str
) -> None:
    for key, (is_kind, words, missing_is_fine) in form.items():
        if key not in content:
            if missing_is_fine:
                continue
            raise _wrong(folder, RESULT, f"the key '{where}{key}' is missing.")
        if not is_kind(content[key]):
            raise _wrong(folder, RESULT, f"'{where}{key}' must be {words}, not {content[key]!r}.")


def _check_range(folder: Path, metrics: Mapping[str, Any], where: str) -> None:
    for metric, value in metrics.items():
        name, _, cut = metric.lower().partition("@")
        bounded = is_rank_metric(name) or is_list_metric(name)
        if bounded and not (cut.isdecimal() and int(cut) > 0):
            raise _wrong(
                folder,
                RESULT,
                f"'{where}' has a metric '{metric}', which has no cut-off from 1 on.",
            )
        if value is None and not is_rank_metric(name):
            continue  # RecBole's metrics, and those of empty lists, may be no number
        most = math.inf if name in _UNBOUNDED else 1.0
        if not _is_amount(value) or value > most + TOLERANCE:
            wanted = "from 0 on" if most == math.inf else "from 0 to 1"
            raise _wrong(
                folder, RESULT, f"'{where}: {metric}' must be a number {wanted}, not {value!r}."
            )


# --- Settings ---------------------------------------------------------------------------------


def _check_settings(folder: Path, result: Mapping[str, Any]) -> None:
    """config.yaml says what result.json says, and what the training was sealed with."""
    if not (folder / SETTINGS).is_file():
        return
    try:
        settings = read_settings(folder / SETTINGS)
    except UserError as error:
        raise _wrong(folder, SETTINGS, f"it cannot be read: {error}") from error
    protocol = result["protocol"]
    args = settings.get("eval_args")
    said: dict[str, tuple[Any, Any]] = {
        key: (settings[key], result[key])
        for key in ("model", "dataset", "seed", "recipe")
        if key in settings
    }
    if isinstance(args, dict) and "split" in args:
        said["eval_args: split"] = args["split"], protocol["split"]
    if "mask_history" in settings:
        said["mask_history"] = bool(settings["mask_history"]), protocol["mask_history"]
    if "target_scene" in settings:
        said["target_scene"] = settings["target_scene"], protocol.get("target_scene")
    if "evaluator" in settings:
        said["evaluator"] = settings["evaluator"] != "recbole", protocol["ties"] == _EXACT_TIES
    for key in ("holdout_items", "holdout_users"):
        if key in settings:
            said[key] = settings[key] or None, protocol.get(key)
    for key, (here, there) in said.items():
        if _as_read(here) != _as_read(there):
            raise _wrong(
                folder,
                SETTINGS,
                f"{key} is {here!r}, but '{folder / RESULT}' is of a run with {there!r}.",
            )
    _check_seal(folder, settings)


def _check_seal(folder: Path, settings: Mapping[str, Any]) -> None:
    """Check that config.yaml has the settings that state.json was written with.

    state.json carries a checksum of itself.
    """
    state = RunFolder(folder).load_final()
    if state is None or not isinstance(state.get("identity"), dict):
        return
    then = state["identity"].get("settings") or {}
    now = settings_identity(settings)
    for key in now.keys() & then.keys():
        if _as_read(now[key]) != _as_read(then[key]):
            raise _wrong(
                folder,
                SETTINGS,
                f"{key} is {now[key]!r}, but the run was trained with {then[key]!r} (state.json).",
            )


def _as_read(value: Any) -> Any:
    """Convert a value so that it compares whether it came from JSON or from YAML.

    Numbers as floats, keys as text.
    """
    if isinstance(value, bool) or value is None:
        return value
    if isinstance(value, (int, float)):
        return float(value)
    if isinstance(value, Mapping):
        return {str(key): _as_read(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_as_read(item) for item in value]
    return str(value)


# --- Ranks ------------------------------------------------------------------------------------


def _read_ranks(folder: Path, result: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Read the arrays of ranks.npz; an empty mapping for a run that was not ranked exactly."""
    exact = result["protocol"]["ties"] == _EXACT_TIES and any(map(_of_ranks, result["test"]))
    if not (folder / RANKS).exists():
        if exact:
            raise _wrong(
                folder,
                RANKS,
                f"it is missing, and nothing else can show that '{folder / RESULT}' is right.",
            )
        return {}
    arrays = read_arrays(folder / RANKS)
    if exact and "test_rank" not in arrays:
        raise _wrong(
            folder,
            RANKS,
            f"it holds no ranks of the split 'test', of which '{folder / RESULT}' has metrics.",
        )
    return arrays


def _of_ranks(metric: str) -> bool:
    return is_rank_metric(metric.partition("@")[0])


def _ranks_of(
    folder: Path, result: Mapping[str, Any], arrays: Mapping[str, np.ndarray], split: str
) -> Ranks:
    """Return the ranks of a split, if they can be ranks of the run's protocol."""
    fail = partial(_wrong, folder, RANKS)
    columns = {}
    for name, kinds in (("user", "U"), ("item", "U"), ("rank", "iu"), ("history", "iu")):
        if name == "history" and f"{split}_history" not in arrays:
            continue
        column = arrays.get(f"{split}_{name}")
        if column is None:
            raise fail(f"the column '{split}_{name}' is missing.")
        if column.ndim != 1 or column.dtype.kind not in kinds:
            wanted = "text" if kinds == "U" else "whole numbers"
            raise fail(
                f"'{split}_{name}' must be a column of {wanted}, not of {column.dtype} in the "
                f"shape {column.shape}."
            )
        columns[name] = column
    lengths = {f"{split}_{name}": len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise fail(f"its columns have different lengths: {lengths}.")
    for name in ("user", "item"):
        if (columns[name] == "").any() or (columns[name] == "[PAD]").any():
            raise fail(f"a row of '{split}_{name}' names nothing.")
    _check_rank_range(fail, result["protocol"], split, columns)
    if _one_row_a_user(folder, result["protocol"]):
        users, times = np.unique(columns["user"], return_counts=True)
        if (times > 1).any():
            user = users[times > 1][0]
            raise fail(
                f"user {user} has {times[users == user][0]} rows in the split '{split}', where "
                "each user has one."
            )
    return Ranks(columns["user"], columns["item"], columns["rank"])


def _check_rank_range(
    fail: Any, protocol: Mapping[str, Any], split: str, columns: Mapping[str, np.ndarray]
) -> None:
    rank = columns["rank"]
    if len(rank) and rank.min() < 1:
        raise fail(f"'{split}_rank' has a rank {rank.min()}; ranks start at 1.")
    if "history" in columns and len(rank) and columns["history"].min() < 0:
        raise fail(f"'{split}_history' has a history of {columns['history'].min()} events.")
    if isinstance(protocol["candidates"], int) and len(rank):
        # A target that mask_history excludes itself stands behind all candidates.
        last = protocol["candidates"] + int(protocol["mask_history"])
        if rank.max() > last:
            raise fail(
                f"'{split}_rank' has a rank {rank.max()} among {protocol['candidates']} candidates."
            )


def _one_row_a_user(folder: Path, protocol: Mapping[str, Any]) -> bool:
    """Return whether the protocol evaluates one row of each user.

    That is leave one out, if the data was not split beforehand.
    """
    if "LS" not in protocol["split"]:
        return False
    return not (
        (folder / SETTINGS).is_file() and read_settings(folder / SETTINGS).get("benchmark_filename")
    )


# --- Metrics ----------------------------------------------------------------------------------


def _check_metrics(folder: Path, result: Mapping[str, Any], split: str, ranks: Ranks) -> None:
    """Check that the rank metrics of a split are those of its ranks."""
    names = [metric for metric in result[split] if _of_ranks(metric)]
    if names and not len(ranks):
        raise _wrong(
            folder,
            RANKS,
            f"it has no row of the split '{split}', of which '{folder / RESULT}' has metrics.",
        )
    for metric in names:
        name, _, cut = metric.partition("@")
        value = next(iter(metrics_from_ranks(ranks.rank, [name], int(cut)).values()))
        if not abs(result[split][metric] - value) <= TOLERANCE:
            raise _wrong(
                folder,
                RESULT,
                f"{split} {metric} is {result[split][metric]!r}, but the ranks in "
                f"'{folder / RANKS}' give {value!r}.",
            )


def _check_slices(folder: Path, result: Mapping[str, Any], ranks: Mapping[str, Ranks]) -> None:
    """Slices that share out all test rows have as many rows, and the same mean, as all of them."""
    slices = result["slices"]
    if "test" not in ranks or not slices:
        return
    total = len(ranks["test"])
    for names in _PARTITIONS:
        parts = {name: slices[name] for name in names if name in slices}
        if len(parts) < len(names):
            continue
        rows = sum(part["n"] for part in parts.values())
        if rows != total:
            raise _wrong(
                folder,
                RESULT,
                f"the slices {', '.join(names)} have {rows} rows together, but the run has "
                f"{total}.",
            )
        for metric, value in result["test"].items():
            having = [part for part in parts.values() if part["n"]]
            if not _of_ranks(metric) or not all(metric in part["test"] for part in having):
                continue
            mean = sum(part["n"] * part["test"][metric] for part in having) / total
            if not abs(mean - value) <= 1e-9:
                raise _wrong(
                    folder,
                    RESULT,
                    f"{metric} of the slices {', '.join(names)} makes {mean!r} over all rows, "
                    f"but test {metric} is {value!r}.",
                )


def _check_cases(folder: Path, result: Mapping[str, Any], cases: TestCases) -> None:
    """Check that the digest in result.json is that of the rows in ranks.npz."""
    said = result.get("test_cases")
    if said is None:
        return
    found = cases.digest()
    for key in ("rows", "history_length", "user_item_sha256", "sha256"):
        if said[key] != found[key]:
            raise _wrong(
                folder,
                RANKS,
                f"its test rows are not those of '{folder / RESULT}' ({key} {found[key]} and "
                f"{said[key]}).",
            )
