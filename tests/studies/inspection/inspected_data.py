"""A small data set whose items differ in frequency: what its files hold, and the files."""

from __future__ import annotations

import random
from pathlib import Path

WORDS = [
    "red tea",
    "green tea",
    "black coffee",
    "brown sugar",
    "oat biscuits",
    "soap",
    "shampoo",
    "dish brush",
]
LENGTH = 7


def events(items: int = 40, seed: int = 3) -> dict[str, list[str]]:
    """The items of every user in time order.

    Low numbers come more often, and the last three items come last alone.
    """
    chance = random.Random(seed)
    users = {}
    for user in range(70):
        kinds = [
            min(int(items * chance.random() ** 2), items - 4) for _ in range(chance.randint(4, 12))
        ]
        if user % 9 == 0:
            kinds[-1] = items - 1 - user % 3
        users[f"u{user}"] = [f"i{kind}" for kind in kinds]
    return users


def write_data(folder: Path, items: int = 40) -> None:
    """Atomic files `ring.inter` and `ring.item`; one item has no title."""
    folder.mkdir(parents=True)
    rows = [
        f"{user}\t{item}\t{time}"
        for user, sequence in events(items).items()
        for time, item in enumerate(sequence)
    ]
    (folder / "ring.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    titles = [
        f"i{n}\t{WORDS[n % 8]} {WORDS[n // 5 % 8] if n != 7 else ''}" if n != 5 else "i5\t"
        for n in range(items)
    ]
    (folder / "ring.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
