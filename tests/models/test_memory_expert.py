"""The memory of transitions in every model of ours: under its own loss, in ranking, and
only once.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
import torch.nn.functional as F
from ring_data import write_ring

import recbole_precise as rp
from recbole_precise.errors import ConfigError
from recbole_precise.evaluation.ranking import rank_by_scores
from recbole_precise.nn.losses.bce import bce_loss
from recbole_precise.training.judging import rank_split

SMALL = {"embedding_size": 8, "token_size": 8, "n_layers": 1, "n_heads": 2, "inner_size": 16,
    "hidden_dropout_prob": 0.0, "attn_dropout_prob": 0.0, "MAX_ITEM_LIST_LENGTH": 7,
         "n_negatives": 6, "neighbour_transitions": 0.0, "recipe": "default", "gpu_id": "",
         "show_progress": False, "state": "ERROR", "item_text": "{title}",
         "loss_precision": "float32",
         "load_col": {"inter": ["user_id", "item_id", "timestamp"],
             "item": ["item_id"]}}  # fmt: skip
MODELS = [
    ("SASRec-CE", {}), ("SASRec-CE", {"softmax": "sampled"}), ("GRU4Rec-CE", {}), ("SASRec-Sampled",
        {}), ("gSASRec", {}), ("gSASRec", {"share_negatives": False}),
    ("HSTU", {"hstu_time": "none"}), ("LEARN", {}), ("HLLM-Cached", {}), ("PRECISE-UT", {}),
    ("PRECISE-TT", {}), ("PRECISE-TT", {"targeted_loss": "softmax"}), ("PRECISE-TT",
        {"targeted_loss": "bpr"}),
    ("PAD", {}), ("PAD", {"loss": "bce"}), ("DisCo", {}), ("LLM-ESR", {}),
]  # fmt: skip


@pytest.fixture(scope="module")
def ring(tmp_path_factory):
    """40 items of which users take neighbours on a ring, with repeats.

    And a cache for their texts.
    """
    return write_ring(
        tmp_path_factory.mktemp("data"),
        lambda i: f"tea {i % 9} sugar {i // 7}",
        step=lambda u, t: t * t if u % 3 else t % 3,
    )


def build(name, ring, **settings):
    from recbole_precise import registry
    from recbole_precise.plugin.checks.known_keys import keys_of_model

    entry = registry.resolve(name)
    known = keys_of_model(entry, entry.load())
    given = {
        key: value
        for key, value in SMALL.items()
        if key in known
        or key
        in (
            "MAX_ITEM_LIST_LENGTH",
            "recipe",
            "gpu_id",
            "show_progress",
            "state",
            "item_text",
            "load_col",
        )
    }
    config = rp.Config(model=name, dataset="ring", config_dict={**given, **ring, **settings})
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    return train, test, rp.get_model(name)(config, train._dataset).eval()


def followers(train) -> dict[int, Counter]:
    items, offsets, _ = (part.tolist() for part in train._dataset.train_sequences())
    found: dict[int, Counter] = {}
    for a, b in itertools.pairwise(offsets):
        for one, other in zip(items[a:b], items[a + 1 : b]):
            found.setdefault(one, Counter())[other] += 1
    return found


@pytest.mark.parametrize(("name", "settings"), MODELS)
def test_it_joins_the_loss_and_the_ranking(name, settings, ring):
    """A weight of 0 changes nothing, another changes the loss and learns.

    Ranking adds weight * log1p(count) to single scores.
    """
    train, test, plain = build(name, ring, **settings)
    _, _, model = build(name, ring, **settings, transition_memory=0.6)
    batch, losses = next(iter(train)), []
    for weight in (0.0, 0.6):
        with torch.no_grad():
            model.memory.weight.fill_(weight)
        torch.manual_seed(3)
        losses.append(model.calculate_loss(batch))
    torch.manual_seed(3)
    torch.testing.assert_close(losses[0], plain.calculate_loss(batch))
    assert (losses[1] - losses[0]).abs() > 1e-4
    losses[1].backward()
    assert model.memory.weight.grad.abs() > 1e-6
    rows, counts = test._dataset[torch.arange(20)], followers(train)
    expected = plain.full_sort_predict(rows).view(20, -1).clone()
    for row, (items, length) in enumerate(
        zip(rows["item_id_list"].tolist(), rows["item_length"].tolist())
    ):
        for item, count in counts.get(items[length - 1], {}).items():
            expected[row, item] += 0.6 * math.log1p(count)
    scores = model.full_sort_predict(rows).view(20, -1)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        model.predict(rows), scores.gather(1, rows["item_id"][:, None])[:, 0], rtol=1e-4, atol=1e-5
    )
    ranks = rank_split(model, test, torch.device("cpu"), mask_history=False, budget_bytes=1 << 20)
    assert ranks.rank[:20].tolist() == rank_by_scores(scores, rows["item_id"]).tolist()


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("SASRec-CE", {}),
        ("SASRec-CE", {"holdout_items": 0.2}),
        ("Hybrid", {"loss": "bce"}),
        ("Hybrid", {}),
    ],
)
def test_the_loss_is_that_of_the_dense_scores(name, settings, ring):
    train, _, model = build(name, ring, **settings, transition_memory=0.6)
    rows = next(iter(train))
    batch = model.next_items(rows)
    counts, dense = followers(train), []
    for row, position in batch.trained.nonzero().tolist():
        seq, ahead = batch.item_seq[row].tolist(), batch.targets[row].tolist()
        own = Counter(
            ahead[place] for place in range(position, len(seq)) if seq[place] == seq[position]
        )
        known = counts.get(seq[position], Counter())
        dense.append(
            [
                0.6 * math.log1p(known[item] - own[item]) if known[item] else 0.0
                for item in range(model.n_items)
            ]
        )
    dense, targets = torch.tensor(dense), batch.targets[batch.trained]
    if name == "SASRec-CE":
        states = model.sequence_encoder(model.item_encoder(batch.item_seq), batch.mask)[
            batch.trained
        ]
        logits = states @ model.item_encoder.all_items().t() + dense
        logits[:, 0] = -torch.inf
        held = train._dataset.held_out
        if held is not None:
            assert held.any()
            logits[:, held] = -torch.inf
        torch.testing.assert_close(
            model.calculate_loss(rows), F.cross_entropy(logits, targets), rtol=1e-5, atol=1e-5
        )
        return
    step = model.step(rows)
    vectors = model.item_encoder.all_items()
    states = model.encoders["aligned"].states(vectors[batch.item_seq], step.histories)[
        batch.trained
    ]
    logits = states @ vectors.t() + dense
    if step.drawn is None:
        expected = F.cross_entropy(logits[:, 1:], targets - 1)
    else:
        scores = logits.gather(1, step.drawn.items)
        expected = bce_loss(scores[:, 0], scores[:, 1:], step.drawn.allowed)
    torch.testing.assert_close(model.recommendation_loss(step), expected, rtol=1e-5, atol=1e-5)


def test_pads_phases_train_it_wherever_they_recommend(ring):
    _, _, model = build("PAD", ring, transition_memory=0.1, align="non_anchored")
    assert [
        any("memory" in pattern for pattern in phase.trainable) for phase in model.phases()
    ] == [True, False, True]


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("SASRec-CE", {"neighbour_transitions": 0.5}, "transition_memory is the trained form of "
                                                  "neighbour_transitions .here 0.5.: set "
                                                  "neighbour_transitions: 0"),
    ("PAD", {"gate": "expert_output"}, "transition_memory does not go with gate: expert_output"),
])  # fmt: skip
def test_what_it_does_not_go_with(name, settings, message, ring):
    with pytest.raises(ConfigError, match=message):
        build(name, ring, transition_memory=0.5, **settings)
