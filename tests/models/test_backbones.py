"""Sequence models as backbones: given item vectors, they compute what they compute from their own
table.
"""

import pytest
import torch

import recbole_precise as rp
from recbole_precise import registry
from recbole_precise.errors import ConfigError
from recbole_precise.models.backbones import Histories, build_backbone

WIDTH, LENGTH = 16, 7
CAUSAL = ["transformer", "SASRec", "GRU4Rec"]
WHOLE = ["Caser", "NARM", "STAMP", "NextItNet"]


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data") / "ring"
    folder.mkdir()
    rows = [f"u{u}\ti{(u + t) % 40}\t{t}" for u in range(50) for t in range(8)]
    (folder / "ring.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    return folder.parent


def prepare(ring, model: str, **settings):
    config = rp.Config(model=model, dataset="ring", config_dict={
        "data_path": str(ring), "gpu_id": "", "show_progress": False, "state": "ERROR",
        "MAX_ITEM_LIST_LENGTH": LENGTH,
        "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, **settings,
    })  # fmt: skip
    return config, rp.create_dataset(config)


def backbone(ring, name: str, own: dict | None = None, n_layers: int = 1, **settings):
    config, dataset = prepare(
        ring,
        "PAD",
        embedding_size=WIDTH,
        n_layers=n_layers,
        backbone=name,
        backbone_settings=own,
        **settings,
    )
    torch.manual_seed(1)
    return build_backbone(config, dataset, WIDTH).eval()


def histories(batch: int = 5, n_items: int = 41) -> tuple[torch.Tensor, Histories]:
    generator = torch.Generator().manual_seed(3)
    lengths = torch.tensor([7, 1, 4, 2, 6])[:batch]
    items = torch.randint(1, n_items, (batch, LENGTH), generator=generator)
    items = torch.where(torch.arange(LENGTH) < lengths[:, None], items, 0)
    return torch.randn(n_items, WIDTH, generator=generator), Histories(
        items, lengths, torch.arange(1, batch + 1)
    )


@pytest.mark.parametrize(("name", "own", "stock"), [
    ("SASRec", {}, {"hidden_size": WIDTH, "n_layers": 1, "inner_size": 4 * WIDTH,
        "attn_dropout_prob": 0.2}),
    ("GRU4Rec", {"num_layers": 2}, {"embedding_size": WIDTH, "num_layers": 2}),
    ("Caser", {"nh": 2, "nv": 2}, {"embedding_size": WIDTH, "nh": 2, "nv": 2}),
])  # fmt: skip
def test_a_wrapped_model_is_recboles_own(ring, name, own, stock):
    """With the vectors of RecBole's table and the weights of RecBole's model: its user vectors, to
    the last digits of float32.
    """
    wrapped = backbone(ring, name, own)
    config, dataset = prepare(ring, name, train_neg_sample_args=None, **stock)
    theirs = registry.get_model(name)(config, dataset).eval()
    with torch.no_grad():
        theirs.item_embedding.weight[0] = 0
    missing = theirs.load_state_dict(wrapped.model.state_dict(), strict=False)
    assert missing.missing_keys == ["item_embedding.weight"] and not missing.unexpected_keys
    _, rows = histories()
    vectors = theirs.item_embedding.weight[rows.items]
    expected = (
        theirs(rows.users, rows.items) if name == "Caser" else theirs(rows.items, rows.lengths)
    )
    torch.testing.assert_close(wrapped.last(vectors, rows), expected, rtol=1e-5, atol=1e-6)
    assert not any("item_embedding" in key for key in wrapped.state_dict())


@pytest.mark.parametrize("name", CAUSAL)
def test_every_state_of_a_window_is_its_prefixs_own(ring, name):
    encoder = backbone(ring, name)
    assert encoder.causal
    table, rows = histories()
    states = encoder.states(table[rows.items], rows)
    for row, length in enumerate(rows.lengths.tolist()):
        for n in range(1, length + 1):
            one = Histories(
                rows.items[row : row + 1, :n], torch.tensor([n]), rows.users[row : row + 1]
            )
            torch.testing.assert_close(
                states[row, n - 1], encoder.last(table[one.items], one)[0], rtol=1e-4, atol=1e-5
            )


@pytest.mark.parametrize("name", CAUSAL)
def test_a_changed_item_changes_no_earlier_state(ring, name):
    encoder = backbone(ring, name)
    table, rows = histories(1)
    before = encoder.states(table[rows.items], rows)
    for place in range(LENGTH):
        changed = rows._replace(items=rows.items.clone())
        changed.items[0, place] = rows.items[0, place] % 40 + 1
        after = encoder.states(table[changed.items], changed)
        torch.testing.assert_close(after[:, :place], before[:, :place], rtol=1e-5, atol=1e-6)
        assert (after[:, place] - before[:, place]).abs().max() > 1e-4


@pytest.mark.parametrize("name", [*CAUSAL, *WHOLE])
def test_padding_changes_nothing(ring, name):
    """Neither what stands in the padding, nor how long it is."""
    encoder = backbone(ring, name)
    table, rows = histories()
    short = Histories(rows.items[1:4, :4], rows.lengths[1:4], rows.users[1:4])
    padded = Histories(rows.items[1:4], rows.lengths[1:4], rows.users[1:4])
    expected = encoder.last(table[short.items], short)
    torch.testing.assert_close(
        encoder.last(table[padded.items], padded), expected, rtol=1e-4, atol=1e-5
    )
    other = table.clone()
    other[0] = 1e3
    torch.testing.assert_close(
        encoder.last(other[padded.items], padded), expected, rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", WHOLE)
def test_models_that_see_a_window_as_a_whole_are_found_out(ring, name):
    assert not backbone(ring, name).causal


def test_gradients_reach_the_given_vectors_and_every_weight(ring):
    for name in (*CAUSAL, "Caser"):
        encoder = backbone(ring, name)
        table, rows = histories()
        table.requires_grad_()
        (encoder.last(table[rows.items], rows) ** 2).sum().backward()
        assert table.grad[rows.items[0]].abs().sum() > 0
        assert [key for key, value in encoder.named_parameters() if value.grad is None] == []


def test_the_settings_reach_the_model(ring):
    assert len(backbone(ring, "SASRec", n_layers=3).model.trm_encoder.layer) == 3
    assert (
        backbone(ring, "GRU4Rec", {"num_layers": 3, "hidden_size": 20}).model.gru_layers.num_layers
        == 3
    )
    assert (
        backbone(ring, "SASRec").model.trm_encoder.layer[0].feed_forward.dense_1.out_features
        == 4 * WIDTH
    )


@pytest.mark.parametrize(("name", "own", "said"), [
    ("FPMC", {}, "asks for 'next_item'"), ("SRGNN", {}, "looks up other items"), ("BERT4Rec", {},
        "no `item_embedding` of 41 items x 16"),
    ("SASRec", {"n_layer": 2}, "reads no key 'n_layer'. Did you mean "
                               "'n_layers'"), ("transformer", {"n_layers": 2},
                               "are for models of RecBole"),
    ("SASRec", {"n_heads": 3}, "cannot be built"),
])  # fmt: skip
def test_what_cannot_be_a_backbone_says_why(ring, name, own, said):
    with pytest.raises(ConfigError) as caught:
        backbone(ring, name, own)
    assert said in str(caught.value)


@pytest.mark.parametrize(("settings", "said"), [
    ({"backbone": "SASRek"}, "Did you mean 'SASRec'"), ({"backbone": "PRECISE-UT"},
        "sequential model of RecBole"), ({"backbone": "BPR"}, "sequential model of RecBole"),
    ({"embedding_size": 15}, "n_heads = 2"), ({"experts": []}, "experts must name"),
    ({"phases": ["align", "align"]}, "phases must name"),
    ({"experts": ["text"], "phases": ["pretrain"]}, "finetune"), ({"gate": "moe"}, "gate"),
    ({"experts": ["ids"]}, "experts"),
    ({"late_weight": 0}, "late_weight (in config_dict) must be a number "
                         "above 0"), ({"late_weight": 0.1, "gate": "expert_output"},
                         "bucket or global, not gate: expert_output"),
])  # fmt: skip
def test_mistakes_are_told_before_any_data_is_read(ring, settings, said):
    with pytest.raises(ConfigError) as caught:
        prepare(ring, "PAD", **settings)
    assert said in str(caught.value)
