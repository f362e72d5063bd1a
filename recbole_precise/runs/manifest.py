"""The manifest of a run directory: SHA-256 of every file that the run left.

It is checked by every reader.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from recbole_precise.errors import CheckpointError
from recbole_precise.files import file_digest, write_json
from recbole_precise.runs.checkpoint import sealed, unsealed

MANIFEST = "manifest.json"


def write_manifest(
    folder: Path, names: Iterable[str], announced: Mapping[str, str] | None = None
) -> None:
    """Write the digests of the files of a run.

    Args:
        folder: the run directory.
        names: files to list; those that do not exist are left out.
        announced: digests of files that are about to be written, so that a run that is killed in
            between has either no such file or the right one.

    Raises:
        CheckpointError: there is no room, or the directory cannot be written to.
    """
    folder = Path(folder)
    files = {name: file_digest(folder / name) for name in names if (folder / name).is_file()}
    files.update(announced or {})
    content = sealed({"files": dict(sorted(files.items()))})
    write_json(folder / MANIFEST, content, "the manifest of the run")


def check_file(folder: Path, name: str) -> None:
    """Refuse a file of a run that is not the one that the run left.

    A run of an earlier version has no manifest, and a file that the manifest does not list is
    nobody's claim: both pass.

    Raises:
        CheckpointError: the file or the manifest was changed, or the file is gone.
    """
    manifest = Path(folder) / MANIFEST
    if not manifest.exists():
        return
    files = unsealed(manifest).get("files")
    if not isinstance(files, Mapping):
        raise CheckpointError(f"'{manifest}' is damaged: it lists no files.")
    path = Path(folder) / name
    if name not in files:
        return
    if not path.is_file():
        raise CheckpointError(f"'{path}' is missing, though '{manifest}' lists it.")
    if file_digest(path) != files[name]:
        raise CheckpointError(
            f"'{path}' is not the file that the run left: its SHA-256 is not the one in "
            f"{MANIFEST}. "
            "Restore it from a copy, or run again in another run_dir."
        )
