"""The encoding and the separator of a table.

They are checked when they are given, and guessed for a message when they are wrong.
"""

from __future__ import annotations

import codecs
import csv
import gzip
import zlib
from collections.abc import Sequence
from pathlib import Path

from recbole_precise.errors import ConfigError

UTF8 = "utf-8"
SEPARATORS = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "pipe": "|", "space": " "}
_PLAIN = " !\"#$%&'()*+,-./0123456789:;<=>?@ABCXYZ[\\]^_`abcxyz{|}~\t\n"
_NO_FILES = {
    "idna",
    "punycode",
    "raw_unicode_escape",
    "raw-unicode-escape",
    "unicode_escape",
    "unicode-escape",
}
GZIP = b"\x1f\x8b"  # the first bytes of every such file
_SAMPLE = 1 << 20  # bytes looked at for a guess


def checked_encoding(name: str) -> str:
    """Return the name of an encoding as Python knows it.

    Raises:
        ConfigError: there is no such encoding of text.
    """
    try:
        known = codecs.lookup(name).name
        plain = _PLAIN.encode(known).decode(known)
    except (LookupError, UnicodeError, ValueError, TypeError, AttributeError):
        known, plain = "", ""
    if plain != _PLAIN or known in _NO_FILES:
        raise ConfigError(
            f"--encoding='{name[:60]}' is no encoding of text files; common ones are utf-8, "
            "latin-1, cp1252, utf-16, "
            "gb18030 and shift_jis."
        )
    return UTF8 if known == "utf-8-sig" else known


def splits_at_bytes(encoding: str) -> bool:
    """Return whether lines can be cut before decoding.

    That is so when a line feed is one byte that occurs in no other character.
    """
    return not encoding.startswith(("utf-16", "utf-32", "utf-7")) and "\n".encode(encoding) == b"\n"


def checked_separator(text: str) -> str:
    """Return the separator that a word or a character means.

    Raises:
        ConfigError: it is not one character, or one that separates lines or quotes fields.
    """
    separator = SEPARATORS.get(text, text)
    if len(separator) != 1 or separator in '"\r\n\0\ufeff' or "\ud800" <= separator <= "\udfff":
        raise ConfigError(
            "--separator is one character (or tab, comma, semicolon, pipe, space), no quote mark "
            f"or line end, not '{text[:60]}'."
        )
    return separator


def guess_encoding(sample: bytes) -> str | None:
    """Guess the encoding of bytes that are not UTF-8; return None when they are UTF-8."""
    if sample.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return "utf-32"
    if sample.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    start = sample[:4096]
    if start.count(0) * 5 > len(start) * 2:
        return "utf-16-le" if start[1::2].count(0) >= start[::2].count(0) else "utf-16-be"
    try:
        codecs.getincrementaldecoder(UTF8)().decode(sample)
    except UnicodeDecodeError:
        return "cp1252" if any(0x80 <= byte < 0xA0 for byte in set(sample)) else "latin-1"
    return None


def is_binary(sample: bytes) -> bool:
    """Whether bytes are no text in any encoding: too many of them are control characters."""
    start = sample[:4096]
    if guess_encoding(start) in ("utf-16", "utf-32", "utf-16-le", "utf-16-be"):
        return False
    controls = sum(byte < 32 and byte not in b"\t\n\v\f\r\x1b" for byte in start)
    return controls * 20 > len(start)


def is_utf8_beyond_ascii(sample: bytes) -> bool:
    """Return whether bytes are UTF-8 with characters that other encodings read differently."""
    return guess_encoding(sample) is None and not sample.isascii()


def guess_separator(line: str, columns: Sequence[str], separator: str) -> str | None:
    """Guess how to write the separator of a header; return None when none is likely.

    With it the header holds the columns, or at least several of them.
    """
    several = None
    for word, other in (("','", ","), ("';'", ";"), ("tab", "\t"), ("'|'", "|")):
        if other == separator:
            continue
        try:
            names = next(csv.reader([line], delimiter=other), [])
        except csv.Error:
            continue
        if set(columns) <= set(names) and len(names) > 1:
            return word
        if len(names) > 2 and several is None:
            several = word
    alone = separator not in line.strip("\r\n")
    return several if alone else None


def sample_of(path: Path) -> bytes:
    """Return the first bytes of a file, unpacked; none when it cannot be read."""
    try:
        with Path(path).open("rb") as raw:
            packed = raw.peek(2)[:2] == GZIP
            stream = gzip.GzipFile(fileobj=raw) if packed else raw
            return stream.read(_SAMPLE)
    except (OSError, EOFError, zlib.error):
        return b""


def encoding_advice(path: Path, encoding: str | None) -> str:
    """Say what to do about a file that is not text in the encoding it is read in.

    Args:
        encoding: the one it was read in; None where the source takes no --encoding.
    """
    sample = sample_of(path)
    if is_binary(sample):
        return "it seems to be no text file at all"
    likely = guess_encoding(sample)
    if encoding is None:
        likely = likely or "latin-1"
        return f"it looks like {likely}: convert it with `iconv -f {likely} -t utf-8`"
    if encoding != UTF8:
        return f"--encoding={encoding} does not seem to be the right one"
    likely = likely or "latin-1"
    return f"it looks like {likely}: read it with --encoding={likely}"
