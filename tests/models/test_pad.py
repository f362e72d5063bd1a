"""PAD as RecBole sees it: real config, dataset and token states.

What each phase trains and scores with.
"""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from near_by_hand import near_items
from pad_data import SMALL
from recbole.data.interaction import Interaction

import recbole_precise as rp
from recbole_precise.evaluation.ranking import rank_by_scores
from recbole_precise.nn.gates import GATES
from recbole_precise.text.states import TokenStates
from recbole_precise.training.judging import rank_split
from recbole_precise.training.phases import freeze_for, rate_groups


def build(pantry, **settings):
    config = rp.Config(model="PAD", dataset="ring", config_dict={**SMALL, **pantry, **settings})
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    model = rp.get_model("PAD")(config, train._dataset)
    with (
        torch.no_grad()
    ):  # away from equal shares and small tables, so that a wrong weight would show
        for parameter in model.item_encoder.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return train, test, model


def at(model, name: str):
    """The model as a phase finds it."""
    phase = next(phase for phase in model.phases() if phase.name == name)
    model.set_phase(phase)
    return phase


def batch_of(train, model):
    part = train._dataset if model.causal else train._dataset.view(train_rows="prefixes")
    return part[torch.arange(min(len(part), 40))]


@pytest.mark.parametrize("gate", GATES)
@pytest.mark.parametrize("backbone", ["transformer", "Caser"])
def test_predict_full_sort_and_exact_ranks_agree(pantry, gate, backbone):
    """In each phase, and with the sum of gated experts by hand in the last."""
    _, test, model = build(pantry, gate=gate, backbone=backbone)
    model.eval()
    rows = test._dataset[torch.arange(20)]
    seen = []
    for name in ("pretrain", "align", "finetune"):
        at(model, name)
        scores = model.full_sort_predict(rows).view(20, -1)
        torch.testing.assert_close(
            model.predict(rows),
            scores.gather(1, rows["item_id"][:, None])[:, 0],
            rtol=1e-4,
            atol=1e-5,
        )
        ranks = rank_split(
            model, test, torch.device("cpu"), mask_history=False, budget_bytes=1 << 20
        )
        assert ranks.rank[:20].tolist() == rank_by_scores(scores, rows["item_id"]).tolist()
        assert not any(torch.allclose(scores, other, atol=1e-3) for other in seen)
        seen.append(scores)
    items, histories = (
        model.item_encoder,
        (rows["item_id_list"], rows["item_length"], rows["user_id"]),
    )
    from recbole_precise.models.backbones import Histories

    states = torch.stack(
        [
            model.encoders[name].last(
                items.towers[name].rows(None)[rows["item_id_list"]], Histories(*histories)
            )
            for name in model.experts
        ],
        1,
    )
    weights = items.weights(items.bucket.expand(20, -1), states)
    by_hand = sum(
        weights[..., k] * (states[:, k] @ items.towers[name].rows(None).t())
        for k, name in enumerate(model.experts)
    )
    torch.testing.assert_close(seen[-1][:, 1:], by_hand[:, 1:], rtol=1e-5, atol=1e-5)


def expected_trained(phase: str, align: str) -> tuple[str, ...]:
    """Prefixes of the parameters that a phase trains, from the paper's table of phases."""
    tower, encoder = "item_encoder.towers.", "encoders."
    if phase == "pretrain":
        return tower + "id.", encoder + "id."
    if phase == "finetune":
        return tower, encoder, "item_encoder.gate."
    return {
        "none": (tower + "aligned.", encoder + "aligned."), "anchored": (tower + "aligned.",
            encoder + "aligned."),
        "non_anchored": (tower + "aligned.table", tower + "aligned.view"),
        "anchored_frozen": (tower + "aligned.view", tower + "aligned.fuse", encoder + "aligned."),
    }[align]  # fmt: skip


@pytest.mark.parametrize("align", ["none", "non_anchored", "anchored", "anchored_frozen"])
@pytest.mark.parametrize(
    ("loss", "backbone", "fusion"),
    [("softmax", "transformer", "sum"), ("bce", "GRU4Rec", "concat")],
)
def test_each_phase_gives_gradients_to_what_it_trains_and_to_nothing_else(
    pantry, align, loss, backbone, fusion
):
    train, _, model = build(pantry, align=align, loss=loss, backbone=backbone, fusion=fusion)
    everything = {name: True for name, _ in model.named_parameters()}
    for name in ("pretrain", "align", "finetune"):
        freeze_for(at(model, name), model, everything)
        model.zero_grad(set_to_none=True)
        model.train()
        model.calculate_loss(batch_of(train, model)).backward()
        moved = {
            key
            for key, value in model.named_parameters()
            if value.grad is not None and value.grad.abs().sum() > 0
        }
        assert moved == {key for key in everything if key.startswith(expected_trained(name, align))}


def test_the_aligned_expert_begins_as_the_pre_trained_one_and_only_once(pantry):
    _, _, model = build(pantry)
    at(model, "pretrain")
    table, other = (
        model.item_encoder.towers[name].table.table.weight for name in ("id", "aligned")
    )
    assert not torch.equal(table, other)
    at(model, "align")
    assert torch.equal(table, other)
    copied = model.encoders["id"].state_dict()
    assert all(
        torch.equal(value, copied[name])
        for name, value in model.encoders["aligned"].state_dict().items()
    )
    with torch.no_grad():
        other += 1.0
    at(model, "finetune")
    assert not torch.equal(table, other)


def test_the_aligned_expert_may_begin_anew(pantry):
    """`aligned_begins: new`: what it begins with is its own, and where it is alone nothing is
    pre-trained.
    """
    _, _, model = build(pantry, aligned_begins="new")
    towers = model.item_encoder.towers
    before = towers["aligned"].table.table.weight.clone()
    assert [at(model, phase.name).name for phase in model.phases()] == [
        "pretrain",
        "align",
        "finetune",
    ]
    assert torch.equal(towers["aligned"].table.table.weight, before) and not torch.equal(
        towers["id"].table.table.weight, before
    )
    alone = build(pantry, aligned_begins="new", experts=["aligned"])[2]
    assert list(alone.item_encoder.towers) == ["aligned"] and [
        phase.name for phase in alone.phases()
    ] == ["align", "finetune"]
    _, _, quiet = build(
        pantry, aligned_begins="new", phases=["pretrain", "finetune"], late_weight=0.5
    )
    at(quiet, "pretrain"), at(quiet, "finetune")
    torch.testing.assert_close(quiet.gate_weights()[1], torch.tensor([0.5, 0.25, 0.25]))


@pytest.mark.parametrize(("experts", "phases"), [
    (["id"], ["pretrain", "finetune"]), (["text"], ["finetune"]), (["aligned"], ["pretrain",
        "align", "finetune"]), (["id", "text"], ["pretrain", "finetune"]),
])  # fmt: skip
def test_any_subset_of_experts(pantry, experts, phases):
    train, _test, model = build(pantry, experts=experts)
    assert [phase.name for phase in model.phases()] == phases and model.experts == tuple(experts)
    everything = {name: True for name, _ in model.named_parameters()}
    for name in phases:
        freeze_for(at(model, name), model, everything)
        model.calculate_loss(batch_of(train, model)).backward()
    assert {
        key.split(".")[2]
        for key, value in model.named_parameters()
        if value.requires_grad and ".towers." in key
    } == set(experts)
    assert model.item_vectors().shape == (41, 8 * len(experts))


@pytest.mark.parametrize(
    "settings",
    [
        *({"gate": gate} for gate in GATES),
        *({"gate": gate, "loss": "bce", "n_negatives": 2} for gate in ("author", "expert_output")),
    ],
)
def test_the_loss_of_every_gate_falls(pantry, settings):
    train, _, model = build(pantry, **settings)
    at(model, "finetune")
    optimizer, batch, losses = (
        torch.optim.Adam(model.parameters(), lr=0.02),
        batch_of(train, model),
        [],
    )
    for _ in range(12):
        torch.manual_seed(1)
        loss = model.calculate_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize("kernel", ["gaussian", "laplacian", "linear", "cosine", "infonce"])
def test_alignment_alone_draws_text_and_ids_together(pantry, kernel):
    train, _, model = build(pantry, align="non_anchored", align_kernel=kernel)
    trained = freeze_for(
        at(model, "align"), model, {name: True for name, _ in model.named_parameters()}
    )
    optimizer, batch = torch.optim.Adam(trained, lr=0.02), batch_of(train, model)
    first = model.calculate_loss(batch).item()
    for _ in range(25):
        optimizer.zero_grad()
        loss = model.calculate_loss(batch)
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.7 * first


@pytest.mark.parametrize("rows", ["unique_real", "author"])
def test_which_rows_are_aligned(pantry, rows, monkeypatch):
    """The batch's distinct items with the targets.

    Or every place and its negative, with the padding.
    """
    train, _, model = build(pantry, mmd_rows=rows, loss="bce", mmd_sequences=5)
    at(model, "align")
    batch, wanted = batch_of(train, model), []
    tower = model.item_encoder.towers["aligned"]
    original = tower.text_rows
    monkeypatch.setattr(tower, "text_rows", lambda ids: (wanted.append(ids), original(ids))[1])
    model.calculate_loss(batch)
    ids = wanted[-1].tolist()
    real = {
        int(item)
        for seq, last in zip(batch["item_id_list"][:5], batch["item_id"][:5])
        for item in (*seq, last)
        if item
    }
    if rows == "unique_real":
        assert ids == sorted(real)
    else:
        assert len(ids) == 5 * 8 * 2 and 0 in ids and real <= set(ids)


@pytest.mark.parametrize("backbone", ["transformer", "SASRec", "GRU4Rec"])
def test_a_window_is_the_mean_of_recboles_one_target_rows(pantry, backbone):
    _, _, model = build(
        pantry,
        backbone=backbone,
        backbone_settings={"dropout_prob": 0.0} if backbone == "GRU4Rec" else None,
    )
    at(model, "finetune")
    item_seq, user = torch.randint(1, 41, (1, 7)), torch.tensor([3])
    window = Interaction(
        {
            "item_id_list": item_seq,
            "item_length": torch.tensor([7]),
            "item_id": torch.tensor([9]),
            "supervised_length": torch.tensor([7]),
            "user_id": user,
        }
    )
    prefixes = Interaction({
        "item_id_list": torch.stack([torch.cat([item_seq[0, :n], torch.zeros(7 - n,
            dtype=torch.long)]) for n in range(1, 8)]),
        "item_length": torch.arange(1, 8), "item_id": torch.cat([item_seq[0, 1:],
            torch.tensor([9])]), "user_id": user.expand(7),
    })  # fmt: skip
    torch.testing.assert_close(
        model.calculate_loss(window), model.calculate_loss(prefixes), rtol=1e-4, atol=1e-5
    )


def test_negatives_are_none_of_the_rows_own(pantry):
    from recbole_precise.nn.next_item import next_item_targets

    train, _, model = build(pantry, loss="bce", n_negatives=6)
    batch = batch_of(train, model)
    own = next_item_targets(
        batch["item_id_list"], batch["item_length"], batch["item_id"], batch["supervised_length"]
    )
    negatives, bad = model._negatives(own)
    assert negatives.shape == (*own.item_seq.shape, 6) and not bad.any()
    for row in range(len(negatives)):
        assert not set(negatives[row].flatten().tolist()) & {
            0,
            *own.item_seq[row].tolist(),
            *own.targets[row].tolist(),
        }


@pytest.mark.parametrize("gate", ["bucket", "expert_output"])
def test_near_items_are_added_to_the_score(pantry, gate):
    """Beside every gate, the folded and the users' own.

    An ID expert alone has no texts to be near by.
    """
    train, test, model = build(pantry, gate=gate, neighbour_transitions=0.5, neighbour_texts=2.0)
    plain = build(pantry, gate=gate)[2]
    plain.load_state_dict(model.state_dict())
    rows = test._dataset[torch.arange(12)]
    for each in (model, plain):
        at(each, "finetune")
        each.eval()
    scores = model.full_sort_predict(rows)
    near = near_items(train._dataset, rows, model.n_items, transitions=0.5, texts=2.0)
    torch.testing.assert_close(scores, plain.full_sort_predict(rows) + near, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        model.predict(rows), scores.gather(1, rows["item_id"][:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    assert build(pantry, experts=["id"], neighbour_texts=2.0)[2].neighbours is None


def test_a_small_catalogue_is_encoded_once_for_all_batches(pantry, monkeypatch):
    """With the same users' vectors as where a batch's items are encoded.

    A changed weight or another phase is noticed.
    """
    _, test, model = build(pantry)
    at(model, "finetune")
    model.eval()
    batches = [test._dataset[torch.arange(first, first + 5)] for first in (0, 5, 10)]
    asked, stacked = [], model.item_encoder.stacked
    monkeypatch.setattr(
        model.item_encoder, "stacked", lambda items: asked.append(items is None) or stacked(items)
    )
    kept, catalogue = [model.user_vectors(batch) for batch in batches], model.item_vectors()
    assert asked == [True]
    torch.testing.assert_close(
        catalogue, model.item_encoder.fold_items(stacked(None), model.item_encoder.bucket)
    )
    monkeypatch.setattr("recbole_precise.models.experts._KEPT_BYTES", 0)
    torch.testing.assert_close(kept, [model.user_vectors(batch) for batch in batches])
    assert asked == [True, False, False, False]
    monkeypatch.undo()
    with torch.no_grad():
        model.item_encoder.towers["id"].table.table.weight *= -1.0
    changed = model.user_vectors(batches[0])
    assert not torch.allclose(changed, kept[0])
    at(model, "align")
    assert model.user_vectors(batches[0]).shape[1] == model.width


def test_tokens_are_trained_by_each_expert_for_itself(pantry):
    """`text_form: tokens`: the mean of an item's token vectors, with the special tokens left out.

    What is aligned is those and the IDs.
    """
    train, _, model = build(pantry, text_form="tokens")
    words, towers = train._dataset.token_states().without_special(), model.item_encoder.towers
    vocabulary = np.unique(words.token_ids)
    for name in ("aligned", "text"):
        table = towers[name].view.table.detach()
        assert table.shape == (len(vocabulary), model.width)
        rows = np.searchsorted(vocabulary, words.token_ids)
        by_hand = torch.stack(
            [
                table[rows[first:end]].mean(0)
                for first, end in zip(words.offsets[1:], words.offsets[2:])
            ]
        )
        mine = towers[name].text_rows(None) if name == "aligned" else towers[name].rows(None)
        torch.testing.assert_close(mine[1:], by_hand)
    assert towers["aligned"].view.table is not towers["text"].view.table
    for name, moved in (
        ("pretrain", ()),
        ("align", ("aligned",)),
        ("finetune", ("aligned", "text")),
    ):
        freeze_for(at(model, name), model, {key: True for key, _ in model.named_parameters()})
        model.zero_grad()
        model.calculate_loss(batch_of(train, model)).backward()
        assert (
            tuple(key for key in ("aligned", "text") if towers[key].view.table.grad is not None)
            == moved
        )


@pytest.mark.parametrize(
    "more", [{}, {"neighbour_transitions": 0.5, "neighbour_texts": 2.0}, {"text_form": "tokens"}]
)
@pytest.mark.parametrize("gate", ["bucket", "expert_output"])
def test_new_items_join_by_their_texts(pantry, gate, more):
    """A text that an item of the catalogue has stands where that one's text stands.

    The scores of all others stay.
    """
    train, test, model = build(pantry, gate=gate, **more)
    at(model, "finetune")
    model.eval()
    rows = test._dataset[torch.arange(8)]
    before = model.full_sort_predict(rows)
    tokens: TokenStates = train._dataset.token_states().select([5, -1])
    assert model.extend_catalogue(tokens).tolist() == [True, False]
    after = model.full_sort_predict(rows)
    assert after.shape == (8, 43) and model.item_encoder.bucket[-2:].tolist() == [4, 4]
    torch.testing.assert_close(after[:, :41], before)
    towers = model.item_encoder.towers
    torch.testing.assert_close(towers["text"].rows(None)[41], towers["text"].rows(None)[5])
    assert towers["id"].rows(None)[41:].abs().sum() == 0


def test_the_paper_recipe_is_the_authors(pantry):
    _, _, model = build(pantry, recipe="paper", embedding_size=8, inner_size=16, n_layers=2)
    first, second, third = model.phases()
    assert model.loss == "bce" and (second.learning_rate, third.learning_rate) == (1e-5, 1e-4)
    assert model.gate_weights()[1].sum().item() == pytest.approx(1.0)
    assert len(model.item_encoder.towers["text"].view.project.layers) == 2 + 3 * 4
    blocks = model.encoders[
        "id"
    ].encoder.blocks  # RecBole's SASRec, without the padding: tests/models/test_rivals.py
    assert first.trainable and {(block.act, block.norm_first) for block in blocks} == {
        (F.relu, False)
    }


@pytest.mark.parametrize(
    "settings", [{}, {"gate": "expert_output"}, {"loss": "bce", "n_negatives": 20}]
)
def test_items_held_out_of_training_do_not_exist_for_it(pantry, settings):
    """They are no target, no negative and no class: their ID rows get no gradient, and all others
    do.
    """
    train, _, model = build(pantry, holdout_items=0.2, **settings)
    at(model, "finetune")
    model.calculate_loss(batch_of(train, model)).backward()
    held = train._dataset.held_out
    grads = model.item_encoder.towers["id"].table.table.weight.grad.abs().sum(1)
    assert held.sum() >= 4 and grads[held].sum() == 0
    kept = ~held
    kept[0] = False
    assert (grads[kept] > 0).float().mean() > 0.95


def test_the_text_expert_may_learn_faster_where_it_begins(pantry):
    _, _, model = build(pantry, text_rate=3.0, gate_rate=1.0)
    phase = at(model, "finetune")
    groups = rate_groups(
        phase,
        model,
        freeze_for(phase, model, {name: True for name, _ in model.named_parameters()}),
        0.5,
    )
    fast = {
        id(parameter) for group in groups if group["lr"] == 1.5 for parameter in group["params"]
    }
    named = {name for name, parameter in model.named_parameters() if id(parameter) in fast}
    assert (
        named
        and all(".text." in name for name in named)
        and named
        == {
            name
            for name, _ in model.named_parameters()
            if name.startswith(("encoders.text.", "item_encoder.towers.text."))
        }
    )
    assert not any(
        ".text." in pattern
        for phase in build(pantry, pretrained_expert="text", text_rate=3.0)[2].phases()
        for pattern, _ in phase.rate_factors
    )


@pytest.mark.parametrize("gate", ["bucket", "expert_output"])
def test_the_gate_learns_at_its_own_rate(pantry, gate):
    """Its parameters, and no others, get `gate_rate` times the rate of the last phase.

    The other phases have one rate.
    """
    _, _, model = build(pantry, gate=gate, gate_rate=7.0)
    everything, names = (
        {name: True for name, _ in model.named_parameters()},
        {id(value): name for name, value in model.named_parameters()},
    )
    phase = at(model, "finetune")
    groups = rate_groups(phase, model, freeze_for(phase, model, everything), 0.5)
    rates = {names[id(value)]: group["lr"] for group in groups for value in group["params"]}
    assert set(rates) == {
        name for name in everything if name.startswith(expected_trained("finetune", "anchored"))
    }
    assert all(rate == (3.5 if ".gate." in name else 0.5) for name, rate in rates.items()) and set(
        rates.values()
    ) == {0.5, 3.5}
    assert not at(model, "align").rate_factors and not at(model, "pretrain").rate_factors


@pytest.mark.parametrize("backbone", ["transformer", "GRU4Rec", "Caser"])
def test_each_encoder_reads_its_own_experts_items(pantry, backbone):
    """The released evaluation on GRUs hands the aligned items to all three."""
    _, test, model = build(pantry, backbone=backbone)
    at(model, "finetune")
    model.eval()
    rows = test._dataset[torch.arange(12)]
    histories = rows["item_id_list"], rows["item_length"], rows["user_id"]
    with torch.no_grad():
        for place, part in enumerate(
            (
                "id.table.table.weight",
                "aligned.table.table.weight",
                "text.view.project.layers.0.weight",
            )
        ):
            before = model.last_states(*histories)
            model.item_encoder.towers.get_parameter(part).mul_(1.7)
            moved = (model.last_states(*histories) - before).abs().amax((0, 2))
            assert moved[place] > 1e-3 and moved[[k for k in range(3) if k != place]].max() == 0


@pytest.mark.parametrize("loss", ["softmax", "bce"])
def test_the_alignment_is_added_with_its_weight(pantry, loss):
    """What is recommended and what is aligned are summed.

    Without the anchor the alignment is alone, and with none it is not there.
    """

    def of(**settings) -> float:
        train, _, model = build(pantry, loss=loss, **settings)
        at(model, "align")
        model.eval()
        torch.manual_seed(3)
        return model.calculate_loss(batch_of(train, model)).item()

    recommended, aligned = of(align="none"), of(align="non_anchored", align_weight=1.0)
    assert aligned > 0.01 and of(align="non_anchored", align_weight=0.3) == pytest.approx(
        0.3 * aligned, rel=1e-5
    )
    assert of(align_weight=0.0) == pytest.approx(recommended, rel=1e-6)
    for align in ("anchored", "anchored_frozen"):
        assert of(align=align, align_weight=0.3) == pytest.approx(
            recommended + 0.3 * aligned, rel=1e-5
        )


@pytest.mark.parametrize("gate", ["bucket", "global"])
@pytest.mark.parametrize("first, name", [("id", "text"), ("text", "id")])
def test_an_expert_that_begins_in_the_last_phase_may_begin_quietly(pantry, gate, first, name):
    """`late_weight` against 1 of the experts that earlier phases trained, in every bucket.

    The phase's start is validated. Without it nothing is set.
    """
    _, _test, model = build(pantry, gate=gate, pretrained_expert=first, late_weight=0.01)
    before = model.gate_weights().clone()
    at(model, "pretrain"), at(model, "align")
    torch.testing.assert_close(model.gate_weights(), before)
    assert (
        at(model, "finetune").validate_start and not at(build(pantry)[2], "finetune").validate_start
    )
    wanted = torch.tensor([0.01 if expert == name else 1.0 for expert in model.experts]) / 2.01
    torch.testing.assert_close(model.gate_weights(), wanted.expand_as(before))
    with torch.no_grad():  # a last phase that goes on, as after a resume, begins nothing
        model.item_encoder.gate.logits += 1.0 + torch.arange(3)
    learnt = model.gate_weights().clone()
    at(model, "finetune")
    torch.testing.assert_close(model.gate_weights(), learnt)
    _, _, other = build(pantry, gate=gate, pretrained_expert=first)
    before = other.gate_weights().clone()
    at(other, "pretrain"), at(other, "align"), at(other, "finetune")
    torch.testing.assert_close(other.gate_weights(), before)


@pytest.mark.parametrize("settings", [{"phases": ["finetune"]}, {"experts": ["aligned"]}])
def test_experts_that_all_begin_in_the_last_phase_weigh_the_same_and_so_does_one_alone(
    pantry, settings
):
    _, _, model = build(pantry, late_weight=0.01, **settings)
    before = model.gate_weights().clone()
    for phase in model.phases():
        at(model, phase.name)
    torch.testing.assert_close(model.gate_weights(), before)
