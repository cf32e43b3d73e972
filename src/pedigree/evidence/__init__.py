# SPDX-License-Identifier: Apache-2.0
"""Evidence: facts about one model, without opinion.

One model is one digest.  Facts that follow from its bytes alone never change;
lineage follows from the bytes *and* from the set of known references, and is
replaced when that set changes.  Times are RFC 3339 UTC strings, effects are integer
per-mille and p-values integer log10 rounded towards zero, because these facts are
stored in Kubernetes objects, where floats are unwelcome, and are hashed.
"""

from pedigree.evidence.room import OBJECT_MAX_BYTES, stored_bytes
from pedigree.evidence.signed import (
    NO_TRUST,
    SIGNATURES_MAX,
    Signature,
    Signatures,
    merge_signatures,
    signatures_to_dict,
)
from pedigree.evidence.stored import (
    API_VERSION,
    CLAIMS_MAX,
    FINDINGS_MAX,
    FORMATS_MAX,
    GROUP,
    IDENTITY_MAX_CHARS,
    MATCHES_MAX,
    MESSAGE_MAX_CHARS,
    NAME_MAX_CHARS,
    PATH_MAX_CHARS,
    SCOPE_MAX_CHARS,
    SOURCES_MAX,
    URI_MAX_CHARS,
    VALUE_MAX_CHARS,
    VERSION,
    from_object,
    lineage_from_dict,
    lineage_to_dict,
    match_to_dict,
    to_object,
    to_spec,
    to_status,
)
from pedigree.evidence.terms import (
    ESCAPED,
    UNCOMPARED_WEIGHTS,
    UNREAD_WEIGHTS,
    Claim,
    Evidence,
    Finding,
    Lineage,
    Match,
    Resolution,
    Severity,
    evidence_name,
    registry_digest,
)

__all__ = [
    "API_VERSION",
    "CLAIMS_MAX",
    "ESCAPED",
    "FINDINGS_MAX",
    "FORMATS_MAX",
    "GROUP",
    "IDENTITY_MAX_CHARS",
    "MATCHES_MAX",
    "MESSAGE_MAX_CHARS",
    "NAME_MAX_CHARS",
    "NO_TRUST",
    "OBJECT_MAX_BYTES",
    "PATH_MAX_CHARS",
    "SCOPE_MAX_CHARS",
    "SIGNATURES_MAX",
    "SOURCES_MAX",
    "UNCOMPARED_WEIGHTS",
    "UNREAD_WEIGHTS",
    "URI_MAX_CHARS",
    "VALUE_MAX_CHARS",
    "VERSION",
    "Claim",
    "Evidence",
    "Finding",
    "Lineage",
    "Match",
    "Resolution",
    "Severity",
    "Signature",
    "Signatures",
    "evidence_name",
    "from_object",
    "lineage_from_dict",
    "lineage_to_dict",
    "match_to_dict",
    "merge_signatures",
    "registry_digest",
    "signatures_to_dict",
    "stored_bytes",
    "to_object",
    "to_spec",
    "to_status",
]
