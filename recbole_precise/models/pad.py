r"""PAD: pre-train, align and disentangle, over any sequence backbone.

Reference:
    Yuhao Wang et al. "Pre-train, Align, and Disentangle: Empowering Sequential Recommendation with
    Large Language Models." SIGIR 2025, arXiv 2412.04107.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction
from torch import Tensor

from recbole_precise.errors import ConfigError
from recbole_precise.models.experts import EXPERTS, ExpertsRecommender, Step
from recbole_precise.nn.alignment import Alignment
from recbole_precise.nn.gates import TableGate
from recbole_precise.nn.losses import alignment_rows
from recbole_precise.nn.towers import AlignedTower, IdTower
from recbole_precise.training.phases import Phase

PHASES = ("pretrain", "align", "finetune")


class PAD(ExpertsRecommender):
    """PAD: an ID expert, a text expert and an aligned one, behind a gate.

    Each is an item tower and a sequence encoder of its own.

    Phases (Sec. 3.1 to 3.3): `pretrain` trains the ID expert (or another, `pretrained_expert`);
    `align` copies it and draws text and IDs together while the copy goes on recommending (the
    anchor); `finetune` trains all experts through the gated score. What the model scores with
    follows the phase that trained it last (`trained_to`, which is saved with the weights).

    Not the paper's, as controls: the aligned expert may begin from new weights (`aligned_begins`),
    and what begins in the last phase with a small weight (`late_weight`), so that the phase begins
    with what the others can do and keeps that unless it finds better.
    """

    trained_to: Tensor

    def __init__(self, config, dataset, **given) -> None:
        self.first = config["pretrained_expert"]
        self.copies = (
            self.first == "id"
            and "aligned" in config["experts"]
            and config["aligned_begins"] != "new"
        )
        super().__init__(config, dataset, **given)
        self.alignment = Alignment(
            config["align_kernel"], config["mmd_estimator"], config["mmd_bandwidth"],
            config["infonce_temperature"],
            symmetric=config["infonce_symmetric"],
            sub_vectors=config["infonce_subvectors"] if "aligned" in self.experts else 1,
            width=self.width,
        )  # fmt: skip
        self.register_buffer("trained_to", torch.zeros((), dtype=torch.int64))

    # --- Phases -------------------------------------------------------------------------------

    def built(self) -> tuple[str, ...]:
        """List the experts, and the ID expert where the aligned one begins as its copy."""
        copied = self.copies and self._pretrains()
        return tuple(name for name in EXPERTS if name in self.experts or (name == "id" and copied))

    def _pretrains(self) -> bool:
        """Whether this run pre-trains; one that `warm_start` names is taken to have done so."""
        return "pretrain" in self.config["phases"] or bool(self.config["warm_start"])

    def speaking(self) -> tuple[str, ...]:
        """Return the experts in the score, as `trained_to` says.

        1: the pre-trained expert; 2: the aligned one; else all behind the gate.
        """
        return {1: (self.first,), 2: ("aligned",)}.get(int(self.trained_to), self.experts)

    def phases(self) -> list[Phase]:
        """Those of `phases` that the experts need."""
        config = self.config
        wanted = list(config["phases"])
        needs = {
            "pretrain": self.first in self.item_encoder.towers,
            "align": "aligned" in self.experts,
            "finetune": True,
        }
        plan = [name for name in PHASES if name in wanted and needs[name]]
        if not plan:
            raise ConfigError(
                f"phases {wanted} leave nothing to train for the experts "
                f"{', '.join(self.experts)}; add finetune."
            )
        gate = (
            (r"item_encoder\.gate\..*",)
            if any(True for _ in self.item_encoder.gate.parameters())
            else ()
        )
        late = config["text_rate"] != 1 and "text" in self.experts and self.first != "text"
        text = (
            tuple((pattern, float(config["text_rate"])) for pattern in self._parameters_of("text"))
            if late
            else ()
        )
        memory = (r"memory\..*",) if self.memory is not None else ()
        special = {
            "pretrain": {"trainable": (*self._parameters_of(self.first), *memory)},
            "align": {
                "trainable": (
                    *self._aligned_parameters(),
                    *(memory if config["align"] != "non_anchored" else ()),
                ),
                "validate": config["align"] != "non_anchored",
            },
            "finetune": {
                "trainable": (
                    *(pattern for name in self.experts for pattern in self._parameters_of(name)),
                    *gate,
                    *memory,
                ),
                "rate_factors": (
                    *((pattern, float(config["gate_rate"])) for pattern in gate),
                    *text,
                ),
                "validate_start": config["late_weight"] is not None,
            },
        }
        later = [name for name in plan if name != "pretrain"]
        epochs = {name: config[f"{name}_epochs"] for name in later}
        rate = {name: config[f"{name}_learning_rate"] for name in later}
        return [
            Phase(
                name=name,
                epochs=self.epochs if epochs.get(name) is None else epochs[name],
                learning_rate=rate.get(name),
                **special[name],
                **self.phase_rows(),
            )
            for name in plan
        ]

    @staticmethod
    def _parameters_of(expert: str) -> tuple[str, ...]:
        """Return the names of an expert's parameters, as regular expressions."""
        return rf"item_encoder\.towers\.{expert}\..*", rf"encoders\.{expert}\..*"

    def _aligned_parameters(self) -> tuple[str, ...]:
        """Return what the aligned expert trains while it is aligned (`align`)."""
        tower = r"item_encoder\.towers\.aligned\."
        maps = (
            (r"alignment\..*",)
            if any(True for _ in self.alignment.parameters()) and self.config["align"] != "none"
            else ()
        )
        # nothing recommends, so the encoder and the fusion stand still
        if self.config["align"] == "non_anchored":
            return tower + r"table\..*", tower + r"view\..*", *maps
        if self.config["align"] == "anchored_frozen":
            return tower + r"(?!table\.).*", r"encoders\.aligned\..*", *maps
        return *self._parameters_of("aligned"), *maps

    def set_phase(self, phase: Phase) -> None:
        """Prepare for a phase; the trainer has loaded the weights that it starts from."""
        number = PHASES.index(phase.name) + 1
        if number >= 2 and int(self.trained_to) == 1 and self.copies:
            self._copy_pretrained()
        late = self.config["late_weight"]
        if (
            number == 3
            and late is not None
            and len(self.experts) > 1
            and int(self.trained_to) in (1, 2)
        ):
            trained = self._trained_before()
            gate = self.item_encoder.gate
            assert isinstance(gate, TableGate), "late_weight is for a gate of free weights"
            gate.begin([1.0 if name in trained else float(late) for name in self.experts])
        self.trained_to.fill_(number)

    def _trained_before(self) -> set[str]:
        """Return the experts that the phases before the last one trained."""
        pretrained = {self.first} if self._pretrains() else set()
        return pretrained | ({"aligned"} if int(self.trained_to) == 2 or self.copies else set())

    @staticmethod
    def untrained_in(weights: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Name those of a run's weights that were never trained: the gate.

        Where the run ended before the last phase, so that other experts may follow.
        """
        if "trained_to" not in weights or int(weights["trained_to"]) == 3:
            return ()
        return tuple(name for name in weights if name.startswith("item_encoder.gate."))

    @torch.no_grad()
    def _copy_pretrained(self) -> None:
        """Copy the pre-trained ID expert to the aligned expert (Sec. 3.2)."""
        source = self.item_encoder.towers["id"]
        assert isinstance(source, IdTower)
        self._aligned_tower().table.load_state_dict(source.table.state_dict())
        self.encoders["aligned"].load_state_dict(self.encoders["id"].state_dict())

    def _aligned_tower(self) -> AlignedTower:
        tower = self.item_encoder.towers["aligned"]
        assert isinstance(tower, AlignedTower)
        return tower

    # --- Training -----------------------------------------------------------------------------

    def calculate_loss(self, interaction: Interaction) -> Tensor:
        """Next-item loss of the speaking experts' score.

        While aligning, with the distance of text and IDs added (Sec. 3.2).
        """
        step = self.step(interaction)
        align = self.config["align"]
        if int(self.trained_to) != 2 or align == "none":
            return self.recommendation_loss(step)
        if align == "non_anchored":
            loss = torch.zeros((), device=step.inputs.device)
        else:
            loss = self.recommendation_loss(step)
        return loss + self.config["align_weight"] * self._discrepancy(step)

    def _discrepancy(self, step: Step) -> Tensor:
        """Measure how far texts are from IDs in the aligned tower.

        Over the batch's items.
        """
        first = slice(self.config["mmd_sequences"])
        rows = self.config["mmd_rows"]
        items = step.items()[first]
        negatives = None
        if rows == "author":
            missing = self.max_seq_length - step.inputs.shape[1]
            items = F.pad(items, (0, missing))
            if step.drawn is not None:
                negatives = F.pad(step.drawn.negatives[first, :, 0], (0, missing))
        aligned = self._aligned_tower()
        wanted = alignment_rows(items, negatives, rows)
        return self.alignment(aligned.text_rows(wanted), aligned.id_rows(wanted))
