"""A benchmark's YAML.

It names the models, data sets, seeds and metrics of the table, and what each row changes.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recbole_precise import registry
from recbole_precise.config import properties_folder, read_settings
from recbole_precise.errors import ConfigError, did_you_mean
from recbole_precise.evaluation.list_metrics import (
    LIST_METRICS,
    is_exact_metric,
    is_list_metric,
    is_share,
)
from recbole_precise.evaluation.metrics import RANK_METRICS

#: Settings that the benchmark itself gives to a cell.
RESERVED = frozenset(
    [
        "model",
        "dataset",
        "seed",
        "run_dir",
        "result_file",
        "resume",
        "config_files",
        "recipe",
        "nproc",
        "world_size",
    ]
)
_PLAN_KEYS = (
    "title",
    "note",
    "datasets",
    "models",
    "seeds",
    "metrics",
    "slices",
    "settings",
    "against",
    "published",
    "percent",
    "confidence",
    "resamples",
)
_ROW_KEYS = (
    "like",
    "model",
    "after",
    "recipe",
    "settings",
    "datasets",
    "seeds",
    "baseline",
    "note",
)
_PUBLISHED_KEYS = ("source", "note", "datasets")


@dataclass(frozen=True)
class Row:
    """A row of the table, run with each of `seeds`.

    `model` has `settings`, changed by `by_dataset[name]` on one data set.

    `after`: the row whose weights it begins with, seed by seed (`warm_start`).
    """

    name: str
    model: str
    recipe: str | None
    settings: Mapping[str, Any]
    by_dataset: Mapping[str, Mapping[str, Any]]
    seeds: tuple[int, ...]
    baseline: bool
    note: str | None
    after: str | None = None

    @property
    def draws_nothing(self) -> bool:
        """Whether every seed gives the same: the training-free floors."""
        return draws_nothing(self.model)


@dataclass(frozen=True)
class Published:
    """Numbers that were not measured here.

    `values[data set][metric]`, as fractions, from `source`.
    """

    name: str
    source: str
    note: str | None
    values: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class BenchmarkPlan:
    """A benchmark.

    `datasets[name]` and `settings` are settings of every cell; `against` names the row of the
    paired tests.

    `sources[name]`: the data set that RecBole reads for an entry of `datasets`; several tasks on
    one data set have entries of their own.

    An entry of `datasets` that is `on_request` takes part only where `read_plan` names it.

    `models`: of all rows of the file, also of those that were left out.

    `note`: printed above the tables. `metrics`: the first is the one that plots show. `percent`:
        numbers are printed times 100.
    """

    name: str
    file: Path
    title: str
    note: str | None
    datasets: Mapping[str, Mapping[str, Any]]
    sources: Mapping[str, str]
    rows: tuple[Row, ...]
    models: frozenset[str]
    metrics: tuple[str, ...]
    slices: tuple[str, ...]
    settings: Mapping[str, Any]
    against: str | None
    published: tuple[Published, ...]
    percent: bool
    confidence: float
    resamples: int

    def row(self, name: str) -> Row:
        """Return the row of a name."""
        return next(row for row in self.rows if row.name == name)


def draws_nothing(model: str) -> bool:
    """Whether a model (as the registry spells it) is a training-free floor."""
    return registry.resolve(model).target.startswith("recbole_precise.models.baselines:")


def shipped_plans() -> dict[str, Path]:
    """Return the plans in properties/benchmark, by name."""
    return {file.stem: file for file in sorted((properties_folder() / "benchmark").glob("*.yaml"))}


def find_plan(name: str) -> Path:
    """Return the file of a plan: a path, or the name of one that we ship.

    A ConfigError when there is neither.
    """
    path = Path(name)
    shipped = shipped_plans()
    if path.is_file():
        return path
    if path.suffix in (".yaml", ".yml") or path.name != name:
        raise ConfigError(f"Plan '{name}' does not exist.")
    if name not in shipped:
        raise ConfigError(
            f"There is no plan '{name}'.{did_you_mean(name, shipped)} Those that come with the "
            f"package: {', '.join(shipped)}; or name a YAML file."
        )
    return shipped[name]


def read_plan(
    name: str,
    *,
    seeds: Collection[int] | None = None,
    models: Collection[str] | None = None,
    datasets: Collection[str] | None = None,
    against: str | None = None,
) -> BenchmarkPlan:
    """Read and check a plan.

    Args:
        name: of a shipped plan, or a YAML file.
        seeds, against: instead of the plan's. models, datasets: rows and data sets to keep.

    Raises:
        ConfigError: names the file, the place in it and what to do.
    """
    file = find_plan(name)
    content = read_settings(file)
    return _Reader(file, content if against is None else {**content, "against": against}).plan(
        seeds, models, datasets
    )


class _Reader:
    def __init__(self, file: Path, content: dict[str, Any]) -> None:
        self.file = file
        self.content = content

    def fail(self, where: str, what: str) -> ConfigError:
        return ConfigError(f"Plan '{self.file}'{', ' + where if where else ''}: {what}")

    def plan(self, seeds, models, datasets) -> BenchmarkPlan:
        content = self.content
        self.check_keys(content, _PLAN_KEYS, "")
        for key in ("datasets", "models"):
            if not content.get(key):
                raise self.fail("", f"the key '{key}' is missing: it names what is compared.")
        by_name = self.mappings("datasets", content["datasets"])
        sources = {
            dataset: settings.pop("dataset", dataset) for dataset, settings in by_name.items()
        }
        usual = [
            dataset
            for dataset, settings in by_name.items()
            if not self.switch(
                settings.pop("on_request", False), f"datasets: {dataset}: on_request"
            )
        ]
        if not usual:
            raise self.fail(
                "datasets", "all of them are on_request, so that a run without --datasets has none."
            )
        for dataset, settings in by_name.items():
            if not isinstance(sources[dataset], str):
                raise self.fail(
                    f"datasets: {dataset}", f"dataset must be a name, not {sources[dataset]!r}."
                )
            self.settings(settings, f"datasets: {dataset}")
        plan_seeds = tuple(seeds) if seeds else self.seeds(content.get("seeds", [2020]), "seeds")
        rows = []
        options: dict[str, Any] = {}
        for row, own in self.mappings("models", content["models"]).items():
            options[row] = self.likened(row, own, options)
            rows.append(self.row(row, options[row], by_name, plan_seeds, bool(seeds)))
        metrics = tuple(self.texts(content.get("metrics", ["recall@10", "ndcg@10"]), "metrics"))
        for metric in metrics:
            self.metric(metric, "metrics")
        if not metrics:
            raise self.fail(
                "metrics", "it names no metric; write one or several, or leave the key out."
            )
        if is_list_metric(metrics[0]):
            raise self.fail(
                "metrics",
                f"'{metrics[0]}' cannot be the first: plots and slices show the first, so it "
                f"must be one of {', '.join(RANK_METRICS)}.",
            )
        against = content.get("against")
        if against is not None and against not in [row.name for row in rows]:
            raise self.fail(
                "against",
                "there is no row "
                f"'{against}'.{did_you_mean(str(against), [row.name for row in rows])}",
            )
        confidence = content.get("confidence", 0.95)
        resamples = content.get("resamples", 9999)
        if not isinstance(confidence, float) or not 0 < confidence < 1:
            raise self.fail("confidence", f"must be a number between 0 and 1, not {confidence!r}.")
        if not isinstance(resamples, int) or isinstance(resamples, bool) or resamples < 99:
            raise self.fail("resamples", f"must be a whole number from 99 on, not {resamples!r}.")
        self.beginnings(rows)
        kept = self.with_beginnings(
            self.kept(models, {row.name: row for row in rows}, "row", "--models"), rows
        )
        chosen = self.kept(datasets or usual, by_name, "data set", "--datasets")
        return BenchmarkPlan(
            name=self.file.stem,
            file=self.file,
            title=str(content.get("title") or self.file.stem),
            note=self.note(content, ""),
            datasets=chosen,
            sources={dataset: sources[dataset] for dataset in chosen},
            rows=tuple(kept.values()),
            models=frozenset(row.model for row in rows),
            metrics=metrics,
            slices=tuple(self.texts(content.get("slices", []), "slices")),
            settings=self.settings(content.get("settings") or {}, "settings"),
            against=against if against in kept else None,
            published=tuple(
                self.published(name, entry, chosen)
                for name, entry in self.mappings(
                    "published", content.get("published") or {}
                ).items()
            ),
            percent=self.switch(content.get("percent", False), "percent"),
            confidence=confidence,
            resamples=resamples,
        )

    def likened(
        self, name: str, own: dict[str, Any], earlier: Mapping[str, dict[str, Any]]
    ) -> dict[str, Any]:
        """Return a row's options over those of the row that `like` names, which are checked.

        Settings join key by key, the note stays behind.
        """
        other = own.pop("like", None)
        if other is None:
            return own
        where = f"models: {name}"
        self.check_above(where, "like", other, earlier)
        base = {key: value for key, value in earlier[other].items() if key != "note"}
        before, changes = (
            self.mappings(f"{where}: datasets", options.get("datasets") or {})
            for options in (base, own)
        )
        return {
            "model": other,
            **base,
            **own,
            "settings": {
                **(base.get("settings") or {}),
                **self.settings(own.get("settings") or {}, f"{where}: settings"),
            },
            "datasets": {
                dataset: {**before.get(dataset, {}), **changes.get(dataset, {})}
                for dataset in {**before, **changes}
            },
        }

    def check_above(self, where: str, key: str, name: Any, earlier: Collection[str]) -> None:
        """Check that the row that `key` names is one of those above; else raise a ConfigError."""
        if not isinstance(name, str) or name not in earlier:
            raise self.fail(
                where,
                f"{key} names a row that stands above it; there is no "
                f"{name!r}.{did_you_mean(str(name), earlier)}",
            )

    def row(
        self,
        name: str,
        options: Mapping[str, Any],
        datasets: Mapping,
        seeds: tuple[int, ...],
        given: bool,
    ) -> Row:
        where = f"models: {name}"
        self.check_keys(options, _ROW_KEYS, where)
        model = options.get("model", name)
        if not isinstance(model, str):
            raise self.fail(where, f"model must be a name, not {model!r}.")
        try:
            model = registry.resolve(model).name
        except ConfigError as error:
            hint = (
                ""
                if "model" in options
                else " A row of another name says which model it is: `model: ...`."
            )
            raise self.fail(where, f"{error}{hint}") from None
        changes = self.mappings(f"{where}: datasets", options.get("datasets") or {})
        for dataset, settings in changes.items():
            if dataset not in datasets:
                raise self.fail(
                    where, f"the plan has no data set '{dataset}'.{did_you_mean(dataset, datasets)}"
                )
            self.settings(settings, f"{where}: datasets: {dataset}")
        own = (
            self.seeds(options["seeds"], f"{where}: seeds")
            if "seeds" in options and not given
            else seeds
        )
        if options.get("recipe") is not None and not isinstance(options["recipe"], str):
            raise self.fail(where, f"recipe must be text, not {options['recipe']!r}.")
        return Row(
            name=name,
            model=model,
            recipe=options.get("recipe"),
            settings=self.settings(options.get("settings") or {}, f"{where}: settings"),
            by_dataset=changes,
            seeds=own[:1] if draws_nothing(model) else own,
            baseline=self.switch(options.get("baseline", False), f"{where}: baseline"),
            note=self.note(options, where),
            after=options.get("after"),
        )

    def beginnings(self, rows: list[Row]) -> None:
        """Check that what a row begins with is trained before it and with the same seeds."""
        for place, row in enumerate(rows):
            if row.after is None:
                continue
            where = f"models: {row.name}"
            earlier = {other.name: other for other in rows[:place]}
            if not isinstance(row.after, str):
                raise self.fail(where, f"after must be the name of a row, not {row.after!r}.")
            self.check_above(where, "after", row.after, earlier)
            if earlier[row.after].draws_nothing:
                raise self.fail(
                    where, f"it cannot begin after '{row.after}', which trains nothing."
                )
            if missing := set(row.seeds) - set(earlier[row.after].seeds):
                raise self.fail(
                    where,
                    f"it has seeds that the row it begins after, '{row.after}', has not: "
                    f"{sorted(missing)}.",
                )
            if "warm_start" in row.settings or any(
                "warm_start" in settings for settings in row.by_dataset.values()
            ):
                raise self.fail(
                    where,
                    f"warm_start and after ('{row.after}') both say what it begins with; keep one.",
                )

    @staticmethod
    def with_beginnings(kept: Mapping[str, Row], rows: list[Row]) -> dict[str, Row]:
        """Return the rows that are kept and, in the plan's order, those that they begin after."""
        needed = set(kept)
        for row in reversed(rows):
            if row.name in needed and row.after is not None:
                needed.add(row.after)
        return {row.name: row for row in rows if row.name in needed}

    def published(self, name: str, entry: Mapping[str, Any], datasets: Mapping) -> Published:
        where = f"published: {name}"
        self.check_keys(entry, _PUBLISHED_KEYS, where)
        if not isinstance(entry.get("source"), str):
            raise self.fail(where, "say where the numbers stand: `source: ...`.")
        values = self.mappings(f"{where}: datasets", entry.get("datasets") or {})
        for dataset, numbers in values.items():
            if dataset not in self.mappings("datasets", self.content["datasets"]):
                raise self.fail(where, f"the plan has no data set '{dataset}'.")
            for metric, value in numbers.items():
                self.metric(metric, where)
                most = 1 if is_share(metric) else sys.float_info.max
                if (
                    isinstance(value, bool)
                    or not isinstance(value, (int, float))
                    or not 0 <= value <= most
                ):
                    wanted = "a fraction from 0 to 1" if is_share(metric) else "a number from 0 on"
                    raise self.fail(where, f"{metric} must be {wanted}, not {value!r}.")
        return Published(
            name,
            entry["source"],
            entry.get("note"),
            {dataset: values[dataset] for dataset in values if dataset in datasets},
        )

    def note(self, content: Mapping[str, Any], where: str) -> str | None:
        if content.get("note") is not None and not isinstance(content["note"], str):
            raise self.fail(where, f"note must be text, not {content['note']!r}.")
        return content.get("note")

    # --- Kinds of values ----------------------------------------------------------------------

    def check_keys(self, content: Mapping[str, Any], known: Collection[str], where: str) -> None:
        for key in content:
            if key not in known:
                raise self.fail(
                    where,
                    f"unknown key '{key}'.{did_you_mean(str(key), known)} It takes "
                    f"{', '.join(known)}.",
                )

    def mappings(self, where: str, value: Any) -> dict[str, dict[str, Any]]:
        """Return a list of names, or names with a mapping (or nothing) each, as mappings."""
        if isinstance(value, list):
            names = self.texts(value, where)
            if len(set(names)) < len(names):
                raise self.fail(
                    where,
                    "a name stands there twice; write names and settings as a mapping, with a "
                    "name for each.",
                )
            return {name: {} for name in names}
        if not isinstance(value, dict):
            raise self.fail(where, f"must be a list of names or a mapping, not {value!r}.")
        for name, content in value.items():
            if content is not None and not isinstance(content, dict):
                raise self.fail(
                    where, f"'{name}' must hold lines of the form 'key: value', not {content!r}."
                )
        return {str(name): dict(content or {}) for name, content in value.items()}

    def settings(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.fail(where, f"must hold lines of the form 'key: value', not {value!r}.")
        for key in value:
            if key in RESERVED:
                hint = (
                    " Seeds stand in `seeds`."
                    if key == "seed"
                    else " A row names its recipe beside its settings."
                    if key == "recipe"
                    else ""
                )
                raise self.fail(where, f"the benchmark sets '{key}' itself.{hint}")
        return value

    def seeds(self, value: Any, where: str) -> tuple[int, ...]:
        seeds = [value] if isinstance(value, int) else value
        if (
            not isinstance(seeds, list)
            or not seeds
            or any(
                isinstance(seed, bool) or not isinstance(seed, int) or seed < 0 for seed in seeds
            )
        ):
            raise self.fail(where, f"must be a list of whole numbers from 0 on, not {value!r}.")
        if len(set(seeds)) < len(seeds):
            raise self.fail(where, "a seed stands there twice.")
        return tuple(seeds)

    def texts(self, value: Any, where: str) -> list[str]:
        names = [value] if isinstance(value, str) else value
        if not isinstance(names, list) or any(not isinstance(name, str) for name in names):
            raise self.fail(where, f"must be a list of names, not {value!r}.")
        return names

    def switch(self, value: Any, where: str) -> bool:
        if not isinstance(value, bool):
            raise self.fail(where, f"must be True or False, not {value!r}.")
        return value

    def metric(self, metric: str, where: str) -> None:
        name, _, cut = str(metric).partition("@")
        if (
            not is_exact_metric(name)
            or str(metric) != str(metric).lower()
            or not cut.isdecimal()
            or int(cut) < 1
        ):
            raise self.fail(
                where,
                f"'{metric}' is no metric of ranks: write one of {', '.join(RANK_METRICS)} with "
                "a cut-off, as in ndcg@10 "
                f"(or, behind the first, one of {', '.join(LIST_METRICS)}).",
            )

    def kept(
        self, wanted: Collection[str] | None, known: Mapping[str, Any], what: str, option: str
    ) -> dict[str, Any]:
        for name in wanted or ():
            if name not in known:
                raise ConfigError(
                    f"{option}: the plan '{self.file}' has no {what} "
                    f"'{name}'.{did_you_mean(name, known)} It has {', '.join(known)}."
                )
        return {name: value for name, value in known.items() if not wanted or name in wanted}
