"""Replays of small data sets: nothing of the future, the same bits after a kill, and mistakes in
one sentence.
"""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from recbole_precise import cli

SETTINGS = {
    "variant": "id", "embedding_size": 8, "token_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 32, "targeted_batch_size": 64,
    "gpu_id": "", "threads": 1, "learning_rate": 0.01,
}  # fmt: skip
WEEK = 7 * 86_400


def events(future: int, weeks: int = 5) -> list[tuple]:
    """Six events a user and week, with three new items a week up to week 3.

    From week 3 on the items come from the seed `future`.
    """
    drawn = np.random.default_rng(7)
    rows = []
    for week in range(weeks):
        drawn = drawn if week < 3 else np.random.default_rng([future, week])
        for user in range(20):
            for step in range(6):
                rows.append(
                    (
                        f"u{user}",
                        f"i{drawn.integers(0, 12 + 3 * min(week, 2))}",
                        week * WEEK + step * 3600 + 60 * user,
                    )
                )
    return rows


@pytest.fixture
def replay(write_dataset, tmp_path, capsys):
    """`replay(rows, output, **options)`: the command on these events, and its results.json."""

    def run(rows, output, **options):
        data_path = write_dataset(f"d{output}", rows)
        arguments = {
            **SETTINGS,
            "dataset": f"d{output}",
            "data_path": data_path,
            "output": tmp_path / output,
            "plots": "False",
            **options,
        }
        status = cli.main(["replay", *(f"--{key}={value}" for key, value in arguments.items())])
        said = capsys.readouterr()
        assert status == 0, said.err
        return json.loads((tmp_path / output / "results.json").read_text())

    return run


def test_the_future_changes_nothing_before_it(replay):
    """Another future (from week 3 on) leaves every figure of the weeks before as it was."""
    one, other = replay(events(1), "one"), replay(events(2), "other")
    assert one["periods"][:3] == other["periods"][:3]
    assert one["periods"][3]["metrics"] != other["periods"][3]["metrics"]
    assert one["periods"][1]["cases"] == 120 and one["periods"][0]["cases"] == 0


def test_shares_by_hand(replay):
    """With a reload every second week an arm knows the items up to its last reload.

    Without, those of the first week.
    """
    rows = events(1)
    found = replay(rows, "two", reload_every=2)
    weeks = [[item for _, item, time in rows if time // WEEK == week] for week in range(5)]
    for week in range(1, 5):
        last = (week - 1) // 2 * 2  # trained at the end of the weeks 0, 2, ...
        for arm, upto in (("with", last), ("without", 0)):
            known = {item for earlier in weeks[: upto + 1] for item in earlier}
            share = found["periods"][week]["share"][arm]
            assert share["events"] == pytest.approx(
                np.mean([item in known for item in weeks[week]])
            )
            assert share["items"] == pytest.approx(
                len(set(weeks[week]) & known) / len(set(weeks[week]))
            )


def test_a_killed_replay_goes_on_to_the_same_bits(replay, tmp_path, monkeypatch):
    rows = events(1)
    whole = replay(rows, "whole", seeds="3")
    from recbole_precise.studies.replay.engine import Replay

    train, calls = Replay._train, []

    def dies(self, now):
        calls.append(now)
        if now == 2:
            raise KeyboardInterrupt
        train(self, now)

    with monkeypatch.context() as patched:
        patched.setattr(Replay, "_train", dies)
        with pytest.raises((AssertionError, FileNotFoundError)):
            replay(rows, "killed", seeds="3")
    assert calls == [0, 1, 2]
    again = replay(rows, "killed", seeds="3")
    assert {**again, "dataset": ""} == {**whole, "dataset": ""}
    for arm in ("with", "without"):
        files = [
            tmp_path / name / "seed-3" / f"{arm}-reload" / "model.safetensors"
            for name in ("whole", "killed")
        ]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_final_models_can_be_loaded_and_unseen_vectors_are_untouched(
    replay, tmp_path, write_dataset
):
    rows = events(1)
    replay(rows, "final")
    from command_lines import command_line

    from recbole_precise.finished import load_data_and_model

    with command_line([]):
        _, model, *_ = load_data_and_model(
            next((tmp_path / "final").glob("seed-*")) / "with-reload", {"show_progress": False}
        )
    assert all(torch.isfinite(parameter).all() for parameter in model.parameters())


def test_vectors_of_items_without_events_stay_as_they_began(our_config, write_dataset, tmp_path):
    """After the first week's training, rows of items that come later hold their first values in all
    three models.
    """
    from recbole_precise.studies.replay.engine import Options, Replay

    data_path = write_dataset("fresh", events(1))
    settings = {
        **SETTINGS,
        "data_path": str(data_path),
        "epochs": 2,
        "targeted_epochs": 1,
        "tensorboard": False,
        "recipe": "default",
    }
    settings |= {"targeted_rows": "prefixes"}
    made = Replay(our_config("PRECISE-TT", "fresh", **settings), Options(), tmp_path / "fresh")
    first = made.universal.item_encoder.parts[0].table.weight.clone()
    made._train(0)
    known = np.zeros(made.dataset.item_num, dtype=bool)
    known[made.scene.items[made.scene.period == 0]] = True
    assert 0 < known.sum() < made.dataset.item_num - 1
    for model in (made.universal, *made.arms.values()):
        table = model.item_encoder.parts[0].table.weight
        assert torch.equal(table[~known], first[~known])
        assert bool((table[known] != first[known]).any(1).all())


@pytest.mark.parametrize(
    "option, says",
    [
        (
            "--reload_evry=2",
            "Unknown option '--reload_evry' of replay. Did you mean 'reload_every'?",
        ),
        ("--period=wek", "Did you mean 'week'?"),
        ("--blend=1.5", "--blend must be a number above 0 and at most 1"),
        ("--cases=some", "--cases must be one of all, first"),
        ("--memory=0", "--memory must be a whole number above 0 or 'all'"),
        ("--seeds=1,1", "--seeds must be different whole numbers"),
        ("--model=SASRec", "replay takes no --model"),
        ("--neighbour_transitions=0.5", "set it to 0"),
        ("--transition_memory=0.5", "leave it out"),
        ("--warm_start=there", "no use for warm_start"),
    ],
)
def test_mistakes_are_one_sentence(option, says, capsys, tmp_path):
    assert (
        cli.main(
            ["replay", "--dataset=ml-100k", f"--output={tmp_path / 'out'}", "--plots=False", option]
        )
        == 2
    )
    said = capsys.readouterr().err
    assert says in said and said.count("\n") == 1
