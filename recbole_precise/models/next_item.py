"""Models that learn the next item at every position.

Item encoder x sequence encoder x softmax over items.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError
from recbole_precise.models.base import TwoSidedRecommender, build_transformer, require
from recbole_precise.models.near_items import add_near_items
from recbole_precise.models.text_tuning import text_vectors
from recbole_precise.nn.item_encoders import IdEncoder, ItemEncoder
from recbole_precise.nn.losses import NegativeSampler, full_softmax_loss, sampled_softmax_loss
from recbole_precise.nn.losses.full_softmax import full_softmax_pays
from recbole_precise.nn.losses.sampled_softmax import own_item_mask
from recbole_precise.nn.memory import Recall
from recbole_precise.nn.next_item import NextItems, upcoming_items
from recbole_precise.nn.precision import product_dtype
from recbole_precise.nn.scoring import Score
from recbole_precise.nn.sequence_encoders import PackedEncoder
from recbole_precise.nn.smoothed_ids import SmoothedIdEncoder


class NextItemRecommender(TwoSidedRecommender):
    """The parts that a subclass chooses, and the loss over next items.

    The parts are made by `build_items` and `build_sequence_encoder`.

    By default IDs alone and a causal transformer: with the full softmax this is SASRec as RecBole
    has it, trained at all positions of a window in one pass.
    """

    item_encoder: ItemEncoder

    def __init__(self, config, dataset, **given) -> None:
        super().__init__(config, dataset, **given)
        self.config = config
        try:
            self._build(config, dataset)
        except ConfigError:
            raise
        except ValueError as error:  # what a part does not take
            raise ConfigError(f"{config['model']}: {error}.") from error

    def _build(self, config, dataset) -> None:
        self.item_encoder = self.build_items(config, dataset)
        self.width = self.item_encoder.width
        self.sequence_encoder = self.build_sequence_encoder(config)
        if not self.sequence_encoder.draws_weights:
            self._init_parts(config["initializer_range"])
        self.score = Score(config["score"], config["temperature"])
        add_near_items(self, config, dataset)
        if config["decouple_tables"]:
            self.target_encoder = self.build_items(config, dataset)
        self.build_objective(config, dataset)

    def build_items(self, config, dataset) -> ItemEncoder:
        """Build the item encoder.

        One that reads text sets `text_encoder`, which result.json names.
        """
        return ItemEncoder([self.id_part(config, dataset, config["embedding_size"])], self.n_items)

    def build_sequence_encoder(self, config) -> PackedEncoder:
        """Build the sequence encoder over items of `self.width`."""
        return build_transformer(config, self.width)

    def build_objective(self, config, dataset) -> None:
        """Full or sampled softmax, as `softmax` says."""
        self.label_smoothing = config["label_smoothing"]
        self.target_horizon = config["target_horizon"]
        self.target_decay = config["target_decay"]
        softmax = config["softmax"]
        self.full_softmax = (
            full_softmax_pays(self.n_items) if softmax == "auto" else softmax == "full"
        )
        self.logq = config["logq"]
        self.loss_precision = config["loss_precision"]
        if not self.full_softmax:
            self._refuse_soft_targets()
            counts = torch.as_tensor(require(dataset, "train_item_counts", "sampled softmax")())
            self.sampler = NegativeSampler(
                self.n_items,
                config["n_negatives"],
                config["negative_source"],
                counts,
                getattr(dataset, "held_out", None),
            )

    def id_part(self, config, dataset, width: int, with_text: bool = False) -> IdEncoder:
        """Build a trainable vector per item.

        Without text its dropout would leave nothing of an item.
        """
        trained = require(dataset, "trained_items", config["model"])()
        dropout = config["id_dropout"] if with_text else 0.0
        given = (
            self.n_items,
            width,
            config["id_init_std"],
            dropout,
            config["unseen_id"] or "zero",
            trained,
        )
        if not config["rare_smoothing"]:
            return IdEncoder(*given)
        tokens = require(dataset, "token_states", config["model"])().without_special()
        counts = require(dataset, "train_item_counts", config["model"])()
        self.text_encoder = self.text_encoder or {**tokens.encoder, "token_mode": "neighbours"}
        buckets = frequency_buckets(counts, config["smoothing_buckets"] or 10)
        return SmoothedIdEncoder(
            *given,
            text=text_vectors(self, config, dataset, tokens.pooled()),
            neighbours=config["rare_smoothing"],
            bucket=buckets,
        )

    def _refuse_soft_targets(self) -> None:
        for key, unset in (("label_smoothing", 0), ("target_horizon", 1)):
            if getattr(self, key) != unset:
                raise ConfigError(
                    f"{key} needs the full softmax, but softmax: auto samples with "
                    f"{self.n_items:,} items; set softmax: full or {key}: {unset}."
                )

    def sequence_items(self, item_seq: Tensor) -> tuple[Tensor, Tensor | None]:
        """Look the input up in the catalogue, where the full softmax needs every item's vector.

        Else only the batch's items are fused.
        """
        if not self.full_softmax:
            return self.item_encoder(item_seq), None
        catalogue = self.target_items.all_items()
        if self.target_items is self.item_encoder:
            return catalogue[item_seq], catalogue
        return self.item_encoder(item_seq), catalogue

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """Compute the next-item loss (PRECISE Eq. 5) at the trained positions.

        With `target_horizon` over 1 the items after it share the target.

        Args:
            states: `[positions, width]`, of the trained positions.
            catalogue: `[items, width]` when the full softmax is used.
        """
        states = self.score.user(states)
        if catalogue is None:
            return self.softmax_loss(states, batch, None)
        targets, weights = upcoming_items(batch.targets, self.target_horizon, self.target_decay)
        return self.softmax_loss(
            states, batch, catalogue, targets[batch.trained], weights[batch.trained]
        )

    def softmax_loss(
        self,
        users: Tensor,
        batch: NextItems,
        catalogue: Tensor | None,
        targets: Tensor | None = None,
        weights: Tensor | None = None,
    ) -> Tensor:
        """Compare each trained position's next item with its competitors.

        These are the step's pool, or the whole `catalogue [items, width]`.

        Args:
            users: scoring vectors `[positions, width]`, of the trained positions.
            targets, weights: with a catalogue, soft targets `[positions, k]` in the place of the
                next item.
        """
        recall = self.recalled(batch)
        own = batch.targets[batch.trained]
        if catalogue is None:
            return self.sampled_softmax(
                users, own, lambda negatives: self.forbidden(batch, negatives), recall
            )
        catalogue, targets = self.competing(catalogue, own if targets is None else targets)
        return full_softmax_loss(
            users,
            self.score.item(catalogue),
            targets,
            target_weights=weights,
            pairs=self.competing_pairs(recall),
            label_smoothing=self.label_smoothing,
            product_dtype=product_dtype(self.loss_precision, users.device),
        )

    def forbidden(self, batch: NextItems, negatives: Tensor) -> Tensor:
        """Bool `[trained positions, negatives]`: which negatives do not compete there.

        Those of the row's own items.
        """
        return own_item_mask(batch.item_seq, batch.targets, negatives)[
            batch.trained.nonzero()[:, 0]
        ]

    def vectors_of(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """(scoring vectors of the distinct items, place of each of `items` among them)."""
        unique, place = torch.unique(items, return_inverse=True)
        return self.score.item(self.target_items(unique)), place

    def sampled_softmax(
        self,
        states: Tensor,
        targets: Tensor,
        forbidden: Callable[[Tensor], Tensor],
        recall: Recall | None = None,
    ) -> Tensor:
        """Loss of `states [n, width]` with `targets [n]` against the step's pool.

        `forbidden`: pool -> bool `[n, pool]`.
        """
        negatives = self.sampler.draw(targets)
        vectors, place = self.vectors_of(torch.cat([targets, negatives]))
        return sampled_softmax_loss(
            states.float(),
            vectors[place[: len(targets)]],
            vectors[place[len(targets) :]],
            forbidden=forbidden(negatives),
            log_probability=self.sampler.log_probability.to(negatives.device)[negatives],
            logq=self.logq,
            bonus=None
            if recall is None
            else (recall.at(targets[:, None])[:, 0], recall.at(negatives)),
        )
