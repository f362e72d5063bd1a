"""How this package draws: one look, and one way to save a picture as PNG and SVG that do not differ
between equal runs.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_precise.errors import ConfigError
from recbole_precise.files import write_atomically

ENDINGS = ("png", "svg")


def need_matplotlib() -> None:
    """A ConfigError that says what to install where matplotlib is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "Plots need matplotlib, which is not installed: pip install "
            "'recbole-precise[plots]', or say --plots=False."
        ) from None


@contextmanager
def look() -> Iterator[None]:
    """Small letters, no frame at the top and right.

    Text of an SVG stays text, and its names are drawn from a fixed salt.
    """
    from matplotlib import rc_context

    with rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "svg.hashsalt": "recbole_precise",
            "svg.fonttype": "none",
        }
    ):
        yield


def new_figure(width: float, height: float) -> Any:
    """A matplotlib figure of `width` x `height` inches that finds room for its labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, folder: Path, stem: str) -> Path:
    """Write `stem`.png and `stem`.svg whole or not at all; returns the PNG.

    Without a fixed date an SVG would differ from run to run.
    """
    with look():
        for ending in ENDINGS:
            more = {"metadata": {"Date": None}} if ending == "svg" else {}
            save = functools.partial(figure.savefig, format=ending, dpi=150, **more)
            write_atomically(folder / f"{stem}.{ending}", save, "the plot")
    return folder / f"{stem}.png"
