"""Faults that users met, as small command-line cases kept in a folder beside the project.

Every case trains or converts a few lines of data in a process of its own and says whether it holds.
The folder is named by RECBOLE_PRECISE_CASES; without it the tests are skipped. The same faults are
held by tests of the parts that had them, which need no folder.
"""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = Path(os.environ.get("RECBOLE_PRECISE_CASES", ROOT.parent / "shared" / "cases"))
RUNNER = FOLDER / "run_cases.py"
SECONDS = 600


def names_of_cases() -> list[str]:
    """The documented functions of the runner."""
    if not RUNNER.is_file():
        return []
    tree = ast.parse(RUNNER.read_text(encoding="utf-8"))
    functions = (node for node in tree.body if isinstance(node, ast.FunctionDef))
    return [function.name for function in functions if ast.get_docstring(function)]


@pytest.mark.parametrize("case", names_of_cases() or [pytest.param("", marks=pytest.mark.skip)])
def test_case_holds(case: str) -> None:
    environment = {**os.environ, "PROJECT": str(ROOT), "PROJECT_PYTHON": sys.executable}
    done = subprocess.run(
        [sys.executable, str(RUNNER), case],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert f"holds  {case}" in done.stdout
