"""Raw downloads to RecBole's atomic files: one function `convert(input_dir, output_dir, **options)` per source."""

from __future__ import annotations

from recbole_precise.data.convert import pad

#: Name of a source -> its converter; each returns a `Converted` and raises DataError for a file that it cannot use.
SOURCES = {"pad": pad.convert}

__all__ = ["SOURCES"]
