"""Parquet files row by row, a batch in memory at a time."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_precise.data.convert.readers import find_columns, shortened
from recbole_precise.errors import ConfigError, DataError

MARK = b"PAR1"  # the first bytes of every such file


def parquet_rows(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list]]:
    """The fields `columns` of a Parquet file, read a batch at a time; rows are numbered from 1.

    Raises ConfigError when pyarrow is not installed, DataError when the file is none or lacks a
    column.
    """
    number = 0
    try:
        with _parquet(path) as file:
            names = file.schema_arrow.names
            find_columns(path, names, columns)
            _refuse_nested(path, file.schema_arrow, columns)
            with tqdm(
                total=file.metadata.num_rows,
                desc=path.name,
                unit="rows",
                unit_scale=True,
                disable=None,
                file=sys.stderr,
            ) as bar:
                for batch in file.iter_batches(
                    batch_size=16384, columns=list(dict.fromkeys(columns))
                ):
                    for row in zip(*(batch.column(name).to_pylist() for name in columns)):
                        number += 1
                        yield number, list(row)
                    bar.update(batch.num_rows)
    except _faults() as error:
        raise DataError(
            f"{path}: cannot be read as Parquet after row {number} ({shortened(error, 200)[1:-1]})."
        ) from error


def parquet_kinds(path: Path) -> dict[str, str]:
    """Name of each column of a Parquet file -> its type, as Arrow writes it.

    Raises ConfigError when pyarrow is not installed, DataError when the file is no Parquet.
    """
    try:
        with _parquet(path) as file:
            return {field.name: str(field.type) for field in file.schema_arrow}
    except _faults() as error:
        raise DataError(
            f"{path}: cannot be read as Parquet ({shortened(error, 200)[1:-1]})."
        ) from error


def _parquet(path: Path) -> Any:
    try:
        import pyarrow.parquet
    except ImportError:
        raise ConfigError(
            f"{path}: Parquet files are read by pyarrow: run `pip install pyarrow`."
        ) from None
    return pyarrow.parquet.ParquetFile(path)


def _faults() -> tuple[type[BaseException], ...]:
    """The errors by which pyarrow reports damaged files, and values that Python cannot hold."""
    faults = [
        OSError,
        ValueError,
        TypeError,
        LookupError,
        OverflowError,
        NotImplementedError,
        MemoryError,
    ]
    arrow = sys.modules.get("pyarrow")
    return (*faults, *([arrow.ArrowException] if arrow is not None else []))


def _refuse_nested(path: Path, schema: Any, columns: Sequence[str]) -> None:
    """Raise a DataError for a column of records, which no id, number or text can be read from."""
    for column in columns:
        kind = schema.field(column).type
        if str(kind).startswith(("struct<", "map<")):
            inside = ""
            if kind.num_fields and str(kind).startswith("struct<"):
                fields = [kind.field(place).name for place in range(kind.num_fields)]
                inside = f" with the fields {', '.join(fields)}"
            raise DataError(
                f"{path}: the column '{column}' holds records{inside}, no single values; write "
                "what is needed as a "
                "column of its own."
            )
