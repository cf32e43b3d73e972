# SPDX-License-Identifier: Apache-2.0
"""Sentences a tenant reads: which model, what was found, which rule, what to do."""

from __future__ import annotations

from collections.abc import Iterable

from pedigree.errors import quote
from pedigree.evidence import Match
from pedigree.lineage.classes import Direction, LineageClass
from pedigree.policy.terms import Ancestors

MESSAGE_MAX_CHARS = 640
"""Long enough for every sentence here; the CRDs admit 1024."""
_NAMES_SHOWN = 4


def bounded(message: str) -> str:
    """The message, cut where it would not fit into a status."""
    if len(message) <= MESSAGE_MAX_CHARS:
        return message
    return message[: MESSAGE_MAX_CHARS - 3] + "..."


def name(value: str) -> str:
    """A name from outside, quoted and never longer than 80 characters."""
    return quote(value, 80)


def descent(match: Match) -> str:
    """``descends from 'llama-a' (Finetune, p < 1e-118)``."""
    told = match.relation and match.relation != match.lineage.value
    grounds = [match.relation] if told else []
    if match.log10_p < 0:
        # The exponent is rounded towards zero, so the true p is below this one.
        grounds.append(f"p < 1e{match.log10_p}")
    verb = "descends from"
    if match.lineage is LineageClass.IDENTICAL:
        verb = "has the same weights as"
    elif is_reversed(match):
        verb = "is in one line with, and looks like the ancestor of,"
    behind = f" ({', '.join(grounds)})" if grounds else ""
    return f"{verb} {name(match.reference)}{behind}"


def is_reversed(match: Match) -> bool:
    """Whether the reference looks like the descendant: A is the reference, B the model.

    Direction is a hint and no proof, so it may only tighten: such a reference satisfies
    no allowing rule, and is denied like any other.
    """
    return match.direction is Direction.B_TO_A


def descents(matches: Iterable[Match]) -> str:
    """Some matches in one sentence part; few of many."""
    told = [descent(match) for match in matches]
    more = len(told) - 2
    text = " and ".join(told[:2])
    return f"{text} and {more} more" if more > 0 else text


def some(names: Iterable[str]) -> str:
    """Some names; few of many."""
    told = [name(item) for item in names]
    more = len(told) - _NAMES_SHOWN
    text = ", ".join(told[:_NAMES_SHOWN])
    return f"{text} and {more} more" if more > 0 else text


def ancestors(wanted: Ancestors) -> str:
    """What an ancestors rule names."""
    parts = (
        ("", wanted.references),
        ("family ", wanted.families),
        ("publisher ", wanted.publishers),
    )
    return " or ".join(kind + some(entries) for kind, entries in parts if entries)
