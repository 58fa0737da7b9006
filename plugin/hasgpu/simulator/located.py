"""Process simulator: YAML that remembers its lines, so that an error can say where. Reads text, opens nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from hasgpu.fitter.errors import InputError


@dataclass(frozen=True, slots=True)
class Scalar:
    """One plain value and its line."""

    text: str
    line: int


class Located:
    """One mapping of a YAML file, read key by key."""

    def __init__(self, file: str, line: int, values: dict[str, tuple[yaml.Node, int]]) -> None:
        self.file, self.line, self._values = file, line, values

    def __contains__(self, key: str) -> bool:
        return key in self._values

    def error(self, key: str, what: str) -> InputError:
        """An error at the key's line, or at the mapping's where the key is absent."""
        return InputError(self.file, self.line_of(key), what)

    def line_of(self, key: str) -> int:
        """Where the key stands; the mapping's first line where it is absent."""
        return self._values[key][1] if key in self._values else self.line

    def only(self, allowed: tuple[str, ...]) -> None:
        """Refuses every other key."""
        for key in self._values:
            if key not in allowed:
                raise self.error(key, f"unknown key {key!r}; known keys are {', '.join(allowed)}")

    def text(self, key: str) -> str | None:
        """A plain value as it is written; None where the key is absent."""
        found = self._values.get(key)
        if found is None:
            return None
        if not isinstance(found[0], yaml.ScalarNode):
            raise self.error(key, f"{key} must be a plain value")
        return str(found[0].value)

    def mapping(self, key: str) -> Located | None:
        """A mapping; None where the key is absent."""
        return located(self.file, self._values[key][0]) if key in self._values else None

    def mappings(self, key: str, least: int = 1) -> Iterator[Located]:
        """The mappings of a list; where none is needed the key may be absent."""
        found = self._values.get(key)
        if found is None and not least:
            return
        if found is None or not isinstance(found[0], yaml.SequenceNode) or len(found[0].value) < least:
            raise self.error(key, f"{key} must be a list{' with at least one entry' if least else ''}")
        for node in found[0].value:
            yield located(self.file, node)


def read_located(file: str, text: str) -> Located:
    """The mapping a YAML text is."""
    return located(file, composed(file, text))


def composed(file: str, text: str) -> yaml.Node:
    """The tree a YAML text is."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise InputError(file, line, f"not YAML: {error.problem}") from error
    except yaml.YAMLError as error:  # a character that YAML has not
        raise InputError(file, 1, f"not YAML: {' '.join(str(error).split())}") from error
    if node is None:
        raise InputError(file, 1, "is empty")
    return node


def located(file: str, node: yaml.Node) -> Located:
    """The mapping a node is."""
    line = node.start_mark.line + 1
    if not isinstance(node, yaml.MappingNode):
        raise InputError(file, line, "must be a mapping")
    values: dict[str, tuple[yaml.Node, int]] = {}
    for key, value in node.value:
        name, at = str(key.value), key.start_mark.line + 1
        if name in values:
            raise InputError(file, at, f"key {name!r} stands twice")
        values[name] = (value, at)
    return Located(file, line, values)
