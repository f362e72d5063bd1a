"""Scenes against brute force: rules, the rows of both views, and what a view shares with
RecBole.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from data_helpers import INTER, synthetic
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.data.scenes import parse_rule, views_of
from recbole_precise.data.sequences import SequenceStore
from recbole_precise.data.splits import DAY, days_in_words, split_rows
from recbole_precise.nn.next_item import next_item_targets

BEGIN = 880_000_000 // DAY * DAY
LS, TS = {"LS": "valid_and_test"}, {"TS": [0.6, 0.2, 0.2]}
SPLITS = [
    (LS, "user"), ({"LS": "test_only"}, "user"), ({"LS": "valid_only"}, "user"), ({"RS": [0.6, 0.2,
        0.2]}, "user"), ({"RS": [0.6, 0.2, 0.2]}, None),
    (TS, "user"), ({"DAYS": [1, 1]}, "user"), ({"DAYS": [0, 2]}, "user"),
]  # fmt: skip


# --- Rules ------------------------------------------------------------------------------------

FRAME = pd.DataFrame(
    {
        "rating": [1.0, 4.0, 5.0, np.nan, 3.5],
        "place": pd.Categorical(["home", "shop", None, "home", "4"]),
    }
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rating >= 4", [0, 1, 1, 0, 0]), ("rating<4.0", [1, 0, 0, 0, 1]), ("rating != 5", [1, 1, 0,
            0, 1]), ("place == home", [1, 0, 0, 1, 0]),
        ("place == 4", [0, 0, 0, 0, 1]), ("place != 'home'", [0, 1, 0, 0, 1]), (
                "rating > 1 and place == "
                "\"shop\"", [0, 1, 0, 0, 0]),
        ("rating >= 3.5 and rating <= 4 and place != x", [0, 1, 0, 0, 1]), ("rating == 1e0", [1, 0,
            0, 0, 0]),
    ],
)  # fmt: skip
def test_a_rule_holds_where_its_conditions_do_and_never_for_missing_values(text, expected):
    assert parse_rule("x", text).holds(FRAME).tolist() == [bool(value) for value in expected]


@given(
    st.floats(-9, 9),
    st.sampled_from([">=", "<=", ">", "<", "==", "!="]),
    st.lists(st.integers(-9, 9), min_size=1, max_size=9),
)
def test_numbers_compare_as_in_python(value, operator, numbers):
    found = parse_rule("x", f"n {operator} {value!r}").holds(pd.DataFrame({"n": np.array(numbers)}))
    assert found.tolist() == [eval(f"{number} {operator} {value!r}") for number in numbers]


# --- Views against brute force ----------------------------------------------------------------


@st.composite
def days(draw):
    """Up to 6 users with up to 12 events each over 4 days, many at one time, in or out of the
    target scene; shuffled.
    """
    counts = draw(st.lists(st.integers(1, 12), min_size=1, max_size=6))
    n = sum(counts)
    user = np.repeat(np.arange(3, 3 + len(counts)), counts)[draw(st.permutations(range(n)))]
    item = np.array(draw(st.lists(st.integers(1, 9), min_size=n, max_size=n)))
    time = BEGIN + DAY // 2 * np.array(draw(st.lists(st.integers(0, 7), min_size=n, max_size=n)))
    inside = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    inside[draw(st.integers(0, n - 1))] = True
    return user, item, time, inside


def cut_ids(total, ratios):
    from recbole.data.dataset import Dataset

    return Dataset._calcu_split_ids(None, total, ratios)


def brute_force(user, time, inside, split, group_by):
    """(sequences {user: lines}, parts [{lines}] in the target scene, moment or None), by loops over
    lines.
    """
    sequences = {
        u: sorted(np.flatnonzero(user == u), key=lambda line: (time[line], line))
        for u in sorted(set(user.tolist()))
    }
    own = {u: [line for line in lines if inside[line]] for u, lines in sequences.items()}
    ((mode, how),) = split.items()
    parts, rows, moment = (
        [set(), set(), set()],
        [line for lines in own.values() for line in lines[1:]],
        None,
    )
    if mode == "RS" and group_by is None:
        rows.sort(
            key=lambda line: time[line]
        )  # stable: users in order, each in the order of its events
        for line, part in zip(
            rows,
            np.searchsorted(
                cut_ids(len(rows), [share / sum(how) for share in how]),
                np.arange(len(rows)),
                side="right",
            ),
        ):
            parts[part].add(line)
        evaluated = parts[1] | parts[2]
        return sequences, parts, min((time[line] for line in evaluated), default=None)
    if mode == "DAYS":
        last = max(time[line] for lines in own.values() for line in lines) // DAY * DAY
        testing = last - (how[1] - 1) * DAY
        moment = testing - how[0] * DAY
        for line in rows:
            parts[0 if time[line] < moment else 1 if time[line] < testing else 2].add(line)
        return sequences, parts, moment
    if mode == "TS" and rows:
        border = np.percentile([time[line] for line in rows], 100 * (1 - how[-1] / sum(how)))
        moment = min((time[line] for line in rows if time[line] > border), default=None)
    for lines in own.values():
        targets = lines[1:]
        if mode == "LS":
            test = targets[-1:] if how != "valid_only" and len(targets) > 1 else []
            rest = targets[: len(targets) - len(test)]
            valid = rest[-1:] if how != "test_only" and len(rest) > 1 else []
            cuts = [len(rest) - len(valid), len(rest)]
        elif mode == "RS":
            cuts = cut_ids(len(targets), [share / sum(how) for share in how])
        else:
            before = sum(time[line] <= border for line in targets)
            shares = [share / sum(how) for share in how]
            cuts = [int(before * (shares[0] / (1 - shares[2]))), before]
        for part, lines_of_part in zip(
            parts, (targets[: cuts[0]], targets[cuts[0] : cuts[1]], targets[cuts[1] :])
        ):
            part.update(lines_of_part)
    return sequences, parts, moment


@pytest.mark.parametrize(("split", "group_by"), SPLITS, ids=str)
@given(data=days())
def test_both_views_are_those_of_brute_force(split, group_by, data):
    user, item, time, inside = data
    sequences, parts, moment = brute_force(user, time, inside, split, group_by)
    if not any(parts):
        return  # TS has no border without rows
    everything = SequenceStore.build(
        {"item": torch.tensor(item), "line": torch.arange(len(user))},
        torch.tensor(user),
        time,
        times=time,
        marked=inside,
    )
    index = torch.nonzero(everything.marked).squeeze(1)
    target = everything.only(index)
    made = split_rows(
        target, target.times, target.times.astype(np.float32), split, group_by, cut_ids
    )
    views = views_of(everything, target, index, made, everything.times)
    for part in range(3):
        lines = {
            name: view.store.fields["line"][view.targets(part)].tolist()
            for name, view in views.items()
        }
        assert sorted(lines["target"]) == sorted(parts[part])
        assert lines["context"] == lines["target"], "the target's rows, each behind everything"
        row, seen = views["context"].history(views["context"].targets(part), "line")
        for number, line in enumerate(lines["context"]):
            own = sequences[int(user[line])]
            assert seen[row == number].tolist() == own[: own.index(line)]
        if part:
            assert lines["universal"] == lines["target"], (
                "one judge: the same rows in the same order"
            )
            for name, view in views.items():
                row, seen = view.history(view.targets(part), "line")
                for number, line in enumerate(lines[name]):
                    own = sequences[int(user[line])]
                    assert seen[row == number].tolist() == own[: own.index(line)]
    trained = set(views["universal"].store.fields["line"][views["universal"].targets(0)].tolist())
    evaluated = parts[1] | parts[2]
    for lines in sequences.values():
        ends = [place for place, line in enumerate(lines) if line in evaluated]
        end = min(ends, default=len(lines))
        if moment is not None:
            before = sum(time[line] < moment for line in lines)
            end = min(
                end, max([before, *(lines.index(line) + 1 for line in lines if line in parts[0])])
            )
        assert trained & set(lines) == set(lines[1:end])
    assert parts[0] - {lines[0] for lines in sequences.values()} <= trained


# --- As data sets -----------------------------------------------------------------------------


def scene_events(name="mixed"):
    """Events with a fifth column: a scene a, b or c."""
    rng = np.random.default_rng(5)
    return [(*event, "abc"[rng.integers(3)]) for event in synthetic(name)]


@pytest.fixture
def scene_parts(synthetic_config):
    """`scene_parts(split, **settings)` -> parts of the synthetic data under the target scene a."""

    def build(split="LS", name="mixed", model="SASRec", events=None, **settings):
        from recbole_precise.plugin.dataset import SequenceDataset

        settings = {"scene_field": "scene", "target_scene": "a", **settings}
        return SequenceDataset(
            synthetic_config(
                name,
                split,
                model=model,
                events=events or scene_events(name),
                inter_header=(*INTER, "scene:token"),
                **settings,
            )
        ).build()

    return build


def tokens_of(part, field="item_id"):
    names = part.field2id_token[field]
    rows = part[list(range(len(part)))]
    lists = [
        [str(names[i]) for i in row[:length]]
        for row, length in zip(rows[f"{field}_list"].tolist(), rows["item_length"].tolist())
    ]
    users = [str(part.field2id_token["user_id"][u]) for u in rows["user_id"].tolist()]
    return list(zip(users, [str(names[i]) for i in rows[field].tolist()], lists))


@pytest.mark.parametrize("split", ["LS", "LS-test", "RS", "RS-none", "TS"])
@pytest.mark.parametrize("name", ["mixed", "ties"])
def test_the_target_view_is_recboles_data_set_of_the_target_scene_alone(
    scene_parts, synthetic_config, split, name
):
    from recbole.data.dataset import SequentialDataset

    # RecBole numbers users in the order of the file, and puts users with equal times in the order
    # of their numbers.
    events = sorted(scene_events(name), key=lambda event: event[0])
    ours = scene_parts(split, name, events=events)
    alone = [event[:4] for event in events if event[4] == "a"]
    stock = SequentialDataset(synthetic_config(f"{name}-alone", split, events=alone)).build()
    for mine, theirs in zip(ours, stock):
        assert tokens_of(mine) == tokens_of(theirs)


def test_views_share_rows_states_and_tables_and_know_their_kind_of_rows(scene_parts):
    train, valid, test = scene_parts()
    wide = train.view("universal", "windows")
    assert wide.texts is train.texts and wide.item_feat is train.item_feat
    assert wide.view("target").store is train.store and wide.store is not train.store
    assert "supervised_length" in wide.inter_feat
    back = wide.view("target", "prefixes")
    assert tokens_of(back) == tokens_of(train) and list(back.inter_feat) == list(train.inter_feat)
    assert wide.view(train_rows="prefixes").inter_feat.interaction.end.tolist() == sorted(
        wide.inter_feat.interaction.targets().tolist()
    )
    assert tokens_of(test.view(train_rows="windows")) == tokens_of(test), (
        "evaluation has no windows"
    )
    for part in (valid, test):
        seen = part.view("universal")
        assert [row[:2] for row in tokens_of(seen)] == [row[:2] for row in tokens_of(part)]
        assert all(
            torch.equal(mine, theirs)
            for mine, theirs in zip(seen.history(slice(None)), part.history(slice(None)))
        ), "candidates are the same in both"
        assert sum(len(row[2]) for row in tokens_of(seen)) > sum(
            len(row[2]) for row in tokens_of(part)
        )
    with pytest.raises(ValueError, match="universal, target, context"):
        train.view("all")


def test_the_context_view_trains_the_targets_rows_behind_all_scenes(scene_parts):
    train, valid, test = scene_parts()
    for part in (train, valid, test):
        seen = part.view("context", "prefixes")
        rows = part.view("target", "prefixes")
        assert [row[:2] for row in tokens_of(seen)] == [row[:2] for row in tokens_of(rows)]
        assert sum(len(row[2]) for row in tokens_of(seen)) > sum(
            len(row[2]) for row in tokens_of(rows)
        )
    assert tokens_of(test.view("context")) == tokens_of(test.view("universal"))
    assert seen.view(train_rows="prefixes")._scene_view == "context"


@pytest.mark.parametrize("stride", [None, 2], ids="window_stride {}".format)
def test_context_windows_hold_all_scenes_and_train_the_targets_rows_once(scene_parts, stride):
    train = scene_parts(window_shift=True, window_stride=stride)[0]
    wide, rows = train.view("context", "windows"), train.view("context", "prefixes")
    expected = sorted(rows.inter_feat.interaction.end.tolist())
    generator = torch.Generator().manual_seed(3)
    for _ in range(4):
        batch = wide[list(range(len(wide)))]
        found = next_item_targets(
            *(
                batch[name]
                for name in (
                    "item_id_list",
                    "item_length",
                    "item_id",
                    "supervised_length",
                    "trained_positions",
                )
            )
        )
        assert found.trained.any(1).all(), "a window that trains nothing is left out"
        assert sorted(found.targets[found.trained].tolist()) == sorted(
            rows[list(range(len(rows)))]["item_id"].tolist()
        )
        assert sorted(wide.inter_feat.interaction.targets().tolist()) == expected
        assert wide.inter_num == len(expected)
        assert int(found.mask.sum()) > int(found.trained.sum()), "events of other scenes are read"
        wide.shift_windows(generator)
    assert (
        "trained_positions" not in train.view("universal", "windows").inter_feat
        and "trained_positions" not in rows.inter_feat
    )
    assert "trained_positions" not in wide.view("target").inter_feat and tokens_of(
        wide.view(train_rows="prefixes")
    ) == tokens_of(rows)


def test_counts_and_sequences_are_those_of_the_view(scene_parts):
    train, valid, _ = scene_parts()
    for view, rows in (
        ("target", "windows"),
        ("universal", "windows"),
        ("context", "prefixes"),
        ("context", "windows"),
    ):
        part = train.view(view, rows)
        items, offsets, _users = part.train_sequences()
        assert torch.equal(part.train_item_counts(), torch.bincount(items, minlength=part.item_num))
        assert part.inter_num == (
            len(train.view("target")) if view == "context" else int((offsets.diff() - 1).sum())
        )
        assert torch.equal(valid.view(view).train_sequences()[0], items)


def test_windows_of_a_view_shift_and_train_each_target_once(scene_parts):
    train = scene_parts(window_shift=True)[0].view("universal", "windows")
    expected = sorted(train.view(train_rows="prefixes").inter_feat.interaction.end.tolist())
    begins, generator = set(), torch.Generator().manual_seed(3)
    for _ in range(8):
        assert train.shift_windows(generator)
        assert sorted(train.inter_feat.interaction.targets().tolist()) == expected
        begins.add(tuple(train.inter_feat.interaction.end.tolist()))
    assert len(begins) > 1


def test_without_a_target_scene_both_views_are_one(synthetic_config):
    from recbole_precise.plugin.dataset import SequenceDataset

    for part in SequenceDataset(synthetic_config()).build():
        for view in ("universal", "target", "context", None):
            assert part.view(view).store is part.store and tokens_of(part.view(view)) == tokens_of(
                part
            )


def test_rules_read_the_file_and_not_what_recbole_makes_of_it(synthetic_config):
    from recbole_precise.plugin.dataset import SequenceDataset

    events = [
        (f"u{i % 4}", f"i{i % 7}", ("" if i % 5 == 0 else i % 5 + 0.5), 16_777_216 + i)
        for i in range(60)
    ]
    settings = {
        "scene_rules": {"late": "timestamp >= 16777237 and rating > 1.5"},
        "target_scene": "late",
        "normalize_all": True,
        "time_order": "exact",
    }
    dataset = SequenceDataset(synthetic_config(events=events, **settings))
    expected = [
        event for event in events if event[3] >= 16_777_237 and event[2] != "" and event[2] > 1.5
    ]
    assert dataset.scenes.counts == {"late": len(expected)}
    assert len(dataset.build()[2].store) == len(expected)


def test_the_view_of_a_model_is_its_class_own_unless_it_is_set(our_config, monkeypatch):
    from recbole_precise.plugin.data_settings import scene_view_of

    scenes = {"scene_rules": {"like": "rating >= 4"}, "target_scene": "like"}
    assert scene_view_of(our_config("SASRec")) is None
    config = our_config("SASRec", **scenes)
    assert "rating" in config["load_col"]["inter"] and scene_view_of(config) == "target"
    monkeypatch.setattr(config.model_class, "scene_view", "universal", raising=False)
    assert scene_view_of(config) == "universal"
    assert scene_view_of(our_config("SASRec", scene_view="target", **scenes)) == "target"


# --- By day -----------------------------------------------------------------------------------


@pytest.mark.parametrize("model", ["SASRec", "Transition"])
def test_days_test_all_events_of_the_last_days(our_config, write_dataset, model):
    from recbole_precise.plugin.preparation import create_dataset

    rng = np.random.default_rng(0)
    events = [
        (f"u{i % 9}", f"i{rng.integers(20)}", BEGIN + int(rng.integers(5 * DAY)))
        for i in range(300)
    ]
    path = write_dataset("days", events)
    args = {"split": {"DAYS": [1, 2]}, "order": "TO", "mode": "full"}
    _, valid, test = create_dataset(
        our_config(model, "days", data_path=str(path), eval_args=args)
    ).build()
    assert len(test) == sum(event[2] >= BEGIN + 3 * DAY for event in events)
    assert len(valid) == sum(BEGIN + 2 * DAY <= event[2] < BEGIN + 3 * DAY for event in events)
    assert len(set(test.inter_feat["user_id"].tolist())) < len(test), "several targets per user"


def test_days_are_named():
    assert (
        days_in_words(np.array([BEGIN, BEGIN + 3 * DAY]), [1, 2])
        == "validation 1997-11-21, testing 1997-11-22 to 1997-11-23 (UTC)"
    )
