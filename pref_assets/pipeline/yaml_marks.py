"""YAML with positions: where in the file each value stands, so that an error can name its line."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import yaml

PathPart = str | int


@dataclass(frozen=True)
class Mark:
    """The line (from 1) of a key or list item, and the marks of what is inside it."""

    line: int
    children: dict[PathPart, "Mark"] = field(default_factory=dict)

    def line_of(self, path: Sequence[PathPart]) -> int:
        """Line of the value at ``path``, or of its nearest ancestor in the file."""
        if not path or path[0] not in self.children:
            return self.line
        return self.children[path[0]].line_of(path[1:])

    def at(self, path: Sequence[PathPart]) -> "Mark":
        """The marks below ``path``; as deep as the file goes."""
        if not path or path[0] not in self.children:
            return self
        return self.children[path[0]].at(path[1:])


@dataclass(frozen=True)
class Document:
    """One YAML document: its value, its marks, and every key that was written twice as ``(path, line)``."""

    value: Any
    mark: Mark
    repeated: list[tuple[tuple[PathPart, ...], int]]


def parse(text: str) -> list[Document]:
    """Every document of a YAML text. Raises ``yaml.YAMLError`` (which names line and column) on broken syntax."""
    documents = []
    for node in yaml.compose_all(text, Loader=yaml.SafeLoader):
        repeated: list[tuple[tuple[PathPart, ...], int]] = []
        mark = _mark(node, node.start_mark.line + 1, (), repeated)
        documents.append(Document(_value(node), mark, repeated))
    return documents


def _value(node: yaml.Node) -> Any:
    loader = yaml.SafeLoader("")
    try:
        return loader.construct_document(node)
    finally:
        loader.dispose()


def _mark(
    node: yaml.Node, line: int, path: tuple[PathPart, ...], repeated: list[tuple[tuple[PathPart, ...], int]]
) -> Mark:
    children: dict[PathPart, Mark] = {}
    if isinstance(node, yaml.MappingNode):
        for key_node, value_node in node.value:
            key, key_line = key_node.value, key_node.start_mark.line + 1
            if key in children:
                repeated.append(((*path, key), key_line))
            children[key] = _mark(value_node, key_line, (*path, key), repeated)
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            children[index] = _mark(item, item.start_mark.line + 1, (*path, index), repeated)
    return Mark(line, children)
