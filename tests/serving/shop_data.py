"""A small shop whose files can be changed at random, and runs on it."""

from __future__ import annotations

import random
import sys
from dataclasses import dataclass, field
from pathlib import Path

from recbole_precise import cli

WORDS = [
    "sugar",
    "tea",
    "salt",
    "coffee",
    "bread",
    "milk",
    "rice",
    "soap",
    "oil",
    "corn",
    "bean",
    "jam",
]
SETTINGS = {
    "gpu_id": "",
    "show_progress": "False",
    "tensorboard": "False",
    "state": "ERROR",
    "epochs": 1,
    "MAX_ITEM_LIST_LENGTH": 6,
    "train_batch_size": 64,
    "load_col": "{inter: [user_id, item_id, timestamp]}",
}


@dataclass
class Shop:
    """Events and items by name, in the order in which they are written.

    Attributes:
        events: (user, item, time, scene). items: (item, title, brand).
    """

    events: list[tuple[str, str, int, str]] = field(default_factory=list)
    items: list[tuple[str, str, str]] = field(default_factory=list)

    @classmethod
    def make(cls, users: int = 40, items: int = 25, events: int = 9, seed: int = 3) -> Shop:
        draw = random.Random(seed)
        shop = cls()
        for user in range(users):
            at = draw.randrange(items)
            for step in range(events):
                at = (at + draw.choice([1, 1, 2, 5])) % items
                time = 1_600_000_000 + 1000 * step + user
                shop.events.append((f"u{user}", f"i{at}", time, draw.choice(["web", "app"])))
        for item in range(items):
            title = f"{WORDS[item % 12]} {WORDS[(item * 5 + 1) % 12]}"
            shop.items.append((f"i{item}", title, f"b{item % 4}"))
        return shop

    def histories(self) -> dict[str, list[tuple]]:
        """User -> events in the order of time, ties as they are written."""
        found: dict[str, list[tuple]] = {}
        for event in self.events:
            found.setdefault(event[0], []).append(event)
        return {user: sorted(own, key=lambda event: event[2]) for user, own in found.items()}

    def write(self, folder: Path, name: str = "shop") -> Path:
        """Write the atomic files; returns data_path."""
        path = folder / name
        path.mkdir(parents=True, exist_ok=True)
        head = "user_id:token\titem_id:token\ttimestamp:float\tscene:token"
        lines = ["\t".join(map(str, event)) for event in self.events]
        (path / f"{name}.inter").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        head = "item_id:token\ttitle:token_seq\tbrand:token"
        lines = ["\t".join(item) for item in self.items]
        (path / f"{name}.item").write_text("\n".join([head, *lines]) + "\n", encoding="utf-8")
        return folder

    def changed(self, draw: random.Random) -> Shop:
        """Another shop: rows moved, users and items added and gone, events of others changed."""
        kept = {f"u{number}" for number in range(0, 12)}
        bought = {event[1] for event in self.events if event[0] in kept}
        events = list(self.events)
        gone = set(draw.sample([f"u{number}" for number in range(12, 40)], draw.randrange(10)))
        events = [event for event in events if event[0] not in gone]
        for number in range(draw.randrange(6)):
            for step in range(draw.randrange(1, 5)):
                item = draw.choice(["i1", "i2", "i7", "new1", "new2"])
                events.append((f"later{number}", item, 1_500_000_000 + step, "web"))
        for _ in range(draw.randrange(20)):
            user = f"u{draw.randrange(12, 40)}"
            events.append((user, f"i{draw.randrange(25)}", 1_700_000_000 + len(events), "app"))
        others = sorted({event[1] for event in self.events} - bought)
        dropped = set(draw.sample(others, min(len(others), draw.randrange(3))))
        events = [event for event in events if event[1] not in dropped]
        items = [item for item in self.items if item[0] not in dropped]
        items += [("new1", "tea and jam", "b9"), ("only-in-item", "rice", "b1")]
        draw.shuffle(events)
        draw.shuffle(items)
        return Shop(events, items)


def train(model: str, data: Path, run_dir: Path, **settings: object) -> Path:
    """Train a model through the command; returns its run directory."""
    everything = {**SETTINGS, **settings, "data_path": data, "run_dir": run_dir}
    arguments = [f"--{key}={value}" for key, value in everything.items()]
    before, sys.argv = sys.argv, ["test"]
    try:
        assert cli.main(["run", f"--model={model}", "--dataset=shop", *arguments]) == 0
    finally:
        sys.argv = before
    return run_dir
