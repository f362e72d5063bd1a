"""Texts become values as RecBole's eval() would make them, without evaluating anything."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from recbole_precise.config import our_file, parse_value, properties_folder, read_settings
from recbole_precise.config.arguments import parse_arguments
from recbole_precise.errors import ConfigError

plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text("abc' xyz", max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text("abc", min_size=1, max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


@given(plain_values)
def test_a_literal_is_read_as_python_reads_it(value):
    assert parse_value(repr(value)) == value


@pytest.mark.parametrize(
    "text",
    [
        "adam",
        "id",
        "valid_and_test",
        "10-5",
        "__import__('os')",
        "open('x')",
        "1+2j",
        "{1, 2}",
        "a,b",
        "yes",
        "",
        "a: b",
    ],
)
def test_other_text_stays_text(text):
    assert parse_value(text) == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-3", 0.001), ("True", True), ("true", True), ("FALSE", False), ("None", None), ("~",
            None), ("[64,64]", [64, 64]),
        ("['Recall', 'NDCG']", ["Recall", "NDCG"]), ("[Recall, NDCG]", ["Recall", "NDCG"]),
        ("{LS: valid_and_test}", {"LS": "valid_and_test"}),
        ("'quoted'", "quoted"), ("1,2", (1, 2)), ("-0.5", -0.5),
    ],
)  # fmt: skip
def test_values_of_a_command_line(text, value):
    assert parse_value(text) == value


def test_a_template_in_braces_is_text_where_text_is_wanted():
    assert parse_value("{title}", ("str", "list")) == "{title}"
    assert parse_value("[title, brand]", ("str", "list")) == ["title", "brand"]
    assert parse_value("2020", ("str",)) == "2020"


def test_scientific_numbers_in_files_are_numbers_as_in_recbole(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("a: 1e-3\nb: 1.5e-4\nc: .5\nd: 12\ne: 1e5\nf: text\n")
    assert read_settings(file) == {
        "a": 0.001,
        "b": 0.00015,
        "c": 0.5,
        "d": 12,
        "e": 1e5,
        "f": "text",
    }


def test_an_empty_file_holds_no_settings(tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text("# nothing yet\n")
    assert read_settings(file) == {}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("epochs: 3\nseed: [1\n", ["line"]),
        ("epochs: 3\nepochs: 4\n", ["line 2", "epochs", "twice"]),
        ("- epochs\n", ["key: value"]),
        ("1: 2\n", ["key 1"]),
        ("a: !!python/object/apply:os.system ['true']\n", ["line 1"]),
    ],
)
def test_faults_of_a_file_name_it(tmp_path: Path, content: str, words: list[str]):
    file = tmp_path / "broken.yaml"
    file.write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_settings(file)
    for word in ["broken.yaml", *words]:
        assert word in str(caught.value)


def test_a_file_that_is_no_text_or_not_there(tmp_path: Path):
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\x00\x80")
    for name in ("binary.yaml", "nowhere.yaml", "."):
        with pytest.raises(ConfigError, match="Config file"):
            read_settings(tmp_path / name)


def test_command_lines_in_both_spellings():
    arguments = [
        "--epochs=3",
        "--learning_rate",
        "1e-3",
        "--item_text={title} = {brand}",
        "--resume",
        "--mask_history",
        "True",
        "--weight_decay",
        "-1",
    ]
    assert parse_arguments(arguments, strict=True) == {
        "epochs": "3", "learning_rate": "1e-3", "item_text": "{title} = {brand}", "resume": "True",
        "mask_history": "True", "weight_decay": "-1",
    }  # fmt: skip


@pytest.mark.parametrize(
    "arguments",
    [["stray"], ["--epochs"], ["--epochs", "--seed=1"], ["--seed=1", "--seed=2"], ["--=3"], ["-x"]],
)
def test_command_lines_that_make_no_sense(arguments):
    with pytest.raises(ConfigError):
        parse_arguments(arguments, strict=True)


def test_the_same_value_twice_is_no_contradiction():
    assert parse_arguments(["--seed=1", "--seed=1"], strict=True) == {"seed": "1"}


def test_arguments_of_a_foreign_script_are_passed_over():
    arguments = [
        "tests/test_x.py",
        "-q",
        "--cov",
        "recbole",
        "--durations=5",
        "--epochs",
        "3",
        "--",
        "-x",
    ]
    assert parse_arguments(arguments, strict=False) == {"durations": "5", "epochs": "3"}


def test_our_yaml_files_are_found_and_are_yaml():
    folder = properties_folder()
    for file in folder.rglob("*.yaml"):
        assert read_settings(file) == yaml.safe_load(
            file.read_text(encoding="utf-8")
        ) | read_settings(file)
    assert our_file("model", "no such model") == {}
