"""No option lets a replay look ahead: other events after a period leave everything up to it as it
was, to the bit.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from recbole_precise.config import model_settings, properties_folder, read_settings, schema
from recbole_precise.errors import ConfigError, DataError
from recbole_precise.studies.replay.engine import ARMS, Options, Replay

WEEK = 7 * 86_400
LAST = 2  # the last period that both futures share
SMALL = {
    "embedding_size": 8, "token_size": 8, "n_layers": 1, "n_heads": 2, "MAX_ITEM_LIST_LENGTH": 5,
    "train_batch_size": 16, "targeted_batch_size": 32, "epochs": 1,
    "targeted_epochs": 1, "tensorboard": False, "recipe": "default", "neighbour_transitions": 0,
    "targeted_rows": "prefixes", "targeted_view": "target",
    "threads": 1, "learning_rate": 0.01, "n_experts": 2, "text_max_tokens": 6,
}  # fmt: skip
#: What the walk starts from: an option may need others to do anything.
BASES = {
    "smoothed": {
        "rare_smoothing": 2,
        "smoothing_buckets": 3,
        "unseen_id": "mean",
        "softmax": "full",
    },
    "sampled": {
        "softmax": "sampled",
        "n_negatives": 6,
        "negative_source": "mixed",
        "logq": "corrected",
        "id_dropout": 0.2,
    },
    "pairs": {
        "targeted_loss": "bpr",
        "targeted_negatives": 3,
        "targeted_attention": "full",
        "variant": "id",
        "unseen_id": "zero",
    },
}
TITLES = [
    "red tea",
    "blue tea",
    "green salt",
    "old salt",
    "new bread",
    "black coffee",
    "white sugar",
    "long bean",
    "short bean",
]


def events(future):
    """Four weeks of ten users.

    Weeks 0 to 2 hold ten items; what week 3 holds, new items among it, depends on `future`.
    """
    drawn = np.random.default_rng(5)
    rows = []
    for week in range(4):
        drawn = drawn if week <= LAST else np.random.default_rng([future, week])
        for user in range(10):
            for step in range(4):
                first = week == 0 and step == 0
                item = user if first else drawn.integers(0, 10 - 2 * (week == 0 and user > 4))
                if week > LAST:
                    # New items come in the order of .item, so that numbers by first appearance are
                    # the same in both.
                    new = 10 + len({row[1] for row in rows} - {f"i{n}" for n in range(10)})
                    item = (
                        new
                        if step == 1 and user < (5 if future == 1 else 2)
                        else (drawn.integers(0, 4) if future == 1 else 6 + drawn.integers(0, 4))
                    )
                rows.append(
                    (
                        f"u{user}",
                        f"i{item}",
                        "web" if drawn.random() < 0.7 else "app",
                        week * WEEK + step * 3600 + 60 * user,
                    )
                )
    return rows


@pytest.fixture
def replayed(tmp_path, write_dataset, our_config, bert):
    """`replayed(future, **settings)`: what a replay holds after the period LAST."""
    header = ("user_id:token", "item_id:token", "place:token", "timestamp:float")
    items = [(f"i{n}", f"{TITLES[n % 9]} {TITLES[(n * 2 + 1) % 9]}") for n in range(18)]
    counter = itertools.count()

    def run(future, **settings):
        path = write_dataset(f"f{future}", events(future), items, inter_header=header)
        options = {
            name: settings.pop(name)
            for name in ("reload_every", "blend", "memory", "cases")
            if name in settings
        }
        given = {"data_path": str(path), "load_col": {"inter": ["user_id", "item_id", "place",
            "timestamp"], "item": ["item_id"]}, "item_text": "{title}",
                 "text_encoder": str(bert), "text_cache_dir": str(tmp_path / "cache"), **SMALL,
                 **settings}  # fmt: skip
        made = Replay(
            our_config("PRECISE-TT", f"f{future}", **given),
            Options(**options),
            tmp_path / f"replay-{next(counter)}",
        )
        found = {"names": made.dataset.field2id_token["item_id"].tolist(), "asked": [], "ranks": []}
        for now in range(LAST + 1):
            found["asked"].append(made._ask(now))
            made._train(now)
            made.rows.append(found["asked"][-1])
        found["ranks"] = [kept.rank.tolist() for arm in ARMS for kept in made.ranks[arm]]
        models = [made.universal, *made.arms.values()]
        found["weights"] = [
            tensor.clone() for model in models for tensor in model.state_dict().values()
        ]
        found["vectors"] = [model.item_vectors().clone() for model in models]
        found["samplers"] = [
            model.sampler.log_probability for model in models if hasattr(model, "sampler")
        ]
        return found

    return run


def assert_the_same(one, other):
    assert one["names"] == other["names"]
    assert one["asked"] == other["asked"]
    assert one["ranks"] == other["ranks"] and any(one["ranks"])
    for kind in ("weights", "vectors", "samplers"):
        assert len(one[kind]) == len(other[kind])
        for first, second in zip(one[kind], other[kind]):
            assert torch.equal(first, second), kind


def test_the_two_futures_differ_in_all_that_could_leak():
    """In the items that come, and in how often the items of the past come again."""
    one, other = events(1), events(2)
    assert one[:120] == other[:120] and [row[3] for row in one] == [row[3] for row in other]
    assert {row[1] for row in one} != {row[1] for row in other}
    counts = [np.bincount([int(row[1][1:]) for row in rows], minlength=18) for rows in (one, other)]
    assert (counts[0][:10] != counts[1][:10]).sum() > 5


@pytest.mark.parametrize("base", list(BASES))
def test_another_future_changes_nothing_before_it(replayed, base):
    assert_the_same(replayed(1, **BASES[base]), replayed(2, **BASES[base]))


def test_items_without_events_so_far_have_no_vector_of_their_own(replayed):
    """unseen_id: zero: an item that comes later scores 0 for its ID until it has come.

    In the file it has events.
    """
    found = replayed(1, variant="id", unseen_id="zero")
    names = found["names"]
    for vectors in found["vectors"]:
        for name in ("i10", "i14"):
            assert bool((vectors[names.index(name)] == 0).all())
        assert bool((vectors[names.index("i3")] != 0).any())


# --- Every option -----------------------------------------------------------------------------

#: Keys that name files, places or the machine, or that the walk needs as they are.
FIXED = frozenset(
    [
        "recipe",
        "run_dir",
        "result_file",
        "resume",
        "text_file",
        "text_encoder",
        "text_device",
        "text_cache_dir",
        "item_text",
        "extends",
        "warm_start",
        "trust_pickle",
        "log_flops",
        "threads",
        "tensorboard",
        "checkpoint_seconds",
        "train_minutes",
        "train_clock",
        "keep_freed_memory",
        "loss_type",
        "train_neg_sample_args",
        "valid_metric",
        "text_layers",
        "text_dtype",
    ]
)
SCENES = {"scene_field": "place", "target_scene": "web"}
GIVEN = {
    "scene_rules": [{"scene_rules": {"web": "place == web"}, "target_scene": "web"}],
    "scene_field": [SCENES], "target_scene": [SCENES],
    "scene_view": [{**SCENES, "scene_view": "context"}], "rm_dup_inter": [{"rm_dup_inter": "first"},
        {"rm_dup_inter": "last"}],
    "val_interval": [{"val_interval": {"timestamp": "[60,inf)"}}],
    "user_inter_num_interval": [{"user_inter_num_interval": "[12,inf)"}],
    "item_inter_num_interval": [{"item_inter_num_interval": "[10,inf)"}],
    "filter_inter_by_user_or_item": [{"filter_inter_by_user_or_item": False}],
    "benchmark_filename": [{"benchmark_filename": ["f"]}], "hidden_act": [{"hidden_act": "relu"}],
    "learner": [{"learner": "sgd"}],
    "sequence_fields": [{"sequence_fields": ["item_id", "timestamp"]}],
    "normalize_all": [{"normalize_all": True}], "lr_schedule": [{"lr_schedule": "cosine"}],
    "MAX_ITEM_LIST_LENGTH": [{"MAX_ITEM_LIST_LENGTH": 3}], "seed": [{"seed": 3}],
    "clip_grad_norm": [{"clip_grad_norm": {"max_norm": 0.1}}],
    "reload_every": [{"reload_every": 2}], "blend": [{"blend": 0.5}], "memory": [{"memory": 1}],
    "cases": [{"cases": "first"}], "enable_amp": [{"enable_amp": True}],
    "slices": [{"slices": ["history"]}], "holdout_items": [{"holdout_items": 0.2}],
    "holdout_users": [{"holdout_users": 0.2}], "holdout_by": [{"holdout_items": 0.2,
        "holdout_by": "first_seen"}],
    "tie_break": [{"tie_break": "random"}], "top_experts": [{"top_experts": 1}],
    "unused_col": [{"unused_col": {"inter": ["place"]}}],
}  # fmt: skip


def values_of(key, default):
    """Settings that set a key to something else, one for each of its choices."""
    if key in GIVEN:
        return GIVEN[key]
    entry = schema.known_key(key)
    if entry is None:
        return []
    if entry.choices:
        return [{key: choice} for choice in entry.choices if choice != default]
    if "bool" in entry.types:
        return [{key: not default}]
    if "int" in entry.types:
        return [
            {
                key: (default or 1) + 1
                if key not in ("n_heads", "n_experts", "embedding_size", "token_size")
                else 4
            }
        ]
    if "float" in entry.types:
        return [{key: 0.3 if default != 0.3 else 0.4}]
    return []


def options():
    """Every setting that a replay could be given, with other values than its own."""
    found = []
    known = {
        **read_settings(Path(properties_folder(), "overall.yaml")),
        **model_settings("PRECISE-TT"),
        **dict.fromkeys(GIVEN),
    }
    for key, default in known.items():
        if key not in FIXED:
            for settings in values_of(key, SMALL.get(key, default)):
                found.append(
                    pytest.param(
                        settings, id=" ".join(f"{name}={value}" for name, value in settings.items())
                    )
                )
    return found


REFUSED = {
    "neighbour_transitions",
    "transition_memory",
    "user_inter_num_interval",
    "item_inter_num_interval",
    "tie_break",
    "holdout_items",
    "holdout_users",
    "benchmark_filename",
}


@pytest.mark.slow
@pytest.mark.parametrize("settings", options())
def test_no_option_looks_ahead(replayed, settings):
    """It is the same before the futures part, or refused as a setting that looks ahead."""
    ran = False
    for base in BASES.values():
        given = {**base, **settings}
        try:
            one = replayed(1, **given)
        except (ConfigError, DataError) as error:
            if "looks ahead" in str(error):
                assert REFUSED & set(settings) or settings.get("rm_dup_inter") == "last"
                return
            continue  # a setting that does not go with this base
        ran = True
        assert_the_same(one, replayed(2, **given))
    assert ran or set(settings) & {
        "time_order",
        "alternate",
        "window_stride",
        "train_rows",
        "memory_window",
        "benchmark_filename",
    }


def test_the_walk_meets_every_option_of_the_models():
    walked = {name for case in options() for name in case.values[0]}
    texts = {
        key
        for key in model_settings("PRECISE-TT")
        if (entry := schema.known_key(key)) is not None
        and entry.types == ("str",)
        and not entry.choices
    }
    assert set(model_settings("PRECISE-TT")) - walked - FIXED <= texts
    assert walked >= REFUSED


@pytest.mark.parametrize(
    "settings",
    [
        {"user_inter_num_interval": "[2,inf)"},
        {"rm_dup_inter": "last"},
        {"holdout_items": 0.1},
        {"tie_break": "random"},
    ],
    ids=str,
)
def test_what_looks_ahead_is_refused_in_one_sentence(replayed, settings):
    with pytest.raises(
        ConfigError, match=rf"^replay: {next(iter(settings))}: .* looks ahead: "
    ) as caught:
        replayed(1, **settings)
    assert "\n" not in str(caught.value)
