# SPDX-License-Identifier: Apache-2.0
"""One reader of a model's JSON documents: what one part refuses, none understands."""

from __future__ import annotations

from pathlib import Path

import pytest

import made_models
from pedigree.errors import ArtifactError
from pedigree.examine.claims.reading import read_declarations
from pedigree.examine.safety.texts import Texts
from pedigree.fingerprint.hints import NO_HINTS, read_hints
from pedigree.limits import DEFAULT
from pedigree.lineage.context.documents import read_document
from pedigree.tensors.documents import CONFIG_MAX_BYTES, json_map, whole_file
from pedigree.tensors.quantisation import read_quantisation

GOOD = b'"model_type": "llama", "quantization_config": {"bits": 4}'
WRONG = {
    "a key twice": (b'{"model_type": "gpt2", %s}' % GOOD, "DuplicateKey"),
    "half a character": (b'{"a": "\\ud800", %s}' % GOOD, "MalformedName"),
    "a list": (b"[{%s}]" % GOOD, "MalformedConfig"),
    "no JSON": (b"{%s,}" % GOOD, "MalformedConfig"),
    "nothing": (b"", "MalformedConfig"),
}


def _write(folder: Path, config: bytes) -> Path:
    made_models.write(folder, made_models.llama(1))
    (folder / "config.json").write_bytes(config)
    return folder


@pytest.mark.parametrize("what", [*WRONG])
def test_what_one_reader_refuses_none_understands(tmp_path: Path, what: str) -> None:
    config, reason = WRONG[what]
    source = made_models.source(_write(tmp_path, config))
    sizes = {"config.json": len(config)}
    with pytest.raises(ArtifactError) as caught:
        read_document(source, "config.json")
    declared, remarks = read_declarations(source, DEFAULT)
    assert caught.value.reason == reason
    assert [remark.reason for remark in remarks] == [reason]
    assert not declared
    assert read_hints(source) == NO_HINTS
    assert read_quantisation(source, sizes, DEFAULT) == {}


def test_what_has_one_meaning_is_understood_by_all(tmp_path: Path) -> None:
    config = b'{%s, "rope": NaN}' % GOOD
    source = made_models.source(_write(tmp_path, config))
    assert read_document(source, "config.json")
    assert Texts(source, DEFAULT).json("config.json")["model_type"] == "llama"
    assert read_declarations(source, DEFAULT)[1] == []
    assert read_hints(source).model_type == "llama"
    found = read_quantisation(source, {"config.json": len(config)}, DEFAULT)
    assert found == {"bits": 4}


def test_a_document_over_the_bound_is_not_fetched(tmp_path: Path) -> None:
    config = b"{%s}" % GOOD + b" " * CONFIG_MAX_BYTES
    source = made_models.source(_write(tmp_path, config))
    before = source.bytes_read
    with pytest.raises(ArtifactError, match="allowed are"):
        whole_file(source, "config.json", len(config), CONFIG_MAX_BYTES)
    _, (remark,) = read_declarations(source, DEFAULT)
    assert remark.reason == "LimitExceeded"
    assert read_hints(source) == NO_HINTS
    assert read_quantisation(source, {"config.json": len(config)}, DEFAULT) == {}
    assert source.bytes_read == before


def test_values_are_bounded() -> None:
    with pytest.raises(ArtifactError) as caught:
        json_map(b'{"a": [1, 2, 3]}', "config.json", values_max=3)
    assert caught.value.reason == "LimitExceeded"
