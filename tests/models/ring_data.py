"""A small data set on disk: users who take neighbours among 40 items on a ring."""

from collections.abc import Callable
from pathlib import Path


def write_ring(
    folder: Path,
    title: Callable[[int], str],
    step: Callable[[int, int], int] = lambda u, t: t,
    users: int = 60,
    lengths: int = 6,
) -> dict[str, str]:
    """Write the data set `ring`: user u begins at item u * u % 23 and is at `step(u, t)` places
    from there at time t, 4 to 3 + `lengths` events in all.

    Returns: settings, where it lies and where its texts may be cached.
    """
    (folder / "ring").mkdir()
    rows = [
        f"u{u}\ti{(u * u % 23 + step(u, t)) % 40}\t{t}"
        for u in range(users)
        for t in range(4 + u % lengths)
    ]
    (folder / "ring" / "ring.inter").write_text(
        "\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n"
    )
    (folder / "ring" / "ring.item").write_text(
        "\n".join(["item_id:token\ttitle:token_seq", *(f"i{i}\t{title(i)}" for i in range(40))])
        + "\n"
    )
    return {"data_path": str(folder), "text_cache_dir": str(folder / "cache")}
