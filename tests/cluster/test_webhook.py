# SPDX-License-Identifier: Apache-2.0
"""A real API server asks the real webhook process over TLS."""

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509

from controlplane import CommandError, ControlPlane
from webhook_world import evidence, model_deployment, policy, reference
from webhook_world.bench import ACCOUNT, HOME, HOOK, LABEL, Object, Webhook, wait_for

RULES = [
    {
        "apiGroups": ["pedigree.dev"],
        "resources": [
            "clusterlineagepolicies",
            "lineagepolicies",
            "modelevidences",
            "referencemodels",
        ],
        "verbs": ["list", "watch"],
    },
    {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["list", "watch"]},
]


def delete(plane: ControlPlane, *objects: Object) -> None:
    items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
    plane.kubectl(
        "delete", "--ignore-not-found", "--filename=-", input=json.dumps(items)
    )


def put(plane: ControlPlane, obj: Object) -> None:
    """Create or replace an object as the operator would: spec, then status."""
    plane.apply(plain({key: value for key, value in obj.items() if key != "status"}))
    plane.kubectl(
        "patch",
        f"{obj['kind'].lower()}s.pedigree.dev",
        obj["metadata"]["name"],
        "--subresource=status",
        "--type=merge",
        f"--patch={json.dumps({'status': obj['status']})}",
    )


def plain(obj: Object) -> Object:
    """An object as a user writes it, without what the API server fills in."""
    metadata = {k: v for k, v in obj["metadata"].items() if k in ("name", "namespace")}
    return {**obj, "metadata": metadata}


@pytest.fixture(scope="module")
def account(control_plane: ControlPlane, crds: tuple[str, ...]) -> Iterator[None]:
    """A ServiceAccount that may do what the webhook does, and no more."""
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole"}
    objects: list[Object] = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": HOME}},
        {
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": {"name": ACCOUNT, "namespace": HOME},
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {"name": HOME},
            "rules": RULES,
        },
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": HOME},
            "roleRef": {**role, "name": HOME},
            "subjects": [
                {"kind": "ServiceAccount", "name": ACCOUNT, "namespace": HOME}
            ],
        },
    ]
    control_plane.apply(*objects)
    yield
    delete(control_plane, *objects)


@pytest.fixture(scope="module")
def facts(control_plane: ControlPlane, crds: tuple[str, ...]) -> Iterator[None]:
    """The world: two references, three examined models."""
    references = [reference("llama-a"), reference("gpt2-a", "gpt2")]
    examined = [
        evidence("good", "llama-a"),
        evidence("bad", "gpt2-a"),
        evidence("stranger"),
    ]
    for obj in (*references, *examined):
        put(control_plane, obj)
    yield
    delete(control_plane, *map(plain, (*references, *examined)))


@pytest.fixture(scope="module")
def shared(
    control_plane: ControlPlane,
    account: None,
    facts: None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Webhook]:
    """A webhook that most tests share."""
    webhook = Webhook(control_plane, tmp_path_factory.mktemp("webhook"))
    webhook.start().wait_ready()
    configuration = webhook.configuration("shared")
    control_plane.apply(configuration)
    yield webhook
    delete(control_plane, configuration)
    webhook.stop()


class Tenant:
    """A namespace whose requests go to one webhook."""

    def __init__(self, webhook: Webhook, namespace: str) -> None:
        self.webhook = webhook
        self.plane = webhook.plane
        self.namespace = namespace

    def deployment(self, *models: str, **options: Any) -> Object:
        return plain(model_deployment(*models, namespace=self.namespace, **options))

    def create(self, obj: Object, *flags: str) -> str:
        """What kubectl printed on standard output and standard error."""
        return self.kubectl("create", "--filename=-", *flags, stdin=obj)

    def refused(self, obj: Object, *flags: str) -> str:
        """What kubectl printed when it failed."""
        with pytest.raises(CommandError) as caught:
            self.create(obj, *flags)
        return str(caught.value)

    def kubectl(self, *arguments: str, stdin: Object | None = None) -> str:
        return self.plane.kubectl(
            *arguments,
            f"--namespace={self.namespace}",
            input=None if stdin is None else json.dumps(stdin),
        )


def policy_for(namespace: str, **spec: Any) -> Object:
    """A cluster policy that selects one namespace."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return plain(policy(namespace, match={"namespaceSelector": selector}, **spec))


def join(webhook: Webhook, namespace: str, label: str) -> Tenant:
    """Send a namespace's requests to a webhook, once both know of it."""
    plane = webhook.plane
    plane.apply(policy_for(namespace))
    plane.kubectl("label", "namespace", namespace, f"{LABEL}={label}")
    tenant = Tenant(webhook, namespace)
    probe = tenant.deployment("good", name="probe")

    def asked() -> bool:
        """The API server has seen the label, the webhook the policy."""
        before = webhook.metric("pedigree_admission_dry_runs_total")
        try:
            tenant.create(probe, "--dry-run=server")
        except CommandError:
            return False
        return webhook.metric("pedigree_admission_dry_runs_total") > before

    wait_for(asked, "the API server asks the webhook, which knows the policy")
    return tenant


@pytest.fixture
def tenant(shared: Webhook, namespace: str) -> Iterator[Tenant]:
    yield join(shared, namespace, "shared")
    delete(shared.plane, policy_for(namespace))


def audit_events(plane: ControlPlane, namespace: str) -> list[Object]:
    lines = plane.audit_log.read_text().splitlines()
    events = [json.loads(line) for line in lines if namespace in line]
    return [
        event
        for event in events
        if event.get("objectRef", {}).get("resource") == "modeldeployments"
        and event["objectRef"].get("namespace") == namespace
        and event["stage"] == "ResponseComplete"
    ]


# -- as a tenant sees it ---------------------------------------------------------------


def test_a_denied_lineage_reads_well_in_kubectl(tenant: Tenant) -> None:
    said = tenant.refused(tenant.deployment("bad"))
    assert "Error from server (LineageDenied)" in said
    assert f'admission webhook "{HOOK}" denied the request: ' in said
    assert "model 'base'" in said
    assert "gpt2-a" in said


def test_an_approved_lineage_is_created(tenant: Tenant) -> None:
    assert "created" in tenant.create(tenant.deployment("good"))


def test_a_model_not_yet_examined_is_created_with_a_warning(
    tenant: Tenant, programs: dict[str, Path], tmp_path: Path
) -> None:
    result = subprocess.run(
        [programs["kubectl"], "create", "--filename=-"],
        input=json.dumps(tenant.deployment("new")),
        env={
            "HOME": str(tmp_path),  # kubectl keeps a cache there
            "KUBECONFIG": str(tenant.plane.kubeconfig),
            "KUBERC": "off",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    assert "created" in result.stdout
    first, *more = result.stderr.splitlines()
    assert first.startswith("Warning: ModelDeployment")
    assert "is admitted, but its workload is held until it is verified" in first
    assert any("'base'" in line for line in more)


def test_the_causes_reach_the_client_with_their_fields(tenant: Tenant) -> None:
    said = tenant.refused(tenant.deployment("good", "bad"), "-v=8")
    assert '"field":"spec.models[1]"' in said.replace(" ", "")
    assert '"reason":"LineageDenied"' in said.replace(" ", "")


def test_a_dry_run_is_answered_and_leaves_nothing(tenant: Tenant) -> None:
    said = tenant.refused(tenant.deployment("bad"), "--dry-run=server")
    assert "LineageDenied" in said
    tenant.create(tenant.deployment("good"), "--dry-run=server")
    assert tenant.webhook.entries(tenant.namespace) == []
    assert tenant.kubectl("get", "modeldeployments.pedigree.dev") == ""


def test_every_other_answer_is_written_down_first(tenant: Tenant) -> None:
    before = tenant.webhook.metric("pedigree_outbox_depth")
    tenant.refused(tenant.deployment("bad"))
    tenant.create(tenant.deployment("good"))
    entries = tenant.webhook.entries(tenant.namespace)
    assert [entry["decision"] for entry in entries] == ["Deny", "Allow"]
    assert tenant.webhook.metric("pedigree_outbox_depth") >= before + 2


def test_a_tightened_policy_works_at_once_and_lets_go_what_runs(tenant: Tenant) -> None:
    """One webhook process sees the whole story, without a restart."""
    tenant.create(tenant.deployment("good", name="running"))
    names = ["llama-a", "gpt2-a"]
    banned = [{"name": "banned", "deniedAncestors": {"references": names}}]
    tenant.plane.apply(policy_for(tenant.namespace, rules=banned))
    probe = tenant.deployment("good", name="probe")

    def tight() -> bool:
        try:
            tenant.create(probe, "--dry-run=server")
        except CommandError as error:
            return "LineageDenied" in str(error)
        return False

    wait_for(tight, "the new policy refuses", 10)

    change = '{"spec":{"workload":{"template":{"replicas":3}}}}'
    kind = "modeldeployments.pedigree.dev"
    patched = tenant.kubectl(
        "patch", kind, "running", "--type=merge", f"--patch={change}"
    )
    assert "patched" in patched
    status = '{"status":{"observedGeneration":1}}'
    tenant.kubectl(
        "patch",
        kind,
        "running",
        "--subresource=status",
        "--type=merge",
        f"--patch={status}",
    )
    models = (
        '{"spec":{"models":[{"name":"base","source":{"uri":"file:///models/bad"}}]}}'
    )
    with pytest.raises(CommandError, match="LineageDenied"):
        tenant.kubectl("patch", kind, "running", "--type=merge", f"--patch={models}")
    assert "deleted" in tenant.kubectl("delete", kind, "running")


def test_a_kind_that_nobody_taught_is_refused_and_deletable(tenant: Tenant) -> None:
    obj = {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "x", "namespace": tenant.namespace},
    }
    assert "Error from server (UnsupportedKind)" in tenant.refused(obj)
    assert "deleted" in tenant.kubectl("delete", "configmap", "kube-root-ca.crt")


def test_the_api_servers_own_audit_log_holds_the_verdict(tenant: Tenant) -> None:
    tenant.refused(tenant.deployment("bad"))
    tenant.create(tenant.deployment("good"))

    def told() -> list[dict[str, str]]:
        return [
            {
                key.removeprefix(f"{HOOK}/"): value
                for key, value in event["annotations"].items()
                if key.startswith(f"{HOOK}/")
            }
            for event in audit_events(tenant.plane, tenant.namespace)
            if event["verb"] == "create" and "dryRun" not in event["requestURI"]
        ]

    wait_for(lambda: len(told()) == 2, "both requests are in the audit log")
    denied, admitted = sorted(told(), key=lambda item: item["action"], reverse=True)
    assert denied["action"] == "Deny"
    assert denied["verdict"] == "Fail"
    assert denied["reason"] == "LineageDenied"
    assert denied["basis"] == "verdict"
    assert denied["record"].startswith("admission/")
    assert denied["modelDigest"].startswith("base=sha256:")
    assert admitted["action"] == "Allow"
    assert admitted["verdict"] == "Pass"
    assert admitted["policyDigest"] == denied["policyDigest"]


def test_a_namespace_made_a_moment_ago_is_judged(shared: Webhook) -> None:
    name = "made-a-moment-ago"
    chosen = policy_for(name)
    shared.plane.apply(chosen)
    try:
        said = shared.plane.apply(
            {
                "apiVersion": "v1",
                "kind": "Namespace",
                "metadata": {"name": name, "labels": {LABEL: "shared"}},
            },
            plain(model_deployment("good", namespace=name)),
        )
        assert "chat serverside-applied" in said
    finally:
        shared.plane.kubectl("delete", "namespace", name, "--wait=false")
        delete(shared.plane, chosen)


# -- as an operator sees it ------------------------------------------------------------


@pytest.fixture
def own(
    control_plane: ControlPlane, account: None, facts: None, tmp_path: Path
) -> Iterator[Webhook]:
    """A webhook process of the test's own."""
    webhook = Webhook(control_plane, tmp_path)
    yield webhook
    webhook.stop()


@pytest.fixture
def own_tenant(own: Webhook, namespace: str) -> Iterator[Tenant]:
    own.start().wait_ready()
    configuration = own.configuration(namespace)
    own.plane.apply(configuration)
    yield join(own, namespace, namespace)
    delete(own.plane, configuration, policy_for(namespace))


def test_a_rotated_certificate_is_served_without_a_restart(own_tenant: Tenant) -> None:
    webhook = own_tenant.webhook
    before, pid = webhook.serial(), webhook.process.pid
    fresh = webhook.new_certificate()
    webhook.write_certificate(fresh)
    wanted = x509.load_pem_x509_certificate(fresh.certificate_pem).serial_number
    wait_for(lambda: webhook.serial() == wanted, "the new certificate is served", 20)
    assert wanted != before
    assert webhook.process.pid == pid
    assert webhook.process.running
    assert "LineageDenied" in own_tenant.refused(own_tenant.deployment("bad"))


def test_half_a_rotation_keeps_the_old_certificate_in_use(own_tenant: Tenant) -> None:
    webhook = own_tenant.webhook
    before = webhook.serial()
    fresh = webhook.new_certificate()
    (webhook.folder / "tls.crt").write_bytes(fresh.certificate_pem)
    wait_for(
        lambda: webhook.metric("pedigree_certificate_reload_failures_total") == 1,
        "the mismatch is counted",
        20,
    )
    assert webhook.serial() == before
    assert "the old pair stays in use" in (webhook.folder / "webhook.log").read_text()
    webhook.write_certificate(fresh)
    wait_for(lambda: webhook.serial() != before, "the whole pair is taken", 20)


def test_a_kill_loses_no_record_and_a_restart_answers_again(own_tenant: Tenant) -> None:
    webhook = own_tenant.webhook
    own_tenant.refused(own_tenant.deployment("bad"))
    own_tenant.create(own_tenant.deployment("good"))
    assert webhook.metric("pedigree_outbox_depth") == 2
    webhook.process.kill()
    webhook.process.wait(10)
    said = own_tenant.refused(own_tenant.deployment("good", name="while-away"))
    assert "failed calling webhook" in said
    webhook.start_again()
    assert webhook.metric("pedigree_outbox_depth") == 2
    assert "LineageDenied" in own_tenant.refused(own_tenant.deployment("bad"))
    assert webhook.metric("pedigree_outbox_depth") == 3


def test_it_ends_with_zero_when_asked_to(own_tenant: Tenant) -> None:
    own_tenant.webhook.process.terminate()
    assert own_tenant.webhook.process.wait(20) == 0


def test_without_permission_it_is_not_ready_and_says_what_to_grant(
    own: Webhook, control_plane: ControlPlane
) -> None:
    less = [rule for rule in RULES if rule["apiGroups"] != [""]]
    patch = json.dumps([{"op": "replace", "path": "/rules", "value": less}])
    give_back = json.dumps([{"op": "replace", "path": "/rules", "value": RULES}])
    role = ("patch", "clusterrole", HOME, "--type=json")
    control_plane.kubectl(*role, f"--patch={patch}")
    try:
        own.start()
        wait_for(lambda: "forbidden" in own.get("/readyz")[1], "says forbidden")
        status, body = own.get("/readyz")
        assert status == 503
        assert "list and watch of namespaces" in body
        assert own.get("/healthz")[0] == 200
        assert own.metric("pedigree_store_synced", kind="Namespace") == 0
        assert own.metric("pedigree_watch_errors_total", kind="Namespace") > 0
        assert (
            "list and watch of namespaces" in (own.folder / "webhook.log").read_text()
        )
    finally:
        control_plane.kubectl(*role, f"--patch={give_back}")
    own.wait_ready()


def test_it_stays_ready_longer_than_its_view_may_be_old(
    control_plane: ControlPlane, account: None, facts: None, tmp_path: Path
) -> None:
    """Nothing happens in the cluster, and yet the view is known to be complete."""
    webhook = Webhook(control_plane, tmp_path, PEDIGREE_STORE_MAX_AGE_S="2")
    try:
        webhook.start().wait_ready()
        for _ in range(40):
            assert webhook.get("/readyz") == (200, '{"ok":true,"reasons":[]}')
            time.sleep(0.1)
    finally:
        webhook.stop()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"PEDIGREE_TLS_CERT_FILE": "/nowhere/tls.crt"}, "PEDIGREE_TLS_CERT_FILE"),
        ({"PEDIGREE_NO_MATCH": "Maybe"}, "PEDIGREE_NO_MATCH is 'Maybe'"),
        ({"PEDIGREE_DATA_DIR": "/nowhere"}, "PEDIGREE_DATA_DIR is '/nowhere'"),
        ({"PEDIGREE_KUBECONFIG": "/nowhere/config"}, "PEDIGREE_KUBECONFIG"),
    ],
)
def test_a_wrong_start_ends_with_two_and_says_why(
    control_plane: ControlPlane,
    account: None,
    tmp_path: Path,
    settings: dict[str, str],
    said: str,
) -> None:
    webhook = Webhook(control_plane, tmp_path, **settings)
    try:
        assert webhook.start().process.wait(30) == 2
    finally:
        webhook.stop()
    last = (tmp_path / "webhook.log").read_text().splitlines()[-1]
    assert said in json.loads(last)["message"]
