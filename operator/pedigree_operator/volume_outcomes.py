# SPDX-License-Identifier: Apache-2.0
"""What a Job's and a Pod's status say about an examination: pure, bounded, quoted."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from pedigree.errors import PedigreeError, SourceUnavailable, quote
from pedigree.refs import ModelRef
from pedigree_operator.jobs import ExaminationFailed
from pedigree_operator.volume_manifests import ANSWER, Volume

WORDS_MAX_CHARS = 1024
_ANSWER_NAME = re.compile(r"pedigree-[0-9a-f]{24}-[0-9a-f]{16}")

Object = dict[str, Any]


def answer_name(found: Object) -> str:
    """Name of the ConfigMap for a Job's answer; empty if the Job is none of ours."""
    name = (found["metadata"].get("annotations") or {}).get(ANSWER, "")
    return name if _ANSWER_NAME.fullmatch(str(name)) else ""


def ended(found: Object) -> dict[str, Any] | None:
    """The condition by which a Job has ended; None while it has not."""
    for condition in (found.get("status") or {}).get("conditions") or ():
        ends = condition.get("type") in ("Complete", "Failed")
        if ends and condition.get("status") == "True":
            return dict(condition)
    return None


def failure(
    volume: Volume, ref: ModelRef, found: Object, pod: Object | None
) -> PedigreeError:
    """Why a Job that has ended has no answer."""
    condition = ended(found) or {}
    words = _last_words(pod)
    if condition.get("type") == "Complete":
        return SourceUnavailable(
            f"Job {volume.namespace}/{volume.name} ended and handed nothing back",
            reason="NotHandedBack",
        )
    if condition.get("reason") == "DeadlineExceeded":
        seconds = found["spec"].get("activeDeadlineSeconds", 0)
        return late(ref, float(seconds))
    return ExaminationFailed(
        f"examination of {quote(str(ref))} in Job {volume.namespace}/{volume.name} "
        f"failed: {words}"
    )


def late(ref: ModelRef, seconds: float) -> SourceUnavailable:
    """That an examination took too long."""
    return SourceUnavailable(
        f"examination of {quote(str(ref))} was ended after {seconds:g} s",
        reason="DeadlineExceeded",
        hint="the volume is slow or the model large; raise volumes.deadlineSeconds",
    )


def _container(pod: Object | None) -> Mapping[str, Any]:
    status = (pod or {}).get("status") or {}
    for container in status.get("containerStatuses") or ():
        state: Mapping[str, Any] = container.get("state") or {}
        return state
    return {}


def _last_words(pod: Object | None) -> str:
    """What the examining container said at its end, bounded."""
    last = _container(pod).get("terminated")
    if not last:
        return "its Pod is gone, or never ran"
    said = str(last.get("message") or "it said nothing").strip()
    how = f"exit code {last.get('exitCode')} ({last.get('reason')})"
    return f"{how}: {quote(said[-WORDS_MAX_CHARS:], WORDS_MAX_CHARS)}"


def why_pending(pod: Object | None) -> str:
    """What the cluster says about a Pod that does not start, bounded."""
    if pod is None:
        return "the Job has no Pod; its Events say why"
    waiting = _container(pod).get("waiting") or {}
    said = [f"{waiting.get('reason')}: {waiting.get('message', '')}"] if waiting else []
    said += [
        f"{condition.get('reason')}: {condition['message']}"
        for condition in (pod.get("status") or {}).get("conditions") or ()
        if condition.get("status") == "False" and condition.get("message")
    ]
    text = "; ".join(said) or "its Pod waits; its Events say why"
    return quote(text, WORDS_MAX_CHARS)
