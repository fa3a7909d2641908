"""YAML with plain values only: no repeated keys, no aliases and no deep nesting."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

import yaml
from yaml.composer import ComposerError
from yaml.constructor import ConstructorError


class _PlainLoader(yaml.SafeLoader):
    """A safe loader that also refuses what lets a small file take much memory, or hides a setting."""

    max_depth = 0
    depth = 0

    def compose_node(self, parent: Any, index: Any) -> yaml.Node | None:
        event = self.peek_event()  # type: ignore[no-untyped-call]
        mark: Any = event.start_mark
        if isinstance(event, yaml.AliasEvent):
            raise ComposerError(problem="write the value out in place of an alias", problem_mark=mark)
        if self.depth >= self.max_depth:
            raise ComposerError(problem=f"more than {self.max_depth} levels of nesting", problem_mark=mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        names = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue  # no setting has such a name
            if (key.tag, key.value) in names:
                raise ConstructorError(problem=f"'{key.value[:80]}' is given twice", problem_mark=key.start_mark)
            names.add((key.tag, key.value))
        return super().construct_mapping(node, deep=deep)


def load_plain(text: str, max_depth: int) -> Any:
    """The value of a YAML document.

    Args:
        text: the document.
        max_depth: largest number of levels of tables and lists.

    Raises:
        yaml.YAMLError: not valid YAML, a tag of a program, a repeated key, an alias, or too many levels.
    """
    loader = _PlainLoader(text)
    loader.max_depth = max_depth
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()
