"""The house's own rules: who may import RecBole, and that files stay small enough to hold in the head."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "recbole_precise"
#: Parts that stand alone: plain torch, NumPy and SciPy.
PLAIN = ("errors.py", "data/sequences.py", "data/ordering.py", "data/frequency.py", "data/convert/", "text/", "nn/", "evaluation/", "serving/",
         "trainer/checkpoint.py", "trainer/packing.py", "trainer/phases.py", "trainer/schedule.py")
FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    """Every module that a file imports, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = path.relative_to(PACKAGE.parent).with_suffix("").parts
            prefix = ".".join(package[: len(package) - node.level] + ((node.module,) if node.module else ())) if node.level else node.module
            found |= {prefix, *(f"{prefix}.{alias.name}" for alias in node.names)}
    return found


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", [p for p in FILES if place(p).startswith(PLAIN)], ids=place)
def test_the_parts_know_nothing_of_recbole(path):
    assert not [name for name in imports(path) if name.split(".")[0] == "recbole"]


@pytest.mark.parametrize("path", [p for p in FILES if place(p).startswith(PLAIN)], ids=place)
def test_the_parts_do_not_import_what_does(path):
    edge = [p for p in FILES if any(name.split(".")[0] == "recbole" for name in imports(p))]
    names = {"recbole_precise." + place(p).removesuffix(".py").replace("/", ".").removesuffix(".__init__") for p in edge}
    assert not imports(path) & names


@pytest.mark.parametrize("path", FILES, ids=place)
def test_files_stay_small(path):
    assert len(path.read_text().splitlines()) < 400
