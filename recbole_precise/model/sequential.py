"""What every model of ours shares: RecBole's interface over an item encoder, a sequence encoder and a score."""

from __future__ import annotations

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_precise.errors import ConfigError
from recbole_precise.nn.next_item import NextItems, next_item_targets
from recbole_precise.nn.scoring import Score
from recbole_precise.trainer.phases import Phase

SUPERVISED_FIELD = "supervised_length"


class TwoSidedRecommender(SequentialRecommender):
    """A model whose score is an inner product of a user vector and an item vector.

    A subclass sets `item_encoder` (`all_items() -> [items, width]`), `sequence_encoder`
    (`packed_states`, `user_vector`) and `score`, and gives an objective through `objective(...)`.
    """

    #: The dataset hands out windows trained at every position, not RecBole's one row per target.
    trains_on_windows = True

    item_encoder: nn.Module
    sequence_encoder: nn.Module
    score: Score

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        self.epochs = config["epochs"]
        self.text_encoder: dict | None = None
        self._catalogue: tuple[tuple, Tensor] | None = None

    def phases(self) -> list[Phase]:
        """The training plan; one phase over all parameters unless a subclass says otherwise."""
        return [Phase(name="universal", epochs=self.epochs)]

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """Scalar loss of the trained positions; see `PRECISEUT.objective`."""
        raise NotImplementedError

    def sequence_items(self, item_seq: Tensor) -> tuple[Tensor, Tensor | None]:
        """Item vectors `[batch, length, width]` of the input, and the whole catalogue's if it was encoded anyway."""
        return self.item_encoder(item_seq), None

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Mean loss over the trained positions of a batch of windows (or of RecBole's rows): a scalar."""
        fields = interaction.interaction
        batch = next_item_targets(fields[self.ITEM_SEQ], fields[self.ITEM_SEQ_LEN], fields[self.POS_ITEM_ID], fields.get(SUPERVISED_FIELD))
        vectors, catalogue = self.sequence_items(batch.item_seq)
        states = self.sequence_encoder.packed_states(vectors, batch.mask)[batch.trained[batch.mask]]
        return self.objective(states, batch, catalogue)

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Scoring vectors of the whole catalogue `[items, width]`, encoded once until a weight changes."""
        weights = list(self.parameters())
        key = (weights[0].device, *(weight._version for weight in weights))
        if self.training or self._catalogue is None or self._catalogue[0] != key:
            self._catalogue = (key, self.score.item(self.item_encoder.all_items()))
        return self._catalogue[1]

    @torch.no_grad()
    def user_vectors(self, interaction: Interaction) -> Tensor:
        """Scoring vectors of a batch's users `[batch, width]`, from their histories alone."""
        return self.score.user(self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN]))

    def forward(self, item_seq: Tensor, item_seq_len: Tensor) -> Tensor:
        """int64 `item_seq [batch, length]`, right-padded, with `item_seq_len [batch]` -> last states `[batch, width]`."""
        longest = max(int(item_seq_len.max()), 1)
        mask = torch.arange(longest, device=item_seq.device) < item_seq_len[:, None]
        return self.sequence_encoder.user_vector(self.item_encoder(item_seq[:, :longest]), mask)

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each row's user for its item: `[batch]`."""
        return (self.user_vectors(interaction) * self.item_vectors()[interaction[self.ITEM_ID]]).sum(-1)

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of each row's user for every item: `[batch, items]`."""
        return self.user_vectors(interaction) @ self.item_vectors().t()

    def _init_parts(self, std: float) -> None:
        """RecBole's initialisation for everything but the item encoder, which knows its own."""
        for module in self.sequence_encoder.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=std)
                if getattr(module, "bias", None) is not None:
                    nn.init.zeros_(module.bias)


def require(dataset, name: str, model: str):
    """`dataset.<name>`, or a sentence saying that the model needs this package's dataset."""
    if not hasattr(dataset, name):
        raise ConfigError(
            f"{model} needs recbole_precise's dataset, but got {type(dataset).__name__}: "
            "use recbole_precise.create_dataset(config), or import recbole_precise before RecBole's create_dataset is called."
        )
    return getattr(dataset, name)
