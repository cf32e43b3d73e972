# SPDX-License-Identifier: Apache-2.0
"""Targets: what Pedigree stores itself and reads again, from anywhere."""

from __future__ import annotations

import atexit
import json
import shutil
import tempfile
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from bench.fuzzing.memory import held
from bench.fuzzing.target import JSON, Frame, Target
from bench.fuzzing.weights import HEADER

import made_models
from audit_world.entries import admission
from pedigree.digests import sha256
from pedigree.errors import LedgerError
from pedigree.evidence.stored import from_object, to_object
from pedigree.fingerprint.codec import decode, encode
from pedigree.fingerprint.source import fingerprint_source
from pedigree.fingerprint.spec import Profile
from pedigree.ledger.chain import ChainReport, Head, record_from_dict
from pedigree.ledger.form import validate
from pedigree.registry.catalogue import SCHEMA_V1, decode_entry, decode_v1
from pedigree.registry.exchange import export_file, read_references
from pedigree.registry.folder import Registry
from pedigree.registry.index import Index
from pedigree.registry.kit import read_kit
from pedigree.registry.kit_signals import KitSignals, decode_signals, encode_signals
from pedigree.registry.state import FILE as STATE_FILE
from pedigree.registry.state import SCHEMA as STATE_SCHEMA
from pedigree.registry.state import read_state
from pedigree.tensors.strictjson import load
from worlds.evidences import maximal_evidence

DATA = Path(__file__).parents[2] / "tests" / "data"


def of_json(run: Callable[[Any], object]) -> Callable[[bytes], object]:
    """A parser of values, of the JSON in which they came."""

    def parse(data: bytes) -> object:
        return run(load(data, what="text", path="m", constants=True))

    return parse


@cache
def folder() -> Path:
    """A folder of this process, for parsers of files."""
    made = Path(tempfile.mkdtemp(prefix="pedigree-fuzz-"))
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return made


def _fingerprint(data: bytes) -> None:
    decode(data)


def _fingerprint_seeds() -> list[bytes]:
    tiny = made_models.llama(1, layers=1, width=8, neurons=8, tokens=16)
    source = held({"model.safetensors": made_models.file_bytes(tiny, "BF16")})
    return [encode(fingerprint_source(source, profile=Profile.FAST))]


def _evidence(value: Any) -> None:
    if isinstance(value, dict):
        from_object(value)


def _evidence_seeds() -> list[bytes]:
    return [json.dumps(to_object(maximal_evidence())).encode()]


def _entry(data: bytes) -> None:
    with suppress(ValueError):  # as it says; its callers name the file
        decode_entry(data)
    decode_v1(data, path="m")


def _entry_seeds() -> list[bytes]:
    entry = {
        "name": "a", "fingerprint": {"digest": f"sha256:{'0' * 64}", "spec": "x"},
        "aliases": ["b"], "parents": [{"name": "c", "relation": "FineTuned"}],
        "advisories": [], "source": "hf://a/b", "family": "f",
    }  # fmt: skip
    old = {"schema": SCHEMA_V1, "references": [entry]}
    return [json.dumps(entry).encode(), json.dumps(old).encode()]


def _state(data: bytes) -> None:
    (folder() / STATE_FILE).write_bytes(data)
    read_state(folder())


def _state_seeds() -> list[bytes]:
    digest = str(sha256(b""))
    return [json.dumps({"schema": STATE_SCHEMA, "index": [digest],
                        "digest": digest, "references": 1}).encode()]  # fmt: skip


def _export(data: bytes) -> None:
    path = folder() / "export.safetensors"
    path.write_bytes(data)
    for _ in read_references(path):
        pass


@cache
def _exported() -> bytes:
    root = folder() / "registry"
    registry = Registry.open(root, create=True)
    fingerprint = decode(_fingerprint_seeds()[0])
    registry.add("a", fingerprint)
    path = folder() / "exported.safetensors"
    export_file(registry, path)
    return path.read_bytes()


def _export_seeds() -> list[bytes]:
    return [_exported()]


def _index(data: bytes) -> None:
    path = folder() / "index.safetensors"
    path.write_bytes(data)
    index = Index(path)
    index.find("a")
    index.is_sorted()
    for number, _ in enumerate(index.rows()):
        index.entry(number)


def _index_seeds() -> list[bytes]:
    _exported()
    return [path.read_bytes() for path in (folder() / "registry").rglob("index/*")]


def _signals(data: bytes) -> None:
    decode_signals(data, "m")


def _signals_seeds() -> list[bytes]:
    vector = np.ones(3, np.float32)
    return [encode_signals(KitSignals({"hidden_size": 8}, "direct", {"nlf": vector},
                                      {0: vector, 4: vector}))]  # fmt: skip


def _kit(data: bytes) -> None:
    """Every document of a kit's database is the input's map of that name."""
    root = folder() / "kit"
    documents = load(data, what="kit", path="m", constants=True)
    if not isinstance(documents, dict):
        return
    for name, document in list(documents.items())[:4]:
        if name in ("catalog/manifest.json", "s.json", "f.json"):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(document))
    for _ in read_kit(root, []):
        pass


def _kit_seeds() -> list[bytes]:
    return [json.dumps({
        "catalog/manifest.json": {"shards": [{"shard_path": "s.json"}]},
        "s.json": {"family": {"publisher": "p", "display_name": "f"}, "assets": [
            {"model_id": "a/b", "feature_path": "f.json", "canonical_name": "c",
             "source_uri": "hf://a/b"}]},
        "f.json": {"mfi": {"hidden_size": 8}, "signals": {"nlf_mode": "direct"},
                   "artifact_refs": [{"type": "deep_signals", "path": "x"}]},
    }).encode()]  # fmt: skip


def _ledger(value: Any) -> None:
    for read in (validate, record_from_dict):
        try:
            read(value)
        except LedgerError as error:
            _ = str(error)
    if isinstance(value, dict):
        # As it says; its caller catches them.
        with suppress(KeyError, TypeError, ValueError):
            ChainReport.from_dict(value)


def _head(data: bytes) -> None:
    Head.parse(data.decode("utf-8", "replace"))


def _ledger_seeds() -> list[bytes]:
    entry = admission()
    digest = str(sha256(b""))
    record = {"seq": 1, "entry": entry, "producer": "p"}
    record |= {"leafHash": digest, "chainHash": digest}
    record |= {"receivedAt": "2026-01-01T00:00:00.000Z"}
    report = {"ok": True, "entries": 3, "head": digest, "firstBad": None}
    return [json.dumps(item).encode() for item in (entry, record, report)]


_HEADER: Frame = HEADER
TARGETS = (
    Target("fingerprint", _fingerprint, _fingerprint_seeds, (), _HEADER, 1 << 16),
    Target("evidence", of_json(_evidence), _evidence_seeds, (), JSON, 1 << 14),
    Target("registry-entry", _entry, _entry_seeds, (b"name", b"fingerprint"), JSON),
    Target("registry-state", _state, _state_seeds, (b"schema", b"index"), JSON),
    Target("registry-export", _export, _export_seeds, (), _HEADER, 1 << 16),
    Target("registry-index", _index, _index_seeds, (b"kit",), _HEADER, 1 << 14),
    Target("kit-signals", _signals, _signals_seeds, (b"wvc.end",), _HEADER),
    Target(
        "kit-database",
        _kit,
        _kit_seeds,
        (b"s.json", b"f.json", b"../x", b"catalog/manifest.json"),
        JSON,
    ),
    Target("ledger-entry", of_json(_ledger), _ledger_seeds, (), JSON, 1 << 14),
    Target("ledger-head", _head, lambda: [b"3:sha256:" + b"0" * 64], (b":",)),
)
"""In no order."""
