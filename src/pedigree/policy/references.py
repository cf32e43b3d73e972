# SPDX-License-Identifier: Apache-2.0
"""Known models, as policies see them: name, family, publisher, trust; no weights."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from pedigree.digests import Digest
from pedigree.errors import PolicyError, quote
from pedigree.evidence import registry_digest
from pedigree.evidence.chat_templates import TEMPLATES_TOLD_MAX

ALIASES_MAX = 32
_ADDRESS = re.compile(r"\A(?:hf:|(?:https?:)?//(?:www\.)?(?:huggingface|hf)\.co)/+")
_REVISION = re.compile(r"/(?:tree|blob|resolve)/|[?#]")


class Trust(StrEnum):
    """How far a known model is trusted."""

    TRUSTED = "Trusted"
    UNTRUSTED = "Untrusted"
    """Known, so that it can be named and denied; it satisfies no allowing rule."""
    REVOKED = "Revoked"
    """No policy admits a descendant."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One known model.

    Attributes:
        name: Name of the ``ReferenceModel`` or of the registry entry.
        family: Family, such as ``llama-3``.
        publisher: Who published it.
        license: Licence, or empty.
        aliases: Other names it is claimed under, such as ``org/model``.
        trust: How far it is trusted.
        fingerprint: Digest of its fingerprint, or empty as long as there is none.
        generation: Generation of the object; 0 for a registry entry.
        chat_templates: Digests of its chat templates; None as long as they are not
            known, as of a registry entry.
    """

    name: str
    family: str = ""
    publisher: str = ""
    license: str = ""
    aliases: tuple[str, ...] = ()
    trust: Trust = Trust.TRUSTED
    fingerprint: str = ""
    generation: int = 0
    chat_templates: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Everything it is called."""
        return (self.name, *self.aliases)


def reference_from_object(obj: Mapping[str, Any]) -> Reference:
    """Read a ``ReferenceModel`` object.

    The fingerprint is read whatever generation it was made at: the operator replaces
    it when the source changes, and edits of trust or aliases must not make every
    comparison in the cluster stale.

    Raises:
        PolicyError: A field is not what the CRD admits (reason ``ReferenceInvalid``).
    """
    metadata = _mapping(obj, "metadata")
    spec = _mapping(obj, "spec")
    status = _mapping(obj, "status")
    name = _text(metadata, "metadata", "name")
    if not name:
        raise _invalid("metadata.name", "is missing", "a name")
    aliases = spec.get("aliases") or []
    if not isinstance(aliases, list) or len(aliases) > ALIASES_MAX:
        raise _invalid("spec.aliases", "is not a short list", f"at most {ALIASES_MAX}")
    for index, alias in enumerate(aliases):
        if not isinstance(alias, str) or not alias:
            raise _invalid(f"spec.aliases[{index}]", f"is {quote(alias)}", "a name")
    generation = metadata.get("generation", 0)
    return Reference(
        name=name,
        family=_text(spec, "spec", "family"),
        publisher=_text(spec, "spec", "publisher"),
        license=_text(spec, "spec", "license"),
        aliases=tuple(aliases),
        trust=_trust(spec.get("trust", Trust.TRUSTED)),
        fingerprint=_fingerprint(status),
        generation=generation if isinstance(generation, int) else 0,
        chat_templates=_chat_templates(status),
    )


def current_registry_digest(references: Mapping[str, Reference]) -> Digest:
    """Identity of the references that models can be compared with now.

    Evidence compared with any other set is stale.
    """
    return registry_digest(
        {
            name: item.fingerprint
            for name, item in references.items()
            if item.fingerprint
        }
    )


def named(claimed: str, references: Iterable[Reference]) -> tuple[Reference, ...]:
    """References that a claimed name means, sorted by name.

    Case does not count, nor do a Hub address around the name or a revision behind it:
    a lie must not go unnoticed for a capital letter.
    """
    wanted = plain_name(claimed)
    found = [
        item
        for item in references
        if wanted and any(plain_name(name) == wanted for name in item.names)
    ]
    return tuple(sorted(found, key=lambda item: item.name))


def plain_name(text: str) -> str:
    """A claimed name without address, revision, case and white space."""
    name = _ADDRESS.sub("", text.strip().casefold(), count=1)
    name = _REVISION.split(name, maxsplit=1)[0]
    return name.partition("@")[0].strip("/")


def _trust(value: object) -> Trust:
    try:
        return Trust(str(value))
    except ValueError:
        raise _invalid(
            "spec.trust", f"is {quote(value)}", f"one of {', '.join(Trust)}"
        ) from None


def _fingerprint(status: Mapping[str, Any]) -> str:
    stored = _mapping(status, "fingerprint", "status.")
    text = _text(stored, "status.fingerprint", "digest")
    return _digest(text, "status.fingerprint.digest") if text else ""


def _chat_templates(status: Mapping[str, Any]) -> tuple[str, ...] | None:
    found = status.get("chatTemplates")
    if found is None:
        return None
    if not isinstance(found, list) or len(found) > TEMPLATES_TOLD_MAX:
        wanted = f"at most {TEMPLATES_TOLD_MAX}"
        raise _invalid("status.chatTemplates", "is not a short list", wanted)
    return tuple(
        _digest(item, f"status.chatTemplates[{index}]")
        for index, item in enumerate(found)
    )


def _digest(value: object, field: str) -> str:
    if not isinstance(value, str):
        raise _invalid(field, f"is {quote(value, 80)}", "a digest")
    try:
        Digest.parse(value)
    except ValueError as error:
        raise PolicyError(str(error), field=field, reason="ReferenceInvalid") from None
    return value


def _mapping(obj: Mapping[str, Any], key: str, within: str = "") -> Mapping[str, Any]:
    value = obj.get(key)
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise _invalid(within + key, f"is {quote(value, 80)}", "a map")
    return value


def _text(obj: Mapping[str, Any], path: str, key: str) -> str:
    value = obj.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise _invalid(f"{path}.{key}", f"is {quote(value, 80)}", "a string")
    return value


def _invalid(field: str, got: str, wanted: str) -> PolicyError:
    return PolicyError(
        f"{got}, wanted {wanted}", field=field, reason="ReferenceInvalid"
    )
