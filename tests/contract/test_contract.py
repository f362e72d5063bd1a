"""Every model of ours, and RecBole's as they come, hold the contract.

A failure names the model and the property.
"""

from __future__ import annotations

import pytest
import torch

from recbole_precise import registry
from recbole_precise import testing as contract
from recbole_precise.models.sasrec import SASRecCE
from recbole_precise.testing import (
    DEVIATIONS,
    PROPERTIES,
    Broken,
    Subject,
    check_model,
    check_property,
)

THEIRS = ["SASRec", "GRU4Rec", "BERT4Rec", "Caser"]
MODELS = [entry.name for entry in registry.ENTRIES] + THEIRS

_subjects: dict[str, Subject] = {}


def subject_of(model: str, settings) -> Subject:
    if model not in _subjects:
        _subjects[model] = Subject(model, "ring", settings(model))
    return _subjects[model]


@pytest.mark.parametrize("name", PROPERTIES)
@pytest.mark.parametrize("model", MODELS)
def test_holds(model: str, name: str, contract_settings) -> None:
    assert check_property(subject_of(model, contract_settings), name) == DEVIATIONS.get(
        (model, name)
    )


TUNED = {"text_tuning": "cooccurrence", "text_tuning_steps": 3, "text_tuning_width": 8}
WITH = [
    ("SASRec-CE", {"transition_memory": 0.5}), ("PAD", {"transition_memory": 0.5}), ("SASRec-CE",
        {"rare_smoothing": 3}), ("PRECISE-UT", {"rare_smoothing": 2}),
    ("SASRec-Text", {**TUNED, "rare_smoothing": 2, "neighbour_texts": 0.5}), ("PAD", TUNED),
]  # fmt: skip


@pytest.mark.parametrize(
    ("model", "more"), WITH, ids=lambda value: value if isinstance(value, str) else " ".join(value)
)
def test_holds_with_what_any_model_may_have(model: str, more: dict, contract_settings) -> None:
    assert set(check_model(model, "ring", {**contract_settings(model), **more}).values()) == {None}


def test_deviations_are_of_recboles_models_alone() -> None:
    assert {model for model, _ in DEVIATIONS} <= set(THEIRS) and {
        name for _, name in DEVIATIONS
    } <= set(PROPERTIES)


def _shifted_by_row(self, interaction):
    scores = self.user_vectors(interaction) @ self.item_vectors().t()
    return scores + torch.arange(len(scores))[:, None]


FAULTS = {
    "batch_order": (SASRecCE, "full_sort_predict", _shifted_by_row),
    "predict": (SASRecCE, "predict", lambda self, batch: self.full_sort_predict(batch)[:, 1]),
    "cold_items": (SASRecCE, "cold_items", "text"),
    "gradients": (
        SASRecCE,
        "objective",
        lambda self, states, batch, catalogue: (
            states.detach().sum() + self.item_encoder.all_items().pow(2).sum()
        ),
    ),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(
    name: str, contract_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    cls, attribute, fault = FAULTS[name]
    monkeypatch.setattr(cls, attribute, fault, raising=False)
    subject = Subject("SASRec-CE", "ring", contract_settings("SASRec-CE"))
    with pytest.raises(Broken, match=f"SASRec-CE · {name}: "):
        check_property(subject, name)


def test_a_look_at_the_future_is_found(contract_settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """States that mix in the mean of the whole row: causality is broken, and nothing else of what
    scores see at the last position.
    """
    from recbole_precise.nn.sequence_encoders import Transformer

    original = Transformer.packed_states

    def peeking(self, item_vectors, mask, **context):
        mean = (item_vectors * mask[..., None]).sum(1, keepdim=True) / mask.sum(1)[:, None, None]
        return original(self, item_vectors + mean, mask, **context)

    monkeypatch.setattr(Transformer, "packed_states", peeking)
    subject = Subject("SASRec-CE", "ring", contract_settings("SASRec-CE"))
    with pytest.raises(Broken, match="SASRec-CE · causality: sequence_encoder says causal = True"):
        check_property(subject, "causality")
    assert check_property(subject, "padding") is None


def test_a_deviation_that_is_none_is_told(
    contract_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(contract.DEVIATIONS, ("SASRec", "shapes"), "for no reason")
    with pytest.raises(Broken, match="SASRec · shapes holds, but is listed"):
        check_property(subject_of("SASRec", contract_settings), "shapes")


def test_all_faults_of_a_model_are_told_at_once(
    contract_settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(PROPERTIES):
        if name not in ("batch_order", "predict"):
            monkeypatch.delitem(contract.PROPERTIES, name)
    monkeypatch.setattr(SASRecCE, "full_sort_predict", _shifted_by_row, raising=False)
    with pytest.raises(Broken) as caught:
        check_model("SASRec-CE", "ring", contract_settings("SASRec-CE"))
    assert [line.split(":")[0] for line in str(caught.value).splitlines()] == [
        "SASRec-CE · batch_order",
        "SASRec-CE · predict",
    ]
