# SPDX-License-Identifier: Apache-2.0
"""The API kinds on a real API server: what it takes, refuses and shows, in words."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from controlplane import CommandError, ControlPlane
from pedigree.evidence import OBJECT_MAX_BYTES, from_object, to_object, to_status
from worlds.evidences import maximal_evidence

pytestmark = pytest.mark.usefixtures("crds")

DATA = Path(__file__).parents[1] / "data" / "manifests"
KINDS = {
    "modeldeployment": "modeldeployments.pedigree.dev",
    "clusterlineagepolicy": "clusterlineagepolicies.pedigree.dev",
    "lineagepolicy": "lineagepolicies.pedigree.dev",
    "referencemodel": "referencemodels.pedigree.dev",
    "modelevidence": "modelevidences.pedigree.dev",
}
Object = dict[str, Any]
Change = Callable[[Object], object]


def good(kind: str) -> Object:
    loaded: Object = yaml.safe_load((DATA / f"{kind}.yaml").read_text())
    return loaded


def create(
    plane: ControlPlane, namespace: str, obj: Object, *flags: str
) -> dict[str, Any]:
    made: dict[str, Any] = json.loads(
        plane.kubectl(
            "create",
            "--namespace",
            namespace,
            "--output=json",
            *flags,
            "--filename=-",
            input=json.dumps(obj),
        )
    )
    return made


def refusal(plane: ControlPlane, namespace: str, obj: Object) -> str:
    with pytest.raises(CommandError) as caught:
        create(plane, namespace, obj, "--dry-run=server")
    return caught.value.output


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_that_uses_every_field_is_taken_and_nothing_is_lost(
    control_plane: ControlPlane, namespace: str, kind: str
) -> None:
    obj = good(kind)
    made = create(control_plane, namespace, obj, "--dry-run=server")
    assert {field: made["spec"][field] for field in obj["spec"]} == obj["spec"]


def test_what_is_left_out_gets_the_documented_defaults(
    control_plane: ControlPlane, namespace: str
) -> None:
    policy = create(
        control_plane, namespace, good("lineagepolicy"), "--dry-run=server"
    )["spec"]
    assert policy["enforcement"] == "Enforce"
    assert (policy["onUnknown"], policy["onPending"]) == ("Deny", "Hold")
    assert policy["onError"] == "Deny"
    obj = good("modeldeployment")
    del obj["spec"]["models"][0]["role"]
    obj["spec"]["revalidation"] = {}
    made = create(control_plane, namespace, obj, "--dry-run=server")["spec"]
    assert made["models"][0]["role"] == "Base"
    assert made["revalidation"]["interval"] == "24h"


def model(obj: Object) -> Object:
    first: Object = obj["spec"]["models"][0]
    return first


def rule(obj: Object, index: int = 0) -> Object:
    wanted: Object = obj["spec"]["rules"][index]
    return wanted


REFUSED: dict[str, tuple[str, Change, str]] = {
    "a source with two members": (
        "modeldeployment",
        lambda o: model(o)["source"].update(uri="file:///models/x"),
        "a source has exactly one of uri and huggingFace",
    ),
    "a source with no member": (
        "modeldeployment",
        lambda o: model(o).update(source={}),
        "a source has exactly one of uri and huggingFace",
    ),
    "a source that is no reference": (
        "modeldeployment",
        lambda o: model(o).update(source={"uri": "models/x"}),
        "spec.models[0].source.uri in body should match",
    ),
    "a secret of another namespace": (
        "modeldeployment",
        lambda o: model(o)["source"].update(credentialsSecret={"name": "team-b/hub"}),
        "spec.models[0].source.credentialsSecret.name in body should match",
    ),
    "a secret by its namespace": (
        "modeldeployment",
        lambda o: model(o)["source"].update(
            credentialsSecret={"name": "hub", "namespace": "team-b"}
        ),
        'unknown field "spec.models[0].source.credentialsSecret.namespace"',
    ),
    "a secret without a name": (
        "modeldeployment",
        lambda o: model(o)["source"].update(credentialsSecret={}),
        "spec.models[0].source.credentialsSecret.name: Required value",
    ),
    "a reference model with a secret": (
        "referencemodel",
        lambda o: o["spec"]["source"].update(credentialsSecret={"name": "hub"}),
        'unknown field "spec.source.credentialsSecret"',
    ),
    "two models of one name": (
        "modeldeployment",
        lambda o: o["spec"]["models"][1].update(name="base"),
        'spec.models[1]: Duplicate value: {"name":"base"}',
    ),
    "seventeen models": (
        "modeldeployment",
        lambda o: o["spec"].update(
            models=[
                {"name": f"m{i}", "source": {"uri": "file:///m"}} for i in range(17)
            ]
        ),
        "spec.models: Too many: 17: must have at most 16 items",
    ),
    "no model": (
        "modeldeployment",
        lambda o: o["spec"].update(models=[]),
        "spec.models in body should have at least 1 items",
    ),
    "a digest in capitals": (
        "modeldeployment",
        lambda o: model(o).update(expectedDigest="sha256:" + "A" * 64),
        "spec.models[0].expectedDigest in body should match '^sha256:[0-9a-f]{64}$'",
    ),
    "an unknown role": (
        "modeldeployment",
        lambda o: model(o).update(role="base"),
        'spec.models[0].role: Unsupported value: "base": supported values: "Base"',
    ),
    "an interval below ten minutes": (
        "modeldeployment",
        lambda o: o["spec"].update(revalidation={"interval": "9m59s"}),
        "interval must be at least 10m, such as 24h",
    ),
    "an interval in days": (
        "modeldeployment",
        lambda o: o["spec"].update(revalidation={"interval": "7d"}),
        "spec.revalidation.interval in body should match",
    ),
    "a workload of both kinds": (
        "modeldeployment",
        lambda o: o["spec"]["workload"].update(
            ref={"apiVersion": "apps/v1", "kind": "Deployment", "name": "x"}
        ),
        "a workload has exactly one of template and ref",
    ),
    "too many replicas": (
        "modeldeployment",
        lambda o: o["spec"]["workload"]["template"].update(replicas=1001),
        "spec.workload.template.replicas in body should be less than or equal to 1000",
    ),
    "a name that no label can hold": (
        "modeldeployment",
        lambda o: o["metadata"].update(name="x" * 64),
        "metadata.name must have at most 63 characters",
    ),
    "a misspelt field": (
        "modeldeployment",
        lambda o: model(o).update(expectDigest="x"),
        'unknown field "spec.models[0].expectDigest"',
    ),
    "an unknown enforcement": (
        "clusterlineagepolicy",
        lambda o: o["spec"].update(enforcement="Strict"),
        'spec.enforcement: Unsupported value: "Strict": supported values: "Enforce", '
        '"Warn", "Audit"',
    ),
    "a rule with two members": (
        "clusterlineagepolicy",
        lambda o: rule(o).update(pinned={"required": "Always"}),
        "a rule has exactly one of allowedAncestors, deniedAncestors, claims, formats, "
        "pinned, signature and chatTemplate",
    ),
    "a rule with no member": (
        "lineagepolicy",
        lambda o: rule(o).pop("formats"),
        "a rule has exactly one of",
    ),
    "no rule": (
        "lineagepolicy",
        lambda o: o["spec"].update(rules=[]),
        "spec.rules in body should have at least 1 items",
    ),
    "an ancestors rule that names nothing": (
        "clusterlineagepolicy",
        lambda o: rule(o, 1).update(deniedAncestors={"references": []}),
        "name at least one of references, families and publishers",
    ),
    "an unknown format": (
        "lineagepolicy",
        lambda o: rule(o).update(formats={"allowed": ["pickle"]}),
        'spec.rules[0].formats.allowed[0]: Unsupported value: "pickle"',
    ),
    "an oversize list of ancestors": (
        "clusterlineagepolicy",
        lambda o: rule(o, 1).update(
            deniedAncestors={"references": [f"r{i}" for i in range(65)]}
        ),
        "spec.rules[1].deniedAncestors.references: Too many: 65",
    ),
    "rules of one name": (
        "clusterlineagepolicy",
        lambda o: rule(o, 1).update(name="claims"),
        'spec.rules[1]: Duplicate value: {"name":"claims"}',
    ),
    "an expression without values": (
        "clusterlineagepolicy",
        lambda o: o["spec"]["match"].update(
            objectSelector={"matchExpressions": [{"key": "a", "operator": "In"}]}
        ),
        "values are needed for In and NotIn",
    ),
    "a namespace selector in a namespaced policy": (
        "lineagepolicy",
        lambda o: o["spec"].update(match={"namespaceSelector": {}}),
        'unknown field "spec.match.namespaceSelector"',
    ),
    "errors that are allowed": (
        "lineagepolicy",
        lambda o: o["spec"].update(onError="Allow"),
        'spec.onError: Unsupported value: "Allow"',
    ),
    "a freshness of no time": (
        "lineagepolicy",
        lambda o: o["spec"].update(freshness={"maxAge": "59s"}),
        "maxAge must be at least 1m",
    ),
    "an unknown trust": (
        "referencemodel",
        lambda o: o["spec"].update(trust="Maybe"),
        'spec.trust: Unsupported value: "Maybe"',
    ),
    "a reference without family": (
        "referencemodel",
        lambda o: o["spec"].pop("family"),
        "spec.family: Required value",
    ),
    "evidence under another name": (
        "modelevidence",
        lambda o: o["metadata"].update(name="sha256-" + "2" * 64),
        "metadata.name must be sha256- followed by the hex digits of spec.digest",
    ),
    "confined evidence under the name of everybody's": (
        "modelevidence",
        lambda o: o["spec"].update(confinedTo="team-a"),
        "and a dot and spec.confinedTo where that is set",
    ),
    "everybody's evidence under the name of confined": (
        "modelevidence",
        lambda o: o["metadata"].update(name=f"{o['metadata']['name']}.team-a"),
        "and a dot and spec.confinedTo where that is set",
    ),
    "an overlong finding": (
        "modelevidence",
        lambda o: o["spec"]["findings"][0].update(message="x" * 513),
        "spec.findings[0].message: Too long: may not be more than 512 bytes",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_bad_object_is_refused_in_words_that_help(
    control_plane: ControlPlane, namespace: str, case: str
) -> None:
    kind, change, message = REFUSED[case]
    obj = copy.deepcopy(good(kind))
    change(obj)
    assert message in refusal(control_plane, namespace, obj)


def test_confined_evidence_is_taken_under_its_own_name(
    control_plane: ControlPlane, namespace: str
) -> None:
    obj = good("modelevidence")
    obj["spec"]["confinedTo"] = "team-a"
    obj["metadata"]["name"] += ".team-a"
    made = create(control_plane, namespace, obj, "--dry-run=server")
    assert made["spec"]["confinedTo"] == "team-a"


@pytest.fixture
def evidence(control_plane: ControlPlane, namespace: str) -> Any:
    obj = good("modelevidence")
    create(control_plane, namespace, obj)
    yield obj
    control_plane.kubectl("delete", KINDS["modelevidence"], obj["metadata"]["name"])


def test_evidence_never_changes(control_plane: ControlPlane, evidence: Object) -> None:
    with pytest.raises(CommandError) as caught:
        control_plane.kubectl(
            "patch",
            KINDS["modelevidence"],
            evidence["metadata"]["name"],
            "--type=merge",
            "--patch",
            '{"spec":{"files":4}}',
        )
    assert "evidence never changes: delete the object" in caught.value.output


def test_a_maximal_evidence_fits_and_comes_back_as_it_was(
    control_plane: ControlPlane,
) -> None:
    stored = to_object(maximal_evidence())
    name = stored["metadata"]["name"]
    control_plane.kubectl("create", "--filename=-", input=json.dumps(stored))
    try:
        control_plane.kubectl(
            "replace", "--subresource=status", "--filename=-", input=json.dumps(stored)
        )
        raw = control_plane.kubectl(
            "get", "--raw", f"/apis/pedigree.dev/v1alpha1/modelevidences/{name}"
        )
        read = json.loads(raw)
        assert from_object(read) == from_object(stored)
        assert to_status(from_object(read)) == stored["status"]
        del read["metadata"]
        kept = json.dumps(read, ensure_ascii=False, separators=(",", ":"))
        assert len(kept.encode()) <= OBJECT_MAX_BYTES
    finally:
        control_plane.kubectl("delete", KINDS["modelevidence"], name)


STATUS = {
    "observedGeneration": 1,
    "verdict": {
        "result": "Fail",
        "action": "Deny",
        "reason": "LineageDenied",
        "message": "model 'base' descends from 'bad'",
    },
    "models": [
        {
            "name": "base",
            "requested": "file:///models/x",
            "resolved": {"uri": "file:///models/x", "pinned": "False"},
            "lineage": {"lineage": "Derived", "ancestor": "bad", "log10P": -40},
        }
    ],
}


def set_status(plane: ControlPlane, namespace: str, name: str, status: Object) -> None:
    plane.kubectl(
        "patch",
        KINDS["modeldeployment"],
        name,
        f"--namespace={namespace}",
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps({'status': status})}",
    )


def test_status_is_written_through_its_subresource_only(
    control_plane: ControlPlane, namespace: str
) -> None:
    obj = good("modeldeployment")
    made = create(control_plane, namespace, {**obj, "status": STATUS})
    assert "status" not in made
    control_plane.kubectl(
        "patch",
        KINDS["modeldeployment"],
        "support",
        f"--namespace={namespace}",
        "--type=merge",
        f"--patch={json.dumps({'status': STATUS})}",
    )
    read = control_plane.kubectl(
        "get", "mldep", "support", f"--namespace={namespace}", "--output=json"
    )
    assert "status" not in json.loads(read)


def test_verdicts_can_be_selected_and_are_shown_in_columns(
    control_plane: ControlPlane, namespace: str
) -> None:
    for name in ("bad", "new"):
        obj = good("modeldeployment")
        obj["metadata"]["name"] = name
        create(control_plane, namespace, obj)
    set_status(control_plane, namespace, "bad", STATUS)

    def shown(*flags: str) -> list[list[str]]:
        text = control_plane.kubectl(
            "get", KINDS["modeldeployment"], f"--namespace={namespace}", *flags
        )
        return [line.split() for line in text.splitlines()]

    header, *rows = shown("--field-selector=status.verdict.result=Fail")
    assert header == ["NAME", "VERDICT", "REASON", "BASE", "PINNED", "AGE"]
    assert [row[:5] for row in rows] == [
        ["bad", "Fail", "LineageDenied", "bad", "False"]
    ]
    by_reason = shown("--field-selector=status.verdict.reason=LineageDenied")
    assert [row[0] for row in by_reason[1:]] == ["bad"]
    assert shown("--output=wide")[0][6:] == ["ACTION", "WORKLOAD", "DIGEST"]


def test_a_status_outside_the_closed_sets_is_refused(
    control_plane: ControlPlane, namespace: str
) -> None:
    create(control_plane, namespace, good("modeldeployment"))
    wrong = copy.deepcopy(STATUS)
    wrong["verdict"]["reason"] = "Whatever"  # type: ignore[index]
    with pytest.raises(CommandError) as caught:
        set_status(control_plane, namespace, "support", wrong)
    assert 'status.verdict.reason: Unsupported value: "Whatever"' in caught.value.output


def test_all_kinds_are_found_by_category_and_short_name(
    control_plane: ControlPlane,
) -> None:
    listed = control_plane.kubectl(
        "api-resources", "--categories=pedigree", "--no-headers"
    )
    short = {line.split()[0]: line.split()[1] for line in listed.splitlines()}
    assert short == {
        "clusterlineagepolicies": "clpol",
        "lineagepolicies": "lpol",
        "modeldeployments": "mldep",
        "modelevidences": "mev",
        "referencemodels": "refmodel",
    }
