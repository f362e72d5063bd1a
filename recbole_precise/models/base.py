"""RecBole's interface over an item encoder, a sequence encoder and a score.

What every model of ours shares.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import SequentialRecommender
from torch import Tensor, nn

from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.floors import Graph, unit_rows, window_edges
from recbole_precise.nn.cached_catalogue import CachedCatalogue
from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.item_encoders import ItemEncoder, members
from recbole_precise.nn.item_tower import OneItemTower
from recbole_precise.nn.memory import Memory, Recall
from recbole_precise.nn.neighbours import Neighbours
from recbole_precise.nn.next_item import NextItems, next_item_targets
from recbole_precise.nn.scoring import LearnedScale, Score
from recbole_precise.nn.sequence_encoders import PackedEncoder, Transformer
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.plugin.dataset import SUPERVISED_FIELD, TRAINED_FIELD
from recbole_precise.text.states import TokenStates
from recbole_precise.training.phases import Phase

#: Gives the weights of a saved model, None where there are none.
SavedWeights = Callable[[], Mapping[str, Tensor] | None]


def build_transformer(config, width: int) -> Transformer:
    """Build the causal transformer over item vectors of `width` that the settings describe.

    Its weights are as torch draws them.
    """
    return Transformer(
        width,
        config["MAX_ITEM_LIST_LENGTH"],
        n_layers=config["n_layers"],
        n_heads=config["n_heads"],
        inner_size=config["inner_size"] or 4 * width,
        hidden_dropout=config["hidden_dropout_prob"],
        attn_dropout=config["attn_dropout_prob"],
        norm_first=config["norm_first"],
        eps=config["layer_norm_eps"],
        act=config["hidden_act"] or "gelu",
    )


class TwoSidedRecommender(SequentialRecommender):
    """A model whose score is an inner product of a user vector and an item vector.

    A subclass sets `item_encoder` (`all_items() -> [items, width]`), `sequence_encoder`
    (`packed_states`, `user_vector`) and `score`, and gives an objective through `objective(...)`.
    With a `target_encoder` the vectors that are scored are not those that the sequence encoder
    reads.
    """

    #: The dataset hands out windows trained at every position, not RecBole's one row per target.
    trains_on_windows = True

    item_encoder: ItemEncoder | GatedItems
    sequence_encoder: PackedEncoder
    score: Score | LearnedScale
    n_items: int
    max_seq_length: int
    width: int

    def __init__(self, config, dataset, *, saved_weights: SavedWeights | None = None) -> None:
        """Build the model.

        Args:
            config: settings of the run.
            dataset: the training part.
            saved_weights: gives weights that are about to be loaded, None where there are none. A
                text adapter among them is taken over instead of trained. It is called when an
                adapter is needed, in the first of several processes alone.
        """
        super().__init__(config, dataset)
        self.saved_weights = saved_weights
        self.epochs = config["epochs"]
        self.text_encoder: dict | None = None
        self._catalogue = CachedCatalogue()
        self.neighbours: Neighbours | None = None
        self.neighbour_texts = 0.0
        # gives the texts of new items for the neighbours, where they are tuned
        self.neighbour_rows: FrozenText | None = None
        self._competing = training_catalogue(dataset)
        self.memory = memory_of(dataset, config, self.n_items)

    def phases(self) -> list[Phase]:
        """Return the training plan: by default one phase over all parameters."""
        return [Phase(name="universal", epochs=self.epochs)]

    @property
    def cold_items(self) -> str:
        """What an item that was never trained is ranked by.

        Its `text`, or `nothing` but the vector that `unseen_id` names.
        """
        return "text" if self.text_encoder else "nothing"

    @property
    def target_items(self) -> ItemEncoder | GatedItems | OneItemTower:
        """The item encoder whose vectors are scored."""
        return getattr(self, "target_encoder", self.item_encoder)

    def context(self, interaction: Interaction) -> dict[str, Tensor]:
        """Return what the sequence encoder reads of a batch beside its items.

        `[batch, length]` each and right-padded; most read nothing.
        """
        return {}

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """Scalar loss of the trained positions; see `PRECISEUT.objective`."""
        raise NotImplementedError

    def sequence_items(self, item_seq: Tensor) -> tuple[Tensor, Tensor | None]:
        """Encode the items of the input: `[batch, length, width]`.

        With them the whole catalogue's vectors if it was encoded anyway.
        """
        return self.item_encoder(item_seq), None

    def competing(self, catalogue: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Select the rows of a catalogue `[items, width]` that compete in training.

        With them, `targets` as indices into these rows.

        An item that is held out of training (`holdout_items`) does not exist for it: it is no
        negative either.
        """
        if self._competing is None:
            return catalogue, targets
        kept, place = (part.to(catalogue.device) for part in self._competing)
        return catalogue[kept], place[targets]

    def held_out(self, items: Tensor) -> Tensor:
        """bool, in the shape of `items`: which of them are held out of training."""
        if self._competing is None:
            return torch.zeros_like(items, dtype=torch.bool)
        return (self._competing[1].to(items.device)[items] == 0) & (items > 0)

    def recalled(
        self, batch: NextItems, row: Tensor | None = None, position: Tensor | None = None
    ) -> Recall | None:
        """Recall what the memory adds to scores of a batch; None without a memory.

        At the trained positions, or at `(row [n], position [n])`.
        """
        if self.memory is None:
            return None
        if row is None or position is None:
            row, position = batch.trained.nonzero(as_tuple=True)
        return self.memory.before(batch, row, position)

    def competing_pairs(self, recall: Recall | None) -> tuple[Tensor, Tensor, Tensor] | None:
        """Convert `recall` for `full_softmax_loss`.

        Items become rows of what competes in training.
        """
        if recall is None:
            return None
        item = (
            recall.item
            if self._competing is None
            else self._competing[1].to(recall.item.device)[recall.item]
        )
        return recall.row, item, recall.value

    def extend_catalogue(self, tokens: TokenStates) -> np.ndarray:
        """Add items that were never trained to what is ranked.

        They are known by the token states of their texts alone.

        Returns: bool `[len(tokens)]`, which of them the model can read; see `TextEncoder.extend`.
        """
        words = self.read_tokens(tokens)
        encoders: list[nn.Module] = [self.item_encoder]
        if hasattr(self, "target_encoder"):
            encoders.append(self.target_encoder)
        readable = [
            encoder.extend(len(tokens), words.states, words.token_ids, words.offsets)
            for encoder in members(encoders, ItemEncoder)
        ][-1]
        self._grow(tokens)
        return readable.numpy()

    def read_tokens(self, tokens: TokenStates) -> TokenStates:
        """Select the tokens of new items' texts that the item encoder reads.

        Those that a tokenizer adds are left out.
        """
        return tokens.without_special()

    def _grow(self, tokens: TokenStates) -> None:
        """Extend what knows the catalogue beside the item encoder by new items."""
        if self.neighbours is not None:
            scale = self.neighbour_texts
            near = (
                tokens.pooled()
                if self.neighbour_rows is None
                else self.neighbour_rows.new_rows(self.read_tokens(tokens).pooled())[0]
                .cpu()
                .numpy()
            )
            self.neighbours.extend(len(tokens), unit_rows(near) * np.sqrt(scale) if scale else None)
        if self.memory is not None:
            self.memory.extend(len(tokens))
        self.n_items += len(tokens)
        self.forget_catalogue()

    def next_items(self, interaction: Interaction) -> NextItems:
        """Find the positions of a batch and which of them are trained on what.

        The batch holds windows, or RecBole's rows.
        """
        fields = interaction.interaction
        which = fields.get(SUPERVISED_FIELD), fields.get(TRAINED_FIELD)
        return next_item_targets(
            fields[self.ITEM_SEQ], fields[self.ITEM_SEQ_LEN], fields[self.POS_ITEM_ID], *which
        )

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Compute the mean loss over the trained positions of a batch: a scalar.

        The batch holds windows, or RecBole's rows.
        """
        batch = self.next_items(interaction)
        vectors, catalogue = self.sequence_items(batch.item_seq)
        states = self.sequence_encoder.packed_states(
            vectors, batch.mask, **self.context(interaction)
        )[batch.trained[batch.mask]]
        return self.objective(states, batch, catalogue)

    def forget_catalogue(self) -> None:
        """Encode the catalogue again when it is asked for next."""
        self._catalogue.forget()

    def encoded_catalogue(self) -> Tensor:
        """Vectors of the whole catalogue `[items, width]` before the score prepares them."""
        return self.target_items.all_items()

    @torch.no_grad()
    def item_vectors(self) -> Tensor:
        """Encode the scoring vectors of the whole catalogue `[items, width]`.

        Once until a weight changes.
        """
        return self._catalogue.get(self.parameters(), self._scored_items, renew=self.training)

    def _scored_items(self) -> Tensor:
        vectors = self.score.item(self.encoded_catalogue())
        return vectors if self.neighbours is None else self.neighbours.of_items(vectors)

    @torch.no_grad()
    def user_vectors(self, interaction: Interaction) -> Tensor:
        """Scoring vectors of a batch's users `[batch, width]`, from their histories alone."""
        vectors = self.score.user(
            self.forward(
                interaction[self.ITEM_SEQ],
                interaction[self.ITEM_SEQ_LEN],
                **self.context(interaction),
            )
        )
        return (
            vectors
            if self.neighbours is None
            else self.neighbours.of_users(vectors, self._last_items(interaction))
        )

    def pair_bonus(self, interaction: Interaction) -> tuple[Tensor, Tensor, Tensor] | None:
        """(row, item, value) of what is added to single scores.

        None when the model adds nothing.
        """
        if self.memory is not None:
            recall = self.memory.after(self._last_items(interaction))
            return recall.row, recall.item, recall.value.detach()
        return (
            None
            if self.neighbours is None
            else self.neighbours.pairs(self._last_items(interaction))
        )

    def _last_items(self, interaction: Interaction) -> Tensor:
        """Return the last item of each row's history `[batch]`."""
        return interaction[self.ITEM_SEQ].gather(1, interaction[self.ITEM_SEQ_LEN][:, None] - 1)[
            :, 0
        ]

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, **context: Tensor) -> Tensor:
        """Encode histories to last states `[batch, width]`.

        Takes int64 `item_seq [batch, length]`, right-padded, with `item_seq_len [batch]`; see
        `context`.
        """
        longest = max(int(item_seq_len.max()), 1)
        mask = torch.arange(longest, device=item_seq.device) < item_seq_len[:, None]
        return self.sequence_encoder.user_vector(
            self.item_encoder(item_seq[:, :longest]), mask, **context
        )

    def predict(self, interaction: Interaction) -> Tensor:
        """Score of each row's user for its item: `[batch]`."""
        item = interaction[self.ITEM_ID]
        scores = (self.user_vectors(interaction) * self.item_vectors()[item]).sum(-1)
        bonus = self.pair_bonus(interaction)
        if bonus is None:
            return scores
        row, other, value = bonus
        hit = other == item[row]
        return scores.index_add(0, row[hit], value[hit].to(scores.dtype))

    def full_sort_predict(self, interaction: Interaction) -> Tensor:
        """Scores of each row's user for every item: `[batch, items]`."""
        scores = self.user_vectors(interaction) @ self.item_vectors().t()
        bonus = self.pair_bonus(interaction)
        if bonus is not None:
            row, item, value = bonus
            scores[row, item] += value.to(scores.dtype)
        return scores

    def _init_parts(self, std: float) -> None:
        """RecBole's initialisation for everything but the item encoder, which knows its own."""
        for module in self.sequence_encoder.modules():
            if isinstance(module, (nn.Linear, nn.Embedding)):
                nn.init.normal_(module.weight, std=std)
            if isinstance(module, nn.Linear) and module.bias is not None:
                nn.init.zeros_(module.bias)


def memory_of(dataset, config, n_items: int) -> Memory | None:
    """Count the memory of what followed what in the training sequences (docs/methods.md 6).

    None unless `transition_memory` gives its first weight.
    """
    if config["transition_memory"] is None:
        return None
    items, offsets, _ = (
        np.asarray(part) for part in require(dataset, "train_sequences", config["model"])()
    )
    window = config["memory_window"] or 1
    return Memory(
        window_edges(
            items,
            offsets,
            n_items,
            Graph(window=window, backward=0.0, distance="inverse", counts="raw"),
        ),
        config["transition_memory"],
        window,
    )


def training_catalogue(dataset) -> tuple[Tensor, Tensor] | None:
    """(kept item ids `[kept]`, where each id is among them `[items]`), the padding kept.

    None when no item is held out.
    """
    held = getattr(dataset, "held_out", None)
    if held is None:
        return None
    kept = torch.nonzero(~held).squeeze(1)
    place = torch.zeros(len(held), dtype=torch.int64)
    place[kept] = torch.arange(len(kept))
    return kept, place


def require(dataset, name: str, model: str):
    """`dataset.<name>`, or a sentence saying that the model needs this package's dataset."""
    if not hasattr(dataset, name):
        raise ConfigError(
            f"{model} needs recbole_precise's dataset, but got {type(dataset).__name__}: "
            "use recbole_precise.create_dataset(config), or import recbole_precise before "
            "RecBole's create_dataset is called."
        )
    return getattr(dataset, name)
