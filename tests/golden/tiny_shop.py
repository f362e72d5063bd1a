"""A tiny data set with item texts, made from fixed formulas: the same bytes everywhere."""

from __future__ import annotations

from pathlib import Path

ITEMS = 60
NEVER_BOUGHT = 2
USERS = 80
WITHOUT_TITLE = 7
GOODS = ("salt", "sugar", "tea", "rice", "beans", "oil", "soap")
KINDS = ("red", "green", "small", "large", "fresh")
GAPS = (1, 60, 4_000, 90_000, 3_000_000)


def list_events() -> list[tuple[str, str, int, int]]:
    """Return (user, item, time, rating); most users go through the catalogue in its order."""
    events = []
    for user in range(USERS):
        item = (user * user * 7 + 3 * user) % ITEMS
        time = 1_500_000_000 + user * 7_919
        for place in range(5 + (user * 5) % 9):
            rating = 1 + (user + 2 * place + item) % 5
            events.append((f"u{user}", f"i{item}", time, rating))
            if (user * 31 + place * 17 + place * place * 5) % 10 < 8:
                item = (item + 1 + (user % 3 == 0)) % ITEMS
            else:
                item = (item * item + user + place) % ITEMS
            time += GAPS[(user + place * place) % len(GAPS)]
    return events


def title_of(item: int) -> str:
    """Return the title of an item by its number; one item has none."""
    if item == WITHOUT_TITLE:
        return ""
    goods = GOODS[item % len(GOODS)]
    kind = KINDS[item * item % len(KINDS)]
    return f"{goods} {kind} pack {item % 4}"


def write_shop(data_path: Path, name: str) -> Path:
    """Write the atomic files of the data set under a name; return their folder."""
    folder = data_path / name
    folder.mkdir(parents=True, exist_ok=True)
    events = ["user_id:token\titem_id:token\ttimestamp:float\trating:float"]
    events += ["\t".join(map(str, event)) for event in list_events()]
    items = ["item_id:token\ttitle:token_seq\tbrand:token"]
    items += [f"i{item}\t{title_of(item)}\tb{item % 5}" for item in range(ITEMS + NEVER_BOUGHT)]
    (folder / f"{name}.inter").write_text("\n".join(events) + "\n", encoding="utf-8")
    (folder / f"{name}.item").write_text("\n".join(items) + "\n", encoding="utf-8")
    return folder
