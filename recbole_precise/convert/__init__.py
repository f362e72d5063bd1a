"""Raw downloads to RecBole's atomic files.

A source is a module whose `open_raw(path, **its options)` says which files there are and what a row
of them means (a `Raw`); reading, filtering and writing are the same for all. A new source is a
module and an entry of SOURCES.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from recbole_precise.convert import (
    amazon,
    effects,
    kaggle_books,
    mind,
    movielens,
    options,
    pad,
    table,
)
from recbole_precise.convert.atomic import Converted
from recbole_precise.convert.output import check_output
from recbole_precise.convert.pipeline import write_dataset
from recbole_precise.convert.reading import Raw
from recbole_precise.errors import ConfigError, did_you_mean


@dataclass(frozen=True)
class Source:
    """A kind of download.

    Args:
        holds: what `--input` must be, in words.
        open_raw: `open_raw(path, **own options)`.
        defaults: Options that differ from the general defaults.
    """

    name: str
    holds: str
    open_raw: Callable[..., Raw]
    defaults: Mapping[str, Any] = field(default_factory=dict)

    @property
    def own_options(self) -> dict[str, bool]:
        """Name of an option that this source alone takes -> whether it is needed."""
        parameters = list(inspect.signature(self.open_raw).parameters.values())[1:]
        return {
            parameter.name: parameter.default is parameter.empty
            for parameter in parameters
            if parameter.name != "release"
        }

    def __call__(self, path: str | Path, output: str | Path, **given: Any) -> Converted:
        """Convert `path` into the data set `output`.

        Raises:
            ConfigError: the source does not take an option, or one of them has no effect.
            DataError: files cannot be used or written.
        """
        folder = check_output(output)
        own = self.own_options
        self._check_known(given)
        for key, value in given.items():
            if value == "":
                raise ConfigError(f"--{key} is empty: give it a value, or leave it out.")
        missing = [key for key, needed in own.items() if needed and key not in given]
        if missing:
            raise ConfigError(
                f"The source {self.name} needs "
                f"{' and '.join(f'--{key}=COLUMN' for key in missing)}."
            )
        general = {key: value for key, value in given.items() if key not in own}
        chosen = options.read_options(general, self.name, self.defaults)
        raw = self.open_raw(path, **{key: value for key, value in given.items() if key in own})
        chosen = effects.with_scene(chosen, raw)
        effects.check_effects(general, chosen, raw, self.name)
        return write_dataset(raw, folder, chosen)

    def _check_known(self, given: Mapping[str, Any]) -> None:
        """Raise a ConfigError for an option that no source takes, or that only others take."""
        known = [*self.own_options, *options.NAMES]
        for key in given:
            if key in known:
                continue
            takes = (
                f"With --source={self.name} it takes {', '.join('--' + name for name in known)}."
            )
            others = [name for name, source in SOURCES.items() if key in source.own_options]
            if others:
                raise ConfigError(
                    f"--{key} is an option of --source={' and '.join(others)} alone. {takes}"
                )
            near = did_you_mean(key, [*known, "source", "input", "output", "overwrite"])
            raise ConfigError(f"Unknown option '--{key}' of convert.{near} {takes}")


def _amazon(release: str) -> Source:
    return Source(
        release,
        "a folder with the reviews and metadata of one category or several",
        partial(amazon.open_raw, release=release),
    )


SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        *map(_amazon, amazon.RELEASES),
        Source(
            "kaggle-books",
            "the folder with Books_rating.csv and books_data.csv",
            kaggle_books.open_raw,
        ),
        Source(
            "mind",
            "the folder with behaviors.tsv and news.tsv, or with the folders of several parts",
            mind.open_raw,
        ),
        Source(
            "movielens", "the folder with u.data, ratings.dat or ratings.csv", movielens.open_raw
        ),
        Source("pad", "the folder with the authors' CSV files", pad.open_raw, pad.DEFAULTS),
        Source("csv", "a file with a header and one event a row", table.open_raw),
        Source("parquet", "a file with one event a row", table.open_raw),
    )
}

__all__ = ["SOURCES", "Source"]
