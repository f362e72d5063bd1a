"""Installs recbole_precise, its YAML files included, and the command `recbole-precise`."""

import re
from pathlib import Path

from setuptools import find_packages, setup

HERE = Path(__file__).parent
VERSION = re.search(
    r'^__version__ = "(.+)"',
    (HERE / "recbole_precise" / "version.py").read_text(encoding="utf-8"),
    re.MULTILINE,
).group(1)


def requirements() -> list[str]:
    """Return the lines of requirements.txt, and RecBole where pip can meet its requirements.

    RecBole 1.2.1 asks for ray<=2.6.3, which no Python from 3.12 on can install and which nothing
    here needs; there, and wherever ray is not wanted, `pip install --no-deps recbole==1.2.1` comes
    first.
    """
    lines = (HERE / "requirements.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")] + [
        "recbole==1.2.1; python_version < '3.12'"
    ]


setup(
    name="recbole-precise",
    version=VERSION,
    description="Sequential recommenders that join item IDs with item text, as a plug-in for "
    "RecBole",
    long_description=(HERE / "README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    author="recbole_precise authors",
    license="MIT",
    python_requires=">=3.10",
    # properties/ stands at the top level of the repository and travels inside the package.
    packages=[
        *find_packages(include=["recbole_precise", "recbole_precise.*"]),
        "recbole_precise.properties",
    ],
    package_dir={"recbole_precise": "recbole_precise", "recbole_precise.properties": "properties"},
    package_data={
        "recbole_precise": ["py.typed"],
        "recbole_precise.properties": ["*.yaml", "*.json", "*/*", "*/*/*"],
    },
    install_requires=requirements(),
    extras_require={
        "test": ["pytest>=8", "pytest-xdist>=3.5", "hypothesis>=6.100"],
        "flops": ["thop>=0.1.1.post2207130030"],
        "tune": ["optuna>=4.9", "sqlalchemy>=2.0", "matplotlib>=3.8", "hyperopt>=0.2.5"],
        "plots": ["matplotlib>=3.8"],
    },
    entry_points={"console_scripts": ["recbole-precise = recbole_precise.cli:main"]},
    classifiers=[
        "Programming Language :: Python :: 3.10",
        "Programming Language :: Python :: 3.11",
        "Programming Language :: Python :: 3.12",
        "Programming Language :: Python :: 3.13",
    ],
)
