"""Item texts: reading and rendering (`corpus`), encoding (`encoder`, `sources`), `cache`.

The cache holds ragged states on disk.
"""

from recbole_precise.text.cache import encode_cached
from recbole_precise.text.corpus import (
    AlignReport,
    Table,
    align,
    read_table,
    read_text_file,
    render,
)
from recbole_precise.text.sources import EncoderSource, resolve_encoder
from recbole_precise.text.states import TokenStates

__all__ = [
    "AlignReport",
    "EncoderSource",
    "Table",
    "TokenStates",
    "align",
    "encode_cached",
    "read_table",
    "read_text_file",
    "render",
    "resolve_encoder",
]
