"""A planted signal from the future: another scene tells the target right after its moment."""

from __future__ import annotations

import numpy as np
import pytest

from recbole_precise.data.splits import DAY
from recbole_precise.evaluation.floors import Transition

USERS, ITEMS, BEGIN = 200, 20, 880_000_000 // DAY * DAY
HEADER = ("user_id:token", "item_id:token", "scene:token", "timestamp:float")


def planted(gap):
    """Each user: random events in both scenes; then, on each of two days, a mark of its own in
    scene b, a random target in scene a, and `gap` seconds later, in scene b, the mark and the
    target again."""
    rng, events = np.random.default_rng(1), []
    for user in range(USERS):
        for place in range(8):
            events.append(
                (f"u{user}", f"i{rng.integers(ITEMS)}", "ab"[place % 2], BEGIN + 60 * place + user)
            )
        for day in (1, 2):
            time, mark, target = (
                BEGIN + day * DAY + 60 * user,
                f"m{user}-{day}",
                f"i{rng.integers(ITEMS)}",
            )
            events += [(f"u{user}", mark, "b", time), (f"u{user}", target, "a", time)]
            events += [(f"u{user}", mark, "b", time + gap), (f"u{user}", target, "b", time + gap)]
    return events


def hits(part, items, offsets):
    """Share of the part's rows whose target comes first by transition counts of the sequences
    `items`, `offsets`.
    """
    rows = part[list(range(len(part)))]
    floor = Transition(np.asarray(items), np.asarray(offsets), part.item_num)
    scores = np.array(floor.scores(rows["item_id_list"].numpy(), rows["item_length"].numpy()))
    scores[:, 0] = -np.inf
    return float((scores.argmax(1) == rows["item_id"].numpy()).mean())


def uncut(part, dataset):
    """Training sequences with the mistake: the evaluated targets are left out, but nothing is cut
    at their moment.
    """
    store = dataset.store
    keep = np.ones(len(store), dtype=bool)
    for each in part:
        keep[each.inter_feat.interaction.end.numpy()] = False
    kept = np.flatnonzero(keep)
    counts = np.bincount(store.owner.numpy()[kept], minlength=len(store.user_ids))
    return store.fields["item_id"].numpy()[kept], np.concatenate([[0], counts.cumsum()])


@pytest.mark.parametrize("gap", [0, 1, 30], ids="{} seconds later".format)
@pytest.mark.parametrize(
    "split",
    [
        {"LS": "valid_and_test"},
        {"DAYS": [1, 1]},
        {"TS": [0.62, 0.18, 0.2]},
        {"RS": [0.6, 0.2, 0.2]},
    ],
    ids=str,
)
def test_a_leaking_variant_scores_high_and_ours_at_chance(our_config, write_dataset, split, gap):
    from recbole_precise.plugin.preparation import create_dataset

    path = write_dataset("planted", planted(gap), inter_header=HEADER)
    settings = {
        "scene_field": "scene",
        "target_scene": "a",
        "scene_view": "universal",
        "eval_args": {"split": split, "order": "TO", "group_by": "user", "mode": "full"},
    }
    dataset = create_dataset(
        our_config(
            "Transition", "planted", data_path=str(path), MAX_ITEM_LIST_LENGTH=10, **settings
        )
    )
    train, *evaluated = dataset.build()
    leaked = uncut(evaluated, dataset)
    for part in evaluated:
        assert len(part) >= USERS // 2
        assert hits(part, *leaked) > 0.95
        for view in ("universal", "target", "context"):
            seen = part.view(view)
            items, offsets, _ = train.view(view, "prefixes").train_sequences()
            # 1 in 20 by chance; 5 standard deviations above it for the fewest rows.
            assert hits(seen, items, offsets) < 1 / ITEMS + 5 * (0.05 * 0.95 / len(part)) ** 0.5
