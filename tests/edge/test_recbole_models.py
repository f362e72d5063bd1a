"""Every sequential model of RecBole trains and is judged through our command, with its own
defaults.
"""

from __future__ import annotations

import pytest

import recbole_precise
from recbole_precise import registry

NEEDS_ENTITIES = ("GRU4RecKG", "KSR")
NAMES = [
    entry.name
    for entry in registry._recbole_models().values()
    if ".sequential_recommender." in entry.target and entry.name not in NEEDS_ENTITIES
]


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_one_epoch_on_a_few_users(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some of RecBole's trainers write where they run
    settings = {
        "epochs": 1, "show_progress": False, "gpu_id": "", "user_inter_num_interval": "[20,22]",
        "MAX_ITEM_LIST_LENGTH": 20, "tensorboard": False,
        "checkpoint_dir": str(tmp_path / "saved"),
    }  # fmt: skip
    if name == "S3Rec":
        settings |= {"pretrain_epochs": 1, "save_step": 1}  # its own trainer's first stage
    result = recbole_precise.run_recbole(name, "ml-100k", config_dict=settings)
    assert all(
        0 <= value <= 1 or metric == "logloss" for metric, value in result["test_result"].items()
    )
    assert len(list((tmp_path / "saved").glob("*/result.json"))) == 1
