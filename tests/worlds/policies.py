# SPDX-License-Identifier: Apache-2.0
"""Small worlds to judge in, and any that Hypothesis thinks of.

Three references (``good`` and ``bad`` of family ``llama``, ``gone`` revoked), a few
policies over them, and subjects with one or two models.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from pedigree.digests import sha256
from pedigree.evidence import Claim, Evidence, Finding, Lineage, Match, Severity
from pedigree.lineage.classes import LineageClass
from pedigree.policy.facts import FactState, ModelFacts
from pedigree.policy.references import (
    Reference,
    Trust,
    current_registry_digest,
)
from pedigree.policy.rules import BrokenPolicy, Policy, load_policy
from pedigree.policy.subject import Subject, subject_from_model_deployment
from pedigree.policy.verdict import Action, Reason
from worlds.evidences import TIME, evidences

NOW = datetime(2026, 1, 2, 4, 0, tzinfo=UTC)
TEMPLATE = str(sha256(b"template"))
COMMIT = "0e9e39f249a16976918f6564b8830bc894c89659"


def reference(name: str, **changes: Any) -> Reference:
    stated: dict[str, Any] = {
        "family": "llama",
        "publisher": f"{name}-org",
        "aliases": (f"org/{name}",),
        "fingerprint": str(sha256(name.encode())),
        "generation": 1,
    }
    return Reference(name, **{**stated, **changes})


REFERENCES: dict[str, Reference] = {
    item.name: item
    for item in (
        reference("good"),
        reference("bad"),
        reference("gone", trust=Trust.REVOKED, family="old"),
    )
}
REGISTRY = current_registry_digest(REFERENCES)


def derived(name: str, relation: str = "Finetune", log10_p: int = -40) -> Match:
    return Match(name, LineageClass.DERIVED, relation, log10_p=log10_p)


def inconclusive(name: str) -> Match:
    return Match(name, LineageClass.INCONCLUSIVE, reason="TooFewLayers")


def evidence(*matches: Match, **changes: Any) -> Evidence:
    omitted = changes.pop("omitted", 0)
    registry = changes.pop("registry", REGISTRY)
    stated: dict[str, Any] = {
        "digest": sha256(b"model"),
        "root_digest": sha256(b"model without names"),
        "files": 3,
        "size_bytes": 1000,
        "formats": ("safetensors",),
        "engine": "0.1.0",
        "examined_at": TIME,
        "fingerprint": sha256(b"fingerprint"),
        "lineage": Lineage(registry, 3, matches, TIME, "0.1.0", omitted),
    }
    return Evidence(**{**stated, **changes})


def known(*matches: Match, **changes: Any) -> ModelFacts:
    resolved_at = changes.pop("resolved_at", NOW - timedelta(hours=1))
    return ModelFacts(FactState.KNOWN, evidence(*matches, **changes), resolved_at)


def finding(severity: Severity = Severity.ERROR) -> Finding:
    return Finding("HeaderTooLarge", severity, "model.safetensors", "header is 9 GB")


def claims(name: str) -> Claim:
    return Claim("baseModel", name, "README.md")


def deployment(*models: Mapping[str, Any], **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "ModelDeployment",
        "metadata": {"name": "support", "namespace": "team-a", **metadata},
        "spec": {"models": [dict(model) for model in models]},
    }


def model(name: str = "base", **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "source": {"uri": f"hf://org/{name}@{COMMIT}"},
        **changes,
    }


def subject(*models: Mapping[str, Any], **metadata: Any) -> Subject:
    return subject_from_model_deployment(
        deployment(*(models or (model(),)), **metadata), {"team": "a"}
    )


ALLOW_GOOD = {"name": "allow", "allowedAncestors": {"references": ["good"]}}
DENY_BAD = {"name": "deny", "deniedAncestors": {"references": ["bad"]}}
CLAIMS: dict[str, Any] = {"name": "claims", "claims": {}}
FORMATS = {"name": "formats", "formats": {"allowed": ["safetensors"]}}
PINNED = {"name": "pinned", "pinned": {"required": "Always"}}


def policy_object(
    *rules: Mapping[str, Any], name: str = "prod", namespace: str = "", **spec: Any
) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, "uid": f"uid-{name}", "generation": 1}
    if namespace:
        metadata["namespace"] = namespace
    return {
        "apiVersion": "pedigree.dev/v1alpha1",
        "kind": "LineagePolicy" if namespace else "ClusterLineagePolicy",
        "metadata": metadata,
        "spec": {"rules": [dict(rule) for rule in rules], **spec},
    }


def policy(*rules: Mapping[str, Any], **changes: Any) -> Policy:
    loaded = load_policy(policy_object(*rules, **changes))
    assert isinstance(loaded, Policy), loaded
    return loaded


def broken(**changes: Any) -> BrokenPolicy:
    loaded = load_policy(policy_object({"name": "r", "formats": {}}, **changes))
    assert isinstance(loaded, BrokenPolicy)
    return loaded


# ---- what Hypothesis draws from: few names, so that things meet

NAMES = st.sampled_from(["good", "bad", "gone", "org/good", "never-heard-of"])
ENTRIES = st.sampled_from(["good", "bad", "gone", "g*", "*", "typo"])
WORDS = st.sampled_from(["", "a", "Finetune", "x\u00e9<"])


NOW_AND_THEN = st.sampled_from([False, False, False, True])
ENFORCEMENTS = st.sampled_from(["Enforce", "Warn", "Audit"])


def _ancestors() -> st.SearchStrategy[dict[str, Any]]:
    return st.one_of(
        st.fixed_dictionaries({"references": st.lists(ENTRIES, min_size=1)}),
        st.fixed_dictionaries({"families": st.just(["llama"])}),
        st.fixed_dictionaries({"publishers": st.just(["bad-org"])}),
    )


def _rules() -> st.SearchStrategy[list[dict[str, Any]]]:
    body = st.one_of(
        st.fixed_dictionaries({"allowedAncestors": _ancestors()}),
        st.fixed_dictionaries({"deniedAncestors": _ancestors()}),
        st.fixed_dictionaries(
            {
                "claims": st.fixed_dictionaries(
                    {
                        "contradicted": st.sampled_from(["Deny", "Warn"]),
                        "unverifiable": st.sampled_from(["Allow", "Warn", "Deny"]),
                    }
                )
            }
        ),
        st.just({"formats": {"allowed": ["safetensors"]}}),
        st.sampled_from(["Always", "ExceptFiles"]).map(
            lambda word: {"pinned": {"required": word}}
        ),
        st.sampled_from(["Deny", "Warn"]).map(
            lambda word: {"chatTemplate": {"differsFromAncestor": word}}
        ),
    )
    return st.lists(body, min_size=1, max_size=3).map(
        lambda bodies: [{"name": f"r{i}", **item} for i, item in enumerate(bodies)]
    )


def specs(
    enforcement: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[dict[str, Any]]:
    """Specs of sound policies (a deny list may still hold a typo)."""
    return st.fixed_dictionaries(
        {
            "rules": _rules(),
            "enforcement": ENFORCEMENTS if enforcement is None else enforcement,
            "onUnknown": st.sampled_from(["Deny", "Warn", "Allow", "Hold"]),
            "onPending": st.sampled_from(["Hold", "Deny", "Warn"]),
            "onError": st.sampled_from(["Deny", "Warn", "Hold"]),
        },
        optional={
            "match": st.sampled_from(
                [
                    {"roles": ["Base"]},
                    {"objectSelector": {"matchLabels": {"tier": "x"}}},
                    {},
                ]
            ),
            "freshness": st.just({"maxAge": "2h"}),
        },
    )


def policies(
    namespace: str = "",
    enforcement: st.SearchStrategy[str] | None = None,
    breaks: st.SearchStrategy[bool] = NOW_AND_THEN,
) -> st.SearchStrategy[Policy | BrokenPolicy]:
    """Sound policies, and now and then a broken one."""

    def build(spec: dict[str, Any], name: str, breaks: bool) -> Policy | BrokenPolicy:
        obj = policy_object(name=name, namespace=namespace)
        obj["spec"] = {**spec, "typo": 1} if breaks else spec
        return load_policy(obj)

    return st.builds(
        build,
        specs(enforcement),
        st.sampled_from(["p1", "p2", "p3", "p4"]),
        breaks,
    )


def policy_sets(
    enforcement: st.SearchStrategy[str] | None = None,
) -> st.SearchStrategy[list[Policy | BrokenPolicy]]:
    """Up to four policies of different names, cluster-wide and namespaced."""
    either = st.one_of(
        policies(enforcement=enforcement), policies("team-a", enforcement)
    )
    return st.lists(either, max_size=4, unique_by=lambda item: item.key)


def reference_sets() -> st.SearchStrategy[dict[str, Reference]]:
    """References of which some are missing, revoked or without fingerprint."""
    change = st.fixed_dictionaries(
        {},
        optional={
            "trust": st.sampled_from(Trust),
            "fingerprint": st.just(""),
            "family": st.just("other"),
            "chat_templates": st.sampled_from([(), (TEMPLATE,)]),
        },
    )
    return st.dictionaries(
        st.sampled_from(["good", "bad", "gone"]), change, max_size=3
    ).map(
        lambda chosen: {name: reference(name, **item) for name, item in chosen.items()}
    )


def facts_of(
    references: Mapping[str, Reference],
) -> st.SearchStrategy[dict[str, ModelFacts]]:
    """Facts about ``base`` and ``adapter``, often compared with these references."""
    current = current_registry_digest(references)
    found = evidences(
        texts=WORDS,
        names=NAMES,
        registries=st.sampled_from([current, current, current, REGISTRY]),
        formats=st.sampled_from(["safetensors", "pytorch", "none"]),
    )
    times = st.one_of(
        st.none(),
        st.datetimes(timezones=st.just(UTC)),
        st.datetimes(),
        st.just(NOW - timedelta(minutes=5)),
    )
    one = st.one_of(
        st.builds(ModelFacts, st.just(FactState.KNOWN), found, times),
        st.builds(
            ModelFacts,
            st.sampled_from(FactState),
            st.none(),
            times,
            reason=st.one_of(st.none(), st.sampled_from(Reason)),
            message=WORDS,
        ),
    )
    return st.dictionaries(st.sampled_from(["base", "adapter"]), one)


def subjects() -> st.SearchStrategy[Subject]:
    """Subjects with one or two models, some of them not understandable."""
    source = st.sampled_from(
        [
            {"uri": f"hf://org/base@{COMMIT}"},
            {"uri": "hf://org/base@main"},
            {"uri": "file:///models/base"},
            {"uri": "ftp://nowhere"},
            {},
        ]
    )
    models = st.fixed_dictionaries(
        {"source": source, "role": st.sampled_from(["Base", "Adapter", "odd"])},
        optional={
            "claims": NAMES.map(lambda name: {"baseModel": name}),
            "expectedDigest": st.sampled_from(
                [str(sha256(b"\x01")), str(sha256(b"\x02")), "x"]
            ),
        },
    )
    named = st.lists(models, max_size=2).map(
        lambda chosen: [
            {"name": name, **item}
            for name, item in zip(("base", "adapter"), chosen, strict=False)
        ]
    )
    labels = st.sampled_from([{}, {"tier": "x"}])
    return st.builds(
        lambda chosen, given: subject_from_model_deployment(
            deployment(*chosen, labels=given), {"team": "a"}
        ),
        named,
        labels,
    )


ACTIONS = list(Action)
