"""Every mistake with scenes and days is one sentence that names file, column and key."""

from __future__ import annotations

import pytest

from recbole_precise.errors import ConfigError, DataError

HEADER = (
    "user_id:token",
    "item_id:token",
    "rating:float",
    "place:token",
    "words:token_seq",
    "timestamp:float",
)
EVENTS = [
    (f"u{i % 5}", f"i{i % 7}", i % 5 + 1, "home" if i % 3 else "shop", "a b", i) for i in range(60)
]
LIKE = {"like": "rating >= 4"}


@pytest.fixture
def build(our_config, write_dataset):
    """`build(model, **settings)`: the parts of a small data set."""

    def make(model="SASRec", events=EVENTS, **settings):
        from recbole_precise.plugin.preparation import create_dataset

        path = write_dataset("tiny", events, inter_header=HEADER)
        return create_dataset(
            our_config(model, "tiny", **{"data_path": str(path), **settings})
        ).build()

    return make


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_scene": "like"}, ["target_scene 'like'", "scene_field", "scene_rules"]),
        ({"scene_view": "universal"}, ["scene_view: universal", "target_scene"]),
        (
            {"scene_view": "all", "target_scene": "like", "scene_rules": LIKE},
            ["scene_view", "universal, target, context"],
        ),
        (
            {"target_scene": "lik", "scene_rules": LIKE},
            ["target_scene 'lik'", "Did you mean 'like'?", "Rules: like"],
        ),
        (
            {"scene_rules": {"like": "rating => 4"}},
            ["scene_rules: like", "'rating => 4'", "<column> <operator>"],
        ),
        ({"scene_rules": {"like": "rating = 4"}}, ["written =="]),
        (
            {"scene_rules": {"like": "rating >= 4 or rating < 2"}},
            ["'or rating < 2'", "joined by `and`"],
        ),
        ({"scene_rules": {"like": "rating >= 4 and"}}, ["at its end"]),
        ({"scene_rules": {"like": "__import__('os')"}}, ["cannot be read"]),
        ({"scene_rules": {"like": ""}}, ["must be text"]),
        ({"scene_rules": {"like": 4}}, ["must be text", "4"]),
        ({"scene_rules": ["rating >= 4"]}, ["scene_rules", "a mapping"]),
        ({"eval_args": {"split": {"DAYS": [1]}}}, ["DAYS", "two numbers of days"]),
        ({"eval_args": {"split": {"DAYS": [0.5, 1]}}}, ["DAYS", "[0.5, 1]"]),
        ({"eval_args": {"split": {"DAYS": [0, 0]}}}, ["DAYS"]),
        (
            {"eval_args": {"split": {"DAYS": [1, 1]}}, "time_order": "recbole"},
            ["DAYS", "time_order"],
        ),
        ({"model": "BPR", "target_scene": "like", "scene_rules": LIKE}, ["BPR", "sequences"]),
        ({"model": "BPR", "eval_args": {"split": {"DAYS": [1, 1]}}}, ["DAYS", "BPR"]),
        ({"model": "DIEN", "target_scene": "like", "scene_rules": LIKE}, ["DIEN", "target_scene"]),
    ],
    ids=str,
)
def test_settings(build, settings, words):
    with pytest.raises(ConfigError) as caught:
        build(**settings)
    for word in words:
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"target_scene": "hom", "scene_field": "place"}, ["tiny.inter", "'hom'",
            "Did you mean 'home'?", 
                "home (40 events), shop (20 "
                "events)"]),
        ({"target_scene": "home", "scene_field": "plac"}, ["tiny.inter", "scene_field", "'plac'",
            "Did you mean 'place'?"]),
        ({"target_scene": "home", "scene_field": "rating"}, ["tiny.inter, line 1", "scene_field",
            "'rating'", "float"]),
        ({"target_scene": "home", "scene_field": "place", "load_col": None,
            "unload_col": {"inter": ["place"]}}, ["tiny.inter", "'place'", "load_col"]),
        ({"target_scene": "like", "scene_rules": {"like": "ratin >= 4"}}, ["tiny.inter",
            "scene_rules: like", "'ratin'", "Did you mean 'rating'?"]),
        ({"target_scene": "like", "scene_rules": {"like": "rating >= 6"}}, ["tiny.inter",
            "none of 60 events", "'rating' runs from 1 to 5"]),
        ({"target_scene": "like", "scene_rules": {"like": "place == shp"}}, ["none of 60",
            "'place' holds shop, home"]),
        ({"target_scene": "like", "scene_rules": {"like": "rating >= four"}}, ["line 1",
            "numbers in 'rating'", "'four'"]),
        ({"target_scene": "like", "scene_rules": {"like": "place >= home"}}, ["line 1", "'place'",
            "tokens"]),
        ({"target_scene": "like", "scene_rules": {"like": "words == a"}}, ["'words'", "token_seq"]),
        ({"target_scene": "home", "scene_field": "place", "scene_rules": {"home": "rating >= 4"}},
            ["'home'", "scene_field", "rename"]),
        ({"target_scene": "one", "scene_rules": {"one": "timestamp < 5"}}, ["target scene 'one'",
            "no row for", "1 events"]),
        ({"target_scene": "one", "scene_rules": {"one": "timestamp < 5"},
            "scene_view": "universal"}, ["target scene 'one'", "no row for"]),
        ({"eval_args": {"split": {"DAYS": [1, 1]}}}, ["DAYS", "time stamps in seconds", "0 to 59"]),
        ({"eval_args": {"split": {"DAYS": [1, 1]}}, "events": [(*row[:5],
            1_500_000_000_000 + row[5]) for row in EVENTS]}, ["DAYS", "milliseconds"]),
        ({"eval_args": {"split": {"DAYS": [1, 1]}}, "events": [(*row[:5],
            864_000_000 + row[5]) for row in EVENTS]}, [
                "no row for training and "
                "validation", "testing 1997-05-19"]),
    ],
    ids=str,
)  # fmt: skip
def test_data(build, settings, words):
    with pytest.raises(DataError) as caught:
        build(**settings)
    for word in words:
        assert word in str(caught.value)
