"""Settings classes: what is made from them is up to date, and one key means one thing."""

import json
from dataclasses import dataclass

import pytest

from recbole_precise import registry
from recbole_precise.config import properties_folder, read_settings, schema, settings_class, written
from recbole_precise.config.run_settings import RunSettings
from recbole_precise.config.setting import Settings, setting
from recbole_precise.errors import ConfigError

NAMES = [*registry.SETTINGS]


@pytest.mark.parametrize("path", [*written.files()], ids=lambda path: path.name)
def test_files_made_from_the_classes_are_up_to_date(path):
    assert path.read_text("utf-8") == written.files()[path], "run `make settings`"


@pytest.mark.parametrize("name", NAMES)
def test_the_yaml_of_a_model_holds_its_defaults(name):
    own = settings_class(name).own()
    assert read_settings(properties_folder() / "model" / f"{name}.yaml") == {
        key: found.default for key, found in own.items()
    }


def test_a_key_takes_the_same_values_in_every_model():
    for name in NAMES:
        for key, found in settings_class(name).own().items():
            expected = schema.RECBOLE.get(key) or schema.OVERALL.get(key)
            if expected is None:
                assert found.key == schema.model_keys()[key], (name, key)


def test_every_default_is_a_value_that_its_key_takes():
    for cls in (RunSettings, *map(settings_class, NAMES)):
        for key, found in cls.own().items():
            schema.known_key(key).check(key, found.default, cls.__name__)


def test_the_json_schema_lists_every_key_with_its_range():
    keys = json.loads((properties_folder() / written.SCHEMA_FILE).read_text("utf-8"))["properties"]
    assert set(keys) == set(schema.OVERALL) | set(schema.model_keys()) | set(schema.RECBOLE)
    assert keys["n_experts"]["type"] == "integer"
    assert (keys["n_experts"]["minimum"], keys["n_experts"]["maximum"]) == (1, 1000)
    assert keys["tie_break"]["enum"] == ["file", "random"]
    assert keys["rare_smoothing"]["type"] == ["integer", "null"]


@dataclass
class Parent(Settings):
    """A model."""

    name = "Parent"

    width: int = setting(4, "Width.", low=1)
    parts: list = setting(["a"], "Parts.", choices=("a", "b"))


@dataclass
class Child(Parent):
    """Another."""

    name = "Child"

    bias: float = setting(1.0, "Bias.", low=0)
    width: int = setting(8, "Width.", low=1)


def test_a_child_takes_over_keys_and_changes_defaults():
    assert Child.defaults() == {"width": 8, "parts": ["a"], "bias": 1.0}
    assert [*Child.own()] == ["bias", "width"]
    assert [part.name for part in Child.lineage()] == ["Parent", "Child"]
    Child.defaults()["parts"].append("b")
    assert Child.defaults()["parts"] == ["a"]
    assert Child.read({"width": 3, "parts": [], "bias": 2.0}) == Child(3, [], 2.0)


def test_a_key_checks_its_values():
    key = Child.declared()["bias"].key
    with pytest.raises(ConfigError, match=r"bias \(here\) must be a number at least 0, not -1"):
        key.check("bias", -1, "here")


def test_a_field_that_is_no_setting_is_named():
    @dataclass
    class Wrong(Parent):
        other: int = 3

    with pytest.raises(TypeError, match=r"other: declare it with setting"):
        Wrong.declared()
