"""PAD's item towers and its binary cross entropy."""

import math

import numpy as np
import pytest
import torch

from recbole_precise.nn.gated_items import GatedItems
from recbole_precise.nn.gates import build_gate
from recbole_precise.nn.item_encoders import IdEncoder
from recbole_precise.nn.losses.bce import bce_loss, draw_unseen
from recbole_precise.nn.text_vectors import FrozenText
from recbole_precise.nn.towers import AlignedTower, FrozenView, IdTower, TextMlp, TextTower


def text(n: int = 8) -> np.ndarray:
    vectors = np.random.default_rng(0).normal(3.0, 5.0, size=(n, 12)).astype(np.float32)
    vectors[[0, 3]] = 0  # the padding and an item without text
    return vectors


def test_frozen_text_is_centred_scaled_and_never_trained_nor_saved():
    frozen = FrozenText(text())
    there = frozen.vectors[[1, 2, 4, 5, 6, 7]]
    torch.testing.assert_close(there.mean(0), torch.zeros(12), atol=1e-5, rtol=0)
    assert there.pow(2).mean().item() == pytest.approx(1.0, abs=1e-5)
    assert frozen.vectors[[0, 3]].abs().sum() == 0
    assert not list(frozen.parameters()) and not list(frozen.buffers()) and not frozen.state_dict()
    assert frozen.has_text.tolist() == [False, True, True, False, True, True, True, True]
    plain = FrozenText(text(), scaled=False)
    torch.testing.assert_close(plain.vectors, frozen.vectors * frozen.scale)
    assert (
        plain.half().vectors.dtype == torch.float16 and plain.has_text.dtype == torch.bool
    )  # they follow the module


def test_later_texts_stand_where_the_same_text_stood():
    frozen = FrozenText(text())
    before = frozen.vectors.clone()
    assert frozen.extend(text()[[2, 3]]).tolist() == [True, False]
    assert torch.equal(frozen.vectors[:8], before)
    torch.testing.assert_close(frozen.vectors[8:], before[[2, 3]])


def test_the_authors_text_mlp_has_four_layers_after_the_first():
    mlp = TextMlp(FrozenText(text()), 6, 4, 0.1, 0.05)
    linear = [layer for layer in mlp.layers if isinstance(layer, torch.nn.Linear)]
    assert [tuple(layer.weight.shape) for layer in linear] == [(6, 12)] + [(6, 6)] * 4
    assert sum(isinstance(layer, torch.nn.GELU) for layer in mlp.layers) == 5


def test_the_linear_map_begins_as_a_principal_projection():
    """Distances between texts survive as far as the width allows; entries have the wanted size."""
    frozen = FrozenText(
        np.random.default_rng(1).normal(size=(40, 12)).astype(np.float32)
        @ np.diag([9, 8, 7, 6, 5, 4] + [1e-3] * 6).astype(np.float32)
    )
    mlp = TextMlp(frozen, 6, 0, 0.1, 0.05)
    assert [type(layer) for layer in mlp.layers] == [torch.nn.Linear]
    rows = mlp(frozen.vectors).detach()
    assert rows.pow(2).mean().sqrt().item() == pytest.approx(0.05, rel=1e-4)
    before, after = torch.pdist(frozen.vectors), torch.pdist(rows)
    torch.testing.assert_close(after / after.mean(), before / before.mean(), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("fusion", ["sum", "concat"])
def test_the_aligned_item_is_made_of_both_sides(fusion):
    table = IdEncoder(8, 6, 0.1)
    frozen = FrozenText(text())
    tower = AlignedTower(
        table, FrozenView(frozen, TextMlp(frozen, 6, 0, 0.0, 0.05)), fusion, 0.0
    ).eval()
    ids = torch.tensor([1, 4, 7])
    rows, sides = tower.rows(ids), (tower.id_rows(ids), tower.text_rows(ids))
    assert torch.equal(sides[0], table.table.weight[ids])
    expected = (
        sum(sides)
        if fusion == "sum"
        else torch.nn.functional.gelu(tower.fuse[1](torch.cat(sides, 1)))
    )
    torch.testing.assert_close(rows, expected)
    torch.testing.assert_close(tower.rows(None)[ids], rows)


def test_ids_are_left_out_of_the_fusion_and_not_of_the_alignment():
    torch.manual_seed(0)
    frozen = FrozenText(text())
    towers = {
        "id": IdTower(IdEncoder(200, 6, 0.1)),
        "aligned": AlignedTower(
            IdEncoder(200, 6, 0.1), FrozenView(frozen, TextMlp(frozen, 6, 0, 0.0, 0.05)), "sum", 0.0
        ),
    }
    items = GatedItems(
        towers,
        ("id", "aligned"),
        build_gate("global", ("id", "aligned"), 2, 6),
        torch.ones(200, dtype=torch.int64),
        frozen,
        id_dropout=0.5,
    ).train()
    ids = torch.randint(1, 8, (500,))
    ids_alone, both = items.stacked(ids).detach().unbind(1)
    absent = ids_alone.abs().sum(1) == 0
    assert 180 < absent.sum() < 320
    sides = towers["aligned"].id_rows(ids).detach(), towers["aligned"].text_rows(ids).detach()
    torch.testing.assert_close(
        both, torch.where(absent[:, None], 0.0, sides[0]) + sides[1]
    )  # the same items in both experts
    torch.testing.assert_close(ids_alone[~absent], towers["id"].rows(ids)[~absent].detach())
    items.active = ("id",)
    assert (items.stacked(ids).abs().sum((1, 2)) > 0).all()  # what no text could carry
    items.active = ("id", "aligned")
    assert (items.eval().stacked(ids)[:, 0].abs().sum(1) > 0).all()


def test_two_towers_share_one_text_and_no_weight():
    frozen = FrozenText(text())
    first, second = (
        TextTower(FrozenView(frozen, TextMlp(frozen, 6, 1, 0.0, 0.05))) for _ in range(2)
    )
    assert first.view.text is second.view.text
    assert not {id(p) for p in first.parameters()} & {id(p) for p in second.parameters()}


def test_an_unknown_fusion():
    with pytest.raises(ValueError, match="fusion must be one of"):
        frozen = FrozenText(text())
        AlignedTower(
            IdEncoder(8, 6, 0.1),
            FrozenView(frozen, TextMlp(frozen, 6, 0, 0.0, 0.05)),
            "product",
            0.0,
        )


def test_binary_cross_entropy_by_hand():
    positive, negative = torch.tensor([0.5, -1.0]), torch.tensor([[2.0, 1.0], [0.0, -3.0]])
    sigmoid = lambda x: 1 / (1 + math.exp(-x))
    fooled = [-math.log(1 - sigmoid(x)) for x in (2.0, 1.0, 0.0, -3.0)]
    hit = sum(-math.log(sigmoid(x)) for x in (0.5, -1.0)) / 2
    assert bce_loss(positive, negative).item() == pytest.approx(hit + sum(fooled) / 4, rel=1e-6)
    allowed = torch.tensor([[True, False], [True, True]])
    assert bce_loss(positive, negative, allowed).item() == pytest.approx(
        hit + (fooled[0] + fooled[2] + fooled[3]) / 3, rel=1e-6
    )


def test_negatives_are_never_forbidden_while_there_are_others():
    torch.manual_seed(0)
    drawn, bad = draw_unseen((400, 5), 40, lambda items: items % 2 == 0, torch.device("cpu"))
    assert not (drawn[~bad] % 2 == 0).any() and bad.float().mean() < 0.01
    assert drawn.min() >= 1 and drawn.max() < 40 and len(drawn[~bad].unique()) == 20


def test_where_everything_is_forbidden_it_is_said():
    _, bad = draw_unseen(
        (3, 2), 10, lambda items: torch.ones_like(items, dtype=torch.bool), torch.device("cpu")
    )
    assert bad.all()
