"""A finished run asked about changed data: names keep their rows, and differences are reported."""

from __future__ import annotations

import json
import random
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from shop_data import Shop, train

from recbole_precise import cli
from recbole_precise.errors import CheckpointError
from recbole_precise.finished import load_data_and_model, load_finished
from recbole_precise.serving.recommendation import recommendations_of

KEPT = [f"u{number}" for number in range(12)]
TEXT = {"item_text": "{title}"}
#: Models that derive different things from training data and texts.
MODELS = {
    "SASRec-CE": {"neighbour_transitions": 1.0, "transition_memory": None},
    "PRECISE-UT": {**TEXT, "embedding_size": 8, "token_size": 8, "rare_smoothing": 3},
    "PAD": {**TEXT, "embedding_size": 8, "finetune_epochs": 1, "align_epochs": 1},
    "GraphForward": TEXT,
    "Transition": {},
    "Pop": {},
    "FPMC": {},
    "BERT4Rec": {},
    "LLM-ESR": {**TEXT, "embedding_size": 8},
}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> tuple[Shop, object]:
    made = Shop.make()
    return made, made.write(tmp_path_factory.mktemp("shop") / "data")


@pytest.fixture(scope="module")
def runs(shop, tmp_path_factory, bert):
    """`runs(model)`: the run directory of a model, trained once."""
    folder, found = tmp_path_factory.mktemp("runs"), {}

    def run(model: str, **more: object):
        key = f"{model}-{len(more)}"
        if key not in found:
            settings = {k: v for k, v in {**MODELS.get(model, {}), **more}.items() if v is not None}
            if "item_text" in settings:
                settings |= {"text_encoder": bert, "text_cache_dir": folder / "cache"}
            found[key] = train(model, shop[1], folder / key, **settings)
        return found[key]

    return run


def lists(run_dir, data, users=KEPT, **options):
    """User -> [(item, score)] of `recommend`."""
    run = load_finished(str(run_dir), {"data_path": str(data)}, whole_histories=True)
    found: dict[str, list] = {}
    for row in recommendations_of(run, {"users": list(users)}, 5, **options):
        found.setdefault(row.user, []).append((row.item, row.score))
    return found, run


@pytest.mark.parametrize("model", MODELS)
def test_unchanged_histories_keep_their_lists_to_the_bit(runs, shop, tmp_path, model):
    run_dir = runs(model)
    before, run = lists(run_dir, shop[1])
    assert run.difference is None and all(len(own) == 5 for own in before.values())
    draw = random.Random(model)
    for number in range(3):
        changed = shop[0].changed(draw)
        data = changed.write(tmp_path / str(number))
        # Other users are asked about in the same call, in any order.
        there = {event[0] for event in changed.events if not event[1].startswith("new")}
        asked = [*KEPT, *draw.sample(sorted(there - {*KEPT}), 5)]
        draw.shuffle(asked)
        after, run = lists(run_dir, data, users=asked)
        assert {user: after[user] for user in KEPT} == before
        assert run.difference is not None


def test_the_difference_is_counted_and_named(runs, shop, tmp_path, capsys):
    changed = Shop(list(shop[0].events), list(shop[0].items))
    changed.events = [event for event in changed.events if event[0] != "u39"]
    changed.events[:0] = [("new", "i3", 1, "web"), ("new", "unknown", 2, "web")]
    data = changed.write(tmp_path / "data")
    run_dir, output = runs("SASRec-CE"), tmp_path / "x.json"
    assert (
        cli.main(["evaluate", f"--run_dir={run_dir}", f"--data_path={data}", f"--output={output}"])
        == 0
    )
    first = capsys.readouterr().out.splitlines()[0]
    for part in (
        "'shop' differs",
        "353 (360",
        "new users 1 (new)",
        "missing users 1 (u39)",
        "unknown",
    ):
        assert part in first
    report = json.loads(output.read_text())["data"]
    assert report == {
        "name": "shop",
        "same": False,
        "events": 353,
        "events_of_the_run": 360,
        "new_users": 1,
        "gone_users": 1,
        "new_items": 1,
        "gone_items": 0,
        "events_left_out": 1,
    }
    assert cli.main(["evaluate", f"--run_dir={run_dir}", f"--output={output}"]) == 0
    assert capsys.readouterr().out.startswith("test result")
    assert json.loads(output.read_text())["data"] == {"name": "shop", "same": True}
    assert (
        cli.main(["recommend", f"--run_dir={run_dir}", "--users=new", f"--data_path={data}"]) == 0
    )
    assert capsys.readouterr().out.splitlines()[0] == first


@pytest.mark.parametrize("model", ["SASRec-CE", "FPMC"])
def test_full_sort_topk_answers_by_name(runs, shop, tmp_path, model):
    from recbole.utils.case_study import full_sort_topk

    def best(data):
        config, model_, dataset, _, _, test = load_data_and_model(
            runs(model), {"data_path": str(data)}
        )
        ids = dataset.token2id(dataset.uid_field, KEPT)
        _, items = full_sort_topk(ids, model_, test, k=4, device=config["device"])
        return [dataset.id2token(dataset.iid_field, row).tolist() for row in items.cpu()]

    before = best(shop[1])
    changed = Shop([("new", "i9", 5, "web"), ("new", "i4", 6, "web"), ("new", "i5", 7, "app")])
    changed.events += shop[0].events
    changed.items = shop[0].items
    assert best(changed.write(tmp_path / "data")) == before


def test_evaluation_of_changed_data_ranks_by_name(runs, shop, tmp_path):
    def metrics(data, name):
        output = tmp_path / name
        command = ["evaluate", f"--run_dir={runs('SASRec-CE')}", f"--data_path={data}"]
        assert cli.main([*command, f"--output={output}"]) == 0
        return json.loads(output.read_text())["test"]

    moved = Shop(list(shop[0].events), list(shop[0].items))
    random.Random(1).shuffle(moved.events)
    assert metrics(moved.write(tmp_path / "moved"), "a") == metrics(shop[1], "b")


# --- What is kept -------------------------------------------------------------------------------


def test_the_vocabulary_says_what_the_run_was_trained_on(runs, shop):
    run_dir = runs("PRECISE-UT")
    items = pq.read_table(run_dir / "items.parquet").to_pydict()
    users = pq.read_table(run_dir / "users.parquet").to_pydict()
    histories = shop[0].histories()
    trained = [event[1] for own in histories.values() for event in own[:-2]]
    titles = {item: title for item, title, _ in shop[0].items}
    assert items["item_id"][0] == "[PAD]" and sorted(items["item_id"][1:]) == sorted(set(titles))
    for number, item in enumerate(items["item_id"][1:], start=1):
        assert items["train_count"][number] == trained.count(item)
        assert items["trained"][number] == (item in trained)
        assert items["text"][number] == titles[item]
        assert 1 <= items["bucket"][number] <= 10
    for number, user in enumerate(users["user_id"][1:], start=1):
        own = histories[user]
        assert users["history"][number] == [event[1] for event in own[-6:]]
        assert users["last_time"][number] == own[-1][2]


def test_a_run_of_an_earlier_version_answers_for_its_own_data_alone(runs, shop, tmp_path):
    old = tmp_path / "old"
    shutil.copytree(runs("SASRec-CE"), old)
    for name in ("items.parquet", "users.parquet", "training.safetensors", "manifest.json"):
        (old / name).unlink()
    assert lists(old, shop[1])[0] == lists(runs("SASRec-CE"), shop[1])[0]
    for number in range(3):
        data = shop[0].changed(random.Random(number)).write(tmp_path / str(number))
        with pytest.raises(CheckpointError, match="left by an earlier version"):
            lists(old, data)


@pytest.mark.parametrize(
    ("model", "columns"), [("SASRecF", "{selected_features: [brand]}"), ("BPR", "{}")]
)
def test_models_that_read_numbered_columns_need_their_own_files(
    shop, tmp_path, capsys, model, columns
):
    settings = {"load_col": "{inter: [user_id, item_id, timestamp], item: [item_id, brand]}"}
    if model == "SASRecF":
        settings["selected_features"] = "[brand]"
    run_dir = train(model, shop[1], tmp_path / "run", **settings)
    assert cli.main(["evaluate", f"--run_dir={run_dir}", f"--output={tmp_path / 'a'}"]) == 0
    found = json.loads((tmp_path / "a").read_text())["test"]
    assert found == json.loads((run_dir / "result.json").read_text())["test"]
    moved = Shop(shop[0].events, shop[0].items[::-1]).write(tmp_path / "moved")
    capsys.readouterr()
    assert cli.main(["evaluate", f"--run_dir={run_dir}", f"--data_path={moved}"]) == 2
    assert "shop.item is not as the run had it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("config.yaml", ["evaluate", "--run_dir={run}"]),
        ("items.parquet", ["recommend", "--run_dir={run}", "--users=u1"]),
        ("users.parquet", ["recommend", "--run_dir={run}", "--users=u1"]),
        ("training.safetensors", ["evaluate", "--run_dir={run}"]),
        ("model.safetensors", ["recommend", "--run_dir={run}", "--users=u1"]),
        ("state.json", ["evaluate", "--run_dir={run}"]),
        ("result.json", ["compare", "{run}", "{run}"]),
        ("ranks.npz", ["compare", "{run}", "{run}"]),
    ],
)
def test_a_changed_file_of_a_run_is_refused_by_name(runs, tmp_path, capsys, name, command):
    run_dir = tmp_path / "run"
    shutil.copytree(runs("Transition"), run_dir)
    content = bytearray((run_dir / name).read_bytes())
    place = len(content) // 2
    content[place] ^= 1
    (run_dir / name).write_bytes(bytes(content))
    assert cli.main([word.format(run=run_dir) for word in command]) == 2
    error = capsys.readouterr().err
    assert f"{name}'" in error and "Traceback" not in error
    (run_dir / name).unlink()
    assert cli.main([word.format(run=run_dir) for word in command]) == 2
    assert name in capsys.readouterr().err


# --- One input for evaluate and recommend ---------------------------------------------------------


@pytest.mark.parametrize("view", ["universal", "target", "context", None])
def test_what_is_read_of_a_user_is_what_evaluation_reads(shop, our_config, tmp_path, view):
    """The next row of a user whose last event is taken away is the user's test row."""
    from recbole_precise import create_dataset

    scenes = {"scene_field": "scene", "target_scene": "app", "scene_view": view} if view else {}
    settings = {"load_col": {"inter": ["user_id", "item_id", "timestamp", "scene"]}, **scenes}
    settings |= {"MAX_ITEM_LIST_LENGTH": 6, "train_batch_size": 8}

    def dataset_of(data):
        return create_dataset(our_config("SASRec-CE", "shop", data_path=str(data), **settings))

    test = dataset_of(shop[1]).build()[2]
    rows = test[np.arange(len(test))]
    names = test.field2id_token["item_id"]
    compared = 0
    for number in range(0, len(test), 3):
        user = test.field2id_token["user_id"][int(rows["user_id"][number])]
        own = shop[0].histories()[user]
        last = max(place for place, event in enumerate(own) if view is None or event[3] == "app")
        shorter = Shop(
            [event for event in shop[0].events if event not in own[last:]], shop[0].items
        )
        asked = dataset_of(shorter.write(tmp_path / str(number)))
        asked.prepare_histories()
        place = asked.field2token_id["user_id"].get(user)
        part = asked.next_rows(np.array([place]))
        row = part[np.array([0])]
        length = int(rows["item_length"][number])
        assert int(row["item_length"][0]) == length
        mine = asked.field2id_token["item_id"][row["item_id_list"][0][:length].numpy()]
        assert mine.tolist() == names[rows["item_id_list"][number][:length].numpy()].tolist()
        assert not row["item_id_list"][0][length:].any()
        compared += 1
    assert compared > 5


def test_recommend_reads_the_target_scene_as_evaluate_does(shop, tmp_path):
    scenes = {
        "load_col": "{inter: [user_id, item_id, timestamp, scene]}",
        "scene_field": "scene",
        "target_scene": "app",
    }
    run_dir = train("SASRec-CE", shop[1], tmp_path / "run", **scenes)
    found, run = lists(run_dir, shop[1], seen="include")
    model, dataset = run.model, run.dataset
    for user, own in shop[0].histories().items():
        if user not in found:
            continue
        app = [event[1] for event in own if event[3] == "app"][-6:]
        ids = [dataset.field2token_id["item_id"][item] for item in app]
        padded = torch.zeros(1, 6, dtype=torch.int64)
        padded[0, : len(ids)] = torch.tensor(ids)
        batch = {"item_id_list": padded, "item_length": torch.tensor([len(ids)])}
        with torch.no_grad():
            scores = model.full_sort_predict(batch)[0]
        scores[0] = -torch.inf
        best = torch.sort(scores, descending=True, stable=True).indices[:5]
        assert [item for item, _ in found[user]] == run.tokens[best.numpy()].tolist()


def test_names_with_blanks_can_be_asked_for(tmp_path, capsys):
    made = Shop.make(users=12)
    made.events = [(f"user {user}", f"the {item}", *more) for user, item, *more in made.events]
    made.items = [(f"the {item}", *more) for item, *more in made.items]
    run_dir = train("Pop", made.write(tmp_path / "data"), tmp_path / "run")
    for users in ("'user u1' 'user u2'", '["user u1", "user u2"]'):
        assert cli.main(["recommend", f"--run_dir={run_dir}", f"--users={users}", "--topk=1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert [line.split("  ")[0] for line in lines[2:]] == ["user u1", "user u2"]
    assert cli.main(["recommend", f"--run_dir={run_dir}", "--history='the i3'"]) == 0
    capsys.readouterr()
    assert cli.main(["recommend", f"--run_dir={run_dir}", "--users='user u1"]) == 2
    assert "quote" in capsys.readouterr().err
