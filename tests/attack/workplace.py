"""The good files that every attack starts from: a data set, two finished runs, an unfinished one, a
checkpoint of RecBole.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import random
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from attack import SHOP, TRAIN, Attack

#: What commands import when they need it, and what each fork would import again: torch._dynamo
#: alone takes seconds.
_LATE = (
    "torch._dynamo", "torch.utils.data", "optuna", "optuna.storages", "sqlalchemy",
    "alembic", "scipy.stats", "pandas", "transformers",
    "recbole_precise.cli", "recbole_precise.quick_start", "recbole_precise.finished",
    "recbole_precise.serving.evaluation", "recbole_precise.serving.recommendation",
    "recbole_precise.studies.benchmark.comparing",
    "recbole_precise.studies.benchmark.running",
    "recbole_precise.studies.audit", "recbole_precise.studies.audit.load",
    "recbole_precise.studies.doctor",
    "recbole_precise.convert", "recbole_precise.studies.inspection.gains",
    "recbole_precise.studies.replay.engine", "recbole_precise.studies.replay.report",
    "recbole_precise.studies.tuning.session", "recbole_precise.cli.replay",
    "recbole_precise.studies.tuning.search",
    "recbole.model.sequential_recommender", "recbole.model.general_recommender",
    "recbole_precise.models.sasrec", "recbole_precise.models.precise", "recbole_precise.models.pad",
)  # fmt: skip


def preload() -> None:
    """Import, once for all forks, what the commands need; and leave torch with one thread."""
    import torch

    torch.set_num_threads(1)
    for name in _LATE:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)


def write_shop(folder: Path) -> None:
    """Write `shop`: users who walk through 24 items, with ratings.

    Items with a title, a brand and a price.
    """
    draw = random.Random(5)
    folder.mkdir(parents=True)
    rows = []
    for user in range(40):
        at = draw.randrange(24)
        for time in range(8):
            at = (at + draw.choice([1, 1, 1, 2, 3, 7])) % 24
            rows.append(
                (f"u{user}", f"i{at}", 1_600_000_000 + 100_000 * time + user, draw.randint(1, 5))
            )
    lines = [
        "user_id:token\titem_id:token\ttimestamp:float\trating:float",
        *("\t".join(map(str, row)) for row in rows),
    ]
    folder.joinpath("shop.inter").write_text("\n".join(lines) + "\n", encoding="utf-8")
    words = [
        "sugar",
        "tea",
        "salt",
        "coffee",
        "bread",
        "milk",
        "rice",
        "soap",
        "oil",
        "corn",
        "bean",
        "jam",
    ]
    lines = ["item_id:token\ttitle:token_seq\tbrand:token\tprice:float"]
    lines += [
        f"i{i}\t{words[i % 12]} {words[(i * 5 + 1) % 12]}\tb{i % 4}\t{i % 9 + 0.5}"
        for i in range(24)
    ]
    folder.joinpath("shop.item").write_text("\n".join(lines) + "\n", encoding="utf-8")


def prepare(folder: Path) -> None:
    """Make the good files in an empty folder.

    Each run in a process of its own, so that this one stays fit for forks.
    """
    write_shop(folder / "data" / "shop")
    _in_child(lambda: _command(folder, [*TRAIN, "--run_dir=run", "--seed=1"]))
    _in_child(lambda: _command(folder, [*TRAIN, "--run_dir=good", "--seed=2"]))
    _in_child(lambda: _unfinished(folder))
    _in_child(lambda: _recboles_checkpoint(folder))
    for made in ("run/result.json", "good/ranks.npz", "part/checkpoint", "model.pth"):
        if not (folder / made).exists():
            raise RuntimeError(f"{folder / made} was not made; see the messages above")


def place(attack: Attack, good: Path, folder: Path, runs: bool) -> None:
    """Copy the good files to `folder` (its runs with `runs` alone), and put those of the attack
    over them.
    """
    shutil.copytree(good if runs else good / "data", folder if runs else folder / "data")
    attack.setup(folder)


def _command(folder: Path, arguments: list[str]) -> int:
    from recbole_precise.cli import main

    os.chdir(folder)
    sys.argv = ["recbole-precise"]
    return main([*arguments, "--state=ERROR"])


def _unfinished(folder: Path) -> int:
    """A run that dies at its seventh step, with a checkpoint after each."""
    from recbole_precise.models.sasrec import SASRecCE

    steps, loss = [], SASRecCE.calculate_loss

    def dying(self, interaction):
        steps.append(1)
        if len(steps) == 7:
            os._exit(0)
        return loss(self, interaction)

    SASRecCE.calculate_loss = dying
    return _command(folder, [*TRAIN, "--run_dir=part", "--checkpoint_seconds=0", "--seed=1"])


def _recboles_checkpoint(folder: Path) -> int:
    import torch

    os.chdir(folder)
    sys.argv = ["recbole-precise"]

    from recbole_precise.plugin.config import Config
    from recbole_precise.plugin.preparation import create_dataset, data_preparation
    from recbole_precise.registry import get_model

    words = [*SHOP, "--hidden_size=8", "--inner_size=8", "--n_layers=1"]
    config = Config("SASRec", "shop", command_line=words)
    train = data_preparation(config, create_dataset(config))[0]
    model = get_model("SASRec")(config, train._dataset)
    state = {
        "config": config,
        "epoch": 1,
        "cur_step": 0,
        "best_valid_score": 0.1,
        "state_dict": model.state_dict(),
    }
    torch.save({**state, "other_parameter": None, "optimizer": {}}, "model.pth", pickle_protocol=4)
    return 0


def _in_child(work: Callable[[], int]) -> None:
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work()
        except BaseException:  # the child must not go on as the parent
            import traceback

            traceback.print_exc()
        sys.stderr.flush()
        os._exit(status)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError(
            f"a good run ended with status {os.waitstatus_to_exitcode(status)}; see the messages "
            "above"
        )
