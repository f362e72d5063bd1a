"""Atomic files read fast and small.

By the C parser, with tokens as codes instead of one Python string per cell.

RecBole reads with pandas' Python parser into object columns, which takes minutes and gigabytes for
millions of events. What comes out here has the same values, so the ids that RecBole makes of the
tokens are the same too.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_precise.data.scan import not_numbers
from recbole_precise.errors import DataError

_PIECE = 2_000_000  # rows parsed at a time


def read_columns(
    path: Path,
    header: Sequence[tuple[str, str]],
    wanted: Sequence[str],
    *,
    separator: str = "\t",
    encoding: str = "utf-8",
    seq_separator: str = " ",
    seq_len: Mapping[str, int] | None = None,
    times: Sequence[str] = (),
    rows: int | None = None,
    quoting: int = csv.QUOTE_MINIMAL,
) -> pd.DataFrame:
    """Columns `wanted` of an atomic file, in the order of the file.

    `token` columns become categories, `float` columns float64, `token_seq` and `float_seq` columns
    NumPy arrays (cut to `seq_len[name]` values). A missing cell is missing as in RecBole: NaN, an
    empty array for sequences.

    Args:
        header: `(name, type)` of all columns.
        times: float columns in which every cell must be a finite number; they stay int64 when all
            are whole.
        rows: the number of rows that there must be.

    Raises DataError naming file, column and lines for a cell that is no number, and for bytes that
    are no text.
    """
    types = dict(header)
    names = [name for name, _ in header]
    wanted = [name for name in names if name in set(wanted)]
    parsers = {"token": object, "float": np.float64}

    def bad_number(name: str) -> DataError | None:
        return not_numbers(
            path, separator, encoding, names.index(name), name, missing=name in times
        )

    columns: dict[str, list] = {name: [] for name in wanted}
    tokens: dict[str, dict[str, int]] = {name: {} for name in wanted if types[name] == "token"}
    try:
        with pd.read_csv(
            path,
            sep=separator,
            header=0,
            names=names,
            usecols=wanted,
            index_col=False,
            dtype={name: parsers.get(types[name], str) for name in wanted if name not in times},
            encoding=encoding or "utf-8",
            quoting=quoting,
            engine="c",
            float_precision="high",  # the conversion that RecBole's parser uses
            low_memory=False,
            chunksize=_PIECE,
        ) as pieces:
            for piece in pieces:
                for name in wanted:
                    columns[name].append(
                        _common_codes(piece[name], tokens[name]) if name in tokens else piece[name]
                    )
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: is not text in {encoding or 'utf-8'} (byte {error.start}); convert it or "
            "set the key `encoding`."
        ) from None
    except ValueError as error:  # ParserError is one, too
        faults = (bad_number(name) for name in wanted if types[name] == "float")
        raise next(filter(None, faults), DataError(f"{path}: cannot be read: {error}.")) from None
    read = sum(map(len, columns[wanted[0]]))
    if rows is not None and read != rows:
        raise DataError(
            f"{path}: {rows} lines were read as {read} rows; a field holds a carriage return or "
            "an unclosed quote mark. Remove it."
        )
    frame: dict[str, object] = {}
    for name in wanted:
        parts = columns.pop(name)
        if name in tokens:
            frame[name] = pd.Categorical.from_codes(
                np.concatenate(parts), categories=pd.Index(list(tokens[name]), dtype=object)
            )
        elif types[name].endswith("_seq"):
            try:
                frame[name] = split_cells(
                    pd.concat(parts, ignore_index=True),
                    types[name],
                    seq_separator,
                    (seq_len or {}).get(name),
                )
            except ValueError as error:
                raise DataError(
                    f"{path}: column '{name}' has the type float_seq: {error} (values are "
                    f"separated by {seq_separator!r})."
                ) from None
        else:
            frame[name] = _numbers(parts, name in times)
            if frame[name] is None:
                raise bad_number(name) or DataError(
                    f"{path}: column '{name}' must hold finite numbers."
                )
    return pd.DataFrame(frame, copy=False)


def _common_codes(column: pd.Series, numbers: dict[str, int]) -> np.ndarray:
    """Code a piece of a column in the numbering of all pieces, which grows.

    int32 codes `[n]`, -1 where missing.

    pandas can read categories itself, but sorts them in every piece and looks through those of all
    pieces to unite them.
    """
    codes, labels = pd.factorize(column.to_numpy())
    common = np.fromiter(
        (numbers.setdefault(label, len(numbers)) for label in labels),
        dtype=np.int32,
        count=len(labels),
    )
    return np.append(common, np.int32(-1))[codes]


def _numbers(parts: list[pd.Series], times: bool) -> np.ndarray | None:
    """Join the pieces of a number column in one array.

    None when they are `times` and not all finite numbers.
    """
    if times and any(
        not isinstance(part.dtype, np.dtype) or part.dtype.kind not in "iuf" for part in parts
    ):
        return None
    values = np.concatenate([part.to_numpy() for part in parts])
    if times and not np.isfinite(values).all():
        return None
    return values if values.dtype == np.int64 else values.astype(np.float64, copy=False)


def split_cells(
    cells: pd.Series, kind: str, separator: str, longest: int | None = None
) -> pd.Series:
    """Split each cell's values into an array: strings or floats, the first `longest`.

    Strings for `token_seq`, floats for `float_seq`.

    Raises ValueError for a value that is no number.
    """
    dtype = str if kind == "token_seq" else np.float64
    texts = ("" if cell is None or cell != cell else cell for cell in cells)
    arrays = np.empty(len(cells), dtype=object)
    for i, text in enumerate(texts):
        arrays[i] = np.array(
            [value for value in text.split(separator) if value][:longest], dtype=dtype
        )
    return pd.Series(arrays, index=cells.index)
