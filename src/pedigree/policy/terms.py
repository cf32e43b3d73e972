# SPDX-License-Identifier: Apache-2.0
"""Policies: what they select, what they demand, and how strictly.

A policy object is read whole or not at all.  One wrong field makes it a
:class:`BrokenPolicy`, which in ``Enforce`` denies what it selects: half a policy would
admit what the other half was written to keep out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum

from pedigree.digests import Digest
from pedigree.policy.selection import EVERYTHING, LabelSelector
from pedigree.policy.subject import Subject, SubjectModel
from pedigree.policy.verdict import Action

CLUSTER_KIND = "ClusterLineagePolicy"
NAMESPACED_KIND = "LineagePolicy"
RULES_MAX = 32
ENTRIES_MAX = 64
"""Names in one list of a rule."""


class Enforcement(StrEnum):
    """What becomes of a policy's findings."""

    ENFORCE = "Enforce"
    WARN = "Warn"
    """Everything is admitted; denials and holds become warnings."""
    AUDIT = "Audit"
    """Everything is admitted in silence; the causes stand in status and ledger."""

    def soften(self, action: Action) -> Action:
        """What becomes of an action under this enforcement."""
        if self is Enforcement.ENFORCE:
            return action
        if self is Enforcement.AUDIT:
            return Action.ALLOW
        return Action.ALLOW if action is Action.ALLOW else Action.WARN


class Format(StrEnum):
    """Weight formats a rule can name."""

    SAFETENSORS = "safetensors"
    GGUF = "gguf"
    PYTORCH = "pytorch"
    ONNX = "onnx"
    OTHER = "other"
    NONE = "none"
    """No weight file at all, as of a tokenizer."""


class PinnedRequirement(StrEnum):
    """Which references must be pinned."""

    ALWAYS = "Always"
    EXCEPT_FILES = "ExceptFiles"


class SignatureRequirement(StrEnum):
    """Which models must be signed."""

    ALWAYS = "Always"
    WHERE_SIGNED = "WhereSigned"
    """Only those that bring a signature; one of theirs must do."""


@dataclass(frozen=True, slots=True)
class FieldProblem:
    """What is wrong with one field of a policy.

    Attributes:
        field: Its path, such as ``spec.rules[2].formats.allowed[0]``.
        message: What is wrong and what was wanted.
    """

    field: str
    message: str

    def __str__(self) -> str:
        return f"{self.field}: {self.message}"


@dataclass(frozen=True, slots=True)
class Ancestors:
    """Names a set of ancestors.

    Attributes:
        references: Names or aliases of reference models, or patterns with * and ?.
        families: Families.
        publishers: Publishers.
    """

    references: tuple[str, ...] = ()
    families: tuple[str, ...] = ()
    publishers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AllowedAncestors:
    """Every selected model must descend from one of these."""

    name: str
    ancestors: Ancestors
    field: str = ""


@dataclass(frozen=True, slots=True)
class DeniedAncestors:
    """No selected model may descend from any of these."""

    name: str
    ancestors: Ancestors
    field: str = ""


@dataclass(frozen=True, slots=True)
class ClaimsRule:
    """Declared base models are compared with the measured ones."""

    name: str
    contradicted: Action = Action.DENY
    unverifiable: Action = Action.WARN


@dataclass(frozen=True, slots=True)
class FormatsRule:
    """Weights may be stored in these formats only."""

    name: str
    allowed: frozenset[str]


@dataclass(frozen=True, slots=True)
class PinnedRule:
    """References must fix their content."""

    name: str
    required: PinnedRequirement


@dataclass(frozen=True, slots=True)
class SignatureRule:
    """Models must be signed by somebody trusted.

    Attributes:
        name: Of the rule.
        required: Which models.
        signers: Names of trusted signers, one of whom it must be; empty for any.
        ignored: Patterns of files that the signer may leave out by ``ignore_paths``.
        unsigned: Patterns of files that need not be signed.
    """

    name: str
    required: SignatureRequirement
    signers: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    unsigned: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ChatTemplateRule:
    """Models must be served with a chat template of what they descend from.

    Attributes:
        name: Of the rule.
        differs: What to do with one that brings another.
    """

    name: str
    differs: Action


Rule = (
    AllowedAncestors
    | DeniedAncestors
    | ClaimsRule
    | FormatsRule
    | PinnedRule
    | SignatureRule
    | ChatTemplateRule
)


@dataclass(frozen=True, slots=True)
class Match:
    """What a policy selects; nothing stated selects everything.

    Attributes:
        namespace_selector: Namespaces, by their labels; cluster policies only.
        object_selector: Objects, by their labels.
        roles: Roles of models; the policy says nothing about others.
    """

    namespace_selector: LabelSelector = EVERYTHING
    object_selector: LabelSelector = EVERYTHING
    roles: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Identity:
    """What sound and broken policies have in common."""

    kind: str
    name: str
    namespace: str
    """Empty for a cluster policy."""
    uid: str
    generation: int
    digest: Digest
    enforcement: Enforcement
    match: Match

    @property
    def key(self) -> str:
        """``name`` of a cluster policy, ``namespace/name`` of another."""
        return f"{self.namespace}/{self.name}" if self.namespace else self.name

    @property
    def clears(self) -> bool:
        """Whether what it covers is no longer left to the no-match action.

        Only cluster policies do: a namespaced one may tighten but never lift the
        default, or tenants could admit themselves.
        """
        return self.kind == CLUSTER_KIND

    @property
    def order(self) -> tuple[bool, str, str, str]:
        """Cluster policies first, then by name."""
        return (self.kind != CLUSTER_KIND, self.namespace, self.name, self.uid)

    def selects(self, subject: Subject) -> bool:
        """Whether it looks at the object at all."""
        if self.kind != CLUSTER_KIND and self.namespace != subject.namespace:
            return False
        labels: Mapping[str, str] = subject.namespace_labels
        return self.match.namespace_selector.matches(
            labels
        ) and self.match.object_selector.matches(subject.labels)

    def covers(self, model: SubjectModel) -> bool:
        """Whether it looks at one model of a selected object.

        A model that cannot be understood is everybody's business: a made-up role must
        not hide it.
        """
        return (
            not self.match.roles
            or bool(model.problem)
            or model.role in self.match.roles
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy(_Identity):
    """A policy that can be evaluated.

    Attributes:
        rules: What it demands, in the order written.
        on_unknown: What to do with a model that descends from no known reference.
        on_pending: What to do while evidence is missing or stale.
        on_error: What to do when evidence cannot be had.
        max_age: How old a resolution may be; None for any age.
    """

    rules: tuple[Rule, ...]
    on_unknown: Action = Action.DENY
    on_pending: Action = Action.HOLD
    on_error: Action = Action.DENY
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokenPolicy(_Identity):
    """A policy that cannot be evaluated.

    Its ``match`` is what could be read of it; where that is broken too, it selects
    everything it could have selected.  An unreadable ``enforcement`` is ``Enforce``.

    Attributes:
        problems: What is wrong, at least one entry.
    """

    problems: tuple[FieldProblem, ...]
    match_known: bool = True
    """Whether ``match`` is what its author wrote."""

    @property
    def clears(self) -> bool:
        """As of any policy, unless nobody knows what it was meant for."""
        return self.match_known and self.kind == CLUSTER_KIND

    @property
    def message(self) -> str:
        """The first problem, and how many more there are."""
        more = len(self.problems) - 1
        first = str(self.problems[0])
        return first if more <= 0 else f"{first} (and {more} more)"


@dataclass(frozen=True, slots=True)
class ReferenceCheck:
    """Names in a policy that stand for no known reference.

    Attributes:
        breaking: Those that deny; the policy cannot be trusted until they are known.
        notes: Those that allow; they only make the policy tighter than meant.
    """

    breaking: tuple[FieldProblem, ...]
    notes: tuple[FieldProblem, ...]
