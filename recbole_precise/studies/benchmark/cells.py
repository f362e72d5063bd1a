"""The cells of a plan: one run each.

A cell has its command line, and a directory that is its own as long as its settings are the same.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from recbole_precise import registry
from recbole_precise.config import parse_value, schema
from recbole_precise.config.known_keys import our_keys, recbole_keys
from recbole_precise.data.fingerprint import file_digests
from recbole_precise.errors import ConfigError, UserError, did_you_mean
from recbole_precise.evaluation.list_metrics import is_list_metric
from recbole_precise.files import write_json
from recbole_precise.plugin.checks.known_keys import keys_of_model
from recbole_precise.plugin.config import Config
from recbole_precise.runs.identity import settings_identity
from recbole_precise.studies.benchmark.plan import RESERVED, BenchmarkPlan, Row

RESULT = "result.json"
_PROTOCOL_KEYS = (
    "eval_args",
    "mask_history",
    "evaluator",
    "target_scene",
    "scene_field",
    "scene_rules",
)
_DIGITS = 8  # of the SHA-256 in a directory's name


@dataclass(frozen=True, eq=False)
class Cell:
    """One run.

    Attributes:
        dataset: as the plan names it; `source`: as RecBole does.
        settings: key -> text, as on a command line, without what the benchmark itself gives.
        identity: all settings that decide the result, but the seed, and digests of the data set's
            files.
        folder: the run directory `<runs>/<data set>/<row>-<digest of identity>/seed-<seed>`.
        begins_after: the cell whose weights it begins with (`after` of its row), which is finished
            before it starts.
    """

    dataset: str
    source: str
    row: Row
    seed: int
    settings: Mapping[str, str] = field(repr=False)
    identity: Mapping[str, Any] = field(repr=False)
    folder: Path
    begins_after: Cell | None = None

    @property
    def name(self) -> str:
        """Return the name of the cell for messages."""
        seed = "" if self.row.draws_nothing else f" seed {self.seed}"
        return f"{self.dataset} {self.row.name}{seed}"

    @property
    def finished(self) -> bool:
        """Whether its result is there; the directory's name says that it has the same settings."""
        return (self.folder / RESULT).is_file()

    def arguments(self) -> list[str]:
        """Return what follows `python -m recbole_precise`."""
        given = {
            "model": registry.resolve(self.row.model).source or self.row.model,
            "dataset": self.source,
            "seed": str(self.seed),
            **self.settings,
        }
        if self.begins_after is not None:
            given["warm_start"] = str(self.begins_after.folder)
        return [f"--{key}={value}" for key, value in given.items()] + [
            f"--run_dir={self.folder}",
            "--resume=True",
        ]

    def chain(self) -> list[Cell]:
        """Return the cells whose training led to this one, the first of all first, itself last."""
        return [*(self.begins_after.chain() if self.begins_after is not None else ()), self]

    def describe(self) -> None:
        """Write row.json beside the seeds' directories: what its name stands for."""
        file = self.folder.parent / "row.json"
        if not file.exists():
            content = {
                "row": self.row.name,
                "model": self.row.model,
                "dataset": self.source,
                "settings": dict(self.settings),
                "identity": self.identity,
            }
            write_json(file, content, "the description of a row")


def as_text(key: str, value: Any) -> str:
    """Write a value of a YAML file for a command line.

    `parse_value` reads the same value again.
    """
    entry = schema.known_key(key)
    kinds = entry.types if entry else ()
    if isinstance(value, str):
        return (
            value
            if value.strip() == value and value and parse_value(value, kinds) == value
            else repr(value)
        )
    return repr(value)


def make_cells(
    plan: BenchmarkPlan,
    runs: Path,
    extra: Mapping[str, str] | None = None,
    threads: int | None = None,
) -> list[Cell]:
    """Every cell of a plan, checked as a run itself would check it, before any runs.

    Args:
        runs: where run directories lie.
        extra: settings of the command line, as texts; like the plan's own they go to every row
            whose model knows the key.
        threads: of each cell; does not change its result.

    Raises:
        ConfigError, DataError: a mistake in the settings of a row, or rows that would not be
            comparable.
    """
    for key in extra or ():
        if key in RESERVED:
            raise ConfigError(
                f"--{key}: the benchmark sets '{key}' itself; "
                f"{'--seeds' if key == 'seed' else 'the plan'} says which."
            )
    shared = {key: as_text(key, value) for key, value in plan.settings.items()} | dict(extra or {})
    reach = _reach(plan, shared, extra or {})
    cells: list[Cell] = []
    digests = {}
    protocols: dict[str, Any] = {}
    for dataset, own in plan.datasets.items():
        source = plan.sources[dataset]
        before: dict[str, dict[int, Cell]] = {}
        for row in plan.rows:
            common = {key: as_text(key, value) for key, value in {**plan.settings, **own}.items()}
            mine = {
                key: as_text(key, value)
                for key, value in {**row.settings, **row.by_dataset.get(dataset, {})}.items()
            }
            given = {"recipe": row.recipe} if row.recipe else {}
            kept = {
                key: text for key, text in common.items() if key in own or key in reach[row.name]
            }
            last = {key: text for key, text in (extra or {}).items() if key in reach[row.name]}
            settings = {
                **given,
                **({"threads": str(threads)} if threads else {}),
                "show_progress": "False",
                **kept,
                **mine,
                **last,
            }
            try:
                words = [f"--{key}={text}" for key, text in settings.items()]
                config = Config(model=row.model, dataset=source, command_line=words)
            except UserError as error:
                raise type(error)(
                    f"Plan '{plan.file}', row '{row.name}' on {dataset}: {error}"
                ) from error
            _measures(plan, dataset, row, config)
            identity = {
                key: value
                for key, value in settings_identity(config.final_config_dict).items()
                if key != "seed"
            }
            if dataset not in digests:
                digests[dataset] = file_digests(
                    sorted(Path(config["data_path"]).glob(f"{source}.*"))
                )
            identity = {"model": row.model, "settings": identity, "data": digests[dataset]}
            beginnings = before[row.after] if row.after is not None else {}
            if beginnings:
                if "warm_start" in settings:
                    raise ConfigError(
                        f"Plan '{plan.file}', row '{row.name}': warm_start is given, but it "
                        f"begins after the row '{row.after}'."
                    )
                identity["after"] = _digest(next(iter(beginnings.values())).identity)
            _same_protocol(
                plan,
                dataset,
                row,
                {key: identity["settings"].get(key) for key in _PROTOCOL_KEYS},
                protocols,
            )
            folder = runs / dataset / f"{_slug(row.name)}-{_digest(identity)[:_DIGITS]}"
            before[row.name] = {
                seed: Cell(
                    dataset,
                    source,
                    row,
                    seed,
                    settings,
                    identity,
                    folder / f"seed-{seed}",
                    beginnings.get(seed),
                )
                for seed in row.seeds
            }
            cells += before[row.name].values()
    return cells


def _digest(identity: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()


def _reach(
    plan: BenchmarkPlan, shared: Mapping[str, str], extra: Mapping[str, str]
) -> dict[str, set[str]]:
    """Row -> the shared settings that its model knows.

    A ConfigError for one that no row's model knows: of all rows of the plan, of those that were
    kept for `extra`.
    """

    def keys_of(model: str) -> set[str]:
        entry = registry.resolve(model)
        return set(recbole_keys() | our_keys() | keys_of_model(entry, entry.load()).keys())

    known = {model: keys_of(model) for model in {row.model for row in plan.rows}}
    kept = set().union(*known.values())
    if unread := [
        key for key in shared if key not in kept
    ]:  # the models of rows that were left out are loaded for their keys alone
        everything = kept.union(*(keys_of(model) for model in plan.models - known.keys()))
        for key in unread:
            if key not in everything:
                raise ConfigError(
                    f"Unknown key '{key}': no model of the plan '{plan.file}' reads "
                    f"it.{did_you_mean(key, everything)}"
                )
            if key in extra:
                raise ConfigError(
                    f"--{key}: none of the models that run ({', '.join(sorted(known))}) reads "
                    "it; only rows that --models leaves out do."
                )
    return {row.name: known[row.model] & shared.keys() for row in plan.rows}


def _same_protocol(
    plan: BenchmarkPlan,
    dataset: str,
    row: Row,
    protocol: dict[str, Any],
    seen: dict[str, tuple[str, dict[str, Any]]],
) -> None:
    """Refuse a row that would be ranked otherwise than the first of its data set."""
    first, wanted = seen.setdefault(dataset, (row.name, protocol))
    for key, value in protocol.items():
        if value != wanted[key]:
            raise ConfigError(
                f"Plan '{plan.file}' on {dataset}: rows '{first}' and '{row.name}' would be "
                f"ranked under different protocols ({key}: {wanted[key]} "
                f"and {value}) and cannot stand in one table."
            )


def _measures(plan: BenchmarkPlan, dataset: str, row: Row, config: Any) -> None:
    """Refuse a metric of lists that a cell would not compute.

    Unlike metrics of ranks, it does not follow from what a run leaves.
    """
    computed = {f"{name}@{cut}".lower() for name in config["metrics"] for cut in config["topk"]}
    for metric in plan.metrics:
        if is_list_metric(metric) and metric not in computed:
            raise ConfigError(
                f"Plan '{plan.file}', row '{row.name}' on {dataset}: its runs would not compute "
                f"{metric}; add it to their settings, as in "
                f"settings: {{metrics: [Recall, NDCG, {metric.partition('@')[0]}], topk: "
                f"[{metric.partition('@')[2]}]}}."
            )


def without_digest(name: str) -> str:
    """Return the name of a row's directory (or a path that ends in it) without the digest."""
    return re.sub(rf"-[0-9a-f]{{{_DIGITS}}}$", "", name)


def _slug(name: str) -> str:
    """Return a row's name as a directory's."""
    return re.sub(r"[^\w.+-]+", "_", name).strip("._") or "row"
