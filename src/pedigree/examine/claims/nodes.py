# SPDX-License-Identifier: Apache-2.0
"""YAML of strangers as nodes: no constructor runs, and no alias is ever copied.

PyYAML's composer makes one node for an anchor and its aliases, so a text of n bytes
has at most about n nodes however its aliases multiply.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pedigree.errors import ArtifactError, quote
from pedigree.examine.claims.fields import VALUES_MAX, Field, is_value
from pedigree.tensors.remarks import Declared

if TYPE_CHECKING:
    import yaml

READ_BYTES = 64 << 10
"""Text beyond this is not read; the slow YAML reader sets the bound."""
_FLOW_DEPTH_MAX = 32
"""Brackets open within one line, for which the reader takes time by their square; real
files have two or three."""
Pairs = list[tuple[str, "yaml.Node"]]


def pairs_of(text: str, *, path: str, what: str, reason: str) -> Pairs:
    """Keys and values of a YAML map; none if it is no map.

    Args:
        text: The YAML, bounded.
        path: File, for messages.
        what: What the text is, for messages.
        reason: Of the error.

    Raises:
        ArtifactError: It is not YAML, or nested too deeply.
    """
    import yaml  # loading it takes longer than comparing two models without cards

    try:
        if any(_is_deep(line) for line in text.splitlines()):
            raise RecursionError
        return members(yaml.compose(text, Loader=yaml.BaseLoader))
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise ArtifactError(
            f"{what} {quote(path)} is not YAML: {type(error).__name__}",
            reason=reason,
            path=path,
        ) from error


def pairs_in(data: bytes, *, path: str, what: str) -> Pairs:
    """As :func:`pairs_of`, of a whole file.

    Raises:
        ArtifactError: It is not YAML (``MalformedDeclaration``).
    """
    text = data.decode("utf-8", "replace")
    return pairs_of(text, path=path, what=what, reason="MalformedDeclaration")


def _is_deep(line: str) -> bool:
    """Whether more brackets are open at once than anybody writes, quoted ones too."""
    if line.count("[") + line.count("{") <= _FLOW_DEPTH_MAX:
        return False
    depth = most = 0
    for char in line:
        depth += (char in "[{") - (char in "]}")
        most = max(most, depth)
    return most > _FLOW_DEPTH_MAX


def members(node: yaml.Node | None) -> Pairs:
    """Keys and values of a map; none if it is no map."""
    import yaml

    if not isinstance(node, yaml.MappingNode):
        return []
    return [
        (key.value, item)
        for key, item in node.value
        if isinstance(key, yaml.ScalarNode)
    ]


def member(pairs: Pairs, *keys: str) -> Pairs:
    """The map that stands under a path of keys; none if there is no such map.

    Of equal keys the last counts, as for every loader that constructs.
    """
    for key in keys:
        found = [node for name, node in pairs if name == key]
        pairs = members(found[-1]) if found else []
    return pairs


def entries(node: yaml.Node) -> list[yaml.Node]:
    """The first entries of a list; none if it is no list."""
    import yaml

    return node.value[:VALUES_MAX] if isinstance(node, yaml.SequenceNode) else []


def scalars(node: yaml.Node) -> Iterator[str]:
    """Texts of a scalar, or of the first entries of a list."""
    import yaml

    items = entries(node) if isinstance(node, yaml.SequenceNode) else [node]
    for item in items:
        if isinstance(item, yaml.ScalarNode) and is_value(item.value):
            yield item.value


def declared_in(
    pairs: Pairs, fields: dict[str, Field], source: str
) -> Iterator[Declared]:
    """Declarations of the members of a map that have a meaning here.

    Args:
        pairs: The map.
        fields: What each key declares.
        source: File that declares it.
    """
    for key, node in pairs:
        if key in fields:
            for value in scalars(node):
                yield Declared(fields[key].value, value, source)
