"""The small settings and texts of the tests of PAD and its rivals."""

SMALL = {"embedding_size": 8, "n_layers": 1, "n_heads": 2, "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0, "text_dropout": 0.0, "MAX_ITEM_LIST_LENGTH": 7,
         "frequency_buckets": 4, "gpu_id": "", "show_progress": False, "state": "ERROR",
         "item_text": "{title}", "loss_precision": "float32",
         "load_col": {"inter": ["user_id", "item_id", "timestamp"],
             "item": ["item_id"]}}  # fmt: skip
WORDS = [
    "red tea",
    "green tea",
    "black coffee",
    "brown sugar",
    "oat biscuits",
    "soap",
    "shampoo",
    "dish brush",
]
