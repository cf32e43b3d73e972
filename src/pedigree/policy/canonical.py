# SPDX-License-Identifier: Apache-2.0
"""Digests of what a verdict rests on: equal digests, nothing to judge again."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pedigree.digests import Digest, json_digest

_INTEGER_MAX = 2**53
SPEC_DEFAULTS = {
    "enforcement": "Enforce",
    "onUnknown": "Deny",
    "onPending": "Hold",
    "onError": "Deny",
}
CLAIMS_DEFAULTS = {"contradicted": "Deny", "unverifiable": "Warn"}
"""What the CRDs fill in; a test compares them."""


def stable_digest(value: object) -> Digest:
    """Digest of any parsed YAML or JSON, also of what canonical JSON refuses.

    Objects that never met the CRD may hold floats, huge integers or half characters.
    They are tagged rather than refused, because judging must not fail.
    """
    return json_digest(_plain(value))


def spec_digest(spec: object) -> Digest:
    """Digest of a policy's ``spec``, with the API server's defaults filled in.

    So the same text gives the same digest in a file and in the cluster.
    """
    return stable_digest(_with_defaults(spec))


def _with_defaults(spec: object) -> object:
    if not isinstance(spec, Mapping):
        return spec
    filled = {**SPEC_DEFAULTS, **spec}
    rules = spec.get("rules")
    if isinstance(rules, list | tuple):
        filled["rules"] = [_rule_with_defaults(rule) for rule in rules]
    return filled


def _rule_with_defaults(rule: object) -> object:
    if not isinstance(rule, Mapping) or not isinstance(rule.get("claims"), Mapping):
        return rule
    return {**rule, "claims": {**CLAIMS_DEFAULTS, **rule["claims"]}}


def _plain(value: object) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode("utf-8")
    if isinstance(value, int) and abs(value) <= _INTEGER_MAX:
        return int(value)
    if isinstance(value, Mapping):
        return {str(_plain(str(key))): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return {f"${type(value).__name__}": ascii(value)}
