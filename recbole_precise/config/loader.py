"""YAML as settings are written: plain values alone, bounded in size and depth.

Each fault is reported with its line.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

#: Deeper nesting than any setting has; Python's own limit would be a crash.
MOST_LEVELS = 40
#: Values that a file may stand for once its aliases are written out.
MOST_VALUES = 200_000

_TAG = "tag:yaml.org,2002:"
_PLAIN_TAGS = ("null", "bool", "int", "float", "str", "seq", "map")


class SettingsLoader(yaml.SafeLoader):
    """YAML as RecBole reads it (`1e-3` is a number), with less allowed.

    Without Python objects, dates, and duplicate keys.

    A date such as 2024-01-31 stays the text that it is. Tags other than those of plain values are
    refused, and so is what would take unbounded time or memory: deep nesting, and aliases that grow
    or refer to themselves.
    """

    def __init__(self, stream: Any) -> None:
        super().__init__(stream)
        self._level = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        """Compose a node; a ComposerError for one that lies too deep."""
        self._level += 1
        if self._level > MOST_LEVELS:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(
                None, None, f"nested more than {MOST_LEVELS} levels deep", mark
            )
        try:
            return super().compose_node(parent, index)
        finally:
            self._level -= 1

    def get_single_node(self) -> yaml.Node | None:
        """Return the document's node, its aliases checked."""
        node = super().get_single_node()
        if node is not None:
            _check_growth(node)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """Construct a mapping whose keys are single values, each given once."""
        seen: set[str] = set()
        for key_node, _ in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                problem = "a key must be one word or text, not a list or a mapping"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            if key_node.value in seen and key_node.tag != f"{_TAG}merge":
                problem = f"the key '{key_node.value}' is given twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
            seen.add(key_node.value)
        return super().construct_mapping(node, deep)

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """Construct a value.

        A ConstructorError that names the line where a tag asks for a value that the text is not.
        """
        try:
            return super().construct_object(node, deep)
        except (ValueError, KeyError, TypeError, OverflowError, AttributeError) as error:
            if isinstance(error, yaml.YAMLError):
                raise
            kind = node.tag.removeprefix(_TAG)
            problem = f"{str(node.value)[:40]!r} is no value of the kind '{kind}'"
            raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark) from error


def _refuse_tag(loader: SettingsLoader, node: yaml.Node) -> None:
    tag = node.tag.replace(_TAG, "!!")
    problem = (
        f"the tag {tag} is not taken in settings: write plain text, numbers, lists and mappings"
    )
    raise yaml.constructor.ConstructorError(None, None, problem, node.start_mark)


def _check_growth(root: yaml.Node) -> None:
    """Refuse aliases that lead back to themselves, nest too deep, or stand for too many values."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size(node: yaml.Node, level: int) -> int:
        if id(node) in open_nodes:
            raise yaml.composer.ComposerError(
                None, None, "an alias refers to what contains it", node.start_mark
            )
        if level > 2 * MOST_LEVELS:
            problem = f"aliases nest more than {MOST_LEVELS} levels deep"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        if id(node) not in sizes:
            open_nodes.add(id(node))
            sizes[id(node)] = 1 + sum(size(child, level + 1) for child in _children(node))
            open_nodes.discard(id(node))
        if sizes[id(node)] > MOST_VALUES:
            problem = f"aliases make this more than {MOST_VALUES} values"
            raise yaml.composer.ComposerError(None, None, problem, node.start_mark)
        return sizes[id(node)]

    size(root, 0)


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


# Dates are text: no setting is a date, and names of runs and folders often look like one.
SettingsLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != f"{_TAG}timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
SettingsLoader.add_implicit_resolver(
    f"{_TAG}float",
    re.compile(
        r"^(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+]?[0-9]+)?|[-+]?[0-9][0-9_]*[eE][-+]?[0-9]+"
        r"|\.[0-9_]+(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
    list("-+0123456789."),
)
SettingsLoader.yaml_constructors = {
    tag: constructor if tag is None or tag.removeprefix(_TAG) in _PLAIN_TAGS else _refuse_tag
    for tag, constructor in yaml.SafeLoader.yaml_constructors.items()
}
SettingsLoader.add_constructor(None, _refuse_tag)
