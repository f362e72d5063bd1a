"""What makes each system of PAD's tables different from PAD, and LLM-ESR from both, on real config,
dataset and token states.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from pad_data import SMALL

import recbole_precise as rp
from recbole_precise.errors import ConfigError, TextError
from recbole_precise.nn.losses import full_softmax_loss
from recbole_precise.nn.losses.bce import bce_loss
from recbole_precise.training.phases import freeze_for

RIVALS = ["Hybrid", "MoRec", "CTRL", "MAKE", "DisCo", "SMEM", "LLM-ESR"]


def build(name, pantry, **settings):
    config = rp.Config(model=name, dataset="ring", config_dict={**SMALL, **pantry, **settings})
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    return train, test, rp.get_model(name)(config, train._dataset)


def begin(model, name):
    """The model as a phase finds it, with that phase's parameters alone to train."""
    phase = next(phase for phase in model.phases() if phase.name == name)
    if hasattr(model, "set_phase"):
        model.set_phase(phase)
    freeze_for(phase, model, {name: True for name, _ in model.named_parameters()})
    return phase


def some(train):
    return train._dataset[torch.arange(min(len(train._dataset), 30))]


@pytest.mark.parametrize(("name", "phases", "towers"), [
    ("Hybrid", ["universal"], {"aligned"}), ("MoRec", ["universal"], {"text"}), ("DisCo",
        ["universal"], {"aligned"}), ("LLM-ESR", ["universal"], {"id", "text"}),
    ("CTRL", ["align", "finetune"], {"aligned"}), ("MAKE", ["pretrain", "finetune"], {"id",
        "text"}), ("SMEM", ["pretrain", "align", "finetune"], {"id", "aligned", "text"}),
])  # fmt: skip
def test_phases_and_towers(pantry, name, phases, towers):
    _, _, model = build(name, pantry)
    assert [phase.name for phase in model.phases()] == phases and set(
        model.item_encoder.towers
    ) == towers
    assert set(model.encoders) == ({"shared"} if name == "LLM-ESR" else towers)


@pytest.mark.parametrize("name", RIVALS)
def test_the_papers_protocol(pantry, name):
    """`recipe: paper` is PAD's protocol for all, without undoing what makes the model.

    Its loss is finite and has gradients.
    """
    train, _, model = build(
        name, pantry, recipe="paper", embedding_size=8, inner_size=16, n_layers=1
    )
    encoder = next(
        iter(model.encoders.values())
    ).encoder  # RecBole's SASRec, without the padding: tests/models/test_rivals.py
    assert (model.loss, model.n_negatives, encoder.blocks[0].act) == ("bce", 1, F.relu)
    if name in ("SMEM", "CTRL"):
        assert (model.config["align"], model.config["align_kernel"]) == (
            ("none", "gaussian") if name == "SMEM" else ("anchored", "infonce")
        )
    phases = model.phases()
    assert (
        phases[-1].learning_rate == (1e-4 if len(phases) > 1 else None)
        and model.config["learning_rate"] == 1e-5
    )
    for phase in phases:
        begin(model, phase.name)
        loss = model.calculate_loss(some(train))
        loss.backward()
        assert torch.isfinite(loss)


def test_hybrid_fuses_and_morec_reads_the_text_alone(pantry):
    _train, test, hybrid = build("Hybrid", pantry)
    tower = hybrid.item_encoder.towers["aligned"]
    ids, text = tower.table.table.weight, hybrid.item_encoder.text.vectors
    torch.testing.assert_close(
        hybrid.item_vectors(), F.gelu(tower.fuse[1](torch.cat([ids, tower.view.project(text)], 1)))
    )
    _, _, morec = build("MoRec", pantry)
    torch.testing.assert_close(
        morec.item_vectors(), morec.item_encoder.towers["text"].view.project(text)
    )
    assert not any(
        isinstance(module, torch.nn.Embedding) and module.num_embeddings == 41
        for module in morec.modules()
    )
    scores = []  # two items of one text are one item to MoRec, and two to Hybrid
    for model in (morec, hybrid):
        vectors = model.eval().item_encoder.text.vectors
        vectors[2] = vectors[1]
        model.forget_catalogue()
        scores.append(model.full_sort_predict(test._dataset[torch.arange(5)]))
    assert torch.equal(scores[0][:, 1], scores[0][:, 2]) and not torch.allclose(
        scores[1][:, 1], scores[1][:, 2]
    )


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_discos_loss_is_its_four_terms(pantry, loss):
    train, _, model = build("DisCo", pantry, loss=loss, n_negatives=3)
    with torch.no_grad():
        for parameter in model.item_encoder.parameters():
            parameter += 0.2 * torch.randn_like(parameter)
    step = model.step(some(train))
    tower, batch = model.item_encoder.towers["aligned"], step.batch
    texts = model.item_encoder.text.vectors
    sources = [
        tower.tables[0].table.weight,
        tower.tables[1].table.weight,
        tower.views[0].project(texts),
        tower.views[1].project(texts),
    ]
    parts = [source @ layer.weight.t() for source, layer in zip(sources, tower.project)]
    whole = torch.cat(parts, 1) @ tower.fuse.weight.t() + tower.fuse.bias
    states = model.encoders["aligned"].states(whole[batch.item_seq], step.histories)[batch.trained]

    def recommend(vectors):
        if loss == "softmax":
            return full_softmax_loss(states, vectors, batch.targets[batch.trained])
        scores = (states[:, None] * vectors[step.drawn.items]).sum(2)
        return bce_loss(scores[:, 0], scores[:, 1:], step.drawn.allowed)

    real = torch.unique(step.items())
    id_unique, id_shared, text_unique, text_shared = (
        F.normalize(part[real[real > 0]]) for part in parts
    )
    overlap = (id_unique * id_shared).sum(1).square().mean() + (text_unique * text_shared).sum(
        1
    ).square().mean()
    agreement = -(id_shared @ text_shared.t() / 0.1).log_softmax(1).diagonal().mean()
    expected = (
        recommend(whole)
        + 0.1 * sum(recommend(part) for part in parts)
        + 0.01 * overlap
        + 0.01 * agreement
    )
    torch.testing.assert_close(model.recommendation_loss(step), expected, rtol=1e-5, atol=1e-5)


def test_llm_esr_begins_as_principal_components_in_both_views(pantry):
    _, _, model = build("LLM-ESR", pantry)
    towers = model.item_encoder.towers
    ids, text = towers["id"].table.table.weight[1:], towers["text"].rows(None)[1:]
    values = towers["text"].view.text.vectors[1:].numpy()
    scores = (
        np.linalg.svd(values, full_matrices=False)[0][:, :8]
        * np.linalg.svd(values, compute_uv=False)[:8]
    )
    for view in (ids, text):
        assert view.pow(2).mean().sqrt().item() == pytest.approx(0.05, rel=1e-3)
        ours, theirs = torch.pdist(view.detach()), torch.pdist(torch.from_numpy(scores))
        torch.testing.assert_close(ours / ours.mean(), theirs / theirs.mean(), rtol=1e-2, atol=1e-2)
    assert (
        len(towers["text"].view.project) == 2
        and towers["text"].view.project[0].out_features == towers["text"].view.text.hidden_size // 2
    )


def slow_cross(layer, asking, asked, causal):
    """Position by position and head by head."""
    size, rows = asking.shape[1] // layer.n_heads, []
    queries, keys, values = (
        asking @ layer.query.weight.t(),
        asked @ layer.key.weight.t(),
        asked @ layer.value.weight.t(),
    )
    for i in range(len(asking)):
        seen, heads = (i + 1 if causal else len(asking)), []
        for h in range(layer.n_heads):
            part = slice(h * size, (h + 1) * size)
            weights = torch.stack(
                [queries[i, part] @ keys[j, part] / math.sqrt(size) for j in range(seen)]
            ).softmax(0)
            heads.append(sum(weight * values[j, part] for j, weight in enumerate(weights)))
        rows.append(layer.out.weight @ torch.cat(heads) + layer.out.bias)
    return torch.stack(rows)


@pytest.mark.parametrize("backbone", ["transformer", "Caser"])
def test_llm_esrs_score_is_both_views_through_one_encoder(pantry, backbone):
    _, test, model = build("LLM-ESR", pantry, backbone=backbone)
    from recbole_precise.models.backbones import Histories

    model.eval()
    rows = test._dataset[torch.arange(6)]
    towers, scores = model.item_encoder.towers, model.full_sort_predict(rows)
    ids, text = towers["id"].rows(None), towers["text"].rows(None)
    for row in range(6):
        items = rows["item_id_list"][row, : rows["item_length"][row]]
        views = (
            slow_cross(model.ids_asked, text[items], ids[items], model.causal),
            slow_cross(model.text_asked, ids[items], text[items], model.causal),
        )
        history = Histories(
            items[None], rows["item_length"][row : row + 1], rows["user_id"][row : row + 1]
        )
        users = [model.encoders["shared"].last(view[None], history)[0] for view in views]
        torch.testing.assert_close(
            scores[row, 1:], (users[0] @ ids.t() + users[1] @ text.t())[1:], rtol=1e-4, atol=1e-5
        )


def test_llm_esr_sees_nothing_of_what_comes_later(pantry):
    """Not through the other view either, as it would with the padding alone masked."""
    train, _, model = build("LLM-ESR", pantry)
    step = model.eval().step(some(train))
    vectors = model.item_encoder.stacked(None)[step.inputs]
    row = int(step.histories.lengths.argmax())
    changed = vectors.clone()
    changed[row, 3] += 1.0
    before, after = (
        model.encoded(v, step.histories, step.histories.mask) for v in (vectors, changed)
    )
    start = int(step.histories.lengths[:row].sum())
    assert torch.equal(before[start : start + 3], after[start : start + 3]) and not torch.allclose(
        before[start + 3], after[start + 3]
    )


def test_llm_esr_is_taught_by_the_users_whose_texts_are_nearest(pantry):
    """Brute force: cosines of mean texts, the teachers' own sequences one by one, and the mean
    squared difference; teachers learn nothing.
    """
    train, _, model = build("LLM-ESR", pantry, similar_users=3, distill_weight=0.7)
    model.eval()
    batch = some(train)
    items, offsets, ids = (part.tolist() for part in train._dataset.train_sequences())
    texts = model.item_encoder.text.vectors
    sequences = {user: items[a:b] for user, a, b in zip(ids, offsets, offsets[1:])}
    means = {user: texts[sequence].mean(0) for user, sequence in sequences.items()}
    step, differences = model.step(batch), []
    vectors = model.item_encoder.stacked(None)
    states = model.encoded(vectors[step.inputs], step.histories)
    for row, user in enumerate(batch["user_id"].tolist()):
        near = sorted(
            (other for other in sequences if other != user),
            key=lambda other: -float(F.cosine_similarity(means[user], means[other], dim=0)),
        )
        teachers = []
        for other in near[:3]:
            last = torch.tensor([sequences[other][-7:]])
            teachers.append(model.last_states(last, torch.tensor([last.shape[1]]))[0])
        differences.append((states[row] - torch.stack(teachers).mean(0)).pow(2).mean())
    plain = super(type(model), model).next_item_loss
    trained = model.encoded(vectors[step.inputs], step.histories, step.batch.trained)
    expected = (
        plain(model.item_encoder, trained, vectors, step) + 0.7 * torch.stack(differences).mean()
    )
    torch.testing.assert_close(model.calculate_loss(batch), expected, rtol=1e-4, atol=1e-5)
    only = model._distillation(model.similar, trained, step)
    own = torch.autograd.grad(only, trained)[0]
    last = step.batch.trained.sum(1).cumsum(0) - 1
    # No state but the last has a gradient; sums of other shapes may differ in their last bits.
    others = own.clone()
    others[last] = 0
    assert own[last].any() and not others.any()


@pytest.mark.parametrize("name", RIVALS)
def test_what_a_rival_is_not(pantry, name, write_dataset):
    if name != "SMEM":
        with pytest.raises(
            ConfigError,
            match=f"{name} is made of experts: .*; leave experts out, or choose them with "
            "--model=PAD",
        ):
            build(name, pantry, experts=["id"])
    path = write_dataset(
        "shop", [(f"u{u}", f"i{(u + t) % 7}", t) for u in range(9) for t in range(6)]
    )
    settings = {
        "data_path": str(path),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]},
        "gpu_id": "",
        "MAX_ITEM_LIST_LENGTH": 5,
    }
    config = rp.Config(model=name, dataset="shop", config_dict=settings)
    train, _, _ = rp.data_preparation(config, rp.create_dataset(config))
    with pytest.raises(
        TextError, match=f"{name} reads item texts, but shop says nothing of them: set item_text"
    ):
        rp.get_model(name)(config, train._dataset)
