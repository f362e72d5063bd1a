"""The house's own rules that no linter knows: what a file says of itself, and its layers."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "recbole_precise"
FILES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_say_what_they_are(path):
    assert ast.get_docstring(ast.parse(path.read_text()))


def test_imports_stand_at_the_top():
    """But for optional packages, RecBole among them, and for the command line."""
    hidden = []
    for path in FILES:
        if place(path).startswith("cli/"):
            continue
        for function in ast.walk(ast.parse(path.read_text())):
            if not isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            for node in ast.walk(function):
                module = node.module if isinstance(node, ast.ImportFrom) else None
                if module and module.split(".")[0] == "recbole_precise":
                    hidden.append(f"{place(path)}:{node.lineno}")
    assert not hidden
