# SPDX-License-Identifier: Apache-2.0
"""MFI: configurations against the kit's scores, and what the files do not state."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from made_models import EXAMPLES
from pedigree.lineage.context.metadata import Metadata, mfi, read_metadata
from pedigree.lineage.context.model import NotShown
from pedigree.lineage.context.tokens import TokenFeatures, tfv, token_features
from pedigree.lineage.context.vocabulary import UNSTATED, Vocabulary, read_vocabulary
from pedigree.refs import parse
from pedigree.sources import SourceSettings, open_source

RECORDED = json.loads(
    (Path(__file__).parents[2] / "data/context/configurations.json").read_text()
)


@pytest.fixture(scope="module")
def tokens() -> TokenFeatures:
    folder = (EXAMPLES / "llama-a").resolve()
    found = read_vocabulary(open_source(parse(f"file://{folder}"), SourceSettings()))
    assert isinstance(found, Vocabulary)
    return token_features(found)


def metadata(document: dict[str, Any], tokens: TokenFeatures) -> Metadata:
    found = read_metadata(document, tokens)
    assert isinstance(found, Metadata)
    return found


def test_scores_of_common_model_types_equal_the_kits(tokens: TokenFeatures) -> None:
    made = {
        name: metadata(document, tokens)
        for name, document in RECORDED["configurations"].items()
    }
    for a, b, score, tier in RECORDED["pairs"]:
        found = mfi(made[a], made[b])
        assert found.value == pytest.approx(score, abs=1e-5), (a, b)
        assert found.detail.startswith(f"tier {tier}"), (a, b)


def test_a_class_that_is_not_in_the_table_is_equal_to_itself(
    tokens: TokenFeatures,
) -> None:
    document = {"model_type": "unheard", "hidden_size": 8}
    found = mfi(metadata(document, tokens), metadata(dict(document), tokens))
    assert found.value == 1.0


def test_a_default_that_is_not_known_is_a_reason_not_a_guess(
    tokens: TokenFeatures,
) -> None:
    unheard = metadata({"model_type": "unheard", "hidden_size": 8}, tokens)
    known = metadata(RECORDED["configurations"]["llama.full"], tokens)
    found = mfi(unheard, known)
    assert found.reason is NotShown.UNSTATED
    assert "unheard" in found.detail


def test_a_configuration_for_several_inputs_is_read_at_its_text_part(
    tokens: TokenFeatures,
) -> None:
    text = RECORDED["configurations"]["llama.full"]
    whole = {"model_type": "vision", "text_config": text}
    assert metadata(whole, tokens).fields["hidden_size"] == text["hidden_size"]


def test_a_copied_configuration_has_the_full_score(tokens: TokenFeatures) -> None:
    document = RECORDED["configurations"]["llama.full"]
    other = replace(tokens, digest="another", tokens=frozenset())
    found = mfi(metadata(document, tokens), metadata(document, other))
    assert found.value == 1.0


def test_special_tokens_that_only_a_class_knows_are_not_guessed(
    tokens: TokenFeatures,
) -> None:
    silent = replace(tokens, kind="Qwen2Tokenizer", specials={**tokens.specials})
    silent = replace(silent, specials={**silent.specials, "eos": UNSTATED})
    assert tfv(tokens, silent).reason is NotShown.UNSTATED
    assert tfv(silent, silent).value is not None


def test_the_digest_of_a_tokenizer_is_that_of_the_kits_database(
    tokens: TokenFeatures,
) -> None:
    assert tokens.digest == (
        "da5cdfb0595b25b1457404e27646325e400e1ea13cad7131b8a619e6ba4698a4"
    )


def test_a_class_that_the_library_overrules_is_the_librarys(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(EXAMPLES / "llama-a" / name, tmp_path / name)
    (tmp_path / "config.json").write_text('{"model_type": "qwen2"}')
    source = open_source(parse(f"file://{tmp_path}"), SourceSettings())
    found = read_vocabulary(source)
    assert isinstance(found, Vocabulary)
    assert found.kind == "Qwen2Tokenizer"
    assert found.specials["pad"] == UNSTATED
