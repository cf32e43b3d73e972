# SPDX-License-Identifier: Apache-2.0
"""The CRDs against their conventions, and against the words the code uses."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from pedigree.evidence import Severity
from pedigree.evidence.chat_templates import TEMPLATES_TOLD_MAX
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy import durations
from pedigree.policy.canonical import CLAIMS_DEFAULTS, SPEC_DEFAULTS, spec_digest
from pedigree.policy.references import Trust
from pedigree.policy.rules import (
    Enforcement,
    Format,
    PinnedRequirement,
    SignatureRequirement,
)
from pedigree.policy.selection import Operator
from pedigree.policy.subject import Role
from pedigree.policy.verdict import CAUSES_MAX, Action, Reason, Result

CRDS = Path(__file__).parents[3] / "crds"
FILES = sorted(CRDS.glob("*.yaml"))
PRESERVED = "x-kubernetes-preserve-unknown-fields"
Schema = dict[str, Any]


def load(path: Path) -> Schema:
    loaded: Schema = yaml.safe_load(path.read_text())
    return loaded


def version(path: Path) -> Schema:
    (only,) = load(path)["spec"]["versions"]
    found: Schema = only
    return found


def root(path: Path) -> Schema:
    found: Schema = version(path)["schema"]["openAPIV3Schema"]
    return found


def walk(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema node with its path; the server's own metadata excepted."""
    if path == ".metadata":
        return
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from walk(child, f"{path}.{name}")
    for part, step in (("items", "[]"), ("additionalProperties", "{}")):
        if isinstance(schema.get(part), dict):
            yield from walk(schema[part], path + step)


def at(kind: str, path: str) -> Schema:
    return dict(walk(root(CRDS / f"{kind}.yaml")))[path]


def test_there_is_one_file_for_each_kind() -> None:
    assert [load(path)["spec"]["names"]["kind"] for path in FILES] == [
        "ClusterLineagePolicy",
        "LineagePolicy",
        "ModelDeployment",
        "ModelEvidence",
        "ReferenceModel",
    ]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_field_has_a_sentence_and_every_value_a_bound(path: Path) -> None:
    missing = []
    for where, schema in walk(root(path)):
        if not schema.get("description", "").endswith("."):
            missing.append(f"{where}: no sentence of description")
        kind = schema.get("type")
        if kind == "string" and not {"maxLength", "enum"} & schema.keys():
            missing.append(f"{where}: string without maxLength or enum")
        if kind == "array" and not {"maxItems", "x-kubernetes-list-type"} <= set(
            schema
        ):
            missing.append(f"{where}: list without maxItems and list type")
        if kind == "integer" and not {"minimum", "maximum"} <= schema.keys():
            missing.append(f"{where}: integer without minimum and maximum")
        if (
            kind == "object"
            and "properties" not in schema
            and "maxProperties" not in (schema)
        ):
            missing.append(f"{where}: map without maxProperties")
        if kind not in ("string", "array", "integer", "object"):
            missing.append(f"{where}: type is {kind}")
    assert missing == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_conventions_of_the_api_are_kept(path: Path) -> None:
    spec = load(path)["spec"]
    assert spec["group"] == "pedigree.dev"
    assert spec["names"]["categories"] == ["pedigree"]
    assert version(path)["subresources"] == {"status": {}}
    assert version(path)["additionalPrinterColumns"]
    for where, schema in walk(root(path)):
        for rule in schema.get("x-kubernetes-validations", ()):
            assert rule["message"], where
        if schema.get("x-kubernetes-list-type") == "map":
            keys = schema["x-kubernetes-list-map-keys"]
            assert set(keys) <= set(schema["items"]["required"]), where
    preserved = [where for where, schema in walk(root(path)) if PRESERVED in schema]
    assert preserved in ([], [".spec.workload.template.podSpec"])


def test_short_names_do_not_clash() -> None:
    names = [
        name for path in FILES for name in load(path)["spec"]["names"]["shortNames"]
    ]
    assert sorted(names) == ["clpol", "lpol", "mev", "mldep", "refmodel"]


CAUSE = ".status.verdict.causes[]"
RULE = ".spec.rules[]"
MATCH = ".status.lineage.matches[]"
VALUES = ".spec.match.objectSelector.matchExpressions[].operator"
ENUMS = [
    ("modeldeployments", ".spec.models[].role", Role),
    ("modeldeployments", ".status.verdict.result", Result),
    ("modeldeployments", ".status.verdict.action", Action),
    ("modeldeployments", ".status.verdict.reason", Reason),
    ("modeldeployments", f"{CAUSE}.result", Result),
    ("modeldeployments", f"{CAUSE}.action", Action),
    ("modeldeployments", f"{CAUSE}.reason", Reason),
    ("modeldeployments", ".status.models[].lineage.lineage", LineageClass),
    ("modelevidences", ".spec.findings[].severity", Severity),
    ("modelevidences", f"{MATCH}.lineage", LineageClass),
    ("modelevidences", f"{MATCH}.direction", Direction),
    ("referencemodels", ".spec.trust", Trust),
    ("lineagepolicies", ".spec.enforcement", Enforcement),
    ("lineagepolicies", ".spec.onUnknown", Action),
    ("lineagepolicies", ".spec.match.roles[]", Role),
    ("lineagepolicies", VALUES, Operator),
    ("lineagepolicies", f"{RULE}.formats.allowed[]", Format),
    ("lineagepolicies", f"{RULE}.pinned.required", PinnedRequirement),
    ("lineagepolicies", f"{RULE}.signature.required", SignatureRequirement),
]


@pytest.mark.parametrize(("kind", "path", "words"), ENUMS)
def test_the_crd_and_the_code_know_the_same_words(
    kind: str, path: str, words: type[Any]
) -> None:
    assert set(at(kind, path)["enum"]) == {str(word) for word in words}


def test_the_rule_on_templates_denies_or_warns_and_a_reference_has_room_for_them() -> (
    None
):
    differs = at("lineagepolicies", f"{RULE}.chatTemplate.differsFromAncestor")
    assert differs["enum"] == [Action.DENY, Action.WARN]
    assert (
        "differsFromAncestor"
        in at("lineagepolicies", f"{RULE}.chatTemplate")["required"]
    )
    templates = at("referencemodels", ".status.chatTemplates")
    assert templates["maxItems"] == TEMPLATES_TOLD_MAX


def test_durations_mean_the_same_in_the_crds_and_in_the_code() -> None:
    interval = at("modeldeployments", ".spec.revalidation.interval")
    max_age = at("lineagepolicies", ".spec.freshness.maxAge")
    assert interval["pattern"] == max_age["pattern"] == durations.PATTERN


@pytest.mark.parametrize("kind", ["clusterlineagepolicies", "lineagepolicies"])
def test_a_digest_fills_in_exactly_what_the_api_server_fills_in(kind: str) -> None:
    filled = {
        path: node["default"]
        for path, node in walk(root(CRDS / f"{kind}.yaml"))
        if "default" in node
    }
    rule = ".spec.rules[].claims"
    assert filled == {
        **{f".spec.{name}": value for name, value in SPEC_DEFAULTS.items()},
        **{f"{rule}.{name}": value for name, value in CLAIMS_DEFAULTS.items()},
    }


def test_what_is_a_default_need_not_be_written_for_the_same_digest() -> None:
    short = {"rules": [{"name": "honest", "claims": {}}], "onUnknown": "Warn"}
    whole = {
        **SPEC_DEFAULTS,
        "onUnknown": "Warn",
        "rules": [{"name": "honest", "claims": dict(CLAIMS_DEFAULTS)}],
    }
    assert spec_digest(short) == spec_digest(whole)
    assert spec_digest(short) != spec_digest({**whole, "onError": "Hold"})


def test_a_verdict_has_room_for_all_its_causes() -> None:
    causes = at("modeldeployments", ".status.verdict.causes")
    assert causes["maxItems"] == CAUSES_MAX


def test_both_kinds_of_policy_say_the_same_except_for_namespaces() -> None:
    cluster = dict(walk(root(CRDS / "clusterlineagepolicies.yaml")))
    namespaced = dict(walk(root(CRDS / "lineagepolicies.yaml")))
    extra = {path for path in cluster if path not in namespaced}
    assert extra
    assert all(path.startswith(".spec.match.namespaceSelector") for path in extra)
    assert set(namespaced) <= set(cluster)
    shared = [".spec.rules", ".spec.onUnknown", ".spec.onPending", ".spec.onError"]
    for path in shared:
        assert cluster[path] == namespaced[path]
