# SPDX-License-Identifier: Apache-2.0
"""Redirects chosen by the other side: to steal the token, or to reach the inside.

A process in a cluster can reach what the outside cannot: the cloud's metadata service,
other services, its own ports.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from artifact_world.hub import Fault, SimulatedHub, serve
from artifact_world.weights import matrix, weights
from pedigree import refs
from pedigree.errors import SourceError, SourceRefused
from pedigree.ranges import ModelSource
from pedigree.sources import SourceSettings, open_source
from pedigree.sources.answers import check_redirect, shown

PUBLIC = "https://huggingface.co"
HOSTS = {
    "huggingface.co": ["18.164.174.17"],
    "cdn.example.com": ["2600:9000::1", "13.32.1.1"],
    "mixed.example.com": ["13.32.1.1", "169.254.169.254"],
    "minio.storage": ["10.96.0.7"],
    "mirror.internal": ["10.1.2.3"],
    "127.0.0.1": ["127.0.0.1"],
    "127.1": ["127.0.0.1"],
    "localhost": ["::1"],
    "169.254.169.254": ["169.254.169.254"],
    "::1": ["::1"],
    "::ffff:127.0.0.1": ["::ffff:127.0.0.1"],
    "fe80::1": ["fe80::1%eth0"],
    "0.0.0.0": ["0.0.0.0"],
    "10.0.0.1": ["10.0.0.1"],
}


def _redirect(location: str, endpoint: str = PUBLIC) -> str:
    asked = f"{endpoint}/org/model/resolve/main/x"
    return check_redirect(asked, location, endpoint, lambda host: HOSTS.get(host, []))


@pytest.mark.parametrize(
    "location",
    [
        "http://cdn.example.com/x",
        "file:///etc/passwd",
        "ftp://cdn.example.com/x",
        "gopher://cdn.example.com/x",
        "https://cdn.example.com:port/x",
        "https://[::1/x",
        "https://127.0.0.1/x",
        "https://127.1/x",
        "https://localhost/x",
        "https://169.254.169.254/latest/meta-data",
        "https://[::1]/x",
        "https://[::ffff:127.0.0.1]/x",
        "https://[fe80::1]/x",
        "https://0.0.0.0/x",
        "https://10.0.0.1/x",
        "https://minio.storage/x",
        "https://mixed.example.com/x",
    ],
)
def test_a_redirect_from_the_public_hub_to_the_inside_is_refused(location: str) -> None:
    with pytest.raises(SourceRefused) as caught:
        _redirect(location)
    assert caught.value.reason == "RedirectRefused"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("https://cdn.example.com/x?sig=1", "https://cdn.example.com/x?sig=1"),
        ("/org/renamed/resolve/main/x", f"{PUBLIC}/org/renamed/resolve/main/x"),
        ("https://huggingface.co/other", "https://huggingface.co/other"),
    ],
)
def test_a_redirect_to_a_public_host_is_followed(location: str, target: str) -> None:
    assert _redirect(location) == target


def test_a_mirror_inside_may_redirect_to_a_store_inside() -> None:
    mirror = "http://mirror.internal:8080"
    assert _redirect("http://minio.storage/x", mirror)
    with pytest.raises(SourceRefused):
        _redirect("http://169.254.169.254/x", mirror)


@pytest.fixture
def hub() -> Iterator[SimulatedHub]:
    with serve(SimulatedHub()) as served:
        served.commit({"model.safetensors": weights({"a": matrix(30, 20)})})
        served.token = "hf_secret"
        yield served


def _open(hub: SimulatedHub) -> ModelSource:
    settings = SourceSettings(hub_endpoint=hub.endpoint, hub_token="hf_secret")
    return open_source(refs.parse("hf://org/model"), settings)


def test_the_token_does_not_follow_a_redirect_to_another_host(
    hub: SimulatedHub,
) -> None:
    _open(hub).open("model.safetensors").read(0, 100)
    at_hub = [asked for asked in hub.asked if asked.host == "127.0.0.1"]
    at_store = [asked for asked in hub.asked if asked.host == "localhost"]
    assert at_hub
    assert at_store
    assert all("authorization" in asked.headers for asked in at_hub)
    assert not any("authorization" in asked.headers for asked in at_store)


def test_the_token_does_not_follow_a_paging_link_to_another_host(
    hub: SimulatedHub,
) -> None:
    hub.page = 1
    hub.next_page_base = f"http://localhost:{hub.port}"
    with pytest.raises(SourceRefused) as caught:
        _open(hub)
    assert caught.value.reason == "RedirectRefused"
    assert not any(asked.host == "localhost" for asked in hub.asked)


def test_redirects_in_a_circle_end(hub: SimulatedHub) -> None:
    headers = {"Location": "/org/model/resolve/again"}
    hub.faults.append(Fault("/resolve/", status=302, headers=headers))
    with pytest.raises(SourceRefused, match="more than 5 times"):
        _open(hub).open("model.safetensors").read(0, 100)
    assert len(hub.paths_asked("/resolve/")) == 6


@pytest.mark.parametrize("location", ["", "file:///etc/passwd", "http://"])
def test_a_redirect_to_nowhere_is_refused(hub: SimulatedHub, location: str) -> None:
    headers = {"Location": location}
    hub.faults.append(Fault("/resolve/", status=302, headers=headers))
    with pytest.raises(SourceRefused) as caught:
        _open(hub).open("model.safetensors").read(0, 100)
    assert caught.value.reason == "RedirectRefused"


@pytest.mark.parametrize("host", ["a..b", "a" * 64, "b" * 64 + ".c"])
def test_a_redirect_to_a_name_that_cannot_be_looked_up_is_an_answer_of_ours(
    hub: SimulatedHub, host: str
) -> None:
    headers = {"Location": f"http://{host}/x"}
    hub.faults.append(Fault("/resolve/", status=302, headers=headers))
    with pytest.raises(SourceError) as caught:
        _open(hub).open("model.safetensors").read(0, 100)
    assert caught.value.reason == "Unreachable"


def test_messages_hold_no_token_and_no_signature(hub: SimulatedHub) -> None:
    hub.faults.append(Fault("/cdn/", status=404))
    with pytest.raises(SourceRefused) as caught:
        _open(hub).open("model.safetensors").read(0, 100)
    told = repr(caught.value) + str(caught.value)
    assert "/cdn/" in told
    assert "signature" not in told
    assert "hf_secret" not in told
    assert "hf_secret" not in repr(SourceSettings(hub_token="hf_secret"))
    assert shown("https://user:pw@host:1/p?sig=1#f") == "'https://host:1/p'"
