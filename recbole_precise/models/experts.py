"""Item towers with sequence encoders, whose scores a gate weighs.

What PAD and its rivals share, under a softmax or binary cross entropy.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError
from recbole_precise.models.backbones import Backbone, Histories, build_backbone
from recbole_precise.models.base import TwoSidedRecommender, require
from recbole_precise.models.near_items import add_near_items
from recbole_precise.models.text_tuning import text_vectors
from recbole_precise.nn.cached_catalogue import CachedCatalogue
from recbole_precise.nn.experts import MeanPooling
from recbole_precise.nn.gated_items import GatedItems, user_gated_softmax_loss
from recbole_precise.nn.gates import TableGate, build_gate
from recbole_precise.nn.item_encoders import IdEncoder, ItemPart, TextEncoder, members
from recbole_precise.nn.losses import full_softmax_loss
from recbole_precise.nn.losses.bce import bce_loss, draw_unseen
from recbole_precise.nn.losses.sampled_softmax import own_item_mask
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.precision import product_dtype
from recbole_precise.nn.scoring import Score
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.nn.towers import (
    AlignedTower,
    FrozenView,
    IdTower,
    ItemTower,
    TextMlp,
    TextTower,
)
from recbole_precise.text.states import TokenStates
from recbole_precise.training.phases import Phase

EXPERTS = ("id", "aligned", "text")
_KEPT_BYTES = 64 << 20  # of the catalogue's expert vectors, to be kept beside their fold


class Drawn(NamedTuple):
    """The candidates of binary cross entropy: a target and its negatives at each trained position.

    Attributes:
        negatives: int64 `[batch, length, m]`, of every position.
        items: int64 `[positions, 1 + m]`, the target first.
        places: where each of `items` is among the step's vectors.
        allowed: bool `[positions, m]`, negatives that count.
    """

    negatives: Tensor
    items: Tensor
    places: Tensor
    allowed: Tensor


class Step(NamedTuple):
    """A batch as the loss reads it.

    Attributes:
        wanted: int64 `[n]`, items whose vectors are made; None: all.
        inputs: int64 `[batch, length]`, where the items of the histories are among them.
        last: int64 `[batch]`, the item after each row's last.
        drawn: None under the softmax.
    """

    histories: Histories
    batch: NextItems
    last: Tensor
    wanted: Tensor | None
    inputs: Tensor
    drawn: Drawn | None

    def items(self) -> Tensor:
        """int64 `[batch, length + 1]`: each row with its last target, 0 for padding."""
        items = F.pad(self.histories.items, (0, 1))
        return items.scatter(1, self.histories.lengths[:, None], self.last[:, None])


class ExpertsRecommender(TwoSidedRecommender):
    """Experts, each an item tower and a sequence encoder of its own, behind a gate.

    Over any backbone (docs/methods.md 8).

    A subclass chooses the experts (`built`, `speaking`), their towers (`build_tower`), what happens
    to item vectors before they are encoded (`encoded`) and what joins the loss (`next_item_loss`,
    `calculate_loss`).
    """

    #: The experts without which the model is another one; None: any will do.
    made_of: tuple[str, ...] | None = None

    item_encoder: GatedItems

    def __init__(self, config, dataset, **given) -> None:
        super().__init__(config, dataset, **given)
        self.config = config
        self.width = config["embedding_size"]
        self.experts = tuple(name for name in EXPERTS if name in config["experts"])
        if self.made_of not in (None, self.experts):
            raise ConfigError(
                f"{config['model']} is made of experts: [{', '.join(self.made_of)}]; leave "
                "experts out, or choose them with --model=PAD."
            )
        built = self.built()
        text = None
        if set(built) & {"aligned", "text"}:
            tokens = require(dataset, "token_states", config["model"])()
            text = text_vectors(self, config, dataset, tokens.pooled(), scaled=True)
            self.text_encoder = {
                **tokens.encoder,
                "pooling": "mean",
                **({"token_mode": "vocab"} if config["text_form"] == "tokens" else {}),
            }
        counts = require(dataset, "train_item_counts", config["model"])()
        gate = build_gate(config["gate"], self.experts, config["frequency_buckets"], self.width)
        towers = {name: self.build_tower(name, text, dataset) for name in built}
        self.item_encoder = GatedItems(
            towers,
            self.experts,
            gate,
            frequency_buckets(counts, config["frequency_buckets"]),
            text,
            config["id_dropout"],
        )
        self.encoders = nn.ModuleDict(
            {
                name: build_backbone(config, dataset, self.width)
                for name in self.encoder_names(built)
            }
        )
        self.score = Score("dot")
        self._stacked = CachedCatalogue()
        add_near_items(self, config, dataset, text)
        self.loss = config["loss"]
        self.n_negatives = config["n_negatives"]
        self.loss_precision = config["loss_precision"]
        self.causal = next(members(self.encoders.values(), Backbone)).causal
        if config["train_rows"] == "windows" and not self.causal:
            raise ConfigError(
                f"train_rows: windows needs a causal backbone; {config['backbone']} looks at a "
                "window as a whole, so leave train_rows out."
            )

    # --- Parts --------------------------------------------------------------------------------

    def built(self) -> tuple[str, ...]:
        """List the experts that exist, in the final score or only trained for it."""
        return self.experts

    def speaking(self) -> tuple[str, ...]:
        """Names of the experts that make the score now."""
        return self.experts

    def encoder_names(self, built: tuple[str, ...]) -> tuple[str, ...]:
        """Names of the sequence encoders: one an expert."""
        return built

    def encoder_of(self, name: str) -> Backbone:
        """Return the sequence encoder of an expert."""
        encoder = self.encoders[name]
        assert isinstance(encoder, Backbone), "encoders are built by build_backbone"
        return encoder

    def build_tower(self, name: str, text: FrozenText | None, dataset) -> ItemTower:
        """Build the item tower of an expert."""
        if name == "id":
            return IdTower(self.id_table(dataset))
        assert text is not None, f"the {name} expert reads texts"
        view = self.text_view(text, dataset)
        if name == "text":
            return TextTower(view)
        return AlignedTower(
            self.id_table(dataset), view, self.config["fusion"], self.config["text_dropout"]
        )

    def id_table(self, dataset) -> IdEncoder:
        """Build a trainable vector per item."""
        trained = require(dataset, "trained_items", self.config["model"])()
        return IdEncoder(
            self.n_items,
            self.width,
            self.config["id_init_std"],
            unseen=self.config["unseen_id"],
            trained=trained,
        )

    def text_view(self, text: FrozenText, dataset) -> ItemPart:
        """Build an expert's view of the texts (`text_form`).

        Frozen vectors behind an MLP of its own, or the mean of trained token vectors of its own.
        """
        config = self.config
        if config["text_form"] != "tokens":
            return FrozenView(
                text,
                TextMlp(
                    text,
                    self.width,
                    config["text_mlp_layers"],
                    config["text_dropout"],
                    config["text_init_std"],
                ),
            )
        words = require(dataset, "token_states", config["model"])().without_special()
        return TextEncoder(
            words.states,
            words.token_ids,
            words.offsets,
            width=self.width,
            pooling=MeanPooling(),
            std=config["text_init_std"],
        )

    def phases(self) -> list[Phase]:
        """One phase over everything."""
        return [Phase(name="universal", epochs=self.epochs, **self.phase_rows())]

    def phase_rows(self) -> dict:
        """Return the training rows that the backbone needs, as `Phase` names them.

        Where it is not causal one target a row.
        """
        return (
            {}
            if self.causal
            else {"train_rows": "prefixes", "train_batch_size": self.config["prefix_batch_size"]}
        )

    def _items(self) -> GatedItems:
        """Return the item side, with the experts that make the score now."""
        active = self.speaking()
        if self.item_encoder.active != active:
            self.item_encoder.active = active
            self.forget_catalogue()
        return self.item_encoder

    # --- Training -----------------------------------------------------------------------------

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Next-item loss of the speaking experts' score."""
        return self.recommendation_loss(self.step(interaction))

    def step(self, interaction: Interaction) -> Step:
        """Prepare what a training step reads; draws the negatives."""
        fields = interaction.interaction
        batch = self.next_items(interaction)
        histories = Histories(batch.item_seq, fields[self.ITEM_SEQ_LEN], fields[self.USER_ID])
        last = fields[self.POS_ITEM_ID]
        if self.loss != "bce":
            return Step(histories, batch, last, None, batch.item_seq, None)
        negatives, forbidden = self._negatives(batch)
        candidates = torch.cat([batch.targets[batch.trained][:, None], negatives[batch.trained]], 1)
        wanted, place = torch.unique(
            torch.cat([batch.item_seq.flatten(), candidates.flatten()]), return_inverse=True
        )
        inputs, places = place.split([batch.item_seq.numel(), candidates.numel()])
        drawn = Drawn(
            negatives, candidates, places.view(candidates.shape), ~forbidden[batch.trained]
        )
        return Step(histories, batch, last, wanted, inputs.view(batch.item_seq.shape), drawn)

    def recommendation_loss(self, step: Step) -> Tensor:
        """Next-item loss of a step under the present weights."""
        items = self._items()
        vectors = items.stacked(step.wanted)
        states = self.encoded(vectors[step.inputs], step.histories, step.batch.trained)
        return self.next_item_loss(items, states, vectors, step)

    def encoded(
        self, vectors: Tensor, histories: Histories, trained: Tensor | None = None
    ) -> Tensor:
        """Encode states `[positions, experts, width]` at the trained positions.

        For None after each row's last item.

        Args: vectors: `[batch, length, experts, width]`. trained: bool `[batch, length]`.
        """
        states = []
        for k, name in enumerate(self._items().active):
            encoder = self.encoder_of(name)
            given = vectors[:, :, k]
            if trained is not None and self.causal:
                states.append(encoder.states(given, histories)[trained])
            else:
                states.append(encoder.last(given, histories))
        return torch.stack(states, 1)

    def next_item_loss(
        self, items: GatedItems, states: Tensor, vectors: Tensor, step: Step
    ) -> Tensor:
        """Compute the loss over next items.

        Cross entropy over all items, or binary cross entropy of each target and its negatives
        (PAD's).

        Args: states: `[positions, experts, width]`. vectors: `[n, experts, width]`, of the items
            that the step wants.
        """
        recall = self.recalled(step.batch)
        if step.drawn is not None:
            scores = items.pair_scores(
                states, vectors[step.drawn.places], items.bucket[step.drawn.items]
            )
            scores = scores if recall is None else scores + recall.at(step.drawn.items)
            return bce_loss(scores[:, 0], scores[:, 1:], step.drawn.allowed)
        targets = step.batch.targets[step.batch.trained]
        if items.by_user:
            bucket, places = self.competing(items.bucket, targets)
            return user_gated_softmax_loss(
                items, states, self.competing(vectors, targets)[0], bucket, places
            )
        catalogue, places = self.competing(items.fold_items(vectors, items.bucket), targets)
        return full_softmax_loss(
            items.fold_users(states),
            catalogue,
            places,
            pairs=self.competing_pairs(recall),
            product_dtype=product_dtype(self.loss_precision, states.device),
        )

    def _negatives(self, batch: NextItems) -> tuple[Tensor, Tensor]:
        """Draw uniform items for every position, none of the row's own.

        int64 and bool (which do not count) `[batch, length, n_negatives]`.
        """
        shape = (*batch.item_seq.shape, self.n_negatives)

        def forbidden(drawn: Tensor) -> Tensor:
            flat = drawn.flatten(1)
            return (own_item_mask(batch.item_seq, batch.targets, flat) | self.held_out(flat)).view(
                drawn.shape
            )

        return draw_unseen(shape, self.n_items, forbidden, batch.item_seq.device)

    # --- Ranking ------------------------------------------------------------------------------

    def item_vectors(self) -> Tensor:
        """Return folded vectors of the whole catalogue `[items, folded width]`.

        Encoded once until a weight or the active experts change.
        """
        self._items()
        return super().item_vectors()

    def context(self, interaction: Interaction) -> dict[str, Tensor]:
        """Return the users of a batch `[batch]`, for backbones that know users."""
        return {"users": interaction[self.USER_ID]}

    def forward(
        self,
        item_seq: Tensor,
        item_seq_len: Tensor,
        users: Tensor | None = None,
        **context: Tensor,
    ) -> Tensor:
        """Encode int64 `item_seq [batch, length]`, right-padded, to folded user vectors.

        `users [batch]`, for backbones that know users.
        """
        return self._items().fold_users(self.last_states(item_seq, item_seq_len, users))

    def last_states(
        self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None
    ) -> Tensor:
        """Encode the states `[batch, experts, width]` after each row's last item."""
        users = torch.zeros_like(item_seq_len) if users is None else users
        item_seq = item_seq[:, : max(int(item_seq_len.max()), 1)]
        return self.encoded(self._history_items(item_seq), Histories(item_seq, item_seq_len, users))

    def _history_items(self, item_seq: Tensor) -> Tensor:
        """Encode the items of histories by the experts: `[batch, length, experts, width]`.

        While users are ranked batch after batch, a small catalogue is encoded once for all of them;
        else the items at hand are.
        """
        if self._keeps_stacked:
            return self._stacked_catalogue()[item_seq]
        unique, place = torch.unique(item_seq, return_inverse=True)
        return self._items().stacked(unique)[place]

    @property
    def _keeps_stacked(self) -> bool:
        """Whether the experts' vectors of the whole catalogue are kept until a weight changes."""
        return (
            not (self.training or torch.is_grad_enabled())
            and 4 * self.n_items * len(self._items().active) * self.width <= _KEPT_BYTES
        )

    def _stacked_catalogue(self) -> Tensor:
        """Encode the whole catalogue by the experts: `[items, experts, width]`."""
        if not self._keeps_stacked:
            return self._items().stacked(None)
        return self._stacked.get(self.parameters(), lambda: self._items().stacked(None))

    def encoded_catalogue(self) -> Tensor:
        """Folded vectors of the whole catalogue `[items, folded width]`."""
        items = self._items()
        return items.fold_items(self._stacked_catalogue(), items.bucket)

    def forget_catalogue(self) -> None:
        """With the experts' vectors that are kept beside their fold."""
        super().forget_catalogue()
        self._stacked.forget()

    @property
    def cold_items(self) -> str:
        """What an item that was never trained is ranked by.

        Its `text`, or `nothing` but the ID vector that `unseen_id` names.
        """
        return "text" if set(self._items().active) & {"aligned", "text"} else "nothing"

    def read_tokens(self, tokens: TokenStates) -> TokenStates:
        """All of them: the mean is over what the encoder gives."""
        return tokens

    def extend_catalogue(self, tokens: TokenStates) -> np.ndarray:
        """Add items that were never trained, known by their texts alone.

        Bool, which of them have a text.
        """
        words = tokens.without_special()  # for experts with token vectors of their own
        readable = self.item_encoder.extend(
            len(tokens), tokens.pooled(), (words.states, words.token_ids, words.offsets)
        )
        self._grow(tokens)
        return readable.numpy()

    @torch.no_grad()
    def gate_weights(self, interaction: Interaction | None = None) -> Tensor:
        """Return what each expert weighs in each bucket: `[frequency_buckets + 1, experts]`.

        The padding comes first.

        For a gate that reads users, those of a batch's: `[batch, frequency_buckets + 1, experts]`;
        it needs the `interaction`.
        """
        gate = self.item_encoder.gate
        if isinstance(gate, TableGate):
            return gate.table()
        assert interaction is not None, "this gate's weights are those of users"
        return gate.table(
            self.last_states(
                interaction[self.ITEM_SEQ],
                interaction[self.ITEM_SEQ_LEN],
                interaction[self.USER_ID],
            )
        )
