"""Tuned text vectors in every model that reads text vectors: what they are made of, who reads them,
and who cannot.
"""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch
from pad_data import SMALL, WORDS

import recbole_precise as rp
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.models.text_tuning import tuning_of
from recbole_precise.nn.text_adapter import TextAdapter, Tuning, nearby_pairs
from recbole_precise.nn.text_vectors import FrozenText

TUNED = {"text_tuning": "cooccurrence", "text_tuning_steps": 4, "text_tuning_width": 8}
READERS = [
    "SASRec-Text",
    "SASRec-Text-Concat",
    "LEARN",
    "HLLM-Cached",
    "PAD",
    "SMEM",
    "Hybrid",
    "MoRec",
    "CTRL",
    "MAKE",
    "DisCo",
    "LLM-ESR",
]


def build(name: str, data: dict, seed: int = 0, **settings):
    from recbole_precise import registry
    from recbole_precise.config.known_keys import our_keys, recbole_keys
    from recbole_precise.plugin.checks.known_keys import keys_of_model

    entry = registry.resolve(name)
    known = {*keys_of_model(entry, entry.load()), *our_keys(), *recbole_keys()}
    config = rp.Config(
        model=name,
        dataset="ring",
        config_dict={
            **{key: value for key, value in SMALL.items() if key in known},
            **data,
            **settings,
        },
    )
    train, _, test = rp.data_preparation(config, rp.create_dataset(config))
    torch.manual_seed(seed)
    return config, train._dataset, rp.get_model(name)(config, train._dataset).eval(), test


def texts_of(model) -> list[FrozenText]:
    """Distinct text vectors of a model that hold a catalogue."""
    return list(
        {
            id(module): module
            for module in model.modules()
            if isinstance(module, FrozenText) and len(module.plain)
        }.values()
    )


@pytest.mark.parametrize("name", READERS)
def test_every_reader_reads_them(name, pantry):
    """The vectors of the adapter in the place of the plain ones, and nothing else drawn
    otherwise.
    """
    _, _dataset, model, _ = build(name, pantry, **TUNED)
    _, _, plain, _ = build(name, pantry)
    (text,), (before,) = texts_of(model), texts_of(plain)
    assert torch.equal(text.plain, before.vectors) and not torch.allclose(
        text.vectors, before.vectors, atol=1e-2
    )
    torch.testing.assert_close(text.vectors[1:], model.text_adapter(before.vectors)[1:])
    own, theirs = model.state_dict(), plain.state_dict()
    assert own.keys() - theirs.keys() == {
        f"text_adapter.{part}" for part in ("inner", "bias", "outer", "shift", "size", "stretch")
    }
    assert not any("text_adapter" in key for key, _ in model.named_parameters())
    assert sum(parameter.numel() for parameter in model.parameters()) == sum(
        parameter.numel() for parameter in plain.parameters()
    )
    ids = [
        key for key in own if key.endswith("id.table.table.weight") and name != "LLM-ESR"
    ]  # those of LLM-ESR begin as its texts
    assert all(torch.equal(own[key], theirs[key]) for key in ids)


def test_an_adapter_is_that_of_the_training_sequences_and_the_seed(pantry):
    config, dataset, model, _ = build("SASRec-Text", pantry, **TUNED, seed=7)
    items, offsets, _ = (np.asarray(part) for part in dataset.train_sequences())
    (text,), tuning = texts_of(model), tuning_of(config)
    assert (tuning.steps, tuning.width, tuning.window, tuning.temperature) == (
        4,
        8,
        Tuning().window,
        Tuning().temperature,
    )
    expected = TextAdapter(text.hidden_size, 8)
    expected.fit(
        text.plain,
        nearby_pairs(items, offsets, text.has_text.numpy(), tuning.window),
        tuning,
        config["seed"],
    )
    for name, value in expected.state_dict().items():
        assert torch.equal(model.state_dict()[f"text_adapter.{name}"], value), name


def test_codes_neighbours_and_smoothing_read_them_too(pantry):
    _, _, codes, _ = build("SASRec-Codes", pantry, **TUNED)
    _, _, plain, _ = build("SASRec-Codes", pantry)
    assert not torch.allclose(
        codes.item_encoder.parts[1].centres, plain.item_encoder.parts[1].centres, atol=1e-2
    )
    settings = {**TUNED, "neighbour_texts": 0.5, "rare_smoothing": 2}
    _, dataset, model, test = build("SASRec-Text", pantry, **settings)
    _, _, without, _ = build("SASRec-Text", pantry, **{**settings, "neighbour_texts": 0.0})
    rows = test._dataset[torch.arange(10)]
    first, *others = texts_of(model)
    assert others and all(torch.equal(text.vectors, first.vectors) for text in others)
    unit = torch.nn.functional.normalize(first.vectors, dim=1)
    last = rows["item_id_list"].gather(1, rows["item_length"][:, None] - 1)[:, 0]
    bonus = model.full_sort_predict(rows).view(10, -1) - without.full_sort_predict(rows).view(
        10, -1
    )
    torch.testing.assert_close(bonus, 0.5 * unit[last] @ unit.t(), rtol=1e-3, atol=1e-4)
    tokens = dataset.token_states()
    model.extend_catalogue(tokens.select(np.array([4, -1])))
    scores = model.full_sort_predict(rows).view(10, -1)
    without.extend_catalogue(tokens.select(np.array([4, -1])))
    new = scores[:, -2:] - without.full_sort_predict(rows).view(10, -1)[:, -2:]
    torch.testing.assert_close(
        new, torch.stack([bonus[:, 4], torch.zeros(10)], 1), rtol=1e-3, atol=1e-4
    )


def shop(folder, swap: int, seed: int = 2):
    """Users who took 6 of 30 items.

    `swap` gives the last two events of each user, validation's and test's, other items.
    """
    chance, late = random.Random(seed), random.Random(swap)
    (folder / "ring").mkdir(parents=True)
    rows = [
        f"u{u}\ti{(u + t if u < 30 else chance.randrange(30)) % 30}\t{t}"
        for u in range(50)
        for t in range(6)
    ]
    rows += [
        f"u{u}\ti{late.randrange(30)}\t{t}" for u in range(50) for t in (6, 7)
    ]  # behind all others, so that items are numbered alike
    (folder / "ring" / "ring.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    (folder / "ring" / "ring.item").write_text(
        "\n".join(
            [
                "item_id:token\ttitle:token_seq",
                *(f"i{i}\t{WORDS[i % 8]} {WORDS[i // 5 % 8]}" for i in range(30)),
            ]
        )
        + "\n"
    )
    return str(folder)


@pytest.mark.parametrize("settings", [{}, {"holdout_items": 0.2}], ids=["all", "held out"])
def test_no_later_event_and_no_held_out_item_is_seen(settings, tmp_path, pantry, monkeypatch):
    """Other validation and test targets: the same adapter to the last bit.

    Other training events: another one. Planted leaks would show.
    """
    seen = []
    original = TextAdapter.fit
    monkeypatch.setattr(
        TextAdapter,
        "fit",
        lambda self, rows, pairs, *rest: (seen.append(pairs), original(self, rows, pairs, *rest))[
            1
        ],
    )
    found = []
    for number, (swap, seed) in enumerate(((0, 2), (1, 2), (0, 3))):
        data = {
            "data_path": shop(tmp_path / str(number), swap, seed),
            "text_cache_dir": pantry["text_cache_dir"],
        }
        _, dataset, model, _ = build(
            "LEARN", data, **TUNED, **({"holdout_seed": 1} if settings else {}), **settings
        )
        found.append(
            {
                name: value
                for name, value in model.state_dict().items()
                if name.startswith("text_adapter.")
            }
        )
        if dataset.held_out is not None:
            assert dataset.held_out.sum() == 6
            assert not dataset.held_out[torch.cat([seen[-1].before, seen[-1].after])].any()
        tokens = dataset.field2id_token["item_id"]
        later = [
            line.split("\t")
            for line in (tmp_path / str(number) / "ring" / "ring.inter")
            .read_text()
            .splitlines()[1:]
        ]
        early = {(user, time): item for user, item, time in later if int(time) < 6}
        window = Tuning().window
        allowed = {
            (early[user, str(t)], early[user, str(u)])
            for user in {user for user, _ in early}
            for t in range(6)
            for u in range(t + 1, 6)
        }
        pairs = {
            (tokens[a], tokens[b])
            for a, b in zip(seen[-1].before.tolist(), seen[-1].after.tolist())
        }
        assert pairs and pairs <= allowed and window < 6
    same, other = (
        [torch.equal(value, found[k][name]) for name, value in found[0].items()] for k in (1, 2)
    )
    assert all(same) and not all(other)


@pytest.mark.parametrize(("name", "settings", "message"), [
    ("SASRec-CE", {"text_tuning": "cooccurrence"}, "Unknown key 'text_tuning' .* for model "
                                                   "SASRec-CE. It tunes the one text vector that "
                                                   "an item has in .*PAD.* and .*; this model "
                                                   "has none"),
    ("PRECISE-UT", {"text_tuning_window": 2}, "Unknown key 'text_tuning_window' .* for model "
                                              "PRECISE-UT. It tunes the one text vector"),
    ("GraphHeuristic", {"text_tuning": "cooccurrence"}, "for model GraphHeuristic. It tunes the "
                                                        "one text vector"),
    ("PAD", {"text_tuning": "cooccurrence", "experts": ["id"]},
        r"text_tuning: cooccurrence has no text vectors to tune with experts: \[id\]"),
    ("LEARN", {"text_tuning_steps": 9}, "text_tuning_steps: 9 says nothing without text_tuning: "
                                        "cooccurrence"),
    ("LEARN", {"text_tuning": "none", "text_tuning_width": 9},
        "text_tuning_width: 9 says nothing without text_tuning: cooccurrence"),
    ("LEARN", {"text_tuning": "coocurrence"}, "text_tuning .* must be .*Did you mean "
                                              "'cooccurrence'"),
    ("LEARN", {**TUNED, "text_tuning_temperature": 0}, "text_tuning_temperature .* must be a "
                                                       "number above 0"),
    ("LEARN", {**TUNED, "text_tuning_temperature": 1e-45}, "text_tuning: the loss of the pairs "
                                                           "is nan at step 1; .* "
                                                           ".text_tuning_learning_rate, "
                                                           "text_tuning_temperature"),
])  # fmt: skip
def test_what_cannot_be_tuned_is_one_sentence(name, settings, message, pantry):
    with pytest.raises(ConfigError, match=message):
        build(name, pantry, **settings)


def test_without_pairs_there_is_nothing_to_learn_from(tmp_path, pantry):
    (tmp_path / "ring").mkdir()
    rows = [
        f"u{u}\ti{item}\t{t}"
        for u in range(9)
        for t, item in enumerate((u, u, u, (u + 1) % 9, (u + 2) % 9))
    ]
    (tmp_path / "ring" / "ring.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    (tmp_path / "ring" / "ring.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *(f"i{i}\t{WORDS[i % 8]}" for i in range(9))])
        + "\n"
    )
    with pytest.raises(
        DataError,
        match="no two different items with text stand within 4 places of each other in a "
        "training sequence of ring",
    ):
        build("LEARN", {**pantry, "data_path": str(tmp_path)}, **TUNED, text_tuning_window=4)


def test_a_setting_without_a_value_leaves_a_run_what_it_was(pantry):
    from recbole_precise.runs.identity import settings_identity

    identities = [
        settings_identity(build("LEARN", pantry, **more)[0].final_config_dict)
        for more in ({}, {"text_tuning": None}, TUNED)
    ]
    assert identities[0] == identities[1] and not any(
        key.startswith("text_tuning") for key in identities[0]
    )
    assert identities[2].keys() - identities[0].keys() == set(TUNED)
