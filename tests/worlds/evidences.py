# SPDX-License-Identifier: Apache-2.0
"""Evidence for tests: one of the largest kind, and any that Hypothesis thinks of."""

from hypothesis import strategies as st

from pedigree.digests import Digest, sha256
from pedigree.evidence import (
    Claim,
    Evidence,
    Finding,
    Lineage,
    Match,
    Resolution,
    Severity,
    Signature,
    Signatures,
)
from pedigree.lineage.classes import Direction, LineageClass

TIME = "2026-01-02T03:04:05Z"


def maximal_evidence() -> Evidence:
    """More of everything than there is room for, in the dearest characters."""
    dear = '\U0001f9ec<&>"\\'
    return Evidence(
        digest=sha256(b"maximal"),
        root_digest=sha256(b"maximal root"),
        files=10_000,
        size_bytes=2**52,
        formats=tuple(f"{dear * 20}{i}" for i in range(20)),
        engine=dear * 50,
        examined_at=TIME,
        architecture=dear * 50,
        parameters=2**52,
        findings=tuple(
            Finding(f"Reason{i}" * 20, severity, dear * 400, dear * 400)
            for i, severity in enumerate([*Severity] * 20)
        ),
        claims=tuple(Claim("baseModel", dear * 400, dear * 400) for _ in range(40)),
        fingerprint=sha256(b"fingerprint"),
        fingerprint_spec=dear * 40,
        lineage=Lineage(
            sha256(b"registry"),
            2_000_000,
            tuple(
                Match(
                    "r" * 253,
                    LineageClass.COMMON_ANCESTOR,
                    dear * 20,
                    Direction.UNDIRECTED,
                    -999_999,
                    -1000,
                    dear * 40,
                    dear * 40,
                )
                for _ in range(60)
            ),
            TIME,
            dear * 40,
        ),
        resolutions=tuple(
            Resolution(
                "file:///" + "\u00e9" * 500,
                "file:///" + "\u00e9" * 500,
                "stat:" + "i" * 240,
                TIME,
            )
            for _ in range(40)
        ),
        signatures=_maximal_signatures(dear),
    )


def _maximal_signatures(dear: str) -> Signatures:
    signature = Signature(
        dear * 40,
        "Valid",
        "n" * 63,
        "certificate",
        "0" * 64,
        ("\u00e9" * 40,) * 40,
        2**52,
        ("\u00e9" * 40,) * 40,
        2**52,
    )
    return Signatures(sha256(b"trust"), (signature,) * 40)


def digests() -> st.SearchStrategy[Digest]:
    return st.integers(0, 9).map(lambda n: sha256(bytes([n])))


def matches(
    names: st.SearchStrategy[str], texts: st.SearchStrategy[str]
) -> st.SearchStrategy[Match]:
    return st.builds(
        Match,
        reference=names,
        lineage=st.sampled_from(LineageClass),
        relation=texts,
        direction=st.sampled_from(Direction),
        log10_p=st.integers(-1000, 0),
        effect_permille=st.integers(-1000, 1000),
        test=texts,
        reason=texts,
    )


def evidences(
    *,
    texts: st.SearchStrategy[str],
    names: st.SearchStrategy[str],
    registries: st.SearchStrategy[Digest],
    formats: st.SearchStrategy[str],
    most: int = 4,
) -> st.SearchStrategy[Evidence]:
    """Any evidence whose texts come from ``texts`` and references from ``names``."""
    findings = st.builds(Finding, texts, st.sampled_from(Severity), texts, texts)
    lineages = st.builds(
        Lineage,
        registry_digest=registries,
        references=st.integers(0, 100),
        matches=st.lists(matches(names, texts), max_size=most).map(tuple),
        judged_at=st.just(TIME),
        engine=st.just("1"),
        omitted=st.sampled_from([0, 0, 0, 3]),
    )
    return st.builds(
        Evidence,
        digest=digests(),
        root_digest=digests(),
        files=st.integers(0, 9),
        size_bytes=st.integers(0, 2**53),
        formats=st.lists(formats, max_size=3).map(tuple),
        engine=texts,
        examined_at=st.just(TIME),
        architecture=texts,
        parameters=st.integers(0, 2**53),
        findings=st.lists(findings, max_size=most).map(
            lambda found: tuple(sorted(found, key=_severity, reverse=True))
        ),
        claims=st.lists(
            st.builds(
                Claim,
                st.sampled_from(["baseModel", "license", "chatTemplate"]),
                st.one_of(names, st.just(str(sha256(b"template")))),
                texts,
            ),
            max_size=most,
        ).map(tuple),
        fingerprint=st.one_of(st.none(), digests()),
        fingerprint_spec=st.just(""),
        lineage=st.one_of(st.none(), lineages),
        resolutions=st.lists(
            st.builds(Resolution, texts, texts, texts, st.just(TIME)), max_size=most
        ).map(tuple),
    )


def _severity(finding: Finding) -> int:
    return [*Severity].index(finding.severity)
