# SPDX-License-Identifier: Apache-2.0
"""The objects of an examination of a claim: what a Pod may, and what it may not."""

from dataclasses import replace
from typing import Any

import pytest

from pedigree.errors import ConfigError
from pedigree.refs import parse
from pedigree.serving.environment import Environment
from pedigree_operator.config import Config
from pedigree_operator.volume_manifests import (
    EXAMINATION,
    Volume,
    belongings,
    command,
    job,
)
from pedigree_operator.volume_settings import VolumeSettings

SETTINGS = VolumeSettings(namespaces=("team",), image="images.example/pedigree:1")
VOLUME = Volume("team", "weights", "claim-uid", "llama/7b")
REF = parse("pvc://weights/llama/7b")
ANSWER = "pedigree-answer"
Json = dict[str, Any]


def made_job(**settings: Any) -> Json:
    return job(VOLUME, replace(SETTINGS, **settings), REF, ANSWER)


def pod(**settings: Any) -> Json:
    spec: Json = made_job(**settings)["spec"]["template"]["spec"]
    return spec


def of_kind(kind: str) -> list[Json]:
    made = belongings(VOLUME, "job-uid", ANSWER)
    return [obj for _, obj in made if obj["kind"] == kind]


def test_the_container_can_gain_nothing() -> None:
    (container,) = pod()["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
    }
    assert pod()["securityContext"] == {
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "runAsGroup": 65532,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for name in ("hostNetwork", "hostPID", "hostIPC", "initContainers"):
        assert name not in pod()


def test_the_platform_may_choose_the_user() -> None:
    context = pod(user="")["securityContext"]
    assert "runAsUser" not in context
    assert context["runAsNonRoot"] is True


def test_the_claim_is_mounted_read_only_and_its_files_keep_their_owner() -> None:
    volumes = {volume["name"]: volume for volume in pod()["volumes"]}
    claim = {"claimName": "weights", "readOnly": True}
    assert volumes["models"]["persistentVolumeClaim"] == claim
    (container,) = pod()["containers"]
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    assert mounts["models"]["readOnly"] is True
    assert mounts["account"]["readOnly"] is True
    assert set(mounts) == set(volumes) == {"models", "tmp", "account"}
    assert "fsGroup" not in pod()["securityContext"]


def test_the_token_is_short_lived_and_mounted_by_name_alone() -> None:
    spec = pod()
    assert spec["automountServiceAccountToken"] is False
    (projected,) = [v["projected"] for v in spec["volumes"] if "projected" in v]
    (token,) = [
        source["serviceAccountToken"]
        for source in projected["sources"]
        if "serviceAccountToken" in source
    ]
    assert token["expirationSeconds"] <= 3600
    (account,) = of_kind("ServiceAccount")
    assert account["automountServiceAccountToken"] is False
    assert spec["serviceAccountName"] == account["metadata"]["name"]


def test_the_account_may_patch_the_jobs_own_config_maps_and_nothing_else() -> None:
    names = [obj["metadata"]["name"] for obj in of_kind("ConfigMap")]
    (role,) = of_kind("Role")
    assert role["rules"] == [
        {
            "apiGroups": [""],
            "resources": ["configmaps"],
            "resourceNames": names,
            "verbs": ["get", "patch"],
        }
    ]
    (binding,) = of_kind("RoleBinding")
    (account,) = of_kind("ServiceAccount")
    assert binding["roleRef"]["name"] == role["metadata"]["name"]
    assert binding["subjects"] == [
        {
            "kind": "ServiceAccount",
            "name": account["metadata"]["name"],
            "namespace": "team",
        }
    ]


def test_config_maps_are_empty_at_first() -> None:
    for obj in of_kind("ConfigMap"):
        assert not {"data", "binaryData", "immutable"} & set(obj)


def test_everything_goes_with_the_job_and_the_job_with_the_claim() -> None:
    (owner,) = made_job()["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"]) == ("PersistentVolumeClaim", "claim-uid")
    for _, obj in belongings(VOLUME, "job-uid", ANSWER):
        (owner,) = obj["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Job", "job-uid")
        assert owner["name"] == VOLUME.name


def test_a_job_ends_and_goes_away_by_itself() -> None:
    spec = made_job(mount_s=100.0, deadline_s=1000.0, reexamine_s=500.0)["spec"]
    assert spec["suspend"] is True
    assert spec["activeDeadlineSeconds"] == 1100
    assert spec["backoffLimit"] == 0
    assert spec["parallelism"] == spec["completions"] == 1
    assert spec["ttlSecondsAfterFinished"] > 500
    assert spec["template"]["spec"]["restartPolicy"] == "Never"


def test_the_container_asks_for_what_it_needs_and_keeps_its_last_words() -> None:
    (container,) = pod(cpu="1", memory="4Gi")["containers"]
    assert container["resources"] == {
        "requests": {"cpu": "1", "memory": "4Gi"},
        "limits": {"memory": "4Gi"},
    }
    assert container["terminationMessagePolicy"] == "FallbackToLogsOnError"
    assert container["image"] == "images.example/pedigree:1"


def test_the_command_names_the_folder_and_where_the_answer_goes() -> None:
    assert command(VOLUME, SETTINGS, ANSWER) == [
        *("pedigree", "examine", "file:///models/llama/7b"),
        *("--file-root", "/models", "--deadline", "3600"),
        *("--hand-back", "team/pedigree-answer", "--json"),
    ]
    whole = replace(VOLUME, path="")
    assert command(whole, SETTINGS, ANSWER)[2] == "file:///models"


def test_a_path_cannot_have_the_kubelet_put_variables_into_it() -> None:
    words = command(replace(VOLUME, path="$(HOME)/$x"), SETTINGS, ANSWER)
    assert words[2] == "file:///models/$$(HOME)/$$x"


def test_no_workload_of_a_tenant_is_named_so_that_no_gate_waits_for_it() -> None:
    labels = made_job()["spec"]["template"]["metadata"]["labels"]
    assert labels[EXAMINATION] == VOLUME.name
    assert "pedigree.dev/modeldeployment" not in labels
    assert "schedulingGates" not in pod()


def test_a_job_has_one_name_for_one_folder_of_one_claim() -> None:
    names = {
        volume.name
        for volume in (
            VOLUME,
            replace(VOLUME, uid="another"),
            replace(VOLUME, path="llama"),
        )
    }
    assert len(names) == 3
    assert replace(VOLUME).name == VOLUME.name
    assert all(len(name) <= 63 for name in names)


def test_pull_secrets_are_those_of_the_claims_namespace() -> None:
    assert pod(pull_secrets=("mine",))["imagePullSecrets"] == [{"name": "mine"}]
    assert "imagePullSecrets" not in pod()


def settings(**values: str) -> VolumeSettings:
    return VolumeSettings.from_env(
        Environment({f"PEDIGREE_VOLUME_{name}": it for name, it in values.items()})
    )


def test_by_default_no_claims_are_read() -> None:
    assert settings().namespaces == ()
    assert Config.from_env({}).volumes == VolumeSettings()


def test_settings_are_read_from_variables() -> None:
    found = settings(
        NAMESPACES="a, b", IMAGE="i", REEXAMINE_S="60", USER="any", MEMORY="1Gi"
    )
    assert found == VolumeSettings(
        namespaces=("a", "b"), image="i", reexamine_s=60.0, user="", memory="1Gi"
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NAMESPACES", "a"),  # and no image
        ("NAMESPACES", "A_b"),
        ("USER", "0:0"),
        ("USER", "65532"),
        ("MEMORY", "lots"),
        ("CPU", "1; rm"),
        ("REEXAMINE_S", "0"),
        ("MOUNT_S", "nan"),
        ("DEADLINE_S", "1e9"),
        ("PULL_POLICY", "Sometimes"),
        ("PULL_SECRETS", "../x"),
    ],
)
def test_a_setting_that_cannot_be_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(ConfigError, match=f"PEDIGREE_VOLUME_{name}"):
        settings(**{name: value})
