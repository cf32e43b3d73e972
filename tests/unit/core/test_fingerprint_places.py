# SPDX-License-Identifier: Apache-2.0
"""Whoever reads a model, in whatever place, has the same fingerprint of it."""

from __future__ import annotations

import dataclasses
import json
import shutil
from datetime import UTC, datetime
from pathlib import Path

import pytest

import made_models as made
from pedigree import refs
from pedigree.cli import main
from pedigree.digests import Digest
from pedigree.errors import ArtifactError
from pedigree.examine import Examination, ExamineSettings, examine
from pedigree.fingerprint.codec import decode
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.lineage.compare import compare
from pedigree.sources import SourceSettings

LLAMA = made.EXAMPLES / "llama-a"
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Kept:
    """Fingerprints kept in memory."""

    def __init__(self) -> None:
        self.kept: dict[Digest, Fingerprint] = {}

    def get(self, model_digest: Digest) -> Fingerprint | None:
        return self.kept.get(model_digest)

    def put(self, model_digest: Digest, fingerprint: Fingerprint) -> None:
        self.kept[model_digest] = fingerprint


def _examine(store: Kept, profile: Profile | None = None) -> Examination:
    return examine(
        refs.parse(f"file://{LLAMA.resolve()}"),
        settings=ExamineSettings(sources=SourceSettings(), profile=profile),
        store=store,
        now=NOW,
    )


def _made(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, object]:
    assert main(["fingerprint", *arguments, "--json"]) == 0
    document: dict[str, object] = json.loads(capsys.readouterr().out)
    return document


@pytest.mark.parametrize("profile", list(Profile))
def test_the_command_and_an_examination_make_the_same_fingerprint(
    capsys: pytest.CaptureFixture[str], profile: Profile
) -> None:
    examined = _examine(Kept(), profile).fingerprint
    told = _made(capsys, str(LLAMA), "--profile", profile.value)["fingerprint"]
    assert examined is not None
    assert examined == made.fingerprint(LLAMA, profile)
    assert told == {
        "digest": str(examined.digest),
        "spec": "pedigree.dev/fingerprint/v2",
        "profile": profile.value,
    }


def test_files_are_examined_deep_as_all_their_bytes_are_read_anyway() -> None:
    found = _examine(Kept())
    assert found.fingerprint is not None
    assert found.fingerprint.profile is Profile.DEEP


@pytest.mark.parametrize(
    ("kept", "wanted", "reused"),
    [
        (Profile.DEEP, Profile.DEEP, True),
        (Profile.DEEP, Profile.FAST, True),
        (Profile.FAST, Profile.DEEP, False),
        (Profile.MINIMAL, Profile.FAST, False),
    ],
)
def test_a_kept_fingerprint_serves_where_it_says_as_much(
    kept: Profile, wanted: Profile, reused: bool
) -> None:
    store = Kept()
    _examine(store, kept)
    again = _examine(store, wanted)
    assert again.reused is reused
    assert again.fingerprint is not None
    assert again.fingerprint.profile is (kept if reused else wanted)


def test_a_kept_fingerprint_of_version_1_is_made_again() -> None:
    store = Kept()
    _examine(store)
    golden = Path(__file__).parent.parent / "goldens" / "v1"
    old = decode((golden / "llama-a.fingerprint.safetensors").read_bytes())
    store.kept = dict.fromkeys(store.kept, old)
    again = _examine(store)
    assert not again.reused
    assert again.evidence.fingerprint_spec == "pedigree.dev/fingerprint/v2"


def test_a_salted_fingerprint_is_compared_with_none_of_another_salt(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    salt = tmp_path / "salt"
    salt.write_bytes(bytes(range(32)))
    out = tmp_path / "a.fingerprint.safetensors"
    told = _made(capsys, str(LLAMA), "--salt", str(salt), "-o", str(out))
    assert told["salted"] is True
    salted = decode(out.read_bytes())
    with pytest.raises(ArtifactError) as refused:
        compare(salted, made.fingerprint(LLAMA))
    assert refused.value.reason == "UnsupportedFingerprint"
    same = made.fingerprint(LLAMA, salt=salt.read_bytes())
    assert compare(salted, same).lineage == "Identical"


def test_a_salt_that_is_short_or_missing_is_told(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    short = tmp_path / "salt"
    short.write_bytes(b"short")
    assert main(["fingerprint", str(LLAMA), "--salt", str(short)]) == 2
    assert "wanted at least 16" in capsys.readouterr().err
    assert main(["fingerprint", str(LLAMA), "--salt", str(tmp_path / "none")]) == 2
    assert "there is no salt" in capsys.readouterr().err


def test_a_tokenizer_that_cannot_be_understood_costs_anchors_and_is_told(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(LLAMA, folder)
    (folder / "tokenizer.json").write_text("[]")
    found = examine(
        refs.parse(f"file://{folder}"),
        settings=ExamineSettings(sources=SourceSettings()),
        now=NOW,
    )
    assert found.fingerprint is not None
    assert found.fingerprint.part("anchor.bytes") is None
    assert found.fingerprint.part("neuron.tspi.up") is not None
    assert "MalformedTokenizer" in {f.reason for f in found.evidence.findings}
    whole = made.fingerprint(LLAMA)
    strip = {n: a for n, a in whole.parts.items() if not n.startswith(("code.", "tab"))}
    for name, array in strip.items():
        if name in found.fingerprint.parts:
            assert (found.fingerprint.parts[name] == array).all(), name
    assert dataclasses.replace(whole, parts={}).tensors == found.fingerprint.tensors
