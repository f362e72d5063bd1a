"""The audit finds what was planted, and nothing where nothing was."""

import numpy as np
import planted
import pytest

from recbole_precise.errors import ConfigError
from recbole_precise.studies.audit import examine, judge
from recbole_precise.studies.audit.order import orders_of
from recbole_precise.studies.audit.text import word_vectors


def audited(case: planted.Planted, shuffles: int = 239, **settings):
    tokens = ["[PAD]", *map(str, range(1, case.n_items))]
    audit = examine(
        case.data,
        orders=orders_of(tokens, None),
        text_vectors=word_vectors(case.texts),
        shuffles=shuffles,
        **settings,
    )
    verdict = judge(audit)
    return audit, verdict, {finding.name: finding for finding in verdict.findings}


def test_a_set_without_order_is_told_to_have_none():
    audit, verdict, found = audited(planted.no_order(1))
    assert verdict.claim == "no order" and "nothing to learn here" in verdict.summary
    assert not any(
        finding.found for name, finding in found.items() if name != "memory"
    )  # older items do tell more of what a user likes
    assert (
        audit.measures["order"].chance.low
        <= audit.measures["order"].estimate.value
        <= audit.measures["order"].chance.high
    )
    # Users keep to topics, which counting in any order finds: chance is not the floor of
    # popularity.
    assert (
        audit.measures["order"].chance.mean
        > 2 * audit.curves["floors"]["Pop"]["all items are candidates"]["ndcg@10"]["value"]
    )


@pytest.mark.slow
def test_hardly_ever_does_a_set_without_order_show_one():
    """Over all questions together at most one of 20 sets errs.

    Five or more among 30 would then come up once in 60 times.
    """
    wrong = 0
    for seed in range(30):
        _, _, found = audited(planted.no_order(100 + seed, users=100))
        wrong += any(
            finding.found
            for name, finding in found.items()
            if name not in ("memory", "floor", "repeats")
        )
    assert wrong <= 4


def test_planted_tie_order_is_found_and_is_no_order_of_people():
    audit, verdict, found = audited(planted.tie_order(2, users=500))
    assert verdict.claim == "leak"
    sentence = found["tie order, item id"].sentence
    assert (
        found["tie order, item id"].found
        and "sequence models can read it" in sentence
        and "Set tie_break: random" in sentence
    )
    index = audit.measures["tie order, item id"]
    assert (
        index.estimate.value > 0.9 and index.chance.high < 0.55
    )  # pairs of one item do not ascend
    assert found["order"].found is False and "only inside tied times" in found["order"].sentence
    assert (
        audit.measures["order inside ties"].adjusted_p
        < 0.05
        < audit.measures["order beyond ties"].adjusted_p
    )


def test_tie_order_is_found_in_either_direction():
    case = planted.tie_order(3)
    case.histories = [[case.n_items - item for item in history] for history in case.histories]
    _, verdict, found = audited(case)
    assert (
        verdict.claim == "leak"
        and "runs against the catalogue order" in found["tie order, item id"].sentence
    )


def test_planted_markov_structure_is_found():
    audit, verdict, found = audited(planted.markov(11))
    assert verdict.claim == "order" and found["order"].found and found["direction"].found
    assert not any(
        found[name].found for name in found if name.startswith(("tie order", "neighbours' order"))
    )
    assert (
        found["text"].found is False and found["memory"].found is False
    )  # the chain has no longer memory
    floors = {
        name: modes["all items are candidates"]["ndcg@10"]["value"]
        for name, modes in audit.curves["floors"].items()
    }
    assert floors["Transition"] > 3 * max(floors["Pop"], floors["Transition backwards"])


def test_planted_text_smoothness_is_found_with_and_without_order():
    _, verdict, found = audited(planted.smooth_text(5))
    assert verdict.claim == "order" and found["text"].found and found["text order"].found
    assert found["direction"].found is False
    case = planted.no_order(6)
    case.texts = ["", *(f"topic{item % planted.TOPICS} w{item}" for item in range(1, case.n_items))]
    _, verdict, found = audited(case)
    assert (
        verdict.claim == "no order" and found["text"].found and found["text order"].found is False
    )


def test_times_that_are_places_hide_ties_but_not_the_order_of_the_file():
    case = planted.tie_order(7, users=600)
    case.times = [list(range(len(history))) for history in case.histories]
    audit, verdict, found = audited(case)
    assert audit.times["are places"] and verdict.claim == "leak"
    assert (
        found["neighbours' order, item id"].found
        and "the times only number the events" in verdict.summary
    )
    assert not any(name.startswith("tie order") for name in found)


def test_drift_towards_later_items_is_no_leak():
    """Later events have later items: neighbours ascend less than distant events, and the verdict
    does not cry leak.
    """
    rng = np.random.default_rng(8)
    case = planted.markov(8, users=400)
    case.histories = [
        np.clip(5 * np.arange(12) + rng.integers(0, 45, 12) + 1, 1, 100).tolist()
        for _ in range(400)
    ]
    audit, verdict, found = audited(case)
    assert audit.measures["catalogue order, item id"].estimate.value > 0.55
    assert found["neighbours' order, item id"].found is False and verdict.claim != "leak"


def test_a_new_assortment_is_seen_in_the_targets():
    case = planted.no_order(9)
    case.n_items += 40
    case.texts += ["w1"] * 40
    case.histories = [
        [*history[:-1], 101 + number % 40] if number % 3 == 0 else history
        for number, history in enumerate(case.histories)
    ]
    audit, _, found = audited(case)
    assert found["unseen"].found and audit.measures["unseen"].estimate.value == pytest.approx(1 / 3)
    assert "the catalogue changes with time" in found["unseen"].sentence


def test_the_same_seed_gives_the_same_audit_and_a_part_of_the_users_suffices():
    case = planted.markov(10)
    first, again = audited(case, seed=3)[0], audited(case, seed=3)[0]
    assert first.to_dict() == again.to_dict()
    part, verdict, _ = audited(case, most_events=1500)
    assert part.settings["users compared with copies"] == 125 and part.sizes["users"] == 300
    assert part.measures["order"].estimate.n == 125 and verdict.claim == "order"
    assert part.curves["floors"] == first.curves["floors"]  # what floors reach is of all users


def test_too_few_copies_are_refused():
    with pytest.raises(ConfigError, match="at least 239, not 100"):
        audited(planted.no_order(1), shuffles=100)
