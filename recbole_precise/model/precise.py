r"""PRECISE: pre-training sequential recommenders with collaborative and semantic information.

Reference:
    Chonggang Song et al. "PRECISE: Pre-training Sequential Recommenders with Collaborative and Semantic
    Information." arXiv 2412.06308.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from recbole_precise.errors import ConfigError
from recbole_precise.model.sequential import TwoSidedRecommender, neighbours_of, require
from recbole_precise.nn.experts import ExpertPooling, MeanPooling
from recbole_precise.nn.item_encoders import IdEncoder, ItemEncoder, TextEncoder
from recbole_precise.nn.losses import NegativeSampler, full_softmax_loss, sampled_softmax_loss
from recbole_precise.nn.losses.full_softmax import full_softmax_pays
from recbole_precise.nn.losses.sampled_softmax import own_item_mask
from recbole_precise.nn.next_item import NextItems, upcoming_items
from recbole_precise.nn.precision import product_dtype
from recbole_precise.nn.scoring import Score
from recbole_precise.nn.sequence_encoders import Transformer
from recbole_precise.trainer.phases import Phase


class PRECISEUT(TwoSidedRecommender):
    """PRECISE after Universal Training (Sec. IV-B and IV-C): fused items, a causal transformer, next-item loss.

    `variant` makes the paper's ablations: `id` (no text), `llm` (no ID), `pool` (mean instead of experts).
    With `match_width` the remaining part is widened, so that an ablation does not change the width as well.
    """

    #: The scenes that it learns from and sees: all (docs/scenes.md).
    scene_view = "universal"

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        self.config = config
        id_size, token_size = config["embedding_size"], config["token_size"]
        variant = config["variant"]
        if variant in ("id", "llm"):
            kept = id_size + token_size if config["match_width"] else (id_size if variant == "id" else token_size)
            id_size, token_size = (kept, 0) if variant == "id" else (0, kept)
        parts: list[nn.Module] = []
        if id_size:
            dropout = config["id_dropout"] if token_size else 0.0  # without text nothing would be left of an item
            trained = require(dataset, "trained_items", config["model"])()
            parts.append(IdEncoder(self.n_items, id_size, config["id_init_std"], dropout, config["unseen_id"] or "zero", trained))
        if token_size:
            parts.append(self._text_part(config, dataset, token_size, pooled=variant == "pool"))
        self.item_encoder = ItemEncoder(parts, self.n_items)
        self.width = width = id_size + token_size
        self.sequence_encoder = Transformer(
            width,
            self.max_seq_length,
            n_layers=config["n_layers"],
            n_heads=config["n_heads"],
            inner_size=config["inner_size"] or 4 * width,
            hidden_dropout=config["hidden_dropout_prob"],
            attn_dropout=config["attn_dropout_prob"],
            norm_first=config["norm_first"],
            eps=config["layer_norm_eps"],
        )
        self._init_parts(config["initializer_range"])
        self.score = Score(config["score"], config["temperature"])
        self.neighbours_texts = config["neighbour_texts"] if token_size else 0.0
        self.neighbours = neighbours_of(
            dataset, config["model"], self.n_items, transitions=config["neighbour_transitions"], texts=self.neighbours_texts
        )
        self.label_smoothing = config["label_smoothing"]
        self.target_horizon, self.target_decay = config["target_horizon"], config["target_decay"]
        softmax = config["softmax"]
        self.full_softmax = full_softmax_pays(self.n_items) if softmax == "auto" else softmax == "full"
        self.logq, self.loss_precision = config["logq"], config["loss_precision"]
        if not self.full_softmax:
            self._refuse_soft_targets()
            counts = torch.as_tensor(require(dataset, "train_item_counts", "sampled softmax")())
            self.sampler = NegativeSampler(self.n_items, config["n_negatives"], config["negative_source"], counts, getattr(dataset, "held_out", None))

    def phases(self) -> list[Phase]:
        """Universal training; with `alternate` (Sec. IV-E) first with frozen token vectors, then with all."""
        return self._universal_phases()

    def _universal_phases(self, **data) -> list[Phase]:
        """`data`: what the phases see, as `Phase` names it."""
        config, tokens = self.config, self._token_table()
        if not config["alternate"] or tokens is None:
            return [Phase(name="universal", epochs=self.epochs, **data)]
        frozen = tokens if config["alternate_freeze"] == "tokens" else tokens.removesuffix("table") + ".*"
        first = max(1, round(self.epochs * config["alternate_share"]))
        return [
            Phase(name="universal-ids", epochs=first, trainable=(f"(?!{frozen}$).*",), stopping_step=config["alternate_patience"], **data),
            Phase(name="universal", epochs=max(self.epochs - first, 1), rate_factors=((tokens, config["alternate_rate"]),), validate_start=True, **data),
        ]

    def _token_table(self) -> str | None:
        """Name of the trainable token vectors, as a regular expression; None where there are none."""
        tables = {id(part.table) for part in self.item_encoder.parts if isinstance(part, TextEncoder) and isinstance(getattr(part, "table", None), nn.Parameter)}
        return next((re.escape(name) for name, parameter in self.named_parameters() if id(parameter) in tables), None)

    def _text_part(self, config, dataset, width: int, pooled: bool) -> TextEncoder:
        tokens = require(dataset, "token_states", config["model"])().without_special()
        self.text_encoder = {**tokens.encoder, "token_mode": config["token_mode"]}
        table_width = TextEncoder.table_width(config["token_mode"], width, tokens.hidden_size)
        pooling = MeanPooling() if pooled else ExpertPooling(
            table_width, config["n_experts"], config["top_experts"], noise=config["gate_noise"], value_projection=config["expert_value_proj"]
        )
        return TextEncoder(
            tokens.states, tokens.token_ids, tokens.offsets,
            width=width, pooling=pooling, mode=config["token_mode"], vocab_init=config["vocab_init"], std=config["token_init_std"],
        )

    def _refuse_soft_targets(self) -> None:
        for key, unset in (("label_smoothing", 0), ("target_horizon", 1)):
            if getattr(self, key) != unset:
                raise ConfigError(f"{key} needs the full softmax, but softmax: auto samples with {self.n_items:,} items; set softmax: full or {key}: {unset}.")

    def sequence_items(self, item_seq: Tensor) -> tuple[Tensor, Tensor | None]:
        """The full softmax needs every item's vector, so the input is looked up there; else only the batch's items are fused."""
        if not self.full_softmax:
            return self.item_encoder(item_seq), None
        catalogue = self.item_encoder.all_items()
        return catalogue[item_seq], catalogue

    def objective(self, states: Tensor, batch: NextItems, catalogue: Tensor | None) -> Tensor:
        """Next-item loss (Eq. 5) at the trained positions; with `target_horizon` over 1 the items after it share the target.

        Args:
            states: `[positions, width]`, of the trained positions.
            catalogue: `[items, width]` when the full softmax is used.
        """
        states = self.score.user(states)
        if catalogue is not None:
            targets, weights = upcoming_items(batch.targets, self.target_horizon, self.target_decay)
            catalogue, targets = self.competing(catalogue, targets[batch.trained])
            return full_softmax_loss(
                states, self.score.item(catalogue), targets, target_weights=weights[batch.trained],
                label_smoothing=self.label_smoothing, product_dtype=product_dtype(self.loss_precision, states.device),
            )
        targets = batch.targets[batch.trained]
        row = batch.trained.nonzero()[:, 0]
        return self.sampled_softmax(states, targets, lambda negatives: own_item_mask(batch.item_seq, batch.targets, negatives)[row])

    def vectors_of(self, items: Tensor) -> tuple[Tensor, Tensor]:
        """(scoring vectors of the distinct items, place of each of `items` among them)."""
        unique, place = torch.unique(items, return_inverse=True)
        return self.score.item(self.item_encoder(unique)), place

    def sampled_softmax(self, states: Tensor, targets: Tensor, forbidden: Callable[[Tensor], Tensor]) -> Tensor:
        """Loss of `states [n, width]` with `targets [n]` against the step's pool; `forbidden`: pool -> bool `[n, pool]`."""
        negatives = self.sampler.draw(targets)
        vectors, place = self.vectors_of(torch.cat([targets, negatives]))
        return sampled_softmax_loss(
            states.float(),
            vectors[place[: len(targets)]],
            vectors[place[len(targets) :]],
            forbidden=forbidden(negatives),
            log_probability=self.sampler.log_probability.to(negatives.device)[negatives],
            logq=self.logq,
        )
