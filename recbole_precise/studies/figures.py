"""How this package draws: one look, and one way to save a picture as a small PNG.

Equal runs give equal files. A picture's words are in the file as its description, for those who
search or cannot see it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recbole_precise.errors import ConfigError
from recbole_precise.files import write_atomically

DOTS_PER_INCH = 100


def need_matplotlib() -> None:
    """Check that matplotlib is there; a ConfigError says what to install where it is not."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise ConfigError(
            "Plots need matplotlib, which is not installed: pip install "
            "'recbole-precise[plots]', or say --plots=False."
        ) from None


@contextmanager
def look() -> Iterator[None]:
    """Draw with small letters and without a frame at the top and right."""
    from matplotlib import rc_context

    with rc_context(
        {
            "font.size": 9,
            "axes.spines.top": False,
            "axes.spines.right": False,
        }
    ):
        yield


def new_figure(width: float, height: float) -> Any:
    """Return a matplotlib figure of `width` x `height` inches that finds room for its labels."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(figure: Any, folder: Path, stem: str) -> Path:
    """Write `stem`.png whole or not at all, its words as the file's description.

    Returns:
        The file.
    """
    from matplotlib.text import Text

    path = folder / f"{stem}.png"
    words = dict.fromkeys(text.get_text().strip() for text in figure.findobj(Text))
    description = "\n".join(word for word in words if word)
    with look():
        write_atomically(
            path,
            lambda partial: figure.savefig(
                partial, format="png", dpi=DOTS_PER_INCH, metadata={"Description": description}
            ),
            "the plot",
        )
    return path


def words_in(picture: Path) -> str:
    """Return the words of a picture that `save_figure` wrote, one text a line."""
    from PIL import Image

    with Image.open(picture) as opened:
        return opened.info["Description"]
