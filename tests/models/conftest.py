"""A small shop with texts, for the tests of PAD and its rivals."""

import pytest
from pad_data import WORDS
from ring_data import write_ring


@pytest.fixture(scope="module")
def pantry(tmp_path_factory):
    """40 items with titles, of which users take neighbours on a ring, some items more often.

    And a cache for their texts.
    """
    return write_ring(
        tmp_path_factory.mktemp("data"), lambda i: f"{WORDS[i % 8]} {WORDS[i // 5 % 8]}"
    )
