"""Checkpoints that survive a kill at any moment.

They are safetensors beside JSON, written whole or not at all.

A checkpoint is a number of parts (nested values with tensors). Each part's tensors are in a file
of their own; the state file, written last, is the commit point: it names the tensor files and
carries their SHA-256, so that a file cut short or changed afterwards is found out and the
checkpoint before it is used.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from recbole_precise.errors import CheckpointError
from recbole_precise.files import file_digest, write_atomically, write_json
from recbole_precise.runs.packing import pack, unpack

FORMAT = 1


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], what: str = "weights"
) -> dict[str, Any]:
    """Write a .safetensors file.

    Returns its name, size and SHA-256 for the file that refers to it.
    """
    seen: set[int] = set()
    plain: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        # The format keeps no sharing: tied weights and views are written out one by one.
        plain[name] = (
            tensor.clone()
            if place in seen or tensor.untyped_storage().nbytes() != tensor.nbytes
            else tensor
        )
        seen.add(place)

    def write(partial: Path) -> None:
        try:
            save_file(plain, partial, metadata={"format": "pt"})
        except SafetensorError as error:
            raise _as_os_error(error) from error

    write_atomically(path, write, what)
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": file_digest(path)}


def _as_os_error(error: SafetensorError) -> OSError:
    """Convert an error of safetensors, which names the disk's error number in words."""
    found = re.search(r"os error (\d+)|code: (\d+)", str(error))
    if found is None:
        return OSError(str(error))
    number = int(found.group(1) or found.group(2))
    return OSError(number, os.strerror(number))


def read_tensors(folder: Path, reference: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """Read the tensors of a file that `write_tensors` wrote, on the CPU.

    A CheckpointError when they are not what was written.
    """
    path = folder / reference["file"]
    if not path.is_file():
        raise CheckpointError(f"'{path}' is missing.")
    size = path.stat().st_size
    if size != reference["bytes"]:
        raise CheckpointError(
            f"'{path}' is damaged: it holds {size} bytes instead of {reference['bytes']}."
        )
    if file_digest(path) != reference["sha256"]:
        raise CheckpointError(
            f"'{path}' is damaged: its SHA-256 is not the one that was recorded when it was "
            "written."
        )
    return load_tensors(path)


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Load the tensors of any .safetensors file, on the CPU."""
    try:
        return load_file(path, device="cpu")
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged or no safetensors file: {error}.") from error


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON mapping that this package wrote; a CheckpointError names the file."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"'{path}' does not exist.") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{path}' is damaged: {error}.") from error
    except RecursionError:
        raise CheckpointError(f"'{path}' is damaged: its values are nested too deeply.") from None
    if not isinstance(content, dict):
        raise CheckpointError(f"'{path}' is damaged: it does not hold a mapping.")
    return content


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with a checksum of itself, so that a changed state file is found out too."""
    return {"format": FORMAT, "checksum": _checksum(content), **content}


def unsealed(path: Path) -> dict[str, Any]:
    """Return the content of a sealed JSON file.

    A CheckpointError when the file is damaged or of a newer format.
    """
    content = read_json(path)
    version = content.pop("format", None)
    checksum = content.pop("checksum", None)
    if isinstance(version, int) and version > FORMAT:
        raise CheckpointError(
            f"'{path}' was written by a newer version of recbole_precise (format {version}, this "
            f"one reads {FORMAT})."
        )
    if checksum != _checksum(content):
        raise CheckpointError(f"'{path}' is damaged: its content does not match its checksum.")
    return content


class CheckpointStore:
    """The last few checkpoints of a run in one folder.

    Args:
        folder: made when the first checkpoint is written.
        keep: good checkpoints kept; the newest may turn out damaged, so at least two.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep
        self._written: dict[str, Any] = {}

    def save(self, parts: Mapping[str, Any], reuse: Collection[str] = ()) -> Path:
        """Write a checkpoint.

        Parts in `reuse` stay as they were in the last one saved or loaded and are not written
        again.
        """
        number = max(self._numbers(), default=0) + 1
        state = self.folder / f"state-{number:06d}.json"
        content: dict[str, Any] = {
            "number": number,
            "parts": {name: self._written[name] for name in reuse},
        }
        for name, value in parts.items():
            tensors: dict[str, torch.Tensor] = {}
            structure = pack(value, tensors)
            written = write_tensors(
                self.folder / f"{name}-{number:06d}.safetensors", tensors, "a checkpoint"
            )
            content["parts"][name] = {**written, "structure": structure}
        write_json(state, sealed(content), "a checkpoint")
        self._written = content["parts"]
        self._drop_old()
        return state

    def load(self, warn: Callable[[str], None] = lambda message: None) -> dict[str, Any] | None:
        """Load the parts of the newest good checkpoint, None when there never was one.

        A damaged checkpoint is passed over with a warning; when none is good, a CheckpointError
        names the damage.
        """
        damage: list[str] = []
        for number in sorted(self._numbers(), reverse=True):
            try:
                content = unsealed(self.folder / f"state-{number:06d}.json")
                loaded = {
                    name: unpack(part["structure"], read_tensors(self.folder, part))
                    for name, part in content["parts"].items()
                }
            except (CheckpointError, KeyError, TypeError) as error:
                damage.append(
                    str(error)
                    if isinstance(error, CheckpointError)
                    else f"'{self.folder / f'state-{number:06d}.json'}' is damaged: {error!r}."
                )
                continue
            for message in damage:
                warn(f"{message} Going on from the checkpoint before it.")
            self._written = content["parts"]
            return loaded
        if damage:
            raise CheckpointError(
                f"No checkpoint in '{self.folder}' can be used. {' '.join(damage)} Delete the "
                "folder to start the run anew."
            )
        return None

    def peek(self) -> dict[str, Any] | None:
        """Read the structure of the newest readable state file's parts, without tensors.

        For a look before anything is loaded.
        """
        for number in sorted(self._numbers(), reverse=True):
            try:
                return {
                    name: part["structure"]
                    for name, part in unsealed(self.folder / f"state-{number:06d}.json")[
                        "parts"
                    ].items()
                }
            except (CheckpointError, KeyError, TypeError, AttributeError):
                continue
        return None

    def exists(self) -> bool:
        """Whether a checkpoint was ever committed here."""
        return bool(self._numbers())

    def clear(self) -> None:
        """Remove every checkpoint."""
        if not self.folder.is_dir():
            return
        # State files first: a kill in between must not leave a state whose tensors are gone.
        for file in sorted(self.folder.iterdir(), key=lambda file: file.suffix != ".json"):
            if file.is_file():
                file.unlink(missing_ok=True)
        # It stays where somebody put something of theirs there.
        with contextlib.suppress(OSError):
            self.folder.rmdir()

    def _numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        stems = (file.stem.removeprefix("state-") for file in self.folder.glob("state-*.json"))
        return [int(stem) for stem in stems if stem.isdigit()]

    def _drop_old(self) -> None:
        numbers = sorted(self._numbers(), reverse=True)
        for number in numbers[self.keep :]:
            (self.folder / f"state-{number:06d}.json").unlink(missing_ok=True)
        needed: set[str] = set()
        for number in numbers[: self.keep]:
            try:
                needed |= {
                    part["file"]
                    for part in unsealed(self.folder / f"state-{number:06d}.json")["parts"].values()
                }
            except (CheckpointError, KeyError, TypeError):
                continue
        for file in (*self.folder.glob("*.safetensors"), *self.folder.glob(".*.tmp")):
            if file.name not in needed:
                file.unlink(missing_ok=True)


def differing_key(saved: Mapping[str, Any], now: Mapping[str, Any]) -> str | None:
    """Name the first key in which two identities of a run differ.

    As 'key: then, now', or None.

    A missing key is an empty one.
    """
    for key in [*saved, *(key for key in now if key not in saved)]:
        then = saved.get(key)
        present = now.get(key)
        if isinstance(then, Mapping) and isinstance(present, Mapping):
            inner = differing_key(then, present)
            if inner is not None:
                return f"{key}.{inner}"
        elif then != present:
            show = ["absent" if value is None else repr(value) for value in (then, present)]
            return f"{key}: {show[0]} then, {show[1]} now"
    return None


def _checksum(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(
        json.dumps(content, sort_keys=True, ensure_ascii=False).encode("utf-8", "surrogatepass")
    ).hexdigest()
