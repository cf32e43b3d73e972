# SPDX-License-Identifier: Apache-2.0
"""docs/webhook.md names everything an operator can meet."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pedigree_webhook.config import Config
from pedigree_webhook.decision import REASONS, Basis
from pedigree_webhook.metrics import BAD_CALL_CODES
from webhook_world import model_deployment, world

TEXT = (Path(__file__).parents[3] / "docs" / "webhook.md").read_text("utf-8")


@pytest.mark.parametrize("reason", REASONS)
def test_every_reason_is_explained(reason: str) -> None:
    assert f"\n| `{reason}` | " in TEXT


@pytest.mark.parametrize("basis", Basis)
def test_every_basis_is_explained(basis: Basis) -> None:
    assert f"`{basis}`" in TEXT


def test_every_metric_is_explained_and_no_other() -> None:
    exposed = {
        line.split()[2]
        for line in world().metrics.exposition().decode().splitlines()
        if line.startswith("# TYPE pedigree_")
    }
    explained = set(re.findall(r"^\| `(pedigree_\w+)` \|", TEXT, re.MULTILINE))
    assert explained == exposed


def test_every_setting_is_explained_and_no_other() -> None:
    documented = set(re.findall(r"PEDIGREE_\w+", Config.__doc__ or ""))
    table = TEXT.partition("## Settings")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(PEDIGREE_\w+)`", table)) == documented
    assert len(documented) == len(fields(Config))


@pytest.mark.parametrize("code", BAD_CALL_CODES)
def test_every_http_error_is_explained(code: str) -> None:
    assert f"\n| {code} | " in TEXT


def test_every_annotation_is_explained() -> None:
    response = world().ask("CREATE", model_deployment("bad"))
    for key in response["auditAnnotations"]:
        assert f"`{key}`" in TEXT
