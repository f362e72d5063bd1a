"""Configurations over synthetic data sets."""

import pytest
from data_helpers import INTER, eval_args, synthetic


@pytest.fixture
def synthetic_config(write_dataset, stock_config):
    """`synthetic_config(name, split, **settings)`: RecBole's Config over a synthetic data set with
    its `.item`.
    """

    def build(
        name="mixed",
        split="LS",
        model="SASRec",
        events=None,
        items=None,
        inter_header=INTER,
        **settings,
    ):
        events = synthetic(name) if events is None else events
        titles = [(f"i{i}", f"title {i}") for i in range(45)] if items is None else items
        path = write_dataset(name, events, titles, inter_header=inter_header)
        defaults = {
            "data_path": str(path),
            "load_col": {"inter": [column.split(":")[0] for column in inter_header],
                "item": ["item_id"]},
            "MAX_ITEM_LIST_LENGTH": 6, "eval_args": eval_args(split), "time_order": "recbole",
        }  # fmt: skip
        return stock_config(model, name, **{**defaults, **settings})

    return build
