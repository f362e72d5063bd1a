"""A small shop with texts, for the tests of PAD and its rivals."""

import pytest
from pad_data import WORDS


@pytest.fixture(scope="module")
def pantry(tmp_path_factory):
    """40 items with titles, of which users take neighbours on a ring, some items more often; and a cache for their texts."""
    folder = tmp_path_factory.mktemp("data")
    (folder / "ring").mkdir()
    rows = [f"u{u}\ti{(u * u % 23 + t) % 40}\t{t}" for u in range(60) for t in range(4 + u % 6)]
    (folder / "ring" / "ring.inter").write_text("\n".join(["user_id:token\titem_id:token\ttimestamp:float", *rows]) + "\n")
    titles = [f"i{i}\t{WORDS[i % 8]} {WORDS[i // 5 % 8]}" for i in range(40)]
    (folder / "ring" / "ring.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *titles]) + "\n")
    return {"data_path": str(folder), "text_cache_dir": str(folder / "cache")}
