# SPDX-License-Identifier: Apache-2.0
"""Findings for people and programs, with advice and what they are evidence for."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from pedigree.cli.render import page_width, print_lines, visible

if TYPE_CHECKING:
    from pedigree.evidence import Finding
    from pedigree.evidence.controls import Control, Guidance

SHOWN_MAX = 10
"""Findings of one reason that are printed; the JSON document has all that are kept."""
TOLD_MAX = 100
"""Findings in a JSON document, the most severe first."""
_INDENT = "  "


def print_findings(findings: Sequence[Finding], *, controls: bool) -> None:
    """Findings by reason: the most severe first, advice below each group.

    Args:
        findings: The most severe first.
        controls: Whether the controls are listed too.
    """
    from pedigree.evidence.controls import catalogue, guidance

    width = page_width()
    groups: dict[str, list[Finding]] = {}
    for finding in findings:
        groups.setdefault(finding.reason, []).append(finding)
    for reason, group in groups.items():
        print_lines("", f"{group[0].severity}  {reason}")
        for finding in group[:SHOWN_MAX]:
            told = not finding.path or finding.path in finding.message
            at = "" if told else f"{finding.path}: "
            _print_wrapped(at + finding.message, width, _INDENT)
        if len(group) > SHOWN_MAX:
            print_lines(f"{_INDENT}and {len(group) - SHOWN_MAX} more")
        known = guidance(reason)
        if known is not None:
            _print_wrapped(f"advice: {known.advice}", width, _INDENT)
            for line in control_lines(known.controls) if controls else ():
                _print_wrapped(line, width, _INDENT)
    if controls and groups:
        print_lines("")
        _print_wrapped(catalogue().notice, width, "")
    if groups:
        print_lines("")


def control_lines(controls: Iterable[Control]) -> list[str]:
    """One line for each framework: its name and the ids."""
    ids: dict[str, list[str]] = {}
    for control in controls:
        ids.setdefault(control.framework, []).append(control.id)
    return [f"{framework}: {', '.join(found)}" for framework, found in ids.items()]


def finding_dicts(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    """JSON form of the first findings, with what is known about their reasons."""
    from pedigree.evidence.controls import guidance

    return [
        {
            "reason": finding.reason,
            "severity": str(finding.severity),
            "path": finding.path,
            "message": finding.message,
            **guidance_dict(guidance(finding.reason)),
        }
        for finding in findings[:TOLD_MAX]
    ]


def guidance_dict(known: Guidance | None) -> dict[str, Any]:
    """``advice`` and ``controls``; empty for a reason of another version."""
    if known is None:
        return {"advice": "", "controls": []}
    return {
        "advice": known.advice,
        "controls": [control.to_dict() for control in known.controls],
    }


def _print_wrapped(text: str, width: int, indent: str) -> None:
    """A sentence within the width; its second line stands deeper."""
    lines = textwrap.wrap(
        visible(text),
        max(width, 40),
        initial_indent=indent,
        subsequent_indent=indent + _INDENT,
        break_on_hyphens=False,
    )
    print_lines(*lines)
