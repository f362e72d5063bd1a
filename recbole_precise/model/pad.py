r"""PAD: pre-train, align and disentangle, over any sequence backbone.

Reference:
    Yuhao Wang et al. "Pre-train, Align, and Disentangle: Empowering Sequential Recommendation with Large Language Models."
    SIGIR 2025, arXiv 2412.04107.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor, nn

from recbole_precise.data.frequency import frequency_buckets
from recbole_precise.errors import ConfigError
from recbole_precise.model.backbones import Histories, build_backbone
from recbole_precise.model.sequential import TwoSidedRecommender, require
from recbole_precise.nn.alignment import Alignment
from recbole_precise.nn.gated_items import GatedItems, user_gated_softmax_loss
from recbole_precise.nn.gates import build_gate
from recbole_precise.nn.item_encoders import IdEncoder
from recbole_precise.nn.losses import alignment_rows, full_softmax_loss
from recbole_precise.nn.losses.bce import bce_loss, draw_unseen
from recbole_precise.nn.losses.sampled_softmax import own_item_mask
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.precision import product_dtype
from recbole_precise.nn.scoring import Score
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.nn.towers import AlignedTower, IdTower, TextMlp, TextTower
from recbole_precise.text.states import TokenStates
from recbole_precise.trainer.phases import Phase

PHASES = ("pretrain", "align", "finetune")
EXPERTS = ("id", "aligned", "text")


class PAD(TwoSidedRecommender):
    """PAD: an ID expert, a text expert and an aligned one, each an item tower and a sequence encoder of its own, behind a gate.

    Phases (Sec. 3.1 to 3.3): `pretrain` trains the ID expert; `align` copies it and draws text and IDs together while the
    copy goes on recommending (the anchor); `finetune` trains all experts through the gated score. What the model scores with
    follows the phase that trained it last (`trained_to`, which is saved with the weights).
    """

    def __init__(self, config, dataset) -> None:
        super().__init__(config, dataset)
        self.config, self.width = config, config["embedding_size"]
        self.experts = tuple(name for name in EXPERTS if name in config["experts"])
        built = tuple(name for name in EXPERTS if name in self.experts or (name == "id" and "aligned" in self.experts))
        text = None
        if "aligned" in built or "text" in built:
            tokens = require(dataset, "token_states", config["model"])()
            text, self.text_encoder = FrozenText(tokens.pooled()), {**tokens.encoder, "pooling": "mean"}
        counts = require(dataset, "train_item_counts", config["model"])()
        gate = build_gate(config["gate"], self.experts, config["frequency_buckets"], self.width)
        towers = {name: self._tower(name, text, dataset) for name in built}
        self.item_encoder = GatedItems(towers, self.experts, gate, frequency_buckets(counts, config["frequency_buckets"]), text)
        self.encoders = nn.ModuleDict({name: build_backbone(config, dataset, self.width) for name in built})
        self.score = Score("dot")
        self.loss, self.n_negatives, self.loss_precision = config["loss"], config["n_negatives"], config["loss_precision"]
        self.alignment = Alignment(config["align_kernel"], config["mmd_estimator"], config["mmd_bandwidth"], config["infonce_temperature"])
        self.causal = next(iter(self.encoders.values())).causal
        if config["train_rows"] == "windows" and not self.causal:
            raise ConfigError(f"train_rows: windows needs a causal backbone; {config['backbone']} looks at a window as a whole, so leave train_rows out.")
        self.register_buffer("trained_to", torch.zeros((), dtype=torch.int64))
        self._set_stage(0)

    def _tower(self, name: str, text: FrozenText | None, dataset) -> nn.Module:
        config = self.config
        if name != "id":
            mlp = TextMlp(text, self.width, config["text_mlp_layers"], config["text_dropout"], config["text_init_std"])
        if name == "text":
            return TextTower(text, mlp)
        trained = require(dataset, "trained_items", config["model"])()
        table = IdEncoder(self.n_items, self.width, config["id_init_std"], unseen=config["unseen_id"], trained=trained)
        return IdTower(table) if name == "id" else AlignedTower(table, text, mlp, config["fusion"], config["text_dropout"])

    # --- Phases -------------------------------------------------------------------------------------------------------

    def phases(self) -> list[Phase]:
        """Those of `phases` that the experts need."""
        config, wanted = self.config, list(self.config["phases"])
        plan = [name for name in PHASES if name in wanted and not (name == "pretrain" and "id" not in self.encoders) and not (name == "align" and "aligned" not in self.experts)]
        if not plan:
            raise ConfigError(f"phases {wanted} leave nothing to train for the experts {', '.join(self.experts)}; add finetune.")
        rows = {} if self.causal else {"train_rows": "prefixes", "train_batch_size": config["prefix_batch_size"]}
        gate = (r"item_encoder\.gate\..*",) if any(True for _ in self.item_encoder.gate.parameters()) else ()
        special = {
            "pretrain": {"trainable": self._parameters_of("id")},
            "align": {"trainable": self._aligned_parameters(), "validate": config["align"] != "non_anchored"},
            "finetune": {
                "trainable": (*(pattern for name in self.experts for pattern in self._parameters_of(name)), *gate),
                "rate_factors": tuple((pattern, float(config["gate_rate"])) for pattern in gate),
            },
        }
        epochs, rate = {name: config[f"{name}_epochs"] for name in plan if name != "pretrain"}, {name: config[f"{name}_learning_rate"] for name in plan if name != "pretrain"}
        return [
            Phase(name=name, epochs=self.epochs if epochs.get(name) is None else epochs[name], learning_rate=rate.get(name), **special[name], **rows)
            for name in plan
        ]

    @staticmethod
    def _parameters_of(expert: str) -> tuple[str, ...]:
        """The names of an expert's parameters, as regular expressions."""
        return rf"item_encoder\.towers\.{expert}\..*", rf"encoders\.{expert}\..*"

    def _aligned_parameters(self) -> tuple[str, ...]:
        """What the aligned expert trains while it is aligned (`align`)."""
        tower = r"item_encoder\.towers\.aligned\."
        if self.config["align"] == "non_anchored":  # nothing recommends, so the encoder and the fusion stand still
            return tower + r"table\..*", tower + r"project\..*"
        if self.config["align"] == "anchored_frozen":
            return tower + r"(?!table\.).*", r"encoders\.aligned\..*"
        return self._parameters_of("aligned")

    def set_phase(self, phase: Phase) -> None:
        """Called by the trainer when a phase begins, with the weights that it starts from."""
        number = PHASES.index(phase.name) + 1
        if number >= 2 and int(self.trained_to) == 1 and "aligned" in self.experts:
            self._copy_pretrained()
        self._set_stage(number)

    @torch.no_grad()
    def _copy_pretrained(self) -> None:
        """The aligned expert begins as the pre-trained ID expert (Sec. 3.2)."""
        towers = self.item_encoder.towers
        for source, target in ((towers["id"].table, towers["aligned"].table), (self.encoders["id"], self.encoders["aligned"])):
            target.load_state_dict(source.state_dict())

    def _set_stage(self, number: int) -> None:
        """What `trained_to` says of the experts that speak: 1, the ID expert; 2, the aligned one; else all behind the gate."""
        self.trained_to.fill_(number)
        self._speaking = -1

    def _items(self) -> GatedItems:
        """The item side, with the experts of the present stage."""
        stage = int(self.trained_to)
        if stage != self._speaking:
            self._speaking, self._catalogue = stage, None
            self.item_encoder.active = {1: ("id",), 2: ("aligned",)}.get(stage, self.experts)
        return self.item_encoder

    # --- Training -----------------------------------------------------------------------------------------------------

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Next-item loss of the speaking experts' score; while aligning, with the distance of text and IDs added (Sec. 3.2)."""
        fields = interaction.interaction
        batch = self.next_items(interaction)
        histories = Histories(batch.item_seq, fields[self.ITEM_SEQ_LEN], fields[self.USER_ID])
        items = self._items()
        negatives = self._negatives(batch) if self.loss == "bce" else None
        aligning = int(self.trained_to) == 2 and self.config["align"] != "none"
        loss = torch.zeros((), device=batch.item_seq.device)
        if not aligning or self.config["align"] != "non_anchored":
            loss = self._softmax(items, histories, batch) if negatives is None else self._bce(items, histories, batch, *negatives)
        if aligning:
            loss = loss + self.config["align_weight"] * self._discrepancy(histories, fields[self.POS_ITEM_ID], None if negatives is None else negatives[0])
        return loss

    def _states(self, items: GatedItems, vectors: Tensor, histories: Histories, trained: Tensor) -> Tensor:
        """States `[positions, experts, width]` at the trained positions; `vectors [batch, length, experts, width]`."""
        states = []
        for k, name in enumerate(items.active):
            encoder, given = self.encoders[name], vectors[:, :, k]
            states.append(encoder.states(given, histories)[trained] if self.causal else encoder.last(given, histories))
        return torch.stack(states, 1)

    def _softmax(self, items: GatedItems, histories: Histories, batch: NextItems) -> Tensor:
        """Cross entropy over all items."""
        vectors = items.stacked(None)
        states = self._states(items, vectors[batch.item_seq], histories, batch.trained)
        targets = batch.targets[batch.trained]
        if items.by_user:
            bucket, places = self.competing(items.bucket, targets)
            return user_gated_softmax_loss(items, states, self.competing(vectors, targets)[0], bucket, places)
        catalogue, places = self.competing(items.fold_items(vectors, items.bucket), targets)
        return full_softmax_loss(items.fold_users(states), catalogue, places, product_dtype=product_dtype(self.loss_precision, states.device))

    def _negatives(self, batch: NextItems) -> tuple[Tensor, Tensor]:
        """Uniform items for every position, none of the row's own: int64 and bool (which do not count) `[batch, length, n_negatives]`."""
        shape = (*batch.item_seq.shape, self.n_negatives)

        def forbidden(drawn: Tensor) -> Tensor:
            flat = drawn.flatten(1)
            return (own_item_mask(batch.item_seq, batch.targets, flat) | self.held_out(flat)).view(drawn.shape)

        return draw_unseen(shape, self.n_items, forbidden, batch.item_seq.device)

    def _bce(self, items: GatedItems, histories: Histories, batch: NextItems, negatives: Tensor, forbidden: Tensor) -> Tensor:
        """Binary cross entropy of each target and its negatives (the paper's loss)."""
        candidates = torch.cat([batch.targets[batch.trained][:, None], negatives[batch.trained]], 1)
        unique, place = torch.unique(torch.cat([batch.item_seq.flatten(), candidates.flatten()]), return_inverse=True)
        vectors, inputs = items.stacked(unique), place[: batch.item_seq.numel()].view(batch.item_seq.shape)
        states = self._states(items, vectors[inputs], histories, batch.trained)
        wanted = place[batch.item_seq.numel() :].view(candidates.shape)
        scores = items.pair_scores(states, vectors[wanted], items.bucket[candidates])
        return bce_loss(scores[:, 0], scores[:, 1:], ~forbidden[batch.trained])

    def _discrepancy(self, histories: Histories, last: Tensor, negatives: Tensor | None) -> Tensor:
        """How far the texts' vectors of the batch's items are from their ID vectors, in the aligned tower."""
        first, rows = slice(self.config["mmd_sequences"]), self.config["mmd_rows"]
        length = self.max_seq_length if rows == "author" else histories.items.shape[1]
        items = F.pad(histories.items[first], (0, length + 1 - histories.items.shape[1]))
        items = items.scatter(1, histories.lengths[first, None], last[first, None])
        if rows == "author" and negatives is not None:
            negatives = F.pad(negatives[first, :, 0], (0, length - negatives.shape[1]))
        aligned, wanted = self.item_encoder.towers["aligned"], alignment_rows(items, negatives if rows == "author" else None, rows)
        return self.alignment(aligned.text_rows(wanted), aligned.id_rows(wanted))

    # --- Ranking ------------------------------------------------------------------------------------------------------

    def item_vectors(self) -> Tensor:
        """Folded vectors of the whole catalogue `[items, folded width]`, encoded once until a weight or the stage changes."""
        self._items()
        return super().item_vectors()

    @torch.no_grad()
    def user_vectors(self, interaction: Interaction) -> Tensor:
        """Folded vectors of a batch's users `[batch, folded width]`."""
        return self.forward(interaction[self.ITEM_SEQ], interaction[self.ITEM_SEQ_LEN], interaction[self.USER_ID])

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, users: Tensor | None = None) -> Tensor:
        """int64 `item_seq [batch, length]`, right-padded -> folded user vectors; `users [batch]`, for backbones that know users."""
        items = self._items()
        users = torch.zeros_like(item_seq_len) if users is None else users
        item_seq = item_seq[:, : max(int(item_seq_len.max()), 1)]
        histories = Histories(item_seq, item_seq_len, users)
        unique, place = torch.unique(item_seq, return_inverse=True)
        vectors = items.stacked(unique)[place]
        return items.fold_users(torch.stack([self.encoders[name].last(vectors[:, :, k], histories) for k, name in enumerate(items.active)], 1))

    @property
    def cold_items(self) -> str:
        """What an item that was never trained is ranked by: its `text`, or `nothing` but the ID vector that `unseen_id` names."""
        return "text" if set(self._items().active) & {"aligned", "text"} else "nothing"

    def extend_catalogue(self, tokens: TokenStates) -> np.ndarray:
        """Add items that were never trained, known by their texts alone; bool, which of them have a text."""
        readable = self.item_encoder.extend(len(tokens), tokens.pooled())
        self.n_items += len(tokens)
        self._catalogue = None
        return readable.numpy()

    @torch.no_grad()
    def gate_weights(self) -> Tensor:
        """`[frequency_buckets + 1, experts]`, the padding first: what each expert weighs in each bucket; for gates that read no user."""
        return self.item_encoder.gate.table()
