"""One process of this worker runs the commands of these tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from command_server import CommandServer


@pytest.fixture(scope="session")
def server() -> Iterator[CommandServer]:
    """Run commands in children of one process that has imported everything."""
    started = CommandServer()
    yield started
    started.close()
