"""A first round of the bad inputs of `convert`, in this process: a result or one sentence, and
nothing lost.
"""

import time

import pytest
from convert_inputs import KINDS, inputs

from recbole_precise.cli import main


def content(folder):
    return {path: path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


def test_the_same_seed_draws_the_same_inputs(monkeypatch):
    count = len(KINDS)
    assert count >= 25
    first, other = list(inputs(5, count)), list(inputs(6, count))
    later = time.time() + 1000  # gzip writes the time into its header unless it is given one
    monkeypatch.setattr(time, "time", lambda: later)
    again = list(inputs(5, count))
    assert [attack.arguments for attack in first] == [attack.arguments for attack in again]
    assert [attack.files for attack in first] == [attack.files for attack in again]
    assert [attack.files for attack in first] != [attack.files for attack in other]
    assert len({attack.name for attack in first}) == count


@pytest.mark.parametrize("attack", list(inputs(1, 2 * len(KINDS))), ids=lambda attack: attack.name)
def test_a_bad_input_is_a_result_or_one_sentence(attack, tmp_path, monkeypatch, capsys):
    folder = tmp_path / "files"
    folder.mkdir()
    attack.setup(folder)
    monkeypatch.chdir(folder)
    before = content(tmp_path)
    status = main(attack.command(folder))
    out, err = capsys.readouterr()
    after = content(tmp_path)
    assert status in (0, 2)
    if status == 2:
        assert err.strip() and err.count("\n") == 1 and len(err) < 2500 and not out
        assert after == before
    assert before.keys() <= after.keys()
    assert not [path for path in after if ".convert-" in path.name]
