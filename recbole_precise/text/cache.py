"""Token states on disk: encoded once for the same texts, encoder and settings, then memory-mapped.

An entry is the folder `<cache_dir>/states-<key>` with states.npy, token_ids.npy, offsets.npy,
digests.npy (which text is where) and meta.json. The key is a digest of the set of texts, of the
encoder's files and of the settings that change states; the batch size is not among them. `store`
builds an entry aside and renames it, so a reader never meets half of one.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from recbole_precise.errors import ConfigError, TextError
from recbole_precise.files import file_digest
from recbole_precise.text.encoder import HfEncoder, torch_dtype_name
from recbole_precise.text.sources import (
    EncoderSource,
    default_cache_dir,
    resolve_encoder,
)
from recbole_precise.text.states import TokenStates
from recbole_precise.text.store import ARRAYS, META, EntryBuilder, writing

__all__ = ["TokenStates", "encode_cached"]

FORMAT = 2  # since 2: the encoder was found to read the texts
_DIGEST_BYTES = 16
_log = logging.getLogger(__name__)


class _Damaged(Exception):
    """An entry cannot be used; says why."""


def encode_cached(
    texts: Sequence[str],
    encoder: str | EncoderSource | HfEncoder = "auto",
    *,
    max_tokens: int = 32,
    batch_size: int = 64,
    dtype: str = "float32",
    device: object = None,
    cache_dir: str | Path | None = None,
    layers: int | None = None,
    raw: bool = False,
    progress: bool = False,
    shard_seconds: float = 5.0,
    judge: bool = True,
) -> TokenStates:
    """Token states of `texts`, from the cache when it holds them, else encoded and kept there.

    Args:
        texts: N texts; equal texts are encoded once, blank ones have no tokens.
        encoder: as in `resolve_encoder`, or a loaded model (its own dtype and device then hold).
        max_tokens: tokens read of each text, those that the tokenizer adds included.
        batch_size: texts of `max_tokens` tokens in a batch; of shorter texts a batch holds more.
        dtype: arithmetic of the encoder (float32, bf16, fp16); states are kept as float16.
        device: torch device of the encoder, default the CPU.
        cache_dir: default `default_cache_dir()`.
        layers: of the encoder that are read, from the first on; None: all. A loaded model keeps its
            own.
        raw: as they enter the next layer, see `HfEncoder`.
        progress: show a progress bar.
        shard_seconds: work that a killed run may lose.
        judge: refuse an encoder that does not read the texts (`soundness`); not for a few texts
            beside those of a run.

    A damaged entry is rebuilt with a warning. Two processes that want the same entry build it once.
    Raises TextError (no such encoder, one that does not read the texts, no text at all, no room on
    the disk) or ConfigError (bad dtype, device, length).
    """
    folder = Path(cache_dir).expanduser() if cache_dir is not None else default_cache_dir()
    if min(max_tokens, batch_size) < 1:
        name = "text_max_tokens" if max_tokens < 1 else "text_batch_size"
        raise ConfigError(f"{name} must be at least 1, not {min(max_tokens, batch_size)}.")
    loaded = encoder if isinstance(encoder, HfEncoder) else None
    dtype = torch_dtype_name(dtype) if loaded is None else loaded.dtype_name
    settings = {
        "max_tokens": int(max_tokens),
        "dtype": dtype,
        **({} if layers is None else {"layers": int(layers)}),
        **({"raw": True} if raw else {}),
    }
    if not judge:
        settings["judged"] = False
    position: dict[str, int] = {}
    index = [
        position.setdefault(text, len(position)) if text.strip() else -1
        for text in map(_clean, texts)
    ]
    if not position:
        raise TextError(
            f"All {len(index)} item texts are empty; let item_text name columns that hold text."
        )
    if isinstance(encoder, HfEncoder):
        source = encoder.source
    elif isinstance(encoder, EncoderSource):
        source = encoder
    else:
        source = resolve_encoder(encoder, folder)
    unique = list(position)
    digests = _text_digests(unique)
    key = _key(digests, source, settings)
    entry = folder / f"states-{key}"

    found = _usable(entry, key, digests, source)
    if found is None:
        with writing(folder), _locked(entry):
            # Another process may have built it while this one waited.
            found = _usable(entry, key, digests, source, warn=False)
            if found is None:
                model = loaded or HfEncoder(source, dtype, device, progress, layers, raw)
                EntryBuilder(entry, model, unique, digests).build(
                    {"format": FORMAT, "key": key, "settings": settings},
                    max_tokens=max_tokens,
                    batch_size=batch_size,
                    progress=progress,
                    shard_seconds=shard_seconds,
                    judge=judge,
                )
                found = _open(entry, key, digests, source)
    return found.select(np.asarray(index, dtype=np.int64))


def _clean(text: str) -> str:
    """Clean a text for tokenizers: half a surrogate pair is replaced."""
    if text.isascii():
        return text
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _text_digests(texts: Sequence[str]) -> np.ndarray:
    """One digest per text, uint8 [N, 16]."""
    joined = b"".join(
        hashlib.blake2b(text.encode(), digest_size=_DIGEST_BYTES).digest() for text in texts
    )
    return np.frombuffer(joined, dtype=np.uint8).reshape(-1, _DIGEST_BYTES)


def _key(digests: np.ndarray, source: EncoderSource, settings: dict[str, object]) -> str:
    """Name of an entry: the same for the same set of texts in any order."""
    head = json.dumps({"format": FORMAT, "encoder": source.fingerprint, **settings}, sort_keys=True)
    state = hashlib.sha256(head.encode())
    state.update(np.sort(_as_keys(digests)).tobytes())
    return state.hexdigest()[:40]


def _as_keys(digests: np.ndarray) -> np.ndarray:
    """Digests [N, 16] as N opaque values that sort and compare."""
    pairs = np.ascontiguousarray(digests).view([("high", ">u8"), ("low", ">u8")])
    return pairs.reshape(-1)


def _usable(
    entry: Path, key: str, digests: np.ndarray, source: EncoderSource, *, warn: bool = True
) -> TokenStates | None:
    """Open the entry's states.

    None (and a warning) when there is no entry or a damaged one.
    """
    if not entry.exists():
        return None
    try:
        return _open(entry, key, digests, source)
    except _Damaged as damage:
        if warn:
            _log.warning(
                "%s: the cached token states are damaged (%s); encoding the texts again.",
                entry,
                damage,
            )
        return None


def _open(entry: Path, key: str, digests: np.ndarray, source: EncoderSource) -> TokenStates:
    """States of the texts with these digests, in their order. Raises _Damaged."""
    try:
        meta = json.loads((entry / META).read_text(encoding="utf-8"))
        if meta["key"] != key:
            raise _Damaged("it belongs to other texts, another model or other settings")
        arrays = {name: _open_array(entry / name, meta["files"][name]) for name in ARRAYS}
        states = arrays["states.npy"]
        ids = arrays["token_ids.npy"]
        offsets = arrays["offsets.npy"]
        stored = arrays["digests.npy"]
        shapes = (states.shape, ids.shape, offsets.shape, stored.shape)
        count = len(digests)
        total = int(meta["tokens"])
        hidden = int(meta["hidden_size"])
        if (
            shapes != ((total, hidden), (total,), (count + 1,), digests.shape)
            or states.dtype != np.float16
        ):
            raise _Damaged(f"shapes {shapes} do not fit {META}")
        encoder = {"name": source.name, "sha256": source.fingerprint, "settings": meta["settings"]}
        found = TokenStates(
            states,
            ids,
            offsets[:-1],
            np.diff(offsets),
            vocab_size=meta["vocab_size"],
            special_token_ids=meta["special_token_ids"],
            encoder=encoder,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _Damaged(f"{type(error).__name__}: {error}") from None
    if np.array_equal(stored, digests):
        return found
    order = np.argsort(_as_keys(stored), kind="stable")
    rows = order[np.searchsorted(_as_keys(stored)[order], _as_keys(digests))]
    if not np.array_equal(stored[rows], digests):
        raise _Damaged("it holds other texts")
    return found.select(rows)


def _open_array(path: Path, expected: dict[str, object]) -> np.ndarray:
    """Map an array of an entry, after its contents were found to be those that were written."""
    size = path.stat().st_size
    if size != expected["size"]:
        raise _Damaged(f"{path.name} has {size} bytes instead of {expected['size']}")
    if file_digest(path) != expected["sha256"]:
        raise _Damaged(f"the contents of {path.name} have changed")
    return np.load(path, mmap_mode="r", allow_pickle=False)


@contextlib.contextmanager
def _locked(entry: Path) -> Iterator[None]:
    """Hold the right to build `entry`.

    The system drops the lock of a process that dies, so none can go stale.
    """
    from filelock import FileLock, Timeout

    entry.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(f"{entry}.lock")
    try:
        lock.acquire(timeout=0)
    except NotImplementedError:
        raise TextError(
            f"{entry.parent}: this disk knows no file locks; set text_cache_dir to a local disk."
        ) from None
    except Timeout:
        _log.info(
            "Another process is encoding the same texts; waiting for it (%s).", lock.lock_file
        )
        lock.acquire()
    try:
        yield
    finally:
        lock.release()
