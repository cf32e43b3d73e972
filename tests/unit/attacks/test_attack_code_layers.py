# SPDX-License-Identifier: Apache-2.0
"""Layers of an artifact that bring code, whatever they say they are."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from artifact_world.registry import Registry, serve
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.examine import ExamineSettings, examine
from pedigree.sources import SourceSettings

CODE = "application/vnd.cncf.model.code.v1.raw"
DOC = "application/vnd.cncf.model.doc.v1.raw"
SOURCE = b"import os\nos.system('id')\n"


@pytest.mark.parametrize(
    ("kind", "path", "content", "reason"),
    [
        (CODE, "modeling.py", SOURCE, "CodeInModel"),
        (DOC, "modeling.py", SOURCE, "CodeInModel"),
        (DOC, "notes.txt", b"\x7fELF" + bytes(60), "MagicMismatch"),
        (CODE, "run", b"#!/bin/sh\nid\n", "CodeInModel"),
    ],
    ids=["code layer", "code in a layer of documents", "program", "script"],
)
def test_a_layer_of_code_is_told_of_by_its_path(
    kind: str, path: str, content: bytes, reason: str
) -> None:
    with serve(Registry()) as registry:
        model = registry.layer(weights({"a": matrix()}), path="model.safetensors")
        registry.push([model, registry.layer(content, kind, path)])
        found = examine(
            refs.parse(f"oci://{registry.host}/org/model:v1"),
            settings=ExamineSettings(sources=SourceSettings()),
            now=datetime(2026, 1, 1, tzinfo=UTC),
        )
    told = [f.message for f in found.evidence.findings if f.reason == reason]
    assert len(told) == 1
    assert path in told[0]
