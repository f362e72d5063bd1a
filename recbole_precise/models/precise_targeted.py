r"""PRECISE's Targeted Training, alone and after Universal Training.

Reference:
    Chonggang Song et al. "PRECISE: Pre-training Sequential Recommenders with Collaborative and
    Semantic Information." arXiv 2412.06308, Sec. IV-D.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_precise.models.precise import PRECISEUT
from recbole_precise.nn.losses import bpr_loss, draw_pair_negatives
from recbole_precise.nn.memory import Recall
from recbole_precise.nn.next_item import NextItems
from recbole_precise.nn.user_heads import ConcatHead
from recbole_precise.plugin.data_settings import scene_view_of
from recbole_precise.plugin.dataset import SUPERVISED_FIELD
from recbole_precise.training.phases import Phase

_FROZEN = {"none": (".*",), "items": (r"(?!item_encoder\.).*",), "encoder": (r"head\..*",)}


class PRECISETT(PRECISEUT):
    """PRECISE-TT (Sec. IV-D): every position sees all others, one target a row.

    All final states go through an MLP.

    The parts and their names are those of PRECISE-UT, so that its weights fit; the MLP is new. What
    the paper has (`recipe: paper`) is a row for each target of the scene's own sequences; by
    default all of a window's targets are trained in one pass, behind the history of all scenes,
    which needs the causal mask.
    """

    @staticmethod
    def scene_view(config) -> str:
        """Return the scenes that it learns from and sees, where `scene_view` does not say.

        docs/scenes.md.
        """
        return config["targeted_view"]

    def __init__(self, config, dataset, **given) -> None:
        super().__init__(config, dataset, **given)
        # universal training draws the numbers that it draws in PRECISE-UT
        with torch.random.fork_rng(devices=[]):
            self.head = ConcatHead(self.width, self.max_seq_length, config["targeted_residual"])
        self.targeted_loss = config["targeted_loss"]
        self.targeted_negatives = config["targeted_negatives"]
        self.set_stage("targeted")

    def phases(self) -> list[Phase]:
        """Targeted training.

        From weights that were copied (`warm_start`) these are the first bar to pass.
        """
        return [self._targeted_phase(warm=bool(self.config["warm_start"]))]

    def _targeted_phase(self, warm: bool, **data) -> Phase:
        config = self.config
        return Phase(
            name="targeted",
            epochs=config["targeted_epochs"],
            learning_rate=config["targeted_learning_rate"],
            trainable=_FROZEN[config["targeted_freeze"] if warm else "none"],
            train_batch_size=None
            if config["targeted_rows"] == "windows"
            else config["targeted_batch_size"],
            train_rows=config["targeted_rows"],
            validate_start=warm,
            **data,
        )

    def set_phase(self, phase: Phase) -> None:
        """Prepare for a phase that begins."""
        self.set_stage("targeted" if phase.name == "targeted" else "universal")

    def set_stage(self, stage: str) -> None:
        """`universal`: PRECISE-UT.

        `targeted`: with the MLP, and without the causal mask unless `targeted_attention` keeps it.
        """
        self.stage = stage
        self.sequence_encoder.causal = (
            stage == "universal" or self.config["targeted_attention"] == "causal"
        )

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Compute the next-item loss, at every position while in universal training.

        In targeted training that of each row's target, or of every target of a window, which under
        the causal mask are rows of their own.
        """
        if self.stage == "universal":
            return super().calculate_loss(interaction)
        batch = self.next_items(interaction)
        softmax = self.targeted_loss == "softmax"
        catalogue = None
        if softmax:
            vectors, catalogue = self.sequence_items(batch.item_seq)
        else:
            vectors = self.item_encoder(batch.item_seq)
        users = self._users(
            vectors, batch, every_position=SUPERVISED_FIELD in interaction.interaction
        )
        if softmax:
            return self.softmax_loss(users, batch, catalogue)
        return self._pairs(
            users,
            batch.targets[batch.trained],
            batch.item_seq[batch.trained.nonzero()[:, 0]],
            self.recalled(batch),
        )

    def _users(self, vectors: Tensor, batch: NextItems, every_position: bool) -> Tensor:
        """Scoring vectors of the users at the trained positions, `[positions, width]`."""
        states = self.sequence_encoder(vectors, batch.mask)
        return self.score.user(
            self.head.at_every_position(states)[batch.trained]
            if every_position
            else self.head(states, batch.mask)
        )

    def _pairs(
        self, users: Tensor, targets: Tensor, item_seq: Tensor, recall: Recall | None
    ) -> Tensor:
        negatives = draw_pair_negatives(targets, self.targeted_negatives, self.n_items)
        vectors, place = self.vectors_of(torch.cat([targets[:, None], negatives], 1))
        forbidden = (
            (negatives == targets[:, None])
            | (negatives[..., None] == item_seq[:, None]).any(-1)
            | self.held_out(negatives)
        )
        bonus = None if recall is None else recall.at(torch.cat([targets[:, None], negatives], 1))
        return bpr_loss(users, vectors[place[:, 0]], vectors[place[:, 1:]], forbidden, bonus)

    def forward(self, item_seq: Tensor, item_seq_len: Tensor, **context: Tensor) -> Tensor:
        """Encode histories to user vectors `[batch, width]`.

        Args:
            item_seq: int64 `[batch, length]`, right-padded.
            item_seq_len: int64 `[batch]`.
            context: as in `TwoSidedRecommender.forward`.
        """
        if self.stage == "universal":
            return super().forward(item_seq, item_seq_len, **context)
        longest = max(int(item_seq_len.max()), 1)
        return self._user_state(self.item_encoder(item_seq[:, :longest]), item_seq_len)

    def _user_state(self, vectors: Tensor, lengths: Tensor) -> Tensor:
        mask = torch.arange(vectors.shape[1], device=vectors.device) < lengths[:, None]
        return self.head(self.sequence_encoder(vectors, mask), mask)


class PRECISE(PRECISETT):
    """Universal, then targeted training in one run.

    Only the latter where `warm_start` names a run of the former.
    """

    def phases(self) -> list[Phase]:
        """Windows of all scenes first, rows of the target scene then.

        What one leaves is the first bar of the other.
        """
        if self.config["warm_start"]:
            return super().phases()
        universal = self._universal_phases(train_rows="windows", scene_view="universal")
        without_head = [
            replace(phase, trainable=tuple(rf"(?!head\.){pattern}" for pattern in phase.trainable))
            for phase in universal
        ]  # it has no part in them
        return [
            *without_head,
            self._targeted_phase(warm=True, scene_view=scene_view_of(self.config)),
        ]
