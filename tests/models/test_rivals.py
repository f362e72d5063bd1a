"""What makes each control different, on a real data set.

SASRec-CE and GRU4Rec-CE are RecBole's models, weight for weight.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from recbole.data.interaction import Interaction

import recbole_precise as rp
from recbole_precise.errors import ConfigError, TextError
from recbole_precise.models.hstu import what_times_lack
from recbole_precise.nn.next_item import next_item_targets

SMALL = {
    "embedding_size": 8, "n_layers": 2, "n_heads": 2, "inner_size": 16, "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0, "MAX_ITEM_LIST_LENGTH": 10,
    "gpu_id": "", "show_progress": False, "epochs": 1, "loss_precision": "float32",
    "recipe": "default", "user_inter_num_interval": "[20,30]",
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def build(name, **overrides):
    known = {
        key: value
        for key, value in SMALL.items()
        if not (name == "GRU4Rec-CE" and key == "n_layers")
    }
    config = rp.Config(model=name, dataset="ml-100k", config_dict={**known, **overrides})
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    return train, test, rp.get_model(config["model"])(config, train._dataset).eval()


def theirs(name, **settings):
    common = {
        key: SMALL[key]
        for key in ("MAX_ITEM_LIST_LENGTH", "gpu_id", "show_progress", "user_inter_num_interval")
    }
    config = rp.Config(model=name, dataset="ml-100k", config_dict={**common, **settings})
    train, _, _ = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(1)
    return rp.get_model(name)(config, train._dataset).eval()


def as_prefixes(rows):
    """RecBole's rows, which carry one target each."""
    return Interaction(
        {name: rows[name] for name in ("user_id", "item_id_list", "item_length", "item_id")}
    )


def without_padding_class(model, rows):
    """RecBole's cross entropy without the class of the padding item."""
    return F.cross_entropy(
        model.full_sort_predict(rows).view(len(rows), -1)[:, 1:], rows["item_id"] - 1
    )


@pytest.mark.parametrize("act", ["gelu", "relu", "swish", "tanh", "sigmoid"])
def test_sasrec_ce_is_recboles_sasrec(act):
    _, test, ours = build("SASRec-CE", hidden_act=act)
    model = theirs(
        "SASRec",
        hidden_size=8,
        n_layers=2,
        n_heads=2,
        inner_size=16,
        hidden_dropout_prob=0.0,
        attn_dropout_prob=0.0,
        hidden_act=act,
    )
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        ours.item_encoder.parts[0].table.weight.copy_(model.item_embedding.weight)
        encoder = ours.sequence_encoder
        encoder.position.weight.copy_(model.position_embedding.weight)
        encoder.input_norm.load_state_dict(model.LayerNorm.state_dict())
        for block, layer in zip(encoder.blocks, model.trm_encoder.layer):
            attention, forward = layer.multi_head_attention, layer.feed_forward
            for kind in ("weight", "bias"):
                parts = [
                    getattr(part, kind)
                    for part in (attention.query, attention.key, attention.value)
                ]
                getattr(block.qkv, kind).copy_(torch.cat(parts))
                for own, part in ((block.out, attention.dense), (block.attention_norm,
                    attention.LayerNorm), (block.inner, forward.dense_1),
                                  (block.outer, forward.dense_2), (block.feed_forward_norm,
                                      forward.LayerNorm)):  # fmt: skip
                    getattr(own, kind).copy_(getattr(part, kind))
    rows = as_prefixes(test._dataset[torch.arange(20)])
    with torch.no_grad():
        torch.testing.assert_close(
            ours.full_sort_predict(rows)[:, 1:],
            model.full_sort_predict(rows)[:, 1:],
            rtol=1e-4,
            atol=1e-4,
        )
        torch.testing.assert_close(
            ours.calculate_loss(rows), without_padding_class(model, rows), rtol=1e-4, atol=1e-4
        )


def test_gru4rec_ce_is_recboles_gru4rec():
    _, test, ours = build("GRU4Rec-CE", hidden_size=12)
    model = theirs("GRU4Rec", embedding_size=8, hidden_size=12, dropout_prob=0.0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        ours.item_encoder.parts[0].table.weight.copy_(model.item_embedding.weight)
        ours.sequence_encoder.gru.load_state_dict(model.gru_layers.state_dict())
        ours.sequence_encoder.out.load_state_dict(model.dense.state_dict())
        rows = as_prefixes(test._dataset[torch.arange(20)])
        torch.testing.assert_close(
            ours.full_sort_predict(rows)[:, 1:],
            model.full_sort_predict(rows)[:, 1:],
            rtol=1e-4,
            atol=1e-4,
        )
        torch.testing.assert_close(
            ours.calculate_loss(rows), without_padding_class(model, rows), rtol=1e-4, atol=1e-4
        )


def test_decoupled_tables_are_two():
    """What is read and what is scored have tables of their own: each moves the scores in its own
    way, and both learn.
    """
    train, test, model = build("SASRec-Decoupled")
    _, _, one = build("SASRec-CE")
    assert model.target_items is not model.item_encoder and one.target_items is one.item_encoder
    rows = test._dataset[torch.arange(8)]
    users, items = model.user_vectors(rows), model.item_vectors()
    with torch.no_grad():
        model.target_encoder.parts[0].table.weight[1:] *= 2
    torch.testing.assert_close(model.user_vectors(rows), users)
    torch.testing.assert_close(model.item_vectors(), 2 * items)
    model.calculate_loss(next(iter(train))).backward()
    assert all(
        encoder.parts[0].table.weight.grad.any()
        for encoder in (model.item_encoder, model.target_encoder)
    )
    assert (
        sum(p.numel() for p in model.parameters()) - sum(p.numel() for p in one.parameters())
        == one.item_encoder.parts[0].table.weight.numel()
    )


@pytest.mark.parametrize("share", [True, False])
def test_gsasrec_is_its_formula_position_by_position(share, monkeypatch):
    train, _, model = build("gSASRec", n_negatives=6, share_negatives=share, train_batch_size=4)
    batch = next(iter(train))
    drawn = []
    original = model.sampler.uniform
    monkeypatch.setattr(
        model.sampler,
        "uniform",
        lambda count, device: drawn.append(original(count, device)) or drawn[-1],
    )
    loss = model.calculate_loss(batch)
    found = next_item_targets(
        batch["item_id_list"], batch["item_length"], batch["item_id"], batch["supervised_length"]
    )
    states = model.sequence_encoder(model.item_encoder(found.item_seq), found.mask)
    negatives = drawn[0].view(-1, 6)
    table, beta, losses = model.item_encoder.parts[0].table.weight, model.beta, []
    for number, (row, position) in enumerate(found.trained.nonzero().tolist()):
        target, state = found.targets[row, position], states[row, position]
        total = -beta * F.logsigmoid(state @ table[target])
        for negative in negatives[row if share else number]:
            if negative != target:
                total = total - F.logsigmoid(-(state @ table[negative]))
        losses.append(total / 7)
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-5, atol=1e-5)
    assert len(negatives) == (len(batch["item_length"]) if share else len(losses))


def test_sasrec_sampled_lets_other_items_of_the_row_compete():
    train, _, model = build("SASRec-Sampled", n_negatives=40)
    fields = next(iter(train)).interaction
    batch = next_item_targets(
        fields["item_id_list"],
        fields["item_length"],
        fields["item_id"],
        fields["supervised_length"],
    )
    negatives = torch.cat([batch.targets[0][:2], batch.item_seq[0][:1]])
    rows, positions = batch.trained.nonzero().unbind(1)
    expected = torch.stack(
        [negatives == batch.targets[row, position] for row, position in zip(rows, positions)]
    )
    assert (
        torch.equal(model.forbidden(batch, negatives), expected)
        and expected.any()
        and not expected.all()
    )
    assert (model.score.kind, model.score.temperature, model.full_softmax) == (
        "cosine",
        0.05,
        False,
    )


@pytest.mark.parametrize(("name", "width"), [("SASRec-Text", 8), ("SASRec-Text-Concat", 14)])
def test_text_is_added_or_put_beside(name, width, cache):
    train, _, model = build(name, text_cache_dir=cache, token_size=6)
    ids, text = model.item_encoder.parts
    rows = [part.rows(None) for part in (ids, text)]
    expected = rows[0] + rows[1] if width == 8 else torch.cat(rows, 1)
    assert model.width == width and torch.equal(model.item_encoder.all_items(), expected)
    frozen = text.text.vectors.clone()
    model.calculate_loss(next(iter(train))).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert torch.equal(text.text.vectors, frozen) and text.adapter.weight.grad.any()
    assert model.text_encoder["token_mode"] == "pooled"


def test_hstu_reads_exact_times_and_the_targets_own_only_on_request():
    for mode in ("last_seen", "request"):
        train, test, model = build("HSTU", hstu_time=mode, query_size=4, value_size=4)
        rows = test._dataset[torch.arange(6)]
        times, length = rows["exact_time_list"], rows["item_length"]
        assert times.dtype in (
            torch.int64,
            torch.float64,
        )  # float32 would round them to 64 seconds here
        store = train._dataset.store
        raw = {
            (int(u), int(i)): int(t)
            for u, i, t in zip(store.user, store.fields["item_id"], store.times)
        }
        assert all(
            int(times[r, c]) == raw[int(rows["user_id"][r]), int(rows["item_id_list"][r, c])]
            for r in range(6)
            for c in range(int(length[r]))
        )
        asked = model.context(rows)["asked"]
        first, last = times[:, 0], length - 1
        at = asked.gather(1, last[:, None])[:, 0]
        own = (times.gather(1, last[:, None])[:, 0] - first).double()
        target = (
            torch.tensor([raw[int(u), int(i)] for u, i in zip(rows["user_id"], rows["item_id"])])
            - first
        )
        assert torch.equal(at, target.double() if mode == "request" else own)
        if mode == "request":
            assert torch.equal(asked[:, 0], (times[:, 1] - first).double())
        with torch.no_grad():
            for layer in model.sequence_encoder.layers:
                layer.time_bias.normal_()
        moved = Interaction(
            {
                **rows.interaction,
                "exact_time": rows["exact_time"] + 10**7,
                "timestamp": rows["timestamp"] + 10**7,
            }
        )
        same = torch.allclose(model.user_vectors(rows), model.user_vectors(moved))
        assert same == (mode == "last_seen")


def test_hstu_without_time_reads_none():
    _, test, model = build("HSTU", hstu_time="none", sequence_fields=[], query_size=4, value_size=4)
    rows = test._dataset[torch.arange(6)]
    assert "exact_time_list" not in rows and torch.isfinite(model.full_sort_predict(rows)).all()
    assert not any("time_bias" in name for name, _ in model.named_parameters())


def test_hstu_without_time_stamps_is_one_sentence(write_dataset):
    events = [(f"u{u}", f"i{(u + t) % 7}", t) for u in range(9) for t in range(6)]
    for times, what in (
        (lambda t: t, "places in a user's history"),
        (lambda t: 5, "all events of a user have one time"),
    ):
        path = write_dataset("shop", [(user, item, times(t)) for user, item, t in events])
        with pytest.raises(
            ConfigError,
            match=f"HSTU reads time stamps, but in shop .*{what} .column timestamp.: set "
            "hstu_time: none",
        ):
            shop("HSTU", path)
    assert shop("HSTU", path, hstu_time="none", sequence_fields=[]).hstu_time == "none"
    path = write_dataset(
        "shop", [(user, item, 1_500_000_000 + 5000 * t) for user, item, t in events]
    )
    model = shop("HSTU", path, sequence_fields=[])
    with pytest.raises(
        ConfigError, match="needs the times of the events, but there is no 'exact_time_list'"
    ):
        model.context({})


def shop(name, path, **settings):
    load = {"inter": ["user_id", "item_id", "timestamp"]}
    config = rp.Config(
        model=name,
        dataset="shop",
        config_dict={
            "data_path": str(path),
            "load_col": load,
            "gpu_id": "",
            "show_progress": False,
            "MAX_ITEM_LIST_LENGTH": 5,
            **settings,
        },
    )
    train, _, _ = rp.data_preparation(config, rp.create_dataset(config))
    return rp.get_model(name)(config, train._dataset)


@pytest.mark.parametrize(
    "name", ["SASRec-Text", "SASRec-Text-Concat", "SASRec-Codes", "LEARN", "HLLM-Cached"]
)
def test_text_models_without_text_are_one_sentence(name, write_dataset):
    path = write_dataset(
        "shop", [(f"u{u}", f"i{(u + t) % 7}", t) for u in range(9) for t in range(6)]
    )
    with pytest.raises(
        TextError, match=f"{name} reads item texts, but shop says nothing of them: set item_text"
    ):
        shop(name, path)


def test_what_a_part_does_not_take_is_one_sentence(write_dataset):
    path = write_dataset(
        "shop", [(f"u{u}", f"i{(u + t) % 7}", t) for u in range(9) for t in range(6)]
    )
    with pytest.raises(
        ConfigError, match="gSASRec: gBCE draws between 1 and 6 negatives from 7 items, not 256"
    ):
        shop("gSASRec", path)
    with pytest.raises(
        ConfigError,
        match="SASRec-CE: the width of an item vector .10. must be a multiple of n_heads .4.",
    ):
        shop("SASRec-CE", path, embedding_size=10, n_heads=4)


def test_times_of_few_steps():
    import numpy as np

    assert (
        what_times_lack(np.array([5, 6, 7, 1, 2]), np.array([0, 3, 5]))
        == "the times are places in a user's history"
    )
    assert (
        what_times_lack(np.array([5, 5, 9, 9]), np.array([0, 2, 4]))
        == "all events of a user have one time"
    )
    assert what_times_lack(np.array([5, 65, 9, 4000]), np.array([0, 2, 4])) is None
    assert what_times_lack(np.array([5]), np.array([0, 1])) == "all events of a user have one time"


def norm(x, module):
    return (x - x.mean()) / torch.sqrt(
        ((x - x.mean()) ** 2).mean() + module.eps
    ) * module.weight.double() + module.bias.double()


def linear(module, x):
    return module.weight.double() @ x + (0 if module.bias is None else module.bias.double())


def slow_transformer(encoder, xs, n_heads):
    """States of one row, position by position and head by head: post-LayerNorm blocks, causal,
    GELU.
    """
    xs = [
        norm(x + encoder.position.weight[i].double(), encoder.input_norm) for i, x in enumerate(xs)
    ]
    for block in encoder.blocks:
        width = len(xs[0])
        size = width // n_heads
        queries, keys, values = zip(*[linear(block.qkv, x).split(width) for x in xs])
        attended = []
        for i, x in enumerate(xs):
            heads = []
            for head in (slice(h * size, (h + 1) * size) for h in range(n_heads)):
                weights = torch.stack(
                    [queries[i][head] @ keys[j][head] / size**0.5 for j in range(i + 1)]
                ).softmax(0)
                heads.append(sum(weights[j] * values[j][head] for j in range(i + 1)))
            attended.append(norm(x + linear(block.out, torch.cat(heads)), block.attention_norm))
        xs = [
            norm(x + linear(block.outer, F.gelu(linear(block.inner, x))), block.feed_forward_norm)
            for x in attended
        ]
    return xs


def content(model, item):
    """An item's vector from its tokens: mean state less the mean of all items with text, through
    the linear map.
    """
    part = model.item_encoder.parts[0]
    return (
        linear(part.adapter, part.text.vectors[item].double())
        if part.text.has_text[item]
        else part.no_text.double()
    )


@pytest.mark.parametrize("name", ["LEARN", "HLLM-Cached"])
def test_text_towers_are_their_formula(name, cache):
    _, test, model = build(name, text_cache_dir=cache)
    with torch.no_grad():
        for parameter in model.sequence_encoder.parameters():
            parameter.normal_(std=0.3)
        for module in model.sequence_encoder.modules():
            if isinstance(module, torch.nn.LayerNorm):
                module.weight += (
                    1  # a norm that takes almost everything away would magnify rounding
                )
        rows = test._dataset[torch.arange(5)]
        encoder, project = model.sequence_encoder, lambda x: x
        if name == "LEARN":
            encoder, project = encoder.encoder, lambda x: linear(model.sequence_encoder.project, x)
        states = model.forward(rows["item_id_list"], rows["item_length"]).double()
        for row, (items, length) in enumerate(
            zip(rows["item_id_list"].tolist(), rows["item_length"].tolist())
        ):
            slow = slow_transformer(encoder, [content(model, item) for item in items[:length]], 2)
            torch.testing.assert_close(states[row], project(slow[-1]), rtol=1e-5, atol=1e-5)
        vectors = model.item_vectors().double()
        for item in (1, 2, 77):
            slow = (
                project(slow_transformer(encoder, [content(model, item)], 2)[0])
                if name == "LEARN"
                else content(model, item)
            )
            torch.testing.assert_close(
                vectors[item], F.normalize(slow, dim=0), rtol=1e-5, atol=1e-5
            )


def test_learn_asks_for_later_items_against_those_of_other_rows(cache, monkeypatch):
    from recbole_precise.models.rivals import learn

    train, _, model = build("LEARN", text_cache_dir=cache, train_batch_size=3)
    batch = next(iter(train))
    drawn = []
    monkeypatch.setattr(
        learn, "later_targets", lambda *arguments: drawn.append(original(*arguments)) or drawn[-1]
    )
    loss = model.calculate_loss(batch)
    fields = next_item_targets(
        batch["item_id_list"], batch["item_length"], batch["item_id"], batch["supervised_length"]
    )
    states, vectors, losses = (
        model.sequence_encoder(model.item_encoder(fields.item_seq), fields.mask),
        model.item_vectors(),
        [],
    )
    pool = sorted({int(target) for target in drawn[0][2]})
    for row, position, target in zip(*(part.tolist() for part in drawn[0])):
        state = F.normalize(states[row, position], dim=0) / 0.05
        own = set(fields.item_seq[row].tolist()) | set(fields.targets[row].tolist())
        scores = torch.stack(
            [
                state @ vectors[item]
                for item in [target, *(item for item in pool if item not in own)]
            ]
        )
        losses.append(-scores.log_softmax(0)[0])
    torch.testing.assert_close(loss, torch.stack(losses).mean(), rtol=1e-4, atol=1e-4)


def original(*arguments):
    from recbole_precise.nn.next_item import later_targets

    return later_targets(*arguments)


def test_hllm_cached_leaves_out_negatives_that_are_almost_the_target(cache):
    train, _, model = build("HLLM-Cached", text_cache_dir=cache)
    fields = next(iter(train)).interaction
    batch = next_item_targets(
        fields["item_id_list"],
        fields["item_length"],
        fields["item_id"],
        fields["supervised_length"],
    )
    targets = batch.targets[batch.trained]
    twin, other = int(targets[0]), int(targets[1])
    text = model.item_encoder.parts[0]
    new = next(item for item in range(1, model.n_items) if item not in targets.tolist())
    text.text.vectors[new] = 1.5 * text.text.vectors[twin]
    found = model.forbidden(batch, torch.tensor([new, other]))
    assert found[0].tolist() == [True, twin == other] and torch.equal(found[:, 0], targets == twin)
    assert abs(model.score.log_scale.exp().item() - 1 / 0.07) < 1e-3
