"""RecBole outside, parts inside: every file but those of the edge does without recbole."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import recbole_precise

PACKAGE = Path(recbole_precise.__file__).parent
FILES = sorted(PACKAGE.rglob("*.py"))
EDGE = {"compat.py", "compat_checkpoints.py", "compat_pandas.py", "registry.py", "config.py", "known_keys.py", "rules.py", "quick_start.py", "data/dataset.py", "trainer/trainer.py"}


def imported(file: Path) -> set[str]:
    """Top-level names of all modules that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_only_the_edge_imports_recbole(file: Path):
    place = file.relative_to(PACKAGE).as_posix()
    if place not in EDGE and not place.startswith("model/"):
        assert "recbole" not in imported(file)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(PACKAGE).as_posix())
def test_files_say_what_they_are(file: Path):
    assert ast.get_docstring(ast.parse(file.read_text(encoding="utf-8")))
