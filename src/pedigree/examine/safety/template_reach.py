# SPDX-License-Identifier: Apache-2.0
"""What the program that a chat template is reaches for, from its syntax tree alone.

A server renders the template for every request.  What templates need is known:
messages, strings, a few functions and methods.  Everything else is told, graded by
whether it is a known way out of the renderer's sandbox or only more than was to be
expected.  Nodes are told apart by the names of their classes, so that this module
needs no parser.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, NamedTuple

from pedigree.errors import quote
from pedigree.tensors.remarks import ERROR, WARNING

NODES_MAX = 200_000
SIGHTS_MAX = 200
_FOLDED_MAX = 1_000
"""Nodes of an expression that are looked at to tell what text it makes."""
_LARGE = 100_000
"""As many items as Jinja's own sandbox allows a range."""
_ROUNDS_MAX = 1_000_000
_TEXT_TIMES_MAX = 10_000
_POWER_MAX = 64

_OFFERED = frozenset(
    {"raise_exception", "strftime_now", "range", "namespace", "dict", "cycler"}
    | {"joiner", "caller", "loop"}
)
"""Functions that servers give to templates, and those that Jinja has anyway."""
_ONLY_CALLED = frozenset({"namespace", "cycler", "joiner", "range", "dict", "lipsum"})
_OUTSIDE_NAMES = frozenset(
    {"self", "lipsum", "request", "url_for", "get_flashed_messages", "environ", "os"}
    | {"sys", "subprocess", "builtins", "open", "eval", "exec", "compile", "getattr"}
    | {"setattr", "globals", "locals", "vars", "socket", "requests", "urllib"}
    | {"importlib", "shutil", "pathlib", "super", "context", "environment"}
)
_METHODS = frozenset(
    {"split", "rsplit", "splitlines", "strip", "lstrip", "rstrip", "startswith"}
    | {"endswith", "upper", "lower", "title", "capitalize", "replace", "join", "find"}
    | {"rfind", "index", "count", "partition", "rpartition", "removeprefix"}
    | {"removesuffix", "isdigit", "isalpha", "isalnum", "isspace", "isupper"}
    | {"islower", "isnumeric", "zfill", "ljust", "rjust", "center", "items", "keys"}
    | {"values", "get", "append", "extend", "insert", "pop", "update", "copy", "remove"}
    | {"add", "setdefault", "sort", "reverse", "cycle", "changed", "next", "reset"}
    | {"isoformat", "strftime", "swapcase", "casefold", "expandtabs"}
)
_FILTERS = frozenset(
    {"abs", "attr", "batch", "capitalize", "center", "count", "d", "default"}
    | {"dictsort", "e", "escape", "filesizeformat", "first", "float", "forceescape"}
    | {"format", "groupby", "indent", "int", "items", "join", "last", "length", "list"}
    | {"lower", "map", "max", "min", "pprint", "random", "reject", "rejectattr"}
    | {"replace", "reverse", "round", "safe", "select", "selectattr", "slice", "sort"}
    | {"string", "striptags", "sum", "title", "tojson", "trim", "truncate", "unique"}
    | {"upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"}
    | {"from_json", "fromjson", "regex_replace", "strftime"}
)
_BY_ATTRIBUTE = frozenset(
    {"map", "selectattr", "rejectattr", "groupby", "sort", "sum", "unique", "min"}
    | {"max"}
)
_FRAMES = frozenset(
    {"mro", "gi_frame", "gi_code", "gi_yieldfrom", "cr_frame", "cr_code", "ag_frame"}
    | {"ag_code", "tb_frame", "tb_next", "f_globals", "f_locals", "f_builtins"}
    | {"f_back", "f_code", "func_globals", "func_code", "im_func", "im_self", "popen"}
)
"""Attributes without underscores that lead from a value to the interpreter."""
_INNER = frozenset(
    {"annotations", "base", "bases", "builtins", "call", "class", "closure"}
    | {"code", "context", "defaults", "dict", "doc", "file", "format", "func"}
    | {"getattr", "getattribute", "getitem", "globals", "import", "init"}
    | {"init_subclass", "kwdefaults", "loader", "module", "mro", "name"}
    | {"new", "path", "reduce", "reduce_ex", "self", "set_name", "slots"}
    | {"spec", "subclasses", "traceback", "weakref", "wrapped"}
)
"""Names that, between double underscores, lead into the interpreter."""
_INTERNALS = frozenset(f"__{name}__" for name in _INNER)
_FORMATS = ("format", "format_map")
"""Methods of texts that get at every attribute of what they are given."""
_FORMAT_REACH = re.compile(r"\{[^{}]*[.\[]__|%\([^)]*__")
_MAKERS = frozenset({"Concat", "Add", "Mod", "Mul", "Filter", "Call"})
_JOINED = frozenset({"Concat", "Add"})
_LOADERS = {
    "Import": "import",
    "FromImport": "from",
    "Include": "include",
    "Extends": "extends",
}


class _Own(NamedTuple):
    """Names that a template gives a value: all, those of functions, kept formats.

    Functions are macros, and what a call gave, such as a ``joiner``.
    """

    names: frozenset[str]
    functions: frozenset[str]
    formats: frozenset[str]


class Sight(NamedTuple):
    """One thing a template reaches for: line, severity, what for people."""

    line: int
    severity: str
    what: str


def reach(tree: Any) -> tuple[list[Sight], bool]:
    """Look at every node of a template, without recursion.

    Args:
        tree: The template as Jinja's parser gives it.

    Returns:
        What it reaches for, in order of lines, at most ``SIGHTS_MAX``, the worst
        first where there are more; and whether all nodes were looked at.
    """
    own = _own_names(tree)
    found: dict[Sight, None] = {}
    pending: list[tuple[Any, int]] = [(tree, 1)]
    for _ in range(NODES_MAX):
        if not pending:
            break
        node, rounds = pending.pop()
        for severity, what in _look(node, own):
            found[Sight(node.lineno, severity, what)] = None
        if _kind(node) == "For":
            rounds *= _rounds(node.iter)
            if rounds > _ROUNDS_MAX:
                what = f"loops of more than {_ROUNDS_MAX} rounds"
                found[Sight(node.lineno, WARNING, what)] = None
                rounds = 1
        pending.extend((child, rounds) for child in node.iter_child_nodes())
    kept = sorted(found, key=lambda sight: (sight.severity != ERROR, sight))
    return sorted(kept[:SIGHTS_MAX]), not pending


def _kind(node: Any) -> str:
    return type(node).__name__


def _own_names(tree: Any) -> _Own:
    """Names that the template itself gives a value, and its macros."""
    names: set[str] = set()
    functions: set[str] = set()
    formats: set[str] = set()
    pending = [tree]
    for _ in range(NODES_MAX):
        if not pending:
            break
        node = pending.pop()
        kind = _kind(node)
        if kind == "Macro" or (kind == "Name" and node.ctx in ("store", "param")):
            names.add(node.name)
        if kind == "Macro":
            functions.add(node.name)
        elif kind == "Assign" and _kind(node.target) == "Name":
            if _kind(node.node) == "Call":
                functions.add(node.target.name)
            elif _is_format(node.node):
                formats.add(node.target.name)
        pending.extend(node.iter_child_nodes())
    return _Own(frozenset(names), frozenset(functions), frozenset(formats))


def _is_format(node: Any) -> bool:
    """Whether an expression is the method of a text that formats, not called."""
    if _kind(node) == "Getattr":
        return node.attr in _FORMATS
    return _kind(node) == "Getitem" and _text(node.arg) in _FORMATS


def _look(node: Any, own: _Own) -> Iterator[tuple[str, str]]:
    kind = _kind(node)
    if kind == "Getattr":
        yield from _named(node.attr, "attribute")
    elif kind == "Getitem":
        yield from _item(node.arg)
    elif kind == "Filter":
        yield from _filter(node)
    elif kind == "Call":
        yield from _call(node, own)
    elif kind in _LOADERS:
        yield WARNING, f"another template by '{_LOADERS[kind]}'"
    elif kind == "Name":
        yield from _name(node, own)
    elif kind == "Const":
        yield from _constant(node.value)
    elif kind in ("Mul", "Pow", "Mod"):
        yield from _arithmetic(node, kind)
    for child in node.iter_child_nodes():
        called = kind == "Call" and child is node.node
        if (
            _kind(child) == "Name"
            and child.name in _ONLY_CALLED - own.names
            and not called
        ):
            yield WARNING, f"the function {quote(child.name)} without calling it"
        if _kind(child) in _JOINED and kind not in _JOINED and _is_split(child):
            yield ERROR, "an inner name that is put together"


def _named(name: str, what: str) -> Iterator[tuple[str, str]]:
    """What an attribute's or item's name tells."""
    if name.startswith("__") or name in _FRAMES:
        yield ERROR, f"the {what} {quote(name, 40)}"
    elif name.startswith("_"):
        yield WARNING, f"the {what} {quote(name, 40)}"


def _name(node: Any, own: _Own) -> Iterator[tuple[str, str]]:
    name = node.name
    if name.startswith("__"):
        yield ERROR, f"the name {quote(name, 40)}"
    elif name not in own.names and (name in _OUTSIDE_NAMES or name.startswith("_")):
        yield WARNING, f"the name {quote(name, 40)}"


def _constant(value: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(value, str):
        return
    if value in _INTERNALS or _FORMAT_REACH.search(value):
        yield ERROR, f"the text {quote(value, 40)}"
    elif value.startswith("__") or value.endswith("__"):
        yield WARNING, f"the text {quote(value, 40)}, a piece of an inner name"


def _item(arg: Any) -> Iterator[tuple[str, str]]:
    if _kind(arg) == "Const":
        if isinstance(arg.value, str):
            yield from _named(arg.value, "item")
        return
    pieces = _pieces(arg)
    if pieces:
        severity = ERROR if _is_inner(pieces) else WARNING
        yield severity, "an item whose name is put together"


def _pieces(node: Any) -> list[str]:
    """Pieces of text that an expression puts together; none if it does not."""
    sliced = _kind(node) == "Getitem" and _kind(node.node) == "Const"
    if not sliced and _kind(node) not in _MAKERS:
        return []
    pieces: list[str] = []
    pending = [node]
    for _ in range(_FOLDED_MAX):
        if not pending:
            break
        item = pending.pop()
        if _kind(item) == "Const" and isinstance(item.value, str):
            pieces.append(item.value)
        pending.extend(reversed(list(item.iter_child_nodes())))
    return pieces


def _is_split(node: Any) -> bool:
    """Whether pieces of text make an inner name that none of them has."""
    pieces = _pieces(node)
    text = "".join(pieces)
    return "__" in text and any(
        name in text and not any(name in piece for piece in pieces)
        for name in _INTERNALS
    )


def _is_inner(pieces: list[str]) -> bool:
    """Whether pieces of text can make the name of an inner attribute."""
    text = "".join(pieces)
    return (
        "__" in text
        or any(piece and not piece.strip("_") for piece in pieces)
        or text in _INNER
        or text[::-1] in _INNER
    )


def _filter(node: Any) -> Iterator[tuple[str, str]]:
    name = node.name
    if name == "attr":
        yield from _attribute(node.args[:1], "the filter 'attr'")
        return
    if name not in _FILTERS:
        yield WARNING, f"the filter {quote(name, 40)}"
    if name == "format" and (node.node is None or _kind(node.node) != "Const"):
        yield WARNING, "a format that is told at run time"
    yield from _large_arguments(node.args)
    if name not in _BY_ATTRIBUTE:
        return
    if name == "map" and node.args and _text(node.args[0]) == "attr":
        yield from _attribute(node.args[1:2], "the filter 'map'")
        return
    given = [pair.value for pair in node.kwargs if pair.key == "attribute"]
    if name in ("selectattr", "rejectattr", "groupby"):
        given += node.args[:1]
    for value in given:
        if _kind(value) != "Const":
            yield WARNING, f"an attribute told at run time, by {quote(name)}"
        elif isinstance(value.value, str):
            for part in value.value.split("."):
                yield from _named(part, f"attribute (by {name!r})")


def _attribute(args: list[Any], by: str) -> Iterator[tuple[str, str]]:
    name = _text(args[0]) if args else None
    inner = name is None or name.startswith("_") or name in _FORMATS
    severity = ERROR if inner else WARNING
    what = "a name told at run time" if name is None else quote(name, 40)
    yield severity, f"an attribute by {by}, {what}"


def _text(node: Any) -> str | None:
    is_text = _kind(node) == "Const" and isinstance(node.value, str)
    return str(node.value) if is_text else None


def _call(node: Any, own: _Own) -> Iterator[tuple[str, str]]:
    called = node.node
    if _kind(called) == "Name":
        yield from _called_name(called.name, own)
    elif _kind(called) == "Getattr":
        if called.attr == "format_map":
            yield ERROR, "the method 'format_map'"
        elif called.attr not in _METHODS:
            yield WARNING, f"the method {quote(called.attr, 40)}"
    else:
        yield WARNING, "a function that is told at run time"
    yield from _large_arguments(node.args)


def _called_name(name: str, own: _Own) -> Iterator[tuple[str, str]]:
    # Later versions of Jinja watch the formats they see called; these they may not.
    if name in own.formats:
        yield ERROR, f"a format kept as {quote(name, 40)}"
    elif name in own.names - own.functions:
        yield WARNING, f"the function {quote(name, 40)}, told at run time"
    elif name not in _OFFERED | own.names | _OUTSIDE_NAMES:
        yield WARNING, f"the function {quote(name, 40)}"


def _large_arguments(args: list[Any]) -> Iterator[tuple[str, str]]:
    for arg in args:
        value = _number(arg)
        if value is not None and abs(value) >= _LARGE:
            yield WARNING, f"the number {quote(value, 24)} as an argument"


def _number(node: Any) -> int | None:
    if _kind(node) == "Neg":
        node = node.node
    return node.value if _kind(node) == "Const" and type(node.value) is int else None


def _arithmetic(node: Any, kind: str) -> Iterator[tuple[str, str]]:
    sides = (node.left, node.right)
    if kind == "Mod":
        if _text(node.left) is not None:
            yield WARNING, "a format by '%'"
        return
    numbers = [value for side in sides if (value := _number(side)) is not None]
    if kind == "Pow":
        if _number(node.right) is None or abs(_number(node.right) or 0) > _POWER_MAX:
            yield WARNING, "a large power"
        return
    most = _TEXT_TIMES_MAX if any(_text(s) is not None for s in sides) else _LARGE
    repeats = any(_text(s) is not None for s in sides) and not numbers
    if repeats or any(abs(value) >= most for value in numbers):
        yield WARNING, "a text or list that is repeated many times"


def _rounds(iterable: Any) -> int:
    """Rounds of a loop over a constant; 1 where they are not known."""
    if _kind(iterable) in ("List", "Tuple"):
        return max(len(iterable.items), 1)
    if (
        _kind(iterable) == "Call"
        and _kind(iterable.node) == "Name"
        and iterable.node.name == "range"
    ):
        numbers = [abs(_number(arg) or 0) for arg in iterable.args[:2]]
        return max([1, *numbers])
    return 1
