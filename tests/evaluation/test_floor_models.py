"""Floors as models: built from a dataset, ranked like any other, blind to what they are asked
about.
"""

import numpy as np
import pytest
import torch

from recbole_precise.errors import ConfigError, TextError

FLOORS = ["Pop", "Transition", "GraphHeuristic"]
SETTINGS = {
    "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id"]},
    "MAX_ITEM_LIST_LENGTH": 5,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full",
        "group_by": "user"},
}  # fmt: skip


class Tokens:
    """States of a text encoder, as far as a floor reads them."""

    encoder = {"name": "given"}

    def __init__(self, vectors):
        self.vectors = vectors

    def pooled(self):
        return self.vectors


@pytest.fixture
def build(our_config, write_dataset, monkeypatch):
    """`build(model, events, **settings)` -> (model, its training set, valid set, test set).

    Each title has a vector of its own.
    """

    def make(name, events, **settings):
        from recbole_precise.plugin import preparation as data
        from recbole_precise.registry import get_model

        items = sorted({event[1] for event in events} | {f"i{i:02d}" for i in range(20)})
        path = write_dataset("toy", events, [(item, f"title {item}") for item in items])
        config = our_config(name, "toy", data_path=str(path), **{**SETTINGS, **settings})
        dataset = data.create_dataset(config)
        train, valid, test = data.data_preparation(config, dataset)
        tokens = dataset.field2id_token[dataset.iid_field]
        vectors = np.stack(
            [np.random.default_rng([ord(c) for c in token]).normal(size=8) for token in tokens]
        )
        vectors[0] = 0
        monkeypatch.setattr(data.SequenceDataset, "token_states", lambda self: Tokens(vectors))
        return get_model(name)(config, train.dataset), train.dataset, valid.dataset, test.dataset

    return make


def events(seed=0, users=30, last_two=None):
    """5 to 9 events of each user; `last_two(user)` gives other items for validation and test."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(users):
        sequence = [f"i{item:02d}" for item in rng.integers(0, 20, rng.integers(5, 10))]
        if last_two is not None:
            sequence[-2:] = last_two(user)
        rows += [(f"u{user}", item, time) for time, item in enumerate(sequence)]
    return rows


def tables(model, dataset):
    """Every array that a floor holds, its items in the order of their tokens: ids depend on who
    comes first in the file.
    """
    order = np.argsort(dataset.field2id_token["item_id"][1:].astype(str)) + 1
    arrays = {}
    for name, value in vars(model.scorer).items():
        if hasattr(value, "toarray"):
            arrays[name] = value.toarray()[np.ix_(order, order)]
        elif isinstance(value, np.ndarray):
            arrays[name] = value[order]
    assert arrays
    return arrays


@pytest.mark.parametrize(
    "settings",
    [
        ("Pop", {}),
        ("Transition", {}),
        *(("GraphHeuristic", {"graph_variant": v}) for v in ("window", "forward", "tgh1", "tgh2")),
    ],
    ids=str,
)
def test_targets_change_no_table(build, settings):
    """The validation and test events of every user are swapped for others: a floor must
    not notice.
    """
    name, more = settings
    before = build(name, events(), **more)
    after = build(
        name,
        events(last_two=lambda user: (f"i{user % 20:02d}", f"i{(user * 7 + 3) % 20:02d}")),
        **more,
    )
    targets = [
        [d.field2id_token["item_id"][d.inter_feat["item_id"]].tolist() for d in built[2:]]
        for built in (before, after)
    ]
    assert targets[0][0] != targets[1][0] and targets[0][1] != targets[1][1]
    first, second = tables(*before[:2]), tables(*after[:2])
    assert first.keys() == second.keys()
    for table in first:
        assert np.array_equal(first[table], second[table]), table


@pytest.mark.parametrize("name", FLOORS)
def test_a_floor_is_a_model_without_parameters(build, name):
    model, train, _, test = build(name, events())
    assert model.phases() == [] and not list(model.parameters())
    model.to("cpu")
    assert model.state_dict() == {}
    rows = test[np.arange(len(test))]
    scores = model.full_sort_predict(rows)
    assert scores.shape == (30, train.item_num) and scores.isfinite().all()
    assert torch.equal(model.predict(rows), scores.gather(1, rows["item_id"][:, None])[:, 0])
    with pytest.raises(ConfigError, match=f"{name} has nothing to train"):
        model.calculate_loss(rows)


def test_transitions_of_a_dataset(build):
    """u0..u9 go from a to b and on to c; whoever stands at a is sent to b first."""
    rows = [
        (f"u{user}", item, time)
        for user in range(10)
        for time, item in enumerate(["a", "b", "c", "a", "b", "d"])
    ]
    model, train, _, _test = build("Transition", rows)
    a, b, c = (train.field2token_id["item_id"][token] for token in "abc")
    histories = {
        "item_id_list": torch.tensor([[c, a, 0, 0, 0], [a, b, 0, 0, 0]]),
        "item_length": torch.tensor([2, 2]),
    }
    from recbole.data.interaction import Interaction

    scores = model.full_sort_predict(Interaction(histories))
    assert scores.argmax(1).tolist() == [b, c]
    assert scores[0, b].item() == pytest.approx(
        10, abs=2e-3
    )  # a, b, c, a are training events: a to b once for each user


def test_settings_of_the_graph(build):
    assert build("GraphHeuristic", events())[0].scorer.graph.text_weight == 1.25
    forward = build("GraphHeuristic", events(), graph_variant="forward", graph_window=3)[
        0
    ].scorer.graph
    assert (
        forward.window,
        forward.backward,
        forward.distance,
        forward.counts,
        forward.text_weight,
    ) == (3, 0, "inverse", "raw", 4)
    masked = build("GraphHeuristic", events(), graph_variant="tgh1", mask_history=True)
    rows = masked[3][np.arange(30)]
    scores, history = masked[0].full_sort_predict(rows), rows["item_id_list"]
    own = scores.gather(1, history)[history > 0]
    assert own.max() <= 1.001, "an item of the history took a place of the list"
    with pytest.raises(ConfigError, match="graph_variant"):
        build("GraphHeuristic", events(), graph_variant="tgh3")
    with pytest.raises(ConfigError, match="graph_distance|graph_.*inverse"):
        build("GraphHeuristic", events(), graph_distance="cubic")


def test_no_text_is_a_sentence(our_config, write_dataset):
    from recbole_precise.plugin.preparation import create_dataset, data_preparation
    from recbole_precise.registry import get_model

    config = our_config(
        "GraphHeuristic",
        "toy",
        data_path=str(write_dataset("toy", events(), [(f"i{i:02d}", "x") for i in range(20)])),
        **SETTINGS,
    )
    train = data_preparation(config, create_dataset(config))[0]
    with pytest.raises(TextError, match="item_text"):
        get_model("GraphHeuristic")(config, train.dataset)
