"""The directory of a run: who may write there, its checkpoints, its weights and state."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch

from recbole_precise.errors import CheckpointError
from recbole_precise.files import short, write_json
from recbole_precise.runs.checkpoint import (  # fmt: skip
    CheckpointStore,
    differing_key,
    load_tensors,
    read_tensors,
    sealed,
    unsealed,
    write_tensors,
)
from recbole_precise.runs.manifest import write_manifest
from recbole_precise.runs.packing import pack, unpack
from recbole_precise.runs.vocabulary import FILES as VOCABULARY
from recbole_precise.system.locking import exclusive

WEIGHTS = "model.safetensors"
STATE = "state.json"
RESULT = "result.json"
CHECKPOINTS = "checkpoint"
#: Settings that tell how many processes train: they change the result of a training, and not that
#: of an evaluation.
LAUNCH = ("single_spec", "world_size")
#: What a finished training leaves.
TRAINED = ("config.yaml", *VOCABULARY, WEIGHTS, STATE)
_PARTIAL = re.compile(r"\..+\.\d+\.tmp")  # as `files.write_atomically` names them
_OTHER = "other_parameter/"  # what a model keeps beside its state_dict


class RunFolder:
    """Files of one run.

    Attributes:
        path: of the directory; not made before the first file is written.
        store: checkpoints of the training under way.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self.store = CheckpointStore(self.path / CHECKPOINTS)

    @classmethod
    def named(cls, parent: Path, name: str) -> RunFolder:
        """`<parent>/<name>-<time>`, with a number behind it when that is taken."""
        return cls(free_name(Path(parent) / f"{name}-{time.strftime('%Y-%m-%d_%H-%M-%S')}"))

    @classmethod
    def made(cls, parent: Path, name: str) -> RunFolder:
        """Return `named`, made at once.

        So that of two runs that begin in the same second each has its own.
        """
        return cls.made_at(cls.named(parent, name).path)

    @classmethod
    def made_at(cls, path: Path) -> RunFolder:
        """Make `path`, or the first of `path-2`, `path-3`, ... that nobody has made."""
        while True:
            free = free_name(path)
            try:
                free.mkdir(parents=True)
                return cls(free)
            except FileExistsError as error:
                if not free.exists():  # a file is in the place of a parent
                    raise CheckpointError(
                        f"'{short(free)}' cannot be made: {error.strerror}."
                    ) from error
            except OSError as error:
                raise CheckpointError(
                    f"'{short(free)}' cannot be made: {error.strerror}."
                ) from error

    def hold(self) -> AbstractContextManager[None]:
        """Hold the right to write here, for one process at a time.

        See `locking.exclusive`.
        """
        return exclusive(self.path, "run_dir")

    @property
    def weights(self) -> Path:
        """Return the path of the weights."""
        return self.path / WEIGHTS

    @property
    def begun(self) -> bool:
        """Whether a checkpoint or a finished training is here."""
        return self.store.exists() or (self.path / STATE).exists()

    def claim(self, resume: bool) -> None:
        """Make the directory for a run; a CheckpointError when another run's results are in it.

        A directory that holds a log alone, left by a run that got no further, may be used again.
        """
        if self.path.exists() and not self.path.is_dir():
            raise CheckpointError(f"run_dir '{self.path}' is a file; name a directory.")
        if not resume:
            for name in (RESULT, STATE, WEIGHTS):
                if (self.path / name).exists():
                    raise CheckpointError(
                        f"run_dir '{self.path}' holds a finished run ({name}). Choose another "
                        "run_dir, or set resume: True to read its result."
                    )
            if self.store.exists():
                raise CheckpointError(
                    f"run_dir '{self.path}' holds an unfinished run. Set resume: True to go on "
                    "with it, or choose another run_dir."
                )
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CheckpointError(
                f"run_dir '{short(self.path)}' cannot be made: {error.strerror}."
            ) from error
        for file in self.path.glob(".*.tmp"):  # left by a process that was killed while it wrote
            if _PARTIAL.fullmatch(file.name):
                file.unlink(missing_ok=True)

    def save_final(
        self,
        weights: Mapping[str, torch.Tensor],
        other: Mapping[str, Any],
        state: Mapping[str, Any],
    ) -> None:
        """Leave the weights and, as the commit point, the state of a finished training.

        Then drop the checkpoints.
        """
        tensors = dict(weights)
        beside: dict[str, torch.Tensor] = {}
        structure = pack(dict(other), beside)
        tensors.update({_OTHER + name: tensor for name, tensor in beside.items()})
        written = write_tensors(self.weights, tensors, "the weights")
        plain = pack(dict(state), {}, "state")
        write_json(
            self.path / STATE,
            sealed({"weights": written, "other_parameter": structure, "state": plain}),
            "the state of the run",
        )
        self.store.clear()
        write_manifest(self.path, TRAINED)

    def finish(self, result: bytes, extra: Iterable[str] = ()) -> None:
        """List every file of a run that has ended; `result.json` comes last and commits it.

        Args:
            result: the content of result.json, which is written next.
            extra: further files that the run left, such as the ranks.
        """
        write_manifest(self.path, [*TRAINED, *extra], {RESULT: hashlib.sha256(result).hexdigest()})

    def load_final(self) -> dict[str, Any] | None:
        """Load the state that `save_final` was given, None when training has not finished."""
        if not (self.path / STATE).exists():
            return None
        return unpack(unsealed(self.path / STATE)["state"], {})

    def load_finished(self, identity: Mapping[str, Any]) -> dict[str, Any] | None:
        """`load_final`, or a CheckpointError when it is another run's.

        How many processes trained it does not matter any more.
        """
        state = self.load_final()
        if state is not None:
            self.check_identity(_without_launch(state["identity"]), _without_launch(identity))
        return state

    def load_weights(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """Load the weights of a finished training, checked against their checksum.

        These are (state_dict, what the model keeps beside it).
        """
        if not (self.path / STATE).exists():
            raise CheckpointError(
                f"'{self.path}' holds no finished training: '{self.path / STATE}' is "
                f"missing.{self._hint()}"
            )
        content = unsealed(self.path / STATE)
        tensors = read_tensors(self.path, content["weights"])
        beside = {
            name.removeprefix(_OTHER): tensors.pop(name)
            for name in list(tensors)
            if name.startswith(_OTHER)
        }
        return tensors, unpack(content["other_parameter"], beside)

    def load_checkpoint(
        self, identity: Mapping[str, Any], warn: Callable[[str], None]
    ) -> dict[str, Any] | None:
        """Load the parts of the newest good checkpoint, None without one.

        A CheckpointError when it is another run's.
        """
        parts = self.store.load(warn)
        if parts is not None:
            self.check_identity(parts["training"]["identity"], identity)
        return parts

    def check_identity(self, saved: Mapping[str, Any], now: Mapping[str, Any]) -> None:
        """Check that the run in this directory is the one under way.

        A CheckpointError names the first difference.
        """
        if "text_encoder" not in saved:  # of a version that did not write it down
            now = {key: value for key, value in now.items() if key != "text_encoder"}
        difference = differing_key(saved, now)
        if difference is not None:
            raise CheckpointError(
                f"run_dir '{self.path}' holds another run: {difference}. Resume with its "
                "settings (config.yaml there), or choose another run_dir."
            )

    def check_settings(self, now: Mapping[str, Any]) -> None:
        """Check the settings alone, before data is read.

        As `check_identity`; damaged files are left for `load_checkpoint` to report.

        Only settings that both have: data and models of RecBole's add some while they are built.
        """
        finished = self.load_final()
        parts = {"training": finished} if finished is not None else self.store.peek()
        if parts is not None:
            then = parts["training"]["identity"]["settings"]
            common = [
                key for key in then if key in now and not (finished is not None and key in LAUNCH)
            ]
            self.check_identity(
                {"settings": {key: then[key] for key in common}},
                {"settings": {key: now[key] for key in common}},
            )

    def _hint(self) -> str:
        return (
            " Its training was interrupted: run it again with resume: True."
            if self.store.exists()
            else ""
        )


def _without_launch(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {
        **identity,
        "settings": {
            key: value for key, value in identity["settings"].items() if key not in LAUNCH
        },
    }


def free_name(path: Path) -> Path:
    """`path`, or the first of `path-2`, `path-3`, ... that does not exist."""
    number = 1
    free = path
    while free.exists():
        number += 1
        free = path.with_name(f"{path.name}-{number}")
    return free


def find_run(path: str | os.PathLike) -> RunFolder:
    """Find the run of a path to its directory or to a file in it.

    A CheckpointError when there is none.
    """
    path = Path(path)
    folder = path if path.is_dir() else path.parent
    if not path.exists():
        raise CheckpointError(f"'{path}' does not exist.")
    run = RunFolder(folder)
    if not (folder / STATE).exists():
        raise CheckpointError(
            f"'{folder}' is no run directory: '{folder / STATE}' is missing.{run._hint()}"
        )
    return run


def load_into(model: torch.nn.Module, weights: Mapping[str, torch.Tensor], source: object) -> None:
    """`model.load_state_dict`, strictly.

    A CheckpointError that names the first tensor that does not fit.
    """
    own = model.state_dict()
    for name, tensor in own.items():
        if name not in weights:
            raise CheckpointError(
                f"'{source}' has no tensor '{name}', which {type(model).__name__} needs: it "
                "belongs to another model or other settings."
            )
        if weights[name].shape != tensor.shape:
            raise CheckpointError(
                f"'{source}': tensor '{name}' has the shape {list(weights[name].shape)}, but "
                f"{type(model).__name__} needs {list(tensor.shape)}: "
                "it belongs to another data set or other settings."
            )
    for name in weights:
        if name not in own:
            raise CheckpointError(
                f"'{source}' has a tensor '{name}' that {type(model).__name__} does not know: it "
                "belongs to another model or other settings."
            )
    model.load_state_dict(weights)


def read_weights(file: str | os.PathLike) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Read weights from a run directory or a safetensors file.

    From the run's model.safetensors, or any other such file.
    """
    path = Path(file)
    if path.is_dir() or (path.name == WEIGHTS and (path.parent / STATE).exists()):
        return find_run(path).load_weights()
    return load_tensors(path), {}
