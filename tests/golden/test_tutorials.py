"""The tutorials run from top to bottom, each in one shell and an empty folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from documents import read_blocks

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("tutorial-shop.md", "tutorial-paper.md")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES)
def test_a_tutorial_runs(page: str, tmp_path: Path) -> None:
    blocks = read_blocks(ROOT / "docs" / page)
    script = "\n".join(block.text for block in blocks if block.language == "bash")
    assert script.count("recbole-precise") >= 3
    programs = tmp_path / "programs"
    programs.mkdir()
    command = programs / "recbole-precise"
    command.write_text(f"#!/bin/sh\nexec '{sys.executable}' -m recbole_precise \"$@\"\n")
    command.chmod(0o755)
    (programs / "python").symlink_to(sys.executable)
    place = tmp_path / "place"
    place.mkdir()
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=place,
        env={
            **os.environ,
            "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=1800,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
