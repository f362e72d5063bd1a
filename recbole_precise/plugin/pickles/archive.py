"""The files that torch.save writes, read without torch.load: a pickle and its tensors' data."""

from __future__ import annotations

import io
import struct
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from recbole_precise.plugin.pickles.reader import PlainUnpickler
from recbole_precise.plugin.pickles.rules import DamagedError, RefusedError
from recbole_precise.plugin.pickles.values import Storage, StorageType

#: Bytes of an archive's list of its files: that of 500,000 tensors.
LONGEST_DIRECTORY = 64 << 20
_BLOCK = 1 << 20


class TorchArchive:
    """One file of torch.save.

    Args:
        path: of the file.
        device: where its tensors go.

    Raises:
        RefusedError: the file holds more than a pickle and data, or claims more than it has.
        DamagedError: it is no such file, or not whole.
    """

    def __init__(self, path: Path, device: torch.device) -> None:
        self._path = path
        self._device = device
        self._storages: dict[str, torch.Tensor] = {}

    def read(self, table: Mapping[tuple[str, str], Any]) -> Any:
        """Return what was saved, built by the rules of `table`."""
        _check_directory(self._path)
        try:
            with zipfile.ZipFile(self._path) as archive:
                self._archive = archive
                self._entries = _entries_of(archive, self._path.stat().st_size)
                self._root = _root_of(self._entries)
                order = self._content("byteorder") or b"little"
                if order.decode("ascii", "replace") not in ("little", "big"):
                    raise DamagedError("its byte order is neither little nor big")
                self._swapped = order.decode() != sys.byteorder
                pickled = io.BytesIO(self._content("data.pkl") or b"")
                return PlainUnpickler(pickled, table, self._storage).load()
        except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, EOFError) as error:
            raise DamagedError(f"its archive is not whole: {error}") from error

    def _content(self, name: str) -> bytes | None:
        entry = self._entries.get(f"{self._root}/{name}")
        return None if entry is None else self._archive.read(entry)

    def _storage(self, reference: Any) -> Storage:
        """Return the data that a tensor of the pickle names, read once."""
        known = type(reference) is tuple and len(reference) == 5 and reference[0] == "storage"
        if not known or not isinstance(reference[1], StorageType):
            raise RefusedError("its pickle refers to something other than the data of a tensor")
        dtype = reference[1].dtype
        key = reference[2]
        count = reference[4]
        entry = self._entries.get(f"{self._root}/data/{key}") if type(key) is str else None
        if entry is None or type(count) is not int:
            raise DamagedError("the data of one of its tensors are missing")
        if count * dtype.itemsize != entry.file_size:
            raise DamagedError("the data of one of its tensors have another size than the tensor")
        if key not in self._storages:
            self._storages[key] = self._read_data(entry, dtype)
        return Storage(self._storages[key], dtype, count)

    def _read_data(self, entry: zipfile.ZipInfo, dtype: torch.dtype) -> torch.Tensor:
        data = torch.empty(entry.file_size, dtype=torch.uint8)
        array: Any = data.numpy()
        view = memoryview(array)
        at = 0
        with self._archive.open(entry) as file:
            while block := file.read(_BLOCK):
                view[at : at + len(block)] = block
                at += len(block)
        if at != entry.file_size:
            raise DamagedError("the data of one of its tensors end early")
        if self._swapped:
            data.untyped_storage().byteswap(dtype)
        return data.to(self._device)


def _check_directory(path: Path) -> None:
    """Refuse an archive whose list of files alone would fill the memory."""
    with path.open("rb") as file:
        size = file.seek(0, io.SEEK_END)
        file.seek(max(0, size - 65_557 - 20))
        tail = file.read()
        end = tail.rfind(b"PK\x05\x06")
        if end < 0 or len(tail) - end < 22:
            raise DamagedError("it is no archive of torch 1.6 or newer")
        length = struct.unpack_from("<L", tail, end + 12)[0]
        if end >= 20 and tail[end - 20 : end - 16] == b"PK\x06\x07":
            # The sizes of an archive above 4 GiB stand in a record of their own.
            place = struct.unpack_from("<Q", tail, end - 12)[0]
            file.seek(min(place, size))
            record = file.read(56)
            if len(record) < 56 or record[:4] != b"PK\x06\x06":
                raise DamagedError("its archive is not whole")
            length = struct.unpack_from("<Q", record, 40)[0]
    if length > min(size, LONGEST_DIRECTORY):
        raise RefusedError("its archive claims more files than a checkpoint has")


def _entries_of(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """Return the files in an archive by name: each once, and together no more than the archive."""
    entries: dict[str, zipfile.ZipInfo] = {}
    total = 0
    if any(name.endswith("/constants.pkl") for name in archive.namelist()):
        raise RefusedError("it is a program of TorchScript, not weights and settings")
    for entry in archive.infolist():
        if entry.filename in entries:
            raise RefusedError(f"its archive has two files named {entry.filename[:80]!r}")
        if entry.flag_bits & 0x1:
            raise RefusedError("its archive is encrypted")
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise RefusedError("its archive is compressed, which torch does not do")
        total += entry.file_size
        entries[entry.filename] = entry
    if total > size:
        raise RefusedError("the files in its archive overlap")
    return entries


def _root_of(entries: Mapping[str, zipfile.ZipInfo]) -> str:
    """Return the folder in which torch put everything."""
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1 or "/" in roots[0]:
        raise DamagedError("it is an archive, but not one that torch.save wrote")
    return roots[0]
