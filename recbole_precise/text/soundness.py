"""Whether an encoder reads the texts at hand.

It knows their words, and different texts have different states.

A model folder can load without a complaint and read nothing: without its tokenizer every word is
the unknown one, and with weights that are all alike every text has one vector. So an encoder is
judged by what it makes of the texts.

Two texts count as different when their letters and digits differ: case, accents, blanks,
punctuation and symbols such as emoji may be lost on a good encoder. Only texts that were read to
their end are compared, and only those of which the encoder knows a word.
"""

from __future__ import annotations

import logging
import unicodedata
from collections.abc import Iterable, Sequence

import numpy as np

from recbole_precise.errors import TextError
from recbole_precise.text.states import TokenStates

#: Share of the different texts above which an encoder that confuses them is refused.
MOST_CONFUSED = 0.01

_CHUNK = 8192
_SHOWN = 3
_log = logging.getLogger(__name__)


def letters_and_digits(text: str) -> str:
    """Return what distinguishes a text: its letters and digits without case and accents."""
    if text.isascii():
        return "".join(filter(str.isalnum, text.lower()))
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKC", text).casefold())
    return "".join(filter(str.isalnum, plain))


def check_tokens(
    name: str, texts: Sequence[str], ids: np.ndarray, offsets: np.ndarray, comparable: np.ndarray
) -> np.ndarray:
    """Refuse an encoder whose tokenizer gives different texts the same tokens.

    Args:
        name: of the encoder, for messages.
        texts: N texts.
        ids: token ids of all texts, one text after the other.
        offsets: int64 [N + 1], where each text begins in `ids`.
        comparable: bool [N], texts that were read to their end and have a known word.

    Returns:
        int64 [M], one text for each different sequence of tokens among those to be compared.

    Raises:
        TextError: more than 1% of the different texts share their tokens with another one.
    """
    groups: dict[bytes, list[int]] = {}
    for i in np.flatnonzero(comparable).tolist():
        groups.setdefault(ids[offsets[i] : offsets[i + 1]].tobytes(), []).append(i)
    _judge(name, texts, groups.values(), "the same tokens")
    return np.asarray([group[0] for group in groups.values()], dtype=np.int64)


def check_states(
    name: str, texts: Sequence[str], states: TokenStates, compared: np.ndarray
) -> None:
    """Refuse an encoder that gives different texts the same vector.

    The vector is the mean of their tokens' states.

    Texts of the same tokens in another order are passed over: states below the first layer may know
    no order.

    Args:
        name: of the encoder, for messages.
        texts: N texts.
        states: of the same texts.
        compared: int64 [M], the texts to compare, of different tokens.

    Raises:
        TextError: more than 1% of the different texts share their vector with another one.
    """
    groups: dict[bytes, list[int]] = {}
    for first in range(0, len(compared), _CHUNK):
        chunk = compared[first : first + _CHUNK]
        for i, vector in zip(
            chunk.tolist(), states.select(chunk).pooled().astype(np.float16), strict=True
        ):
            groups.setdefault(vector.tobytes(), []).append(i)

    def bag(i: int) -> bytes:
        return np.sort(states.tokens(i)[0]).tobytes()

    # One text for each set of tokens that shares a vector with another set.
    shared = [
        list({bag(i): i for i in group}.values()) for group in groups.values() if len(group) > 1
    ]
    alone = [group for group in groups.values() if len(group) == 1]
    _judge(name, texts, [*shared, *alone], "the same vector")


def _judge(name: str, texts: Sequence[str], groups: Iterable[Sequence[int]], what: str) -> None:
    """Refuse an encoder for which too many different texts are in one group, or warn of a few."""
    different = 0
    confused: list[list[int]] = []
    for group in groups:
        kinds = (
            {letters_and_digits(texts[i]): i for i in group} if len(group) > 1 else {"?": group[0]}
        )
        kinds.pop("", None)
        different += len(kinds)
        if len(kinds) > 1:
            confused.append(list(kinds.values()))
    count = sum(map(len, confused))
    if not count:
        return
    shown = "; ".join(
        " and ".join(repr(texts[i][:60]) for i in group[:2]) for group in confused[:_SHOWN]
    )
    found = (
        f"{count:,} of {different:,} different texts have {what} as another one (such as {shown})"
    )
    if count > MOST_CONFUSED * different:
        raise TextError(
            f"{name} does not tell texts apart: {found}. At most {MOST_CONFUSED:.0%} may; "
            "texts count as different when their letters or digits differ, case and accents "
            "aside, and when they are read to their end. "
            "Choose an encoder of the language of the texts, with its own tokenizer and weights."
        )
    _log.warning("%s: %s.", name, found)
