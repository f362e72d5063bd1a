"""The command: atomic files in, one page out.

With and without text, on real data, and on people's mistakes.
"""

import json
import os
import re
from pathlib import Path

import numpy as np
import planted
import pytest

from recbole_precise import cli
from recbole_precise.studies.audit.load import load
from recbole_precise.studies.figures import words_in

PANTRY = Path(
    os.environ.get(
        "RECBOLE_PRECISE_PANTRY",
        Path(__file__).resolve().parents[4] / "shared" / "data" / "prime_pantry",
    )
)


def audit(capsys, *arguments: str) -> tuple[int, str, str]:
    status = cli.main(["audit", *arguments])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def write(write_dataset, case: planted.Planted, texts: bool) -> Path:
    events = [
        (f"u{user}", f"i{item:03d}", time)
        for user, row in enumerate(zip(case.histories, case.times))
        for item, time in zip(*row)
    ]
    # Users are mixed, as in real files; events of one user, and so ties, keep their order.
    turn = np.argsort([int(user[1:]) * 7919 % 1009 for user, _, _ in events], kind="stable")
    items = (
        [(f"i{item:03d}", case.texts[item]) for item in range(1, case.n_items)] if texts else None
    )
    return write_dataset("shop", [events[place] for place in turn], items)


def test_one_page_from_atomic_files_alone(write_dataset, capsys, tmp_path):
    data = write(write_dataset, planted.tie_order(1), texts=False)
    status, out, err = audit(
        capsys,
        "--dataset=shop",
        f"--data_path={data}",
        f"--output={tmp_path / 'out'}",
        "--shuffles=239",
    )
    assert (status, err) == (0, "")
    assert (
        "As it stands this data set cannot prove a sequence model: order inside tied times "
        "follows the catalogue order (by item id) in 9" in " ".join(out.split())
    )
    assert (
        "Texts were not looked at" in out
        and max(
            map(len, out.split("Measures beside chance")[0].split("What floors")[0].splitlines())
        )
        <= 110
    )
    found = json.loads((tmp_path / "out" / "audit.json").read_text(), parse_constant=pytest.fail)
    assert (
        found["verdict"]["claim"] == "leak"
        and found["sizes"]["events"] == 3600
        and found["text"] == "none"
    )
    page = (tmp_path / "out" / "audit.md").read_text()
    shown = set(re.findall(r"!\[[^]]*\]\((plots/[a-z-]+\.png)\)", page))
    files = {
        path.relative_to(tmp_path / "out").as_posix()
        for path in (tmp_path / "out" / "plots").iterdir()
    }
    assert files == shown
    assert {Path(name).stem for name in shown} == {
        "floors",
        "memory",
        "catalogue-order",
        "ties",
        "history-lengths",
        "item-frequencies",
    }
    for name in files:
        words = words_in(tmp_path / "out" / name)
        assert "shop" in words.split("\n")
        assert re.search(r"[0-9] (users|training events|pairs|events|test targets)", words), name


def test_ties_redrawn_as_a_setting_of_the_run_mend_the_leak(write_dataset, capsys, tmp_path):
    data = write(write_dataset, planted.tie_order(1), texts=True)
    arguments = [
        "--dataset=shop",
        f"--data_path={data}",
        f"--output={tmp_path / 'out'}",
        "--shuffles",
        "239",
        "--plots=False",
    ]
    assert audit(capsys, *arguments)[0] == 0
    before = json.loads((tmp_path / "out" / "audit.json").read_text())
    status, _, _ = audit(capsys, *arguments, "--tie_break=random")
    after = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert status == 0 and not (tmp_path / "out" / "plots").exists()
    assert (before["verdict"]["claim"], after["verdict"]["claim"]) == ("leak", "no order")
    assert (
        before["text"] == "words of {title}" and before["measures"]["text"]["estimate"]["n"] > 1000
    )


def test_what_is_loaded_is_what_a_run_trains_and_tests_on(our_config):
    from recbole_precise.plugin.preparation import create_dataset, data_preparation

    loaded = load(
        {"dataset": "ml-100k", "config_file_list": None},
        ["--user_inter_num_interval=[30,200)"],
        text="none",
    )
    train, _, test = data_preparation(
        config := our_config("SASRec", "ml-100k", user_inter_num_interval="[30,200)"),
        create_dataset(config),
    )
    data = loaded.data
    assert data.counts().tolist() == train.dataset.train_item_counts().tolist()
    assert sorted(data.items[data.test]) == sorted(test.dataset.inter_feat["item_id"].tolist())
    case, event = data.test_history
    row, item = test.dataset.history(slice(None))
    users = test.dataset.inter_feat["user_id"].numpy()
    by_user = {
        int(users[number]): sorted(item[row == number].tolist())
        for number in range(0, len(users), 37)
    }
    ours = test.dataset.store.user_ids.numpy()[data.owner[data.test]]
    for number in range(len(ours)):
        if int(ours[number]) in by_user:
            assert sorted(data.items[event[case == number]].tolist()) == by_user[int(ours[number])]
    assert list(loaded.orders) == ["row of .item"] and loaded.text_vectors is None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dataset=ml-100k", "--model=SASRec"], "audit takes no --model"),
        (["--dataset=ml-100k", "--shuffles=20"], "shuffles must be at least 239, not 20"),
        (["--dataset=ml-100k", "--shuffles=many"], "--shuffles must be a whole number"),
        (["--dataset=ml-100k", "--plots=perhaps"], "--plots must be True or False"),
        (["--dataset=ml-100k", "--text=word"], "Did you mean 'words'?"),
        (["--dataset=ml-100k", "--shufles=300"], "Unknown key 'shufles'"),
        (["--dataset=ml-1000k"], "Did you mean 'ml-100k'?"),
        ([], "No data set was given"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(arguments, message, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, out, err = audit(capsys, *arguments)
    assert status == 2 and out == "" and err.count("\n") == 1 and message in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(
    not PANTRY.is_dir(),
    reason="set RECBOLE_PRECISE_PANTRY to the folder of PAD's Prime Pantry files",
)
def test_prime_pantry_as_released(capsys, tmp_path):
    from recbole_precise.convert import SOURCES

    SOURCES["pad"](PANTRY, tmp_path / "data" / "prime-pantry")
    status, out, _ = audit(
        capsys,
        "--dataset=prime-pantry",
        f"--data_path={tmp_path / 'data'}",
        f"--output={tmp_path / 'out'}",
        "--shuffles=239",
    )
    assert status == 0
    found = json.loads((tmp_path / "out" / "audit.json").read_text())
    assert (
        found["sizes"]["users"],
        found["sizes"]["items in the catalogue"],
        found["sizes"]["events"],
    ) == (12_871, 8_347, 115_004)
    assert found["frequencies"]["cuts of ten equal-mass buckets"] == [
        0,
        35,
        100,
        205,
        361,
        585,
        898,
        1357,
        2074,
        3348,
        8347,
    ]
    floors = {name: modes["history masked"] for name, modes in found["curves"]["floors"].items()}
    for name, hit, ndcg in (
        ("Pop", 0.451, 0.225),
        ("Transition", 4.304, 2.890),
        ("Transition backwards", 0.870, 0.472),
    ):
        assert (100 * floors[name]["hit@10"]["value"], 100 * floors[name]["ndcg@10"]["value"]) == (
            pytest.approx(hit, abs=6e-4),
            pytest.approx(ndcg, abs=6e-4),
        )
    value = {name: measure["estimate"]["value"] for name, measure in found["measures"].items()}
    assert value["catalogue order, row of .item"] == pytest.approx(0.709, abs=5e-4)
    assert (value["branching"], value["target follows"]) == (
        pytest.approx(30.7, abs=0.05),
        pytest.approx(0.096, abs=5e-4),
    )
    assert (value["repeats"], value["unseen"]) == (
        pytest.approx(0.0261, abs=5e-5),
        pytest.approx(0.063, abs=5e-4),
    )
    assert (
        found["verdict"]["claim"] == "leak"
        and "71% of pairs" in " ".join(out.split())
        and "sequence models can read" in " ".join(out.split())
    )
