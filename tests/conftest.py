"""What all tests share: one thread, a clean command line, small data sets on disk."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import settings
from tiny_models import build_bert, build_decoder

torch.set_num_threads(1)
# Time never fails a test, and a run of the tests can be repeated.
settings.register_profile("house", deadline=None, derandomize=True)
settings.load_profile("house")


@pytest.fixture(autouse=True)
def _clean_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """RecBole's Config reads sys.argv, which holds pytest's arguments here."""
    monkeypatch.setattr(sys, "argv", ["test"])


@pytest.fixture(autouse=True)
def _same_log_level() -> Iterator[None]:
    """RecBole's objective_function leaves the root logger at ERROR."""
    level = logging.getLogger().level
    yield
    logging.getLogger().setLevel(level)


@pytest.fixture(autouse=True, scope="session")
def _usual_signals() -> None:
    """Whoever starts the tests in the background has them ignore signals, and their
    processes too.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


Event = tuple  # (user, item, time) or more columns


def _write_table(path: Path, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    lines = ["\t".join(header), *("\t".join(str(cell) for cell in row) for row in rows)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture
def write_dataset(tmp_path: Path) -> Callable[..., Path]:
    """`write_dataset(name, events, items=None, ...)` writes atomic files and returns data_path.

    `events` are rows of `.inter` (user, item, time by default), `items` rows of `.item` (item,
    title by default).
    """

    def write(
        name: str,
        events: Iterable[Event],
        items: Iterable[Sequence[object]] | None = None,
        inter_header: Sequence[str] = ("user_id:token", "item_id:token", "timestamp:float"),
        item_header: Sequence[str] = ("item_id:token", "title:token_seq"),
    ) -> Path:
        folder = tmp_path / "dataset" / name
        folder.mkdir(parents=True, exist_ok=True)
        _write_table(folder / f"{name}.inter", inter_header, events)
        if items is not None:
            _write_table(folder / f"{name}.item", item_header, items)
        return tmp_path / "dataset"

    return write


@pytest.fixture
def stock_config(tmp_path: Path) -> Callable[..., object]:
    """`stock_config(model, dataset, **settings)`: RecBole's own Config, on the CPU, writing into
    tmp_path.
    """

    def build(model: str = "SASRec", dataset: str = "ml-100k", **settings):
        from recbole.config import Config

        import recbole_precise  # noqa: F401

        defaults = {
            "train_neg_sample_args": None,
            "gpu_id": "",
            "checkpoint_dir": str(tmp_path / "saved"),
            "show_progress": False,
        }
        return Config(model, dataset, config_dict={**defaults, **settings})

    return build


@pytest.fixture
def our_config(tmp_path: Path) -> Callable[..., object]:
    """`our_config(model, dataset, **settings)`: our Config, on the CPU, writing into tmp_path."""

    def build(model: str = "PRECISE-UT", dataset: str = "ml-100k", **settings):
        from recbole_precise import Config

        defaults = {"gpu_id": "", "checkpoint_dir": str(tmp_path / "saved"), "show_progress": False}
        return Config(model, dataset, config_dict={**defaults, **settings})

    return build


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_bert(tmp_path_factory.mktemp("models") / "bert")


@pytest.fixture(scope="session")
def qwen(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_decoder(tmp_path_factory.mktemp("models") / "qwen2", "qwen2")


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_decoder(tmp_path_factory.mktemp("models") / "llama", "llama")
