"""Reading atomic files fast and small: the C parser, tokens as codes instead of one Python string per cell.

RecBole reads with pandas' Python parser into object columns, which takes minutes and gigabytes for millions of
events. What comes out here has the same values, so the ids that RecBole makes of the tokens are the same too.
"""

from __future__ import annotations

import csv
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from recbole_precise.data.scan import not_numbers
from recbole_precise.errors import DataError


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

    `token` columns become categories, `float` columns float64, `token_seq` and `float_seq` columns NumPy arrays (cut
    to `seq_len[name]` values). A missing cell is missing as in RecBole: NaN, an empty array for sequences.

    Args:
        header: `(name, type)` of all columns.
        times: float columns in which every cell must be a finite number; they stay int64 when all are whole.
        rows: the number of rows that there must be.

    Raises DataError naming file, column and lines for a cell that is no number, and for bytes that are no text.
    """
    types, names = dict(header), [name for name, _ in header]
    wanted = [name for name in names if name in set(wanted)]
    parsers = {"token": "category", "float": np.float64}

    def bad_number(name: str) -> DataError | None:
        return not_numbers(path, separator, encoding, names.index(name), name, missing=name in times)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", pd.errors.DtypeWarning)  # mixed columns are dealt with below
            frame = pd.read_csv(
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
            )
    except UnicodeDecodeError as error:
        raise DataError(f"{path}: is not text in {encoding or 'utf-8'} (byte {error.start}); convert it or set the key `encoding`.") from None
    except ValueError as error:  # ParserError is one, too
        faults = (bad_number(name) for name in wanted if types[name] == "float")
        raise next(filter(None, faults), DataError(f"{path}: cannot be read: {error}.")) from None
    if rows is not None and len(frame) != rows:
        raise DataError(f"{path}: {rows} lines were read as {len(frame)} rows; a field holds a carriage return or an unclosed quote mark. Remove it.")
    for name in wanted:
        if name in times:
            kind = frame[name].dtype.kind if isinstance(frame[name].dtype, np.dtype) else "O"
            if kind not in "iuf" or not np.isfinite(frame[name].to_numpy()).all():
                raise bad_number(name) or DataError(f"{path}: column '{name}' must hold finite numbers.")
            frame[name] = frame[name].astype(np.int64 if kind == "i" else np.float64)
        elif types[name].endswith("_seq"):
            try:
                frame[name] = split_cells(frame[name], types[name], seq_separator, (seq_len or {}).get(name))
            except ValueError as error:
                raise DataError(f"{path}: column '{name}' has the type float_seq: {error} (values are separated by {seq_separator!r}).") from None
    return frame


def split_cells(cells: pd.Series, kind: str, separator: str, longest: int | None = None) -> pd.Series:
    """Each cell's values as an array: strings for `token_seq`, floats for `float_seq`; the first `longest` of them.

    Raises ValueError for a value that is no number.
    """
    dtype = str if kind == "token_seq" else np.float64
    texts = ("" if cell is None or cell != cell else cell for cell in cells)
    arrays = np.empty(len(cells), dtype=object)
    for i, text in enumerate(texts):
        arrays[i] = np.array([value for value in text.split(separator) if value][:longest], dtype=dtype)
    return pd.Series(arrays, index=cells.index)
