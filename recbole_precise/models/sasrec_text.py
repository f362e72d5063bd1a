"""SASRec with text in the plainest form: the control for how text is brought in."""

from __future__ import annotations

from recbole_precise.models.next_item import NextItemRecommender
from recbole_precise.models.text_items import frozen_text_part
from recbole_precise.nn.item_encoders import ItemEncoder


class SASRecText(NextItemRecommender):
    """SASRec over an item's ID vector and its frozen text vector behind a linear map.

    Their sum, or side by side (`text_join`).

    SASRec-Codes has the vectors of the text's semantic codes instead (`text_form`), a small trained
    table that all items share.
    """

    def build_items(self, config, dataset) -> ItemEncoder:
        """ID and text; side by side the text is `token_size` wide, in a sum as wide as the ID."""
        ids = self.id_part(config, dataset, config["embedding_size"], with_text=True)
        text = frozen_text_part(
            self,
            config,
            dataset,
            config["embedding_size"] if config["text_join"] == "sum" else config["token_size"],
        )
        return ItemEncoder([ids, text], self.n_items, config["text_join"])
