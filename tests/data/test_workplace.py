"""Files that are replaced together: after a kill at any step the earlier set or the new one is
there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from recbole_precise.data import workplace

NAMES = ("shop.item", "shop.yaml", "shop.inter")


def _replace_and_die(folder: Path, step: int) -> None:
    """Publish new files in a child that is killed before its `step`-th move."""
    moves = 0
    replace = os.replace

    def counted(source: object, target: object) -> None:
        nonlocal moves
        moves += 1
        if moves == step:
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target)

    os.replace = counted
    with workplace.workplace(folder.parent, "convert") as place:
        ready = place / "ready"
        ready.mkdir()
        for name in NAMES:
            (ready / name).write_text("new")
        contents = {folder / name: ready / name for name in NAMES}
        workplace.publish(contents, [folder / "shop.user"], place / "replaced")


@pytest.mark.skipif(workplace.fcntl is None, reason="leftovers are found by their locks")
@pytest.mark.parametrize("before", [NAMES, NAMES[1:], ("shop.item", "shop.user")])
@pytest.mark.parametrize("step", range(1, 9))
def test_a_kill_between_two_files_leaves_one_whole_set(tmp_path, before, step):
    folder = tmp_path / "shop"
    folder.mkdir()
    for name in before:
        (folder / name).write_text("old")
    child = os.fork()
    if not child:
        try:
            _replace_and_die(folder, step)
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    workplace.remove_leftovers(tmp_path, "convert")
    found = {path.name: path.read_text() for path in folder.iterdir()}
    old = dict.fromkeys(before, "old")
    assert found in (old, dict.fromkeys(NAMES, "new"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["shop"]
