# SPDX-License-Identifier: Apache-2.0
"""Values in configurations that make a server fetch or run something else.

Servers read more than ``config.json``, and some keys count at any depth: a nested
``trust_remote_code`` was passed on by a loader that had been told not to trust
(CVE-2026-5241).  Places are told as JSON pointers (RFC 6901).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import Any

from pedigree.errors import ArtifactError, quote
from pedigree.examine.claims.configs import ADAPTER_CONFIG, CONFIG
from pedigree.examine.safety.sightings import Sighting
from pedigree.examine.safety.texts import Texts
from pedigree.tensors.remarks import ERROR, INFO, WARNING

FILES_MAX = 64
"""Configurations that are read; models of many parts have about twenty."""
_READ_BY_SERVERS = frozenset(
    {CONFIG, ADAPTER_CONFIG, "tokenizer_config.json", "generation_config.json"}
    | {"preprocessor_config.json", "processor_config.json", "model_index.json"}
    | {"video_preprocessor_config.json", "image_processor_config.json"}
    | {"chat_template.json", "special_tokens_map.json", "quantize_config.json"}
    | {"quant_config.json", "params.json", "modules.json", "configuration.json"}
    | {"config_sentence_transformers.json", "feature_extractor_config.json"}
)
_TRUST_KEYS = ("trust_remote_code",)
_CODE_KEYS = ("auto_map", "custom_pipelines", "custom_pipeline", "custom_code")
_CODE_FILE_KEYS = ("custom_generate", "modeling_file", "code_file", "plugin")
_IMPORTED_KEYS = {
    "parent_library": ("transformers.", "diffusers."),
    "type": ("sentence_transformers.",),
}
"""Keys whose value a loader imports, and what it is in honest models: the first of an
adapter's ``auto_mapping``, the second of ``modules.json``."""
_KERNEL_KEY = re.compile(r"_*(?:attn|experts)_implementation(?:_[a-z]+)*")
_ORIGIN_KEYS = ("_name_or_path", "name_or_path", "base_model_name_or_path")
_SERVED_INSTEAD = "/speculators_config/verifier/name_or_path"
"""What a server that is given a model for speculation loads as the model itself."""
_REWRITTEN_KEYS = (
    "special_tokens_map_file",
    "tokenizer_file",
    "vocab_file",
    "merges_file",
    "added_tokens_file",
)
"""Loaders put the file within the model's folder in place of what these say."""
_PATH_KEY = re.compile(
    r"(?:^|_)(?:path|paths|file|files|filename|dir|directory|folder|location|url|uri)$"
)
_OUTSIDE = re.compile(r"^(?:[/~]|\\\\|[A-Za-z]:[\\/])|(?:^|[/\\])\.\.(?:[/\\]|$)")
_FAR = re.compile(r"^[a-z][a-z0-9+.-]{1,15}://|^file:", re.IGNORECASE)
_ENVIRONMENT = re.compile(r"\$\{?[A-Za-z_]|%[A-Za-z_]+%")
_OTHER_REPOSITORY = re.compile(r"^[^\s/]+/[^\s/]+--|^https?://")

_REMOTE = "a server that trusts it runs its publisher's code"
_FOREIGN = "no digest of this model binds that code"
_KERNEL = "servers fetch it from a hub and run it"
_OUT = "it is not part of the model"
_INSTEAD = "some servers load it in place of these weights, and it was not compared"
_UNKNOWN = "what it makes a server do is unknown"
_LOCAL = "which model that is cannot be told"


def configuration_sightings(texts: Texts) -> Iterator[Sighting]:
    """Look into every configuration that servers read, in any folder.

    Raises:
        SourceError: The bytes could not be had.
    """
    paths = config_paths(texts.sizes)
    if len(paths) > FILES_MAX:
        detail = f"model has {len(paths)} configurations, {FILES_MAX} were looked at"
        yield Sighting(paths[FILES_MAX], detail, "LimitExceeded", _UNKNOWN)
    for path in paths[:FILES_MAX]:
        try:
            config = texts.json(path)
        except ArtifactError as error:
            # What is wrong with these two is told where they are read first.
            if path not in (CONFIG, ADAPTER_CONFIG):
                yield _malformed(path, error)
            continue
        yield from walk(path, config)


def config_paths(sizes: dict[str, int]) -> list[str]:
    """Configurations in the order in which they matter: well known and high up first.

    Args:
        sizes: Bytes by path.
    """
    named = [
        path
        for path in sizes
        if PurePosixPath(path).name in _READ_BY_SERVERS or path.endswith("config.json")
    ]
    return sorted(named, key=lambda path: (not _known(path), path.count("/"), path))


def _known(path: str) -> bool:
    return PurePosixPath(path).name in _READ_BY_SERVERS


def _malformed(path: str, error: ArtifactError) -> Sighting:
    return Sighting(
        path,
        error.message,
        str(error.reason),
        _UNKNOWN,
        ERROR if _known(path) else WARNING,
    )


def walk(path: str, config: Any) -> Iterator[Sighting]:
    """Look at every member of a configuration, at any depth.

    Args:
        path: The file, for messages.
        config: What it says; bounded by the JSON reader.
    """
    pending: list[tuple[str, Any]] = [("", config)]
    while pending:
        at, item = pending.pop()
        if isinstance(item, dict):
            for key, value in item.items():
                inner = at + "/" + key.replace("~", "~0").replace("/", "~1")
                yield from _member(path, inner, key, value)
                if isinstance(value, dict | list):
                    pending.append((inner, value))
        elif isinstance(item, list):
            pending.extend(
                (f"{at}/{index}", value)
                for index, value in enumerate(item)
                if isinstance(value, dict | list)
            )


def _member(path: str, at: str, key: str, value: Any) -> Iterator[Sighting]:
    where = f"{quote(path, 60)} at {quote(at, 60)}"
    # A pipeline whose class is a pair brings the module that the first names.
    pipeline = key == "_class_name" and isinstance(value, list)
    if key in _TRUST_KEYS or key in _CODE_KEYS or pipeline:
        if value:
            yield Sighting(path, f"{where} asks for code", "RemoteCode", _REMOTE)
        foreign = next((x for x in _strings(value) if _OTHER_REPOSITORY.match(x)), None)
        if foreign is not None:
            detail = f"{where} names {quote(foreign, 60)}"
            yield Sighting(path, detail, "ForeignCode", _FOREIGN)
    elif key in _CODE_FILE_KEYS:
        if isinstance(value, str) and value:
            detail = f"{where} names {quote(value, 60)}"
            yield Sighting(path, detail, "RemoteCode", _REMOTE)
    elif key in _IMPORTED_KEYS and _is_imported(path, key):
        if isinstance(value, str) and not value.startswith(_IMPORTED_KEYS[key]):
            detail = f"{where} imports {quote(value, 60)}"
            yield Sighting(path, detail, "RemoteCode", _REMOTE)
    elif _KERNEL_KEY.fullmatch(key):
        # Only the loader's own state has the inner key; in a file it is an attack.
        severity = ERROR if "_internal" in key else WARNING
        for name in _strings(value):
            if "/" in name or ":" in name:
                detail = f"{where} names {quote(name, 60)}"
                yield Sighting(path, detail, "HubKernel", _KERNEL, severity)
    elif at == _SERVED_INSTEAD and path == CONFIG:
        for name in _strings(value):
            detail = f"{where} names {quote(name, 60)}"
            yield Sighting(path, detail, "UnreadWeights", _INSTEAD)
    else:
        yield from _path_value(path, where, key, value)


def _is_imported(path: str, key: str) -> bool:
    name = PurePosixPath(path).name
    return name == ("modules.json" if key == "type" else ADAPTER_CONFIG)


def _strings(value: Any) -> Iterator[str]:
    """Every text below a value; bounded by the JSON reader."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            pending.extend(reversed(item.values()))
        elif isinstance(item, list):
            pending.extend(reversed(item))


def _path_value(path: str, where: str, key: str, value: Any) -> Iterator[Sighting]:
    values = value if isinstance(value, list) else (value,)
    for text in values:
        if not isinstance(text, str):
            continue
        if key in _ORIGIN_KEYS:
            if _OUTSIDE.search(text):
                detail = f"{where} says {quote(text, 60)}"
                yield Sighting(path, detail, "LocalBase", _LOCAL, INFO)
        elif _PATH_KEY.search(key) and (
            _OUTSIDE.search(text) or _FAR.search(text) or _ENVIRONMENT.search(text)
        ):
            severity = INFO if key in _REWRITTEN_KEYS else WARNING
            detail = f"{where} leads to {quote(text, 60)}"
            yield Sighting(path, detail, "OutsidePath", _OUT, severity)
