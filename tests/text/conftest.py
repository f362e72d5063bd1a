"""Tiny encoders, one by one and all in turn."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_models import build_bert


@pytest.fixture(params=["bert", "qwen", "llama"])
def model_folder(request: pytest.FixtureRequest) -> Path:
    return request.getfixturevalue(request.param)


@pytest.fixture
def another_bert() -> Callable[[Path], Path]:
    """Makes a model like `bert` with other weights in a folder."""
    return lambda folder: build_bert(folder, seed=1)
