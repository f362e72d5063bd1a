"""The house's own rules: who may import RecBole, and what a file says of itself."""

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "recbole_precise"
FILES = sorted(PACKAGE.rglob("*.py"))
#: RecBole outside: the only places that know it.
EDGE = ("compat/", "registry.py", "config.py", "settings/heeded.py", "settings/known_keys.py", "settings/rules.py", "quick_start.py", "finished.py", "next_steps.py", "data/dataset.py", "data/preparation.py", "model/", "trainer/trainer.py")
#: Parts inside: plain torch, NumPy and SciPy, and no import of a file that knows RecBole either.
PLAIN = ("errors.py", "files.py", "clock.py", "locking.py", "interrupts.py", "data/sequences.py", "data/ordering.py", "data/frequency.py", "convert/", "text/", "nn/", "evaluation/", "serving/",
         "trainer/checkpoint.py", "trainer/packing.py", "trainer/phases.py", "trainer/schedule.py")


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


@cache
def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(PACKAGE.parent).with_suffix("").parts
            prefix = ".".join(package[: len(package) - node.level] + ((node.module,) if node.module else ())) if node.level else node.module
            found |= {prefix, *(f"{prefix}.{alias.name}" for alias in node.names)}
    return found


def imports_recbole(path: Path) -> bool:
    return any(name.split(".")[0] == "recbole" for name in imports(path))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", [p for p in FILES if not place(p).startswith(EDGE)], ids=place)
def test_only_the_edge_imports_recbole(path):
    assert not imports_recbole(path)


@pytest.mark.parametrize("path", [p for p in FILES if place(p).startswith(PLAIN)], ids=place)
def test_the_parts_do_not_import_what_does(path):
    names = {"recbole_precise." + place(p).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for p in FILES if imports_recbole(p)}
    assert not imports(path) & names


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_say_what_they_are(path):
    assert ast.get_docstring(tree(path))
