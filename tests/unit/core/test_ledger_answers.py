# SPDX-License-Identifier: Apache-2.0
"""Answers of an audit service that are no answers are told as such."""

from __future__ import annotations

from typing import Any

import pytest

from pedigree.digests import sha256
from pedigree.errors import LedgerError
from pedigree.ledger.reader import ServiceSource
from pedigree.ledger.transport import Endpoint

DIGEST = str(sha256(b""))


@pytest.mark.parametrize(
    "body",
    [
        {"entries": 1, "head": None},
        {"entries": 1, "head": 7},
        {"entries": float("inf"), "head": DIGEST},
        {"entries": None, "head": DIGEST},
        {"head": DIGEST},
        {},
    ],
)
def test_a_head_that_is_none_is_refused(
    monkeypatch: pytest.MonkeyPatch, body: dict[str, Any]
) -> None:
    monkeypatch.setattr(ServiceSource, "_get", lambda *_: body)
    with pytest.raises(LedgerError):
        ServiceSource(Endpoint("https://audit.example")).claims()


def test_a_report_whose_head_is_no_text_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    body = {"entries": 1, "firstBad": None, "head": 7, "ok": True}
    monkeypatch.setattr(ServiceSource, "_get", lambda *_: body)
    with pytest.raises(LedgerError):
        ServiceSource(Endpoint("https://audit.example")).server_report(None)
