"""Conclude from the measures, in plain sentences.

A finding rests on a p-value over shuffled copies, not on a threshold.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from recbole_precise.studies.audit.examine import CUT, Audit, Measure

#: Chance of finding anything at all in a data set where there is nothing.
LEVEL = 0.05


@dataclass(frozen=True)
class Finding:
    """One answer.

    `found`: yes or no, None where the data cannot show it; `sentence`: the answer with its reasons.
    """

    name: str
    found: bool | None
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """The verdict of an audit.

    `claim`: `order` (the data can support a claim about sequence models), `leak` or `no order` (it
    cannot); `summary`: why.
    """

    claim: str
    summary: str
    findings: tuple[Finding, ...]


def judge(audit: Audit) -> Verdict:
    """Return the verdict over all measures of an audit."""
    leaks = _leaks(audit)
    findings = (
        _order(audit),
        *leaks,
        _direction(audit),
        _memory(audit),
        *_texts(audit),
        *_targets(audit),
        _floor(audit),
    )
    leak = next((finding for finding in leaks if finding.found), None)
    if leak is not None:
        return Verdict(
            "leak",
            f"As it stands this data set cannot prove a sequence model: {_lower(leak.sentence)}",
            findings,
        )
    if findings[0].found:
        why = (
            "This data set can support a claim about sequence models, if the claim beats the "
            "floors below on the same test targets."
        )
        return Verdict("order", why, findings)
    tied = is_found(audit.measures.get("order inside ties"))
    others = (
        []
        if tied
        else [
            name
            for name in ("direction", "text order", "unseen")
            if is_found(audit.measures.get(name))
        ]
    )
    if others:
        why = (
            "The order of events in this data set is not random, but what followed the last item "
            "in training does not find the next one better than in shuffled "
            "histories: a claim about sequence models has to show what they read."
        )
        return Verdict("order", why, findings)
    where = " outside tied times" if tied else ""
    why = (
        f"This data set shows no order{where}: its histories might as well be shuffled, and a "
        "sequence model has nothing to learn here that we could find."
    )
    return Verdict("no order", why, findings)


def is_found(measure: Measure | None) -> bool:
    """Whether chance does not explain the measure, over all questions of the audit together."""
    return measure is not None and measure.adjusted_p is not None and measure.adjusted_p <= LEVEL


def percent(value: float, places: int = 1) -> str:
    """Write a share as a percentage."""
    return f"{100 * value:.{places}f}%"


def _order(audit: Audit) -> Finding:
    forward = audit.measures["order"]
    beyond = audit.measures.get("order beyond ties")
    inside = audit.measures.get("order inside ties")
    deciding = forward if beyond is None else beyond
    facts = (
        f"what followed the last item in training finds the next one with nDCG@{CUT} "
        f"{percent(deciding.estimate.value, 2)}, "
        f"in shuffled histories with {_range(deciding, 2)}{_p(deciding)}"
    )
    if beyond is not None:
        facts = (
            f"with tied times in random order, {facts}; as the file has them, "
            f"{percent(forward.estimate.value, 2)}"
        )
    if is_found(deciding):
        return Finding("order", True, f"Order matters: {facts}.")
    if is_found(forward) or is_found(inside):
        return Finding(
            "order",
            False,
            f"Order is found only inside tied times, where there is none to find: {facts}.",
        )
    return Finding("order", False, f"No order was found: {facts}.")


def _leaks(audit: Audit) -> list[Finding]:
    """Find whether the order of a file replaces the order of events."""
    measures = audit.measures
    findings = []
    tied = {name: measures[name] for name in measures if name.startswith("tie order, ")}
    if tied:
        effect = measures["order inside ties"]
        for name, measure in tied.items():
            what = name.removeprefix("tie order, ")
            share = percent(measure.estimate.value, 0 if is_found(measure) else 1)
            against = f"{share} of pairs, {_range(measure, 1)} by chance{_p(measure)}"
            if not is_found(measure):
                findings.append(
                    Finding(
                        name,
                        False,
                        f"Order inside tied times does not follow the catalogue (by {what}): "
                        f"ascending in {against}.",
                    )
                )
                continue
            way = (
                "follows the catalogue order"
                if measure.estimate.value >= measure.in_copies.mean
                else "runs against the catalogue order"
            )
            effects = (
                f"redrawing the ties changes the nDCG@{CUT} of transitions from "
                f"{percent(effect.estimate.value, 2)} to "
                f"{percent(effect.in_copies.mean, 2)}{_p(effect)}"
            )
            if is_found(effect):
                sentence = (
                    f"Order inside tied times {way} (by {what}) in {against}: sequence "
                    f"models can read it; {effects}. Set tie_break: random."
                )
                findings.append(Finding(name, True, sentence))
            else:
                sentence = (
                    f"Order inside tied times {way} (by {what}) in {against}, but "
                    f"counting cannot make use of it: {effects}. Set tie_break: random to "
                    "be safe."
                )
                findings.append(Finding(name, None, sentence))
        if is_found(effect) and not any(is_found(measure) for measure in tied.values()):
            sentence = (
                "Order inside tied times can be read, though it follows no order of the "
                f"catalogue that we know: redrawing the ties lowers the nDCG@{CUT} of "
                "transitions "
                f"from {percent(effect.estimate.value, 2)} to "
                f"{percent(effect.in_copies.mean, 2)}{_p(effect)}. If the file's order is not that "
                "of events, set tie_break: random."
            )
            findings.append(Finding("order inside ties", None, sentence))
        return findings
    for name in [name for name in measures if name.startswith("neighbours' order, ")]:
        what = name.removeprefix("neighbours' order, ")
        index = measures[f"catalogue order, {what}"]
        surplus = measures[name]
        facts = (
            f"consecutive events ascend (by {what}) in {percent(index.estimate.value, 0)} of "
            f"pairs, {_range(index, 1)} in shuffled histories"
        )
        if not is_found(surplus):
            findings.append(
                Finding(
                    name,
                    False,
                    f"No file order was found: {facts}; neighbours follow it no more than events "
                    f"2 to 5 apart{_p(surplus)}.",
                )
            )
            continue
        reason = (
            f"neighbours by {100 * surplus.estimate.value:.1f} points more than events 2 to "
            f"5 apart{_p(surplus)}, which no drift towards newer items does"
        )
        if audit.times["are places"]:
            sentence = (
                "The times only number the events, and these follow the catalogue order: "
                f"{facts}, {reason}: sequence models can read the order of the file. "
                "Go back to data with times (or is the catalogue numbered in the order of use, "
                "as episodes are?)."
            )
            findings.append(Finding(name, True, sentence))
        else:
            sentence = (
                f"Neighbours follow the catalogue order although no times are tied: {facts}, "
                f"{reason}. "
                "Either the times were made from a sorted file, or the catalogue is numbered in "
                "the order of use, as episodes are."
            )
            findings.append(Finding(name, None, sentence))
    return findings


def _direction(audit: Audit) -> Finding:
    gap = audit.measures["direction"]
    facts = (
        f"{_points(gap.estimate.value)} of nDCG@{CUT} between forward and backward "
        f"transitions, {_between(gap)} in shuffled histories{_p(gap)}"
    )
    return Finding(
        "direction",
        is_found(gap),
        f"Transitions have a direction: {facts}."
        if is_found(gap)
        else f"Transitions have no direction: {facts}.",
    )


def _memory(audit: Audit) -> Finding:
    """From the intervals of the ratios: does counting gain from more than the last item?"""
    one = audit.measures["last 1"].estimate
    two = audit.measures["last 2"].estimate
    longest = max(row["last items"] for row in audit.curves["memory"])
    if not one.n or math.isnan(one.value):
        return Finding(
            "memory",
            None,
            "How far back the next item depends on the history cannot be told: counting finds no "
            "target.",
        )
    facts = (
        f"the last item alone gives counting {percent(one.value, 0)} ({percent(one.low, 0)} to "
        f"{percent(one.high, 0)}) of what the last {longest} give, "
        f"the last two {percent(two.value, 0)} ({percent(two.low, 0)} to {percent(two.high, 0)})"
    )
    if one.high < 1:
        return Finding("memory", True, f"Older items help: {facts}.")
    if one.low > 1:
        return Finding("memory", False, f"Older items only add noise to counting: {facts}.")
    return Finding("memory", None, f"Whether older items help cannot be told: {facts}.")


def _texts(audit: Audit) -> list[Finding]:
    text = audit.measures.get("text")
    if text is None:
        return [
            Finding(
                "text",
                None,
                "Texts were not looked at: the data set has none, or they were not asked for.",
            )
        ]
    likeness = (
        f"mean cosine {text.estimate.value:.3f}, {text.in_copies.low:.3f} to "
        f"{text.in_copies.high:.3f} when texts are dealt anew{_p(text)}"
    )
    if not is_found(text):
        return [
            Finding(
                "text",
                False,
                f"Texts of consecutive items are no more alike than those of any two: {likeness}.",
            )
        ]
    found = [
        Finding("text", True, f"Texts of consecutive items are alike: {likeness}; text can help.")
    ]
    order = audit.measures["text order"]
    between = f"{order.in_copies.low:.3f} to {order.in_copies.high:.3f}"
    shuffled = f"{between} in shuffled histories{_p(order)}"
    words = (
        "Neighbours in a history are more alike than its other items"
        if is_found(order)
        else "Neighbours in a history are no more alike than its other items"
    )
    return [
        *found,
        Finding("text order", is_found(order), f"{words}: {order.estimate.value:.3f}, {shuffled}."),
    ]


def _targets(audit: Audit) -> list[Finding]:
    unseen = audit.measures["unseen"]
    repeats = audit.measures["repeats"]
    drift = f"{_range(unseen, 1)} in shuffled histories{_p(unseen)}"
    if not is_found(unseen):
        meaning = "no more and no fewer than chance leaves out"
    elif unseen.estimate.value > unseen.in_copies.mean:
        meaning = "more than chance leaves out, so the catalogue changes with time"
    else:
        meaning = "fewer than chance leaves out"
    first = Finding(
        "unseen",
        is_found(unseen),
        f"{percent(unseen.estimate.value)} of test targets have no training event, so that their "
        f"ID says nothing; {meaning}, {drift}.",
    )
    consequence = (
        f"; with the history masked these are misses, and no model can exceed hit@{CUT} "
        f"{percent(1 - repeats.estimate.value)}"
        if audit.settings["mask_history"]
        else ""
    )
    return [
        first,
        Finding(
            "repeats",
            None,
            f"{percent(repeats.estimate.value)} of test targets repeat an earlier item of their "
            f"user{consequence}.",
        ),
    ]


def _floor(audit: Audit) -> Finding:
    mode = "history masked" if audit.settings["mask_history"] else "all items are candidates"
    name, best = max(
        audit.curves["floors"].items(), key=lambda floor: floor[1][mode][f"ndcg@{CUT}"]["value"]
    )
    hit = best[mode][f"hit@{CUT}"]
    ndcg = best[mode][f"ndcg@{CUT}"]
    half = 100 * (ndcg["high"] - ndcg["low"]) / 2
    sentence = (
        f"The floor to beat is {name}: hit@{CUT} {percent(hit['value'], 2)}, nDCG@{CUT} "
        f"{percent(ndcg['value'], 2)} ({mode}). "
        f"{ndcg['n']:,} test targets fix such a figure to about ±{half:.2f} points; smaller "
        "differences need a paired test."
    )
    return Finding("floor", None, sentence)


def _range(measure: Measure, places: int) -> str:
    chance = measure.in_copies
    return f"{percent(chance.low, places)} to {percent(chance.high, places)}"


def _between(measure: Measure) -> str:
    return f"{_points(measure.in_copies.low)} to {_points(measure.in_copies.high)}"


def _points(value: float) -> str:
    return f"{100 * value:+.2f} points"


def _p(measure: Measure) -> str:
    return "" if measure.adjusted_p is None else f" (p = {measure.adjusted_p:.3f})"


def _lower(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]
