"""Config files and values of a command line: plain YAML, bounded, and one sentence with the line
for all else.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from recbole_precise.config import parse_value, read_settings, written_here
from recbole_precise.errors import ConfigError, shown

BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("a: " + "[" * 5000, ["line 1", "levels deep"]),
        ("a: " + "[" * 60 + "]" * 60, ["line 1", "levels deep"]),
        ('{"a": ' * 3000 + "1" + "}" * 3000, ["line 1", "levels deep"]),
        ("\n".join(" " * i + "a:" for i in range(100)), ["levels deep"]),
        (BOMB, ["aliases make this more than"]),
        ("a: &x [1, *x]", ["line 1", "alias refers to what contains it"]),
        ("a: &x\n  b: *x", ["alias refers to what contains it"]),
        ("a: *nothing", ["line 1", "undefined alias"]),
        ("a: 1\nb: !!set {x, y}", ["line 2", "!!set"]),
        ("a: !!binary aGk=", ["line 1", "!!binary"]),
        ("a: !!timestamp 2024-01-01", ["line 1", "!!timestamp"]),
        ("a: !!omap [x: 1]", ["!!omap"]),
        ("a: !mine x", ["line 1", "!mine"]),
        ("a: !!python/name:os.system x", ["line 1", "tag"]),
        ("a: 1\nb: !!int foo", ["line 2", "'foo'", "int"]),
        ("a: !!float foo", ["'foo'"]),
        ("a: !!bool foo", ["'foo'"]),
        ("a: " + "9" * 5000, ["line 1", "int"]),
        ("? [a, b]\n: 1", ["line 1", "a key must be"]),
        ("a: {? {b: c} : 1}", ["line 1", "a key must be"]),
        ("a: 1\n---\nb: 1", ["line 2"]),
        ("a: \x00", ["#x0000"]),
        ("<<: [1]", ["line 1"]),
        ("~: 1", ["None", "must be text"]),
        ("true: 1", ["True", "must be text"]),
    ],
    ids=lambda part: ascii(part)[:30] if isinstance(part, str) else "",
)
def test_what_is_no_file_of_settings_is_one_sentence(
    tmp_path: Path, content: str, words: list[str]
):
    file = tmp_path / "bad.yaml"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(ConfigError) as caught:
        read_settings(file)
    message = str(caught.value)
    assert (
        message.startswith(f"Config file '{file}'") and "\n" not in message and len(message) < 600
    )
    for word in words:
        assert word in message


def test_a_file_that_does_not_end_is_refused():
    with pytest.raises(ConfigError, match="larger than 16 MB"):
        read_settings("/dev/zero")


def test_dates_are_text_and_a_byte_order_mark_is_none(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_bytes(b"\xef\xbb\xbfrun_dir: 2024-01-31\nstamp: 2024-01-31 10:00:00\n")
    assert read_settings(file) == {"run_dir": "2024-01-31", "stamp": "2024-01-31 10:00:00"}


def test_aliases_and_merges_of_usual_size_are_taken(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("base: &base {epochs: 3}\nfirst:\n  <<: *base\n  seed: 1\nsecond: *base\n")
    assert read_settings(file) == {
        "base": {"epochs": 3},
        "first": {"epochs": 3, "seed": 1},
        "second": {"epochs": 3},
    }


@pytest.mark.parametrize(
    "text",
    [
        "[" * 100_000,
        "[" * 80 + "]" * 80,
        "{" * 5000,
        "'" * 10_000,
        "9" * 5000,
        "(" * 300,
        "{a: " * 60 + "1" + "}" * 60,
        "-" * 5000,
        "[2024-01-01",
    ],
)
def test_values_that_cannot_be_read_stay_text(text: str):
    assert parse_value(text) == text


def test_files_that_this_package_wrote_are_known_by_their_first_lines(tmp_path: Path):
    file = tmp_path / "a.yaml"
    for head, known in (("# Settings of a run of X on Y; run it again with "
                         "--config_files=a.yaml\n", True),
                        ("# best of 3\n# Trial 2\n# Run it with: "
                         "recbole-precise --model=X\n", True), ("# mine\n", False), ("",
                         False)):  # fmt: skip
        file.write_text(head + "epochs: 1\n# run it with care\n")
        assert written_here(file) is known


def test_long_and_endless_values_are_shown_short():
    endless: list = []
    endless.append(endless)
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (endless, deep, "x" * 10_000, 10**6000):
        assert len(shown(value)) < 120 and "\n" not in shown(value)
    assert shown("a") == "'a'"
