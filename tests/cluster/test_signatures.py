# SPDX-License-Identifier: Apache-2.0
"""Signed models on a real API server: whom the operator believes, and no longer."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from made_signatures import NOW, new_key, public_pem, signed, statement_of
from made_sigstore import MadeSigstore
from operator_world.bench import Bench, model, running_bench

SPACE = "signed"
RULE = {"name": "signed", "signature": {"required": "Always", "signers": ["acme"]}}
KEY, STRANGER = new_key(), new_key()


@pytest.fixture
def bench(
    programs: dict[str, Path], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Bench]:
    with running_bench(programs, tmp_path_factory.mktemp("operator")) as bench:
        bench.core.create_namespace({"metadata": {"name": SPACE}})
        yield bench


def _believe(bench: Bench, folder: Path, **signers: bytes) -> None:
    """Start the operator again with other signers."""
    folder.mkdir()
    for name, data in signers.items():
        (folder / name.replace("_", ".")).write_bytes(data)
    bench.stop()
    bench.start(PEDIGREE_TRUST=str(folder))


def test_a_model_is_admitted_for_as_long_as_its_signer_is_trusted(
    bench: Bench, tmp_path: Path
) -> None:
    uri = bench.put_model("tuned", "llama-a.sft")
    folder = Path(uri.removeprefix("file://"))
    files = {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }
    (folder / "model.sig").write_bytes(signed(files, KEY))
    bench.policy("signed", SPACE, RULE)
    bench.apply("modeldeployments", "tuned", model(uri), SPACE)
    obj = bench.verdict(SPACE, "tuned", "Fail")
    assert obj["status"]["verdict"]["reason"] == "NotSigned"
    assert "no signer is trusted here" in obj["status"]["verdict"]["message"]

    _believe(bench, tmp_path / "first", acme_pub=public_pem(KEY))
    bench.verdict(SPACE, "tuned", "Pass", ready="True")
    (found,) = bench.evidences()
    (signature,) = found["status"]["signatures"]["found"]
    assert (signature["reason"], signature["signer"]) == ("Valid", "acme")

    _believe(bench, tmp_path / "second", acme_pub=public_pem(STRANGER))
    obj = bench.verdict(SPACE, "tuned", "Fail")
    assert obj["status"]["verdict"]["reason"] == "NotSigned"
    bench.settle()
    assert bench.examinations() == 1, "once is enough to know"

    made = MadeSigstore()
    who = {"issuer": "https://issuer.example", "subject": "releases@acme.example"}
    payload = json.dumps(statement_of(files)).encode()
    (folder / "model.sig").write_bytes(
        made.sign(payload, issuer=who["issuer"], subject=who["subject"], at=NOW)
    )
    _believe(
        bench,
        tmp_path / "third",
        acme_identity_json=json.dumps(who).encode(),
        house_root_json=made.trusted_root(),
    )
    bench.verdict(SPACE, "tuned", "Pass", ready="True")
    (found,) = bench.evidences()
    (signature,) = found["status"]["signatures"]["found"]
    assert (signature["signer"], signature["method"]) == ("acme", "sigstore")
