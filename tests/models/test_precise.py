"""PRECISE-UT as RecBole sees it: real config, real data set, real token states."""

import pytest
import torch
from near_by_hand import near_items
from recbole.data.interaction import Interaction

import recbole_precise as rp
from recbole_precise.evaluation.ranking import rank_by_scores
from recbole_precise.training.judging import rank_split
from recbole_precise.training.phases import Phase

SMALL = {
    "embedding_size": 8,
    "token_size": 8,
    "n_layers": 1,
    "n_heads": 2,
    "hidden_dropout_prob": 0.0,
    "attn_dropout_prob": 0.0,
    "MAX_ITEM_LIST_LENGTH": 10,
    "gpu_id": "",
    "show_progress": False,
    "epochs": 1,
    "neighbour_transitions": 0.0,
    "neighbour_texts": 0.0,
}
NAMES = ["PRECISE-UT", "PRECISE-ID", "PRECISE-LLM", "PRECISE-Pool"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return str(tmp_path_factory.mktemp("cache"))


def build(name, cache, **overrides):
    config = rp.Config(
        model=name, dataset="ml-100k", config_dict={**SMALL, "text_cache_dir": cache, **overrides}
    )
    train, _valid, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(0)
    return config, train, test, rp.get_model(config["model"])(config, train._dataset)


@pytest.mark.parametrize("name", NAMES)
def test_every_variant_is_equally_wide_and_trains_every_tensor(name, cache):
    _, train, _test, model = build(name, cache)
    batch = next(iter(train))
    model.calculate_loss(batch).backward()
    silent = [n for n, p in model.named_parameters() if p.grad is None or p.grad.abs().sum() == 0]
    assert [n for n in silent if not n.endswith("no_text")] == []  # every film has a title
    assert model.item_vectors().shape == (train._dataset.item_num, 16)


@pytest.mark.parametrize("name", NAMES)
def test_predict_full_sort_and_vectors_agree(name, cache):
    _, _, test, model = build(name, cache)
    model.eval()
    rows = test._dataset[torch.arange(20)]
    scores = model.full_sort_predict(rows).view(20, -1)
    torch.testing.assert_close(scores, model.user_vectors(rows) @ model.item_vectors().t())
    torch.testing.assert_close(
        model.predict(rows), scores.gather(1, rows["item_id"][:, None])[:, 0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", ["PRECISE-UT", "PRECISE-ID"])
def test_near_items_are_added_to_the_score(name, cache):
    """Counted by hand in the training sequences; the variant without text has no part of it."""
    _config, train, test, model = build(name, cache, neighbour_transitions=0.5, neighbour_texts=2.0)
    _, _, _, plain = build(name, cache)
    plain.load_state_dict(model.state_dict())
    model.eval(), plain.eval()
    rows = test._dataset[torch.arange(12)]
    expected = plain.full_sort_predict(rows) + near_items(
        train._dataset,
        rows,
        model.n_items,
        transitions=0.5,
        texts=0.0 if name == "PRECISE-ID" else 2.0,
    )
    scores = model.full_sort_predict(rows)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)
    assert (scores - plain.full_sort_predict(rows)).abs().max() > 0.5
    torch.testing.assert_close(
        model.predict(rows), scores.gather(1, rows["item_id"][:, None])[:, 0], rtol=1e-4, atol=1e-4
    )
    ranks = rank_split(model, test, torch.device("cpu"), mask_history=False, budget_bytes=1 << 20)
    assert ranks.rank[:12].tolist() == rank_by_scores(scores, rows["item_id"]).tolist()


def test_changed_item_changes_no_earlier_state(cache):
    _, _, _test, model = build("PRECISE-UT", cache)
    model.eval()
    item_seq = torch.randint(1, 1000, (6, 10))
    mask = torch.ones_like(item_seq, dtype=torch.bool)
    before = model.sequence_encoder(model.item_encoder(item_seq), mask)
    for j in (0, 4, 9):
        changed = item_seq.clone()
        changed[:, j] = item_seq[:, j] % 1000 + 1
        after = model.sequence_encoder(model.item_encoder(changed), mask)
        torch.testing.assert_close(after[:, :j], before[:, :j], rtol=0, atol=1e-6)
        assert (after[:, j] - before[:, j]).abs().max() > 1e-4


@pytest.mark.parametrize(
    "overrides",
    [
        {"softmax": "full"},
        *(
            {"softmax": "sampled", "negative_source": s, "logq": q}
            for s in ("other_sequences", "uniform", "mixed")
            for q in ("none", "corrected")
        ),
    ],
)
def test_the_loss_of_every_objective_falls(overrides, cache):
    _, train, _, model = build("PRECISE-UT", cache, n_negatives=64, **overrides)
    batch = next(iter(train))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(15):
        torch.manual_seed(1)  # the same negatives, so that steps are comparable
        loss = model.calculate_loss(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1


@pytest.mark.parametrize(
    ("name", "settings"),
    [("PRECISE-UT", {}), ("PRECISE-TT", {}), ("PRECISE-TT", {"targeted_residual": False})],
    ids=str,
)
def test_windows_give_the_mean_of_recboles_one_target_rows(cache, name, settings):
    """Without dropout and while histories fit, one pass over a window is all its prefix rows at
    once.
    """
    _, _, _, model = build(name, cache, **settings)
    if name == "PRECISE-TT":
        torch.nn.init.normal_(model.head.outer.weight, std=0.1)
    item_seq = torch.randint(1, 1000, (1, 10))
    window = Interaction(
        {
            "item_id_list": item_seq,
            "item_length": torch.tensor([10]),
            "item_id": torch.tensor([7]),
            "supervised_length": torch.tensor([10]),
        }
    )
    following = torch.cat([item_seq[0, 1:], torch.tensor([7])])
    prefixes = Interaction(
        {
            "item_id_list": torch.stack(
                [
                    torch.cat([item_seq[0, :n], torch.zeros(10 - n, dtype=torch.long)])
                    for n in range(1, 11)
                ]
            ),
            "item_length": torch.arange(1, 11),
            "item_id": following,
        }
    )
    torch.testing.assert_close(
        model.calculate_loss(window), model.calculate_loss(prefixes), rtol=1e-5, atol=1e-5
    )


def test_catalogue_is_encoded_once_and_again_after_a_step(cache):
    _, _, _, model = build("PRECISE-UT", cache)
    model.eval()
    first = model.item_vectors()
    assert model.item_vectors() is first
    with torch.no_grad():
        model.item_encoder.parts[0].table.weight.mul_(2.0)
    assert not torch.equal(model.item_vectors(), first)


def test_frozen_states_are_never_trained_nor_saved(cache):
    _, train, _, model = build("PRECISE-UT", cache, token_mode="frozen_states")
    before = model.item_encoder.parts[1].frozen.clone()
    model.calculate_loss(next(iter(train))).backward()
    torch.optim.SGD(model.parameters(), lr=1.0).step()
    assert torch.equal(before, model.item_encoder.parts[1].frozen)
    assert sum(t.numel() for t in model.state_dict().values()) < 200_000


def test_its_plan_is_one_universal_phase(cache):
    _, _, _, model = build("PRECISE-UT", cache, epochs=7)
    assert model.phases() == [Phase(name="universal", epochs=7)]


@pytest.mark.parametrize("token_mode", ["vocab", "frozen_states"])
def test_a_bf16_step_stays_near_the_float32_step(token_mode, cache):
    _, train, _, model = build("PRECISE-UT", cache, token_mode=token_mode, loss_precision="float32")
    batch = next(iter(train))
    exact = model.calculate_loss(batch)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        near = model.calculate_loss(batch)
    near.backward()
    torch.testing.assert_close(near, exact, rtol=2e-2, atol=2e-2)
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)
