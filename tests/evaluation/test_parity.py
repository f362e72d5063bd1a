"""The judge beside RecBole's own evaluator: the same model, the same rows, the same printed
numbers.
"""

import numpy as np
import pytest
import torch

from recbole_precise.evaluation import metrics_from_ranks, rank_rows

METRICS, TOPK = ["Recall", "MRR", "NDCG", "Hit", "Precision", "MAP"], [1, 5, 10, 50]


@pytest.mark.parametrize("load_items", [False, True])
def test_recbole_prints_the_same_for_an_untrained_sasrec(stock_config, load_items):
    config = stock_config(
        "SASRec", "ml-100k", metrics=METRICS, topk=TOPK, metric_decimal_place=12,
        MAX_ITEM_LIST_LENGTH=20, hidden_size=16, inner_size=16,
        load_col={"inter": ["user_id", "item_id", "timestamp"],
            **({"item": ["item_id"]} if load_items else {})},
        eval_args={"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full",
            "group_by": "user"},
    )  # fmt: skip
    from recbole.data import create_dataset, data_preparation
    from recbole.trainer import Trainer
    from recbole.utils import get_model, init_seed

    init_seed(7, True)
    dataset = create_dataset(config)
    parts = data_preparation(config, dataset)
    model = get_model("SASRec")(config, parts[0].dataset).to(config["device"])
    # Scores of an untrained model with small weights lie within rounding of one another: spread
    # them.
    torch.nn.init.normal_(model.item_embedding.weight)
    trainer = Trainer(config, model)
    for loader in parts[1:]:
        printed = trainer.evaluate(loader, load_best_model=False)

        def batches(lo, hi, rows=loader.dataset):
            interaction = rows[np.arange(lo, hi)]
            return interaction, interaction[dataset.iid_field], None

        ranks = rank_rows(model, loader.dataset.inter_feat[dataset.uid_field], batches)
        ours = metrics_from_ranks(ranks.rank, METRICS, TOPK)
        assert list(ours) == list(printed)
        assert ours == pytest.approx(dict(printed), abs=2e-12)
        assert ours["recall@50"] > 0 and len(ranks) == len(loader.dataset)
