# SPDX-License-Identifier: Apache-2.0
"""The first piece into which a tokenizer splits a short text.

Each splitter of ``tokenizer.json`` is applied to the first piece of the one before:
the first of the first is all that is asked.  Patterns come from strangers.  They are
run on texts of a few letters only, after their length and number of repeats were
bounded and nested repeats refused, so that none can run long.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Any

_TEXT_MAX_CHARS = 24
_PATTERN_MAX_CHARS = 1000
_REPEATS_MAX = 24
"""The longest pattern in wide use (of GPT-4o) has 16."""
_REPEAT = re.compile(r"[*+?{]+")
_PROPERTY = re.compile(r"\\([pP])\{(\^?)([A-Za-z]{1,2})\}")
_UNSURE = re.compile(r"\)[*+{]|\\\d|\[\[|--|&&|~~|\|\|")
"""Repeats of groups, references to groups, and sets within sets."""
_ASCII = bytes(range(128)).decode("ascii")
_NOTHING = "\ufdd0"
"""A noncharacter: stands where a class has no letter of the text."""
_GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""The pattern that ``ByteLevel`` stands for.  Source: Radford et al. 2019, GPT-2."""


class UnknownPart(Exception):  # noqa: N818 - a reason, not a fault of anyone's
    """A tokenizer has a part that is not understood here; the text says which."""


def split_first(splitter: Any, text: str) -> str:
    """First piece of a text, in the letters that the model sees.

    Args:
        splitter: ``pre_tokenizer`` of ``tokenizer.json``; None splits nothing.
        text: At most 24 characters.

    Raises:
        UnknownPart: The splitter is not understood.
    """
    if len(text) > _TEXT_MAX_CHARS:
        raise UnknownPart("normalizer that makes a short text long")
    if splitter is None:
        return text
    kind = splitter.get("type") if isinstance(splitter, dict) else None
    match kind:
        case "Sequence":
            parts = splitter.get("pretokenizers") or []
            for part in parts if isinstance(parts, list) else [parts]:
                text = split_first(part, text)
            return text
        case "ByteLevel":
            return _byte_level(splitter, text)
        case "Metaspace":
            return _metaspace(splitter, text)
        case "Split":
            return _split(splitter, text)
        case "BertPreTokenizer" | "Whitespace" | "Punctuation":
            return _word(text)
        case "WhitespaceSplit":
            return (text.split() or [""])[0]
        case "Digits":
            single = bool(splitter.get("individual_digits"))
            return _digits(text, single)
    raise UnknownPart(f"pre_tokenizer {str(kind)[:32]!r}")


def _byte_level(splitter: Mapping[str, Any], text: str) -> str:
    if splitter.get("add_prefix_space") and not text.startswith(" "):
        text = " " + text
    if splitter.get("use_regex", True):
        text = _first_match(_GPT2, text)
    return "".join(_letters()[byte] for byte in text.encode())


def _metaspace(splitter: Mapping[str, Any], text: str) -> str:
    mark = str(splitter.get("replacement", "\u2581"))
    scheme = splitter.get("prepend_scheme")
    if scheme is None:
        scheme = "always" if splitter.get("add_prefix_space", True) else "never"
    text = text.replace(" ", mark)
    if scheme != "never" and not text.startswith(mark):
        text = mark + text
    if splitter.get("split", True):
        second = text.find(mark, 1)
        text = text if second < 0 else text[:second]
    return text


def _split(splitter: Mapping[str, Any], text: str) -> str:
    pattern = splitter.get("pattern")
    behavior = splitter.get("behavior")
    if not isinstance(pattern, dict):
        raise UnknownPart("pre_tokenizer Split without a pattern")
    if isinstance(pattern.get("String"), str):
        if pattern["String"] in text:
            raise UnknownPart("pre_tokenizer Split by a text that an anchor has")
        return text
    if not isinstance(pattern.get("Regex"), str) or splitter.get("invert"):
        raise UnknownPart("pre_tokenizer Split, inverted or without a pattern")
    if behavior != "Isolated":
        raise UnknownPart(f"pre_tokenizer Split, {str(behavior)[:32]!r}")
    return _first_match(pattern["Regex"], text)


def _first_match(pattern: str, text: str) -> str:
    """The first match, or what lies before it."""
    # Compiling takes longer than all else here, so plain texts share one pattern.
    match = _compiled(pattern, _ASCII if text.isascii() else text).search(text)
    if match is None or match.end() == 0:
        return text
    return text[: match.start()] if match.start() else match.group()


@cache
def _compiled(pattern: str, text: str) -> re.Pattern[str]:
    """A pattern whose classes of letters are spelt out for one text."""
    plain = re.sub(r"\\.|\(\?", "", _PROPERTY.sub("", pattern))
    if len(pattern) > _PATTERN_MAX_CHARS or len(_REPEAT.findall(plain)) > _REPEATS_MAX:
        raise UnknownPart("pre_tokenizer Split by a long pattern")
    if _UNSURE.search(pattern):
        raise UnknownPart("pre_tokenizer Split by an unknown pattern")
    try:
        return re.compile(_spelt_out(pattern, text))
    except (re.error, OverflowError, RecursionError) as error:
        raise UnknownPart("pre_tokenizer Split by an unknown pattern") from error


def _spelt_out(pattern: str, text: str) -> str:
    result, at, in_class = [], 0, False
    while at < len(pattern):
        match = _PROPERTY.match(pattern, at)
        if match:
            inside = _members(match, text)
            result.append(inside if in_class else f"[{inside}]")
            at = match.end()
            continue
        if pattern[at] == "\\":
            result.append(pattern[at : at + 2])
            at += 2
            continue
        in_class = (in_class or pattern[at] == "[") and pattern[at] != "]"
        result.append(pattern[at])
        at += 1
    return "".join(result)


def _members(match: re.Match[str], text: str) -> str:
    kind, caret, category = match.groups()
    wanted = (kind == "p") != bool(caret)
    found = {
        letter
        for letter in text
        if unicodedata.category(letter).startswith(category) == wanted
    }
    return "".join(re.escape(letter) for letter in sorted(found)) or _NOTHING


def _word(text: str) -> str:
    """Up to the first change between punctuation and the rest."""
    if not text or _is_punctuation(text[0]):
        return text[:1]
    cut = next((i for i, letter in enumerate(text) if _is_punctuation(letter)), None)
    return text[:cut]


def _is_punctuation(letter: str) -> bool:
    return unicodedata.category(letter).startswith("P") or (
        letter.isascii() and not letter.isalnum() and letter.isprintable()
    )


def _digits(text: str, single: bool) -> str:
    if not text or not text[0].isnumeric():
        cut = next((i for i, letter in enumerate(text) if letter.isnumeric()), None)
        return text[:cut]
    if single:
        return text[0]
    cut = next((i for i, letter in enumerate(text) if not letter.isnumeric()), None)
    return text[:cut]


@cache
def _letters() -> tuple[str, ...]:
    """The printable letter of each byte.  Source: Radford et al. 2019, GPT-2."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in printable}
    others = [byte for byte in range(256) if byte not in letters]
    letters |= {byte: chr(256 + index) for index, byte in enumerate(others)}
    return tuple(letters[byte] for byte in range(256))
