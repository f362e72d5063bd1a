"""Building an entry of the cache so that a kill, a full disk or a second process cannot spoil it.

The work happens in `<entry>.partial`: files are allocated in full before the first text is read (a
disk too small says so at once), each finished shard is noted in a journal with its checksum, and
one rename makes the entry appear.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from recbole_precise.errors import TextError
from recbole_precise.files import file_digest, sync_folder
from recbole_precise.text.encoder import HfEncoder, plan_batches
from recbole_precise.text.soundness import check_states, check_tokens
from recbole_precise.text.states import TokenStates

META = "meta.json"
ARRAYS = ("states.npy", "token_ids.npy", "offsets.npy", "digests.npy")
_PLAN = "plan.json"
_JOURNAL = "journal.jsonl"
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_log = logging.getLogger(__name__)


@contextlib.contextmanager
def writing(folder: Path, needed: int | None = None) -> Iterator[None]:
    """Turn faults of the disk into a TextError that names the folder and the bytes needed."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise no_room(folder, needed, error.strerror or str(error)) from error
        raise TextError(
            f"{folder}: token states cannot be cached there ({error.strerror or error}); set "
            "text_cache_dir to another folder."
        ) from error


def no_room(folder: Path, needed: int | None, reason: str) -> TextError:
    """Return the error of a disk without room for `needed` bytes in `folder`."""
    want = "some" if needed is None else f"{needed:,} ({needed / 2**20:.1f} MiB)"
    try:
        free = f", of which {shutil.disk_usage(folder).free:,} are free"
    except OSError:
        free = ""
    return TextError(
        f"{folder}: no room for the token states ({reason}): they need {want} bytes there{free}. "
        "Make room or set text_cache_dir to another disk; earlier caches are untouched."
    )


class EntryBuilder:
    """Encodes texts into an entry.

    Args:
        entry: the folder that shall appear; the caller holds its lock.
        model: the encoder.
        texts: N different texts that are not blank.
        digests: uint8 [N, 16], stored beside the states to find a text again.
    """

    def __init__(
        self, entry: Path, model: HfEncoder, texts: Sequence[str], digests: np.ndarray
    ) -> None:
        self.entry = entry
        self.partial = entry.with_name(f"{entry.name}.partial")
        self.model = model
        self.texts = texts
        self.digests = digests

    def build(
        self,
        meta: dict,
        *,
        max_tokens: int,
        batch_size: int,
        progress: bool = False,
        shard_seconds: float = 5.0,
        judge: bool = True,
    ) -> None:
        """Encode what a killed run has not finished, then let the entry appear.

        With `meta` and more.

        With `judge`, an encoder that does not read the texts is a TextError, see `soundness`.
        """
        ids, lengths, words = self.model.tokenize_and_count(self.texts, max_tokens)
        self.offsets = np.concatenate(([0], np.cumsum(lengths)))
        name = self.model.source.name
        if judge:
            words.check(name, self.model.vocabulary_hint())
            comparable = (lengths < max_tokens) & (words.unknown < words.words)
            compared = check_tokens(name, self.texts, ids, self.offsets, comparable)
        self.ids = ids
        self.row_bytes = 2 * self.model.hidden_size
        at_limit = int((lengths >= max_tokens).sum())
        if at_limit:
            _log.info(
                "%d of %d texts fill max_tokens = %d; longer ones are cut.",
                at_limit,
                len(lengths),
                max_tokens,
            )
        # Longest first: too little memory shows at once, and equal lengths stand together. Equal
        # lengths are ordered by digest, so that batches, and with them the last bit of a state, do
        # not depend on the order of the items.
        tie = self.digests[:, :8].copy().view(">u8").reshape(-1)
        self.order = np.lexsort((tie, -lengths))
        self.order = self.order[: int((lengths > 0).sum())]

        if not len(self.order):
            raise TextError(
                f"The tokenizer of {self.model.source.name} finds no token in any of the texts."
            )

        done = self._resume_or_allocate()
        budget = self.model.batch_tokens(max_tokens * batch_size)
        try:
            with writing(self.entry.parent, self.needed):
                with (
                    self._states_file() as file,
                    (self.partial / _JOURNAL).open("a", encoding="utf-8") as journal,
                ):
                    self._encode(file, journal, done, budget, progress, shard_seconds)
                if judge:
                    self._check_states(name, compared)
                self._finish(meta)
        except TextError:
            # Finished shards are worth keeping for the next run; an empty shell only takes room.
            if not self._finished()[0]:
                shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def _check_states(self, name: str, compared: np.ndarray) -> None:
        """Refuse an encoder that gives different texts one vector, and drop what it encoded."""
        rows = np.load(self.partial / "states.npy", mmap_mode="r", allow_pickle=False)
        lengths = np.diff(self.offsets)
        states = TokenStates(
            rows, self.ids, self.offsets[:-1], lengths, vocab_size=self.model.vocab_size
        )
        try:
            check_states(name, self.texts, states, compared)
        except TextError:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise

    def _encode(
        self, file: BinaryIO, journal, done: int, budget: int, progress: bool, shard_seconds: float
    ) -> None:
        from tqdm import tqdm

        lengths = np.diff(self.offsets)[self.order]
        batches = [
            (first + done, last + done) for first, last in plan_batches(lengths[done:], budget)
        ]
        bar = tqdm(
            total=len(self.order), initial=done, desc="Encode", unit="text", disable=not progress
        )
        begin = done
        started = time.monotonic()
        digest = hashlib.sha256()
        for number, (first, last) in enumerate(batches):
            rows = self.order[first:last]
            states = self.model.encode_batch(
                [self.ids[self.offsets[i] : self.offsets[i + 1]] for i in rows]
            )
            data = memoryview(states.tobytes())
            digest.update(data)
            at = 0
            for i, size in zip(rows, lengths[first:last] * self.row_bytes):
                file.seek(self.header + int(self.offsets[i]) * self.row_bytes)
                _write_all(file, data[at : at + size])
                at += size
            bar.update(last - first)
            if time.monotonic() - started >= shard_seconds or number == len(batches) - 1:
                _sync(file)  # the journal must not promise what the disk does not hold
                journal.write(
                    json.dumps({"first": begin, "last": last, "sha256": digest.hexdigest()}) + "\n"
                )
                journal.flush()
                _sync(journal)
                begin = last
                started = time.monotonic()
                digest = hashlib.sha256()
        bar.close()

    def _resume_or_allocate(self) -> int:
        """Texts of `order` that a killed run has finished; else 0 and fresh, fully allocated files.

        Sets `header` (bytes before the states in states.npy) and `needed` (bytes of the whole
        entry).
        """
        tokens = hashlib.sha256(
            self.ids.tobytes() + self.offsets.tobytes() + self.digests.tobytes()
        ).hexdigest()
        plan = {"tokens": tokens, "hidden_size": self.model.hidden_size}
        shape = (int(self.offsets[-1]), self.model.hidden_size)
        header = _npy_header(shape)
        self.header = len(header)
        size = self.header + shape[0] * self.row_bytes
        self.needed = size + self.ids.nbytes + self.offsets.nbytes + self.digests.nbytes + 4096
        try:
            known = json.loads((self.partial / _PLAN).read_text(encoding="utf-8"))
            if known == plan and (self.partial / "states.npy").stat().st_size == size:
                done, valid = self._finished()
                if valid:  # drop the line that the kill cut off
                    os.truncate(self.partial / _JOURNAL, valid)
                _log.info(
                    "Going on with %s: %d of %d texts are encoded.",
                    self.partial,
                    done,
                    len(self.order),
                )
                return done
        except (OSError, ValueError):
            pass
        shutil.rmtree(self.partial, ignore_errors=True)
        try:
            with writing(self.entry.parent, self.needed):
                self.partial.mkdir(parents=True)
                if shutil.disk_usage(self.partial).free < self.needed:
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                with (self.partial / "states.npy").open("wb", buffering=0) as file:
                    _allocate(file, size)
                    file.seek(0)
                    _write_all(file, memoryview(header))
                (self.partial / _JOURNAL).touch()
                _write_text(self.partial / _PLAN, json.dumps(plan))
        except TextError:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise
        return 0

    def _finished(self) -> tuple[int, int]:
        """Texts of `order` in shards whose states on disk have the checksum of the journal.

        Bytes of those lines.
        """
        done = valid = 0
        journal = self.partial / _JOURNAL
        if not journal.exists():
            return 0, 0
        with self._states_file() as file:
            for line in journal.read_bytes().splitlines(keepends=True):
                try:
                    shard = json.loads(line)
                    first = int(shard["first"])
                    last = int(shard["last"])
                    expected = shard["sha256"]
                except (ValueError, KeyError, TypeError):
                    break  # the kill came while this line was written
                if first != done or not first < last <= len(self.order) or not line.endswith(b"\n"):
                    break
                digest = hashlib.sha256()
                for i in self.order[first:last]:
                    file.seek(self.header + int(self.offsets[i]) * self.row_bytes)
                    digest.update(
                        file.read(int(self.offsets[i + 1] - self.offsets[i]) * self.row_bytes)
                    )
                if digest.hexdigest() != expected:
                    break
                done = last
                valid = valid + len(line)
        return done, valid

    def _finish(self, meta: dict) -> None:
        import transformers

        small = {
            "token_ids.npy": self.ids,
            "offsets.npy": self.offsets,
            "digests.npy": self.digests,
        }
        for name, array in small.items():
            with (self.partial / name).open("wb") as file:
                np.save(file, array, allow_pickle=False)
                _sync(file)
        files = {}
        for name in ARRAYS:
            path = self.partial / name
            files[name] = {"size": path.stat().st_size, "sha256": file_digest(path)}
        meta = meta | {
            "encoder": {"name": self.model.source.name, "sha256": self.model.source.fingerprint},
            "hidden_size": self.model.hidden_size,
            "vocab_size": self.model.vocab_size,
            "special_token_ids": list(self.model.special_token_ids),
            "texts": len(self.texts),
            "tokens": int(self.offsets[-1]),
            "files": files,
            "transformers": transformers.__version__,
        }
        _write_text(self.partial / META, json.dumps(meta, indent=1))
        if self.entry.exists():  # a damaged one; readers that mapped it keep their files
            shutil.rmtree(self.entry)
        Path(self.partial).replace(self.entry)
        sync_folder(self.entry.parent)
        for name in (_PLAN, _JOURNAL):
            (self.entry / name).unlink(missing_ok=True)

    def _states_file(self) -> BinaryIO:
        return (self.partial / "states.npy").open("r+b", buffering=0)


def _npy_header(shape: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    description = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(buffer, description)
    return buffer.getvalue()


def _allocate(file: BinaryIO, size: int) -> None:
    """Reserve the blocks of a file, so that a disk too small shows now and not in the middle."""
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP):
                raise
    file.truncate(size)  # this file system cannot reserve; a full disk then shows while encoding


def _write_all(file: BinaryIO, data: memoryview) -> None:
    while len(data):
        data = data[file.write(data) :]


def _write_text(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        _sync(file)


def _sync(file) -> None:
    os.fsync(file.fileno())
