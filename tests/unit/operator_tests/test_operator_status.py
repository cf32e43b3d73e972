# SPDX-License-Identifier: Apache-2.0
"""Conditions, patches, Events, and the status of policies and references."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from operator_world.worlds import (
    DIGEST,
    NOW,
    REFERENCES,
    URI,
    deny,
    deployment,
    evidence,
    located,
    policy,
)
from operator_world.worlds import _merge as apply_merge_patch
from pedigree.policy.references import Reference
from pedigree.policy.rules import load_policy
from pedigree.policy.verdict import Reason
from pedigree_operator.access import Access
from pedigree_operator.conditions import (
    Condition,
    ConditionStatus,
    ConditionType,
    merge_conditions,
)
from pedigree_operator.events import build_event
from pedigree_operator.lookups import UNSEEN, Failure, Stage, UriState
from pedigree_operator.plan import Examine, Resolve
from pedigree_operator.policies import policy_conditions, policy_patch
from pedigree_operator.references import ReferencePlan, reconcile_reference
from pedigree_operator.status import merge_patch

Json = dict[str, Any]
LEAVES = st.booleans() | st.integers() | st.text(max_size=3)
VALUES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4)
    ),
    max_leaves=12,
)
OBJECTS = st.dictionaries(st.sampled_from("abcd"), VALUES, max_size=4)


@given(OBJECTS, OBJECTS)
def test_a_merge_patch_makes_the_new_of_the_old(old: Json, new: Json) -> None:
    assert apply_merge_patch(old, merge_patch(old, new)) == new


@given(OBJECTS)
def test_equal_objects_need_no_patch(obj: Json) -> None:
    assert merge_patch(obj, json.loads(json.dumps(obj))) == {}


def ready(status: ConditionStatus, reason: Reason) -> Condition:
    return Condition(ConditionType.READY, status, reason, "m")


def test_a_transition_time_moves_with_the_status_and_with_nothing_else() -> None:
    first = merge_conditions(
        [], [ready(ConditionStatus.FALSE, Reason.NOT_PINNED)], generation=1, now="1"
    )
    second = merge_conditions(
        first,
        [ready(ConditionStatus.FALSE, Reason.LINEAGE_DENIED)],
        generation=2,
        now="2",
    )
    third = merge_conditions(
        second,
        [ready(ConditionStatus.TRUE, Reason.LINEAGE_VERIFIED)],
        generation=2,
        now="3",
    )
    times = [item[0]["lastTransitionTime"] for item in (first, second, third)]
    assert times == ["1", "1", "3"]
    assert second[0]["observedGeneration"] == 2
    assert second[0]["reason"] == "LineageDenied"


def test_an_event_is_named_after_what_it_tells() -> None:
    def name(**change: Any) -> str:
        told = {"type_": "Normal", "reason": "R", "message": "m", "parts": ("p",)}
        event = build_event(deployment(), **{**told, **change}, now=NOW)
        return str(event["metadata"]["name"])

    assert name() == name(message="said otherwise")
    assert name() != name(reason="Other")
    assert name() != name(parts=("q",))


def test_an_event_of_a_long_name_still_fits() -> None:
    obj = deployment()
    obj["metadata"]["name"] = "n" * 253
    event = build_event(
        obj, type_="Normal", reason="R", message="m" * 5000, parts=(), now=NOW
    )
    assert len(event["metadata"]["name"]) <= 253
    assert len(event["message"]) <= 1024


def read(conditions: list[Condition]) -> dict[str, tuple[str, str]]:
    return {str(it.type): (str(it.status), str(it.reason)) for it in conditions}


def test_a_good_policy_is_ready() -> None:
    assert read(policy_conditions(policy(), REFERENCES)) == {
        "Ready": ("True", "RulesAccepted"),
        "ReferencesResolved": ("True", "Resolved"),
    }


def test_a_broken_policy_names_the_field() -> None:
    broken = policy({"name": "both", "formats": {"allowed": ["nonsense"]}})
    conditions = policy_conditions(broken, REFERENCES)
    assert read(conditions)["Ready"] == ("False", "PolicyInvalid")
    assert "spec.rules[0].formats" in conditions[0].message


def test_an_unknown_name_in_a_deny_list_breaks_the_policy() -> None:
    found = read(policy_conditions(policy(deny("typo")), REFERENCES))
    assert found["Ready"] == ("False", "PolicyInvalid")
    assert found["ReferencesResolved"] == ("False", "NotFound")


def test_an_unknown_name_in_an_allow_list_is_only_reported() -> None:
    found = read(policy_conditions(policy(), {}))
    assert found["Ready"] == ("True", "RulesAccepted")
    assert found["ReferencesResolved"] == ("False", "NotFound")


def test_a_reference_without_a_fingerprint_is_reported() -> None:
    found = read(policy_conditions(policy(deny("gpt")), {"gpt": Reference("gpt")}))
    assert found["Ready"] == ("True", "RulesAccepted")
    assert found["ReferencesResolved"] == ("False", "NotFingerprinted")


def test_the_status_of_a_policy_is_written_once() -> None:
    obj: Json = {
        "kind": "ClusterLineagePolicy",
        "metadata": {"name": "prod", "generation": 3},
        "spec": {"rules": [deny("llama")]},
    }
    loaded = load_policy(obj)
    patch = policy_patch(obj, loaded, REFERENCES, NOW)
    assert patch["observedGeneration"] == 3
    obj["status"] = patch
    assert policy_patch(obj, loaded, REFERENCES, NOW) == {}


def reference(**status: Any) -> Json:
    return {
        "metadata": {"name": "llama", "generation": 1},
        "spec": {"source": {"uri": URI}},
        "status": status,
    }


def plan(
    obj: Json, state: UriState, *, known: bool = True, stored: bool = True, **more: Any
) -> ReferencePlan:
    found = evidence(**more)
    return reconcile_reference(
        obj,
        lookup=lambda access: state,
        evidence=lambda digest, namespace: found if known else None,
        content={("", URI, "stat:1"): found.digest} if known else {},
        is_stored=lambda digest: stored,
        now=NOW,
    )


def test_a_new_reference_is_resolved_then_examined_then_ready() -> None:
    assert plan(reference(), UNSEEN, known=False).lookup == Resolve(Access(URI))
    assert plan(reference(), located(), known=False).lookup == Examine(Access(URI))
    done = plan(reference(), located())
    assert done.lookup is None
    assert done.status["digest"] == str(DIGEST)
    assert done.status["fingerprint"]["spec"] == "v1"
    again = reference(**done.status)
    assert plan(again, UNSEEN) == ReferencePlan()


def test_a_reference_whose_content_is_known_is_not_read() -> None:
    assert plan(reference(), located()).lookup is None


def test_a_lost_fingerprint_is_made_again() -> None:
    done = reference(**plan(reference(), located()).status)
    assert plan(done, UNSEEN, stored=False).lookup == Resolve(Access(URI))
    assert plan(done, located(), stored=False).lookup == Examine(Access(URI))


def test_an_edit_of_a_reference_asks_its_source_again() -> None:
    done = reference(**plan(reference(), located()).status)
    done["metadata"]["generation"] = 2
    assert plan(done, UNSEEN).lookup == Resolve(Access(URI))
    assert plan(done, located()).status["observedGeneration"] == 2


def test_a_reference_that_fails_keeps_its_fingerprint_and_says_why() -> None:
    done = reference(**plan(reference(), located()).status)
    done["metadata"]["generation"] = 2
    failure = Failure(Reason.SOURCE_REFUSED, "NotFound", "gone", NOW.replace(year=3), 1)
    later = Failure(
        Reason.SOURCE_REFUSED, "NotFound", "gone", NOW.replace(year=2030), 1
    )
    assert plan(done, UriState(failure=failure)).lookup == Resolve(Access(URI))
    told = plan(done, UriState(failure=later))
    assert told.requeue_at == later.retry_at
    assert "fingerprint" not in told.status, "it is left as it was"
    assert told.status["conditions"][0]["reason"] == "NotFound"


def test_a_reference_without_weights_is_not_ready() -> None:
    found = plan(reference(), located(), malformed=True)
    assert found.status["conditions"][0]["reason"] == "ArtifactInvalid"
    assert "fingerprint" not in found.status


def test_a_reference_being_read_is_waited_for() -> None:
    assert plan(reference(), UriState(stage=Stage.EXAMINING)).lookup == Examine(
        Access(URI)
    )
