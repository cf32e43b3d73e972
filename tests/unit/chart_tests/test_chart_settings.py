# SPDX-License-Identifier: Apache-2.0
"""The environment that the chart gives the services is the one that they read."""

import importlib
from typing import Any

import pytest

from pedigree_operator.jobs import INHERITED
from stack import chart

COMPONENTS = ("operator", "webhook", "audit")
# Settings of the services that the chart leaves at their defaults, and why.
LEFT_OUT = {
    "PEDIGREE_KUBECONFIG",  # a Pod uses its ServiceAccount
    "PEDIGREE_HOST",  # all addresses of the Pod
    "PEDIGREE_PORT_FILE",  # the ports are known
}
Documents = list[chart.Document]


class Recorder(dict[str, str]):
    """An environment that remembers what it was asked for."""

    def __init__(self, values: dict[str, str]) -> None:
        super().__init__(values)
        self.asked: set[str] = set()

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __getitem__(self, key: str) -> str:
        self.asked.add(key)
        return super().__getitem__(key)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


@pytest.mark.parametrize("component", COMPONENTS)
def test_the_chart_sets_just_the_settings_that_the_service_reads(
    running_documents: Documents, component: str
) -> None:
    config = importlib.import_module(f"pedigree_{component}.config").Config
    environment = chart.environment(running_documents, component)
    recorder = Recorder(environment)
    config.from_env(recorder)  # and takes them: it raises ConfigError if not
    read = {name for name in recorder.asked if name.startswith("PEDIGREE_")}
    given = {name for name in environment if name.startswith("PEDIGREE_")}
    handed_on = INHERITED if component == "operator" else frozenset[str]()
    assert given - read - handed_on == set(), "the service does not read these"
    assert read - given - LEFT_OUT == set(), "the chart does not set these"


@pytest.mark.parametrize("component", COMPONENTS)
def test_defaults_of_the_chart_are_defaults_of_the_services(
    documents: Documents, component: str
) -> None:
    config = importlib.import_module(f"pedigree_{component}.config").Config
    environment = chart.environment(documents, component)
    needed = {
        name: value
        for name, value in environment.items()
        if name.endswith(("_FILE", "_DIR", "_URL"))
    }
    # A Pod's end is slower than a process's; and see the test of the audience.
    ignored = {"drain_s", "audiences"}
    with_chart = config.from_env(environment)
    without = config.from_env(needed)
    differing = {
        name
        for name in config.__dataclass_fields__
        if getattr(with_chart, name) != getattr(without, name)
    }
    assert differing <= ignored


@pytest.mark.parametrize("component", ["operator", "webhook"])
def test_producers_find_the_audit_service_by_the_name_in_its_certificate(
    render: Any, component: str
) -> None:
    documents = render(
        {
            "image": {"repository": "pedigree"},
            "certificates": {"mode": "certManager"},
        }
    )
    url = chart.environment(documents, component)["PEDIGREE_AUDIT_URL"]
    service = chart.find(documents, "Service", "pedigree-audit")
    certificate = chart.find(documents, "Certificate", "pedigree-audit")
    (port,) = service["spec"]["ports"]
    name = f"pedigree-audit.{service['metadata']['namespace']}.svc"
    assert url == f"https://{name}:{port['port']}"
    assert name in certificate["spec"]["dnsNames"]
