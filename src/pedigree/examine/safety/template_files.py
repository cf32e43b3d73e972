# SPDX-License-Identifier: Apache-2.0
"""Where chat templates stand, and what is said of each.

Loaders look in more than one place and prefer different ones, so every place is looked
at, and two that disagree are told.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any, NamedTuple

from pedigree.errors import ArtifactError, quote
from pedigree.examine.safety.sightings import Sighting
from pedigree.examine.safety.texts import Texts
from pedigree.limits import Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.remarks import ERROR, WARNING, Declared

FILES_MAX = 32
TEMPLATES_MAX = 64
_READ_MAX_BYTES = 1 << 20
LOOKED_AT_MAX_CHARS = 512 << 10
"""Of all templates of a model together; three real ones have a fifth of it."""
_JSON_FILES = (
    "tokenizer_config.json",
    "chat_template.json",
    "processor_config.json",
    "preprocessor_config.json",
)
_SUFFIXES = (".jinja", ".jinja2", ".j2")
_GGUF_KEY = re.compile(r"tokenizer\.chat_template(?:\.(.+))?", re.DOTALL)
_DEFAULT = "default"
_NAME_MAX_CHARS = 64


class Template(NamedTuple):
    """One template: its file, its name among several, its text."""

    path: str
    name: str
    text: str


def template_facts(
    texts: Texts, metadata: Mapping[str, Mapping[str, str]]
) -> tuple[list[Declared], list[Sighting]]:
    """Look at every chat template of a model.

    Args:
        texts: The small files.
        metadata: What files of weights say of themselves, by path.

    Returns:
        The digest of each template as a declaration, with one more where there are
        too many to tell, and what was seen.

    Raises:
        SourceError: The bytes could not be had.
    """
    sightings: list[Sighting] = []
    found: dict[str, Template] = {}
    standard: dict[str, str] = {}
    for number, template in enumerate(_templates(texts, metadata, sightings)):
        if number == TEMPLATES_MAX:
            detail = f"model has over {TEMPLATES_MAX} templates"
            sightings.append(_unread(template.path, detail, ERROR))
            break
        digest = template_digest(template.text)
        found.setdefault(digest, template)
        if template.name == _DEFAULT:
            standard.setdefault(template.path, digest)
    left = LOOKED_AT_MAX_CHARS
    for template in found.values():
        left -= len(template.text)
        if left < 0:
            detail = f"templates have over {LOOKED_AT_MAX_CHARS} characters in all"
            sightings.append(_unread(template.path, detail, ERROR))
            break
        sightings += _look_at(template.text, template.path)
    sightings += _ambiguous(standard)
    return _declared(found.items()), sightings


def _declared(found: Iterable[tuple[str, Template]]) -> list[Declared]:
    # Loading evidence takes longer than reading the templates of two models.
    from pedigree.evidence.chat_templates import CHAT_TEMPLATE, MORE, TEMPLATES_TOLD_MAX

    declared = [
        Declared(CHAT_TEMPLATE, digest, _source(template)) for digest, template in found
    ]
    if len(declared) > TEMPLATES_TOLD_MAX:
        source = declared[TEMPLATES_TOLD_MAX].source
        declared[TEMPLATES_TOLD_MAX:] = [Declared(CHAT_TEMPLATE, MORE, source)]
    return declared


def templates_of(
    source: ModelSource, metadata: Mapping[str, Mapping[str, str]], limits: Limits
) -> dict[str, str]:
    """Digest of each template of a model by where it stands; none is parsed.

    Args:
        source: The model.
        metadata: What files of weights say of themselves, by path.
        limits: Bounds.

    Raises:
        SourceError: The bytes could not be had.
    """
    texts = Texts(source, limits)
    found = itertools.islice(_templates(texts, metadata, []), TEMPLATES_MAX)
    return {_source(template): template_digest(template.text) for template in found}


def template_digest(text: str) -> str:
    """``sha256:`` of a template with line ends and the last line made alike.

    Programs that save a template change these and nothing else.
    """
    plain = text.replace("\r\n", "\n").replace("\r", "\n").rstrip("\n")
    data = plain.removeprefix("\ufeff").encode("utf-8", "surrogatepass")
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _look_at(text: str, path: str) -> list[Sighting]:
    # Loading the parser takes longer than examining a small model without templates.
    from pedigree.examine.safety.templates import look_at

    return look_at(text, path)


def _source(template: Template) -> str:
    if template.name == _DEFAULT:
        return template.path
    return f"{template.path}#{template.name[:_NAME_MAX_CHARS]}"


def _templates(
    texts: Texts, metadata: Mapping[str, Mapping[str, str]], seen: list[Sighting]
) -> Iterator[Template]:
    paths = _paths(texts.sizes)
    if len(paths) > FILES_MAX:
        detail = f"model has {len(paths)} files of templates, allowed are {FILES_MAX}"
        seen.append(_unread(paths[FILES_MAX], detail, ERROR))
    for path in paths[:FILES_MAX]:
        try:
            if path.endswith(_SUFFIXES):
                text = texts.whole(path, _READ_MAX_BYTES).decode("utf-8", "replace")
                yield Template(path, _name_of(path), text)
            else:
                yield from _members(path, texts.json(path))
        except ArtifactError as error:
            if path.endswith(_SUFFIXES):  # what is wrong with JSON is told already
                seen.append(_unread(path, error.message, ERROR))
    for path, keys in sorted(metadata.items()):
        for key, value in sorted(keys.items()):
            if match := _GGUF_KEY.fullmatch(key):
                yield Template(path, match[1] or _DEFAULT, value)


def _unread(path: str, detail: str, severity: str) -> Sighting:
    return Sighting(
        path, detail, "TemplateUnread", "what the template does is unknown", severity
    )


def _paths(sizes: Mapping[str, int]) -> list[str]:
    found = [
        path
        for path in sizes
        if PurePosixPath(path).name in _JSON_FILES or path.endswith(_SUFFIXES)
    ]
    return sorted(found, key=lambda path: (path.count("/"), path))


def _name_of(path: str) -> str:
    name = PurePosixPath(path).stem
    return _DEFAULT if name == "chat_template" else name


def _members(path: str, config: Any) -> Iterator[Template]:
    value = config.get("chat_template") if isinstance(config, dict) else None
    if isinstance(value, str):
        yield Template(path, _DEFAULT, value)
    elif isinstance(value, dict):
        for name, text in value.items():
            if isinstance(text, str):
                yield Template(path, name, text)
    elif isinstance(value, list):
        for item in value:
            if isinstance(item, dict) and isinstance(item.get("template"), str):
                yield Template(path, str(item.get("name", "")), item["template"])


def _ambiguous(standard: Mapping[str, str]) -> Iterator[Sighting]:
    """The template beside the tokenizer's configuration, and the one within it."""
    within, beside = (
        standard.get(name) for name in ("tokenizer_config.json", "chat_template.jinja")
    )
    if within is not None and beside is not None and within != beside:
        yield Sighting(
            "chat_template.jinja",
            f"{quote('chat_template.jinja')} and 'tokenizer_config.json' have "
            "different templates",
            "TemplateAmbiguous",
            "which of the two a server renders depends on its version",
            WARNING,
        )
