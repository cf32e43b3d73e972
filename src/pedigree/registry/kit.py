# SPDX-License-Identifier: Apache-2.0
"""Read a database of the Model Provenance Kit: catalogue, features, deep signals.

Layout (kit 1.0.0)::

    catalog/manifest.json                        shards of the catalogue
    catalog/by-family/<family>.json              assets, with the path of their features
    features/base/by-family/.../*_features.json  metadata, and paths of artefacts
    features/deep-signals/.../*.parquet          signal, layer, row, col, value

The kit and the database it ships are under Apache-2.0 (Cisco Systems).  What is kept
of it is context, and the vectors that a test of ours can use; the kit's own scores are
not.  Paths in the files are not believed: they must stay inside the folder.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.digests import sha256
from pedigree.errors import ArtifactError, ConfigError, quote
from pedigree.registry.catalogue import KIT_SPEC, TEXT_MAX_CHARS, Entry
from pedigree.registry.files import read_bounded
from pedigree.registry.kit_signals import (
    SIGNALS,
    VALUES_MAX,
    Floats,
    KitSignals,
    encode_signals,
)
from pedigree.registry.writing import Addition

REASON = "MalformedKitDatabase"
MANIFEST = "catalog/manifest.json"
PREFIX = "kit/"
"""Of the names of such references: they never stand for weights."""
_JSON_MAX_BYTES = 25_000_000
_PARQUET_MAX_BYTES = 512_000_000
_WVC = "wvc_layer_sigs"
_NOT_IN_NAMES = re.compile(r"[^A-Za-z0-9._/-]+|\.\.+")
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\U0010ffff]")


@dataclass(slots=True)
class _Database:
    """One folder, and what of it could not be used."""

    root: Path
    skipped: list[str]

    def bytes(self, path: object, most: int) -> bytes:
        """A file by the path that the database gives."""
        if not isinstance(path, str) or not path or len(path) > 1024:
            raise _malformed(str(self.root), f"a path is {quote(path, 80)}")
        whole = (self.root / path).resolve()
        if not whole.is_relative_to(self.root.resolve()):
            raise _malformed(path, "it leads out of the folder")
        data = read_bounded(whole, most)
        if data is None:
            raise _malformed(path, "it is not there")
        if len(data) > most:
            raise _malformed(path, f"it is over {most} bytes")
        return data

    def document(self, path: object) -> dict[str, Any]:
        """A JSON object by the path that the database gives."""
        try:
            value = json.loads(self.bytes(path, _JSON_MAX_BYTES))
        except (ValueError, RecursionError) as error:
            raise _malformed(str(path), f"{type(error).__name__}") from error
        if not isinstance(value, dict):
            raise _malformed(str(path), f"it holds a {type(value).__name__}")
        return value


def read_kit(root: Path, skipped: list[str]) -> Iterator[Addition]:
    """The models of a database.

    Args:
        root: Folder with ``catalog`` and ``features``.
        skipped: Gets a sentence for each model that could not be used.

    Raises:
        ArtifactError: The catalogue itself cannot be read (reason
            ``MalformedKitDatabase``).
        ConfigError: There are deep signals and nothing to read them with (reason
            ``ExtraMissing``).
    """
    database = _Database(root, skipped)
    for shard in _list(database.document(MANIFEST), "shards", MANIFEST):
        path = shard.get("shard_path")
        document = database.document(path)
        family = document.get("family")
        for asset in _list(document, "assets", str(path)):
            try:
                yield _addition(
                    database, family if isinstance(family, dict) else {}, asset
                )
            except ArtifactError as error:
                skipped.append(f"{_text(asset.get('model_id'))}: {error.message}")


def _list(document: Mapping[str, Any], key: str, path: str) -> list[dict[str, Any]]:
    items = document.get(key)
    if not isinstance(items, list) or not all(isinstance(i, dict) for i in items):
        raise _malformed(path, f"it has no list of {key}")
    return items


def _addition(
    database: _Database, family: Mapping[str, Any], asset: Mapping[str, Any]
) -> Addition:
    features = database.document(asset.get("feature_path"))
    metadata = features.get("mfi")
    told = features.get("signals")
    if not isinstance(metadata, dict):
        raise _malformed(str(asset.get("feature_path")), "it has no metadata")
    mode = told.get("nlf_mode") if isinstance(told, dict) else ""
    vectors, layers = _deep_signals(database, features)
    body = encode_signals(KitSignals(metadata, _text(mode), vectors, layers))
    model = _text(asset.get("model_id"))
    publisher = _text(family.get("publisher"))
    name = _NOT_IN_NAMES.sub("-", f"{PREFIX}{publisher}/{model}").strip("-/.")
    aliases = dict.fromkeys([model, _text(asset.get("canonical_name"))])
    entry = Entry(
        name=name,
        fingerprint=sha256(body),
        spec=KIT_SPEC,
        source=_text(asset.get("source_uri")),
        family=_text(family.get("display_name")),
        publisher=publisher,
        aliases=tuple(alias for alias in aliases if alias),
    )
    return Addition.of_kit(entry, body)


def _deep_signals(
    database: _Database, features: Mapping[str, Any]
) -> tuple[dict[str, Floats], dict[int, Floats]]:
    """Vectors of a model, if its parquet file came with the database."""
    artefacts = features.get("artifact_refs")
    for artefact in artefacts if isinstance(artefacts, list) else []:
        if not isinstance(artefact, dict) or artefact.get("type") != "deep_signals":
            continue
        path = artefact.get("path")
        if not isinstance(path, str) or not (database.root / path).exists():
            continue  # distributed apart from the database; often left out
        data = database.bytes(path, _PARQUET_MAX_BYTES)
        checksum = artefact.get("checksum")
        found = f"sha256:{hashlib.sha256(data).hexdigest()}"
        if checksum and checksum != found:
            raise _malformed(path, f"its digest is {found}, wanted {quote(checksum)}")
        return _parquet(data, path)
    return {}, {}


def _parquet(data: bytes, path: str) -> tuple[dict[str, Floats], dict[int, Floats]]:
    try:
        # An optional extra: there are no types, and there need be no module.
        arrow: Any = import_module("pyarrow")
        parquet: Any = import_module("pyarrow.parquet")
    except ImportError as error:
        raise ConfigError(
            f"file {quote(path)} is parquet, and pyarrow is not installed",
            reason="ExtraMissing",
            hint="install pedigree-gate[kit]",
        ) from error
    try:
        file = parquet.ParquetFile(arrow.BufferReader(data))
        if file.metadata.num_rows > VALUES_MAX:
            raise _malformed(path, f"it has {file.metadata.num_rows} rows")
        table = file.read(columns=["signal", "layer", "row", "col", "value"])
        names = table.column("signal").to_pylist()
        places = [
            table.column(key).fill_null(-1).to_numpy().astype(np.int64)
            for key in ("col", "row", "layer")
        ]
        values = table.column("value").to_numpy().astype("<f4")
    except (arrow.ArrowException, OSError, ValueError, KeyError) as error:
        raise _malformed(path, f"{type(error).__name__}: {str(error)[:200]}") from error
    if not np.isfinite(values).all():
        raise _malformed(path, "a value is not finite")
    return _grouped(np.array(names, object), places, values)


def _grouped(
    names: NDArray[np.object_], places: list[NDArray[np.int64]], values: Floats
) -> tuple[dict[str, Floats], dict[int, Floats]]:
    """Vectors in order of layer, row and column."""
    order = np.lexsort(places)
    names, values, layer = names[order], values[order], places[2][order]
    vectors = {
        ours: values[names == theirs]
        for theirs, ours in SIGNALS.items()
        if (names == theirs).any()
    }
    weights = names == _WVC
    numbers = np.unique(layer[weights])
    layers = {int(n): values[weights & (layer == n)] for n in numbers if n >= 0}
    return vectors, layers


def _text(value: object) -> str:
    """Text for the catalogue; what cannot be shown is left out."""
    if not isinstance(value, str):
        return ""
    return _UNPRINTABLE.sub("", value)[:TEXT_MAX_CHARS]


def _malformed(path: str, why: str) -> ArtifactError:
    return ArtifactError(
        f"file {quote(path)} of the database cannot be used: {why}",
        reason=REASON,
        hint="see docs/registry.md for the layout that is understood",
        path=path,
    )
