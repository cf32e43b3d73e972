# SPDX-License-Identifier: Apache-2.0
"""Targets: what hosts of models answer, and what the cluster's API server sends."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, cast

import orjson
import yaml
from bench.fuzzing.stored import DATA, folder, of_json
from bench.fuzzing.target import JSON, Target

from audit_world.entries import admission
from pedigree.cli.manifests import check_model_fields, read_manifests
from pedigree.errors import SourceError
from pedigree.ledger.facets import Filters
from pedigree.limits import DEFAULT
from pedigree.policy.durations import parse_duration
from pedigree.policy.references import reference_from_object
from pedigree.policy.rules import load_policy
from pedigree.policy.subject import model_fields, subject_from_model_deployment
from pedigree.refs import Scheme, parse
from pedigree.sources import SourceSettings, answers, hub, oci, web
from pedigree.sources.archives import members
from pedigree.sources.exchange import Answer, Exchange
from pedigree.sources.tokens import Tokens
from pedigree_audit import app, ledger, query
from pedigree_webhook.review import parse_review
from pedigree_webhook.workload import adapter_for, models_unchanged
from webhook_world.reviews import review_body
from worlds.policies import deployment, model, policy_object

_PUBLIC = "https://host.example"
_HUB_REF = parse("hf://org/repo@" + "0" * 40)
_OCI_REF = parse("oci://host.example/a/b:tag")
_PAGES = 3


class _Host:
    """Answers every request with the same bytes, as an :class:`Exchange` would."""

    endpoint = _PUBLIC

    def __init__(self, body: bytes, headers: Mapping[str, str]) -> None:
        self._body, self._headers, self._asked = body, headers, 0

    def get(self, url: str, **options: object) -> Answer:
        self._asked += 1
        headers = self._headers if self._asked <= _PAGES else {}
        return Answer(200, headers, self._body, url, headers)


def _host(body: bytes, headers: Mapping[str, str]) -> Exchange:
    return cast("Exchange", _Host(body, headers))


@contextmanager
def _no_names() -> Iterator[None]:
    """No name is looked up: an input must not reach the network."""
    kept = answers.addresses
    answers.addresses = lambda host: ["203.0.113.1"] if "." in host else []
    try:
        yield
    finally:
        answers.addresses = kept


def _lines(data: bytes, count: int) -> list[str]:
    """The first lines of an input as headers have them, and all of the rest."""
    found = data.decode("latin-1").split("\n", count)
    return found + [""] * (count + 1 - len(found))


def _answers(data: bytes) -> None:
    """Each judgement of an answer alone, as one that refuses ends the next."""
    status, location, shown, wait, rest = _lines(data, 4)
    number = int(status) if status.isascii() and status.isdecimal() else 206
    headers = {"location": location, "content-range": shown, "retry-after": wait,
               "ratelimit": rest, "etag": rest, "x-error-code": rest}  # fmt: skip
    asked: list[Callable[[], object]] = [
        lambda: answers.failure(number % 1000, headers, f"{_PUBLIC}/a"),
        lambda: answers.check_range(number % 1000, headers, 0, 4, 8),
        lambda: answers.check_redirect(f"{_PUBLIC}/a", location, _PUBLIC),
        lambda: answers.check_redirect(
            "http://10.0.0.1/a", location, "http://10.0.0.1"
        ),
    ]
    with _no_names():
        for each in asked:
            with suppress(SourceError):
                each()


def _answers_seeds() -> list[bytes]:
    return [
        b"206\nhttps://cdn.example/a?sig=1\nbytes 0-3/8\n5\nr=1;t=7",
        b"429\nhttp://127.0.0.1/\nbytes 0-3/*\n\n\"api\";r=0;t=300",
        b"404\n//[::1]:80/x\nbytes */8\n99999999999\nRepoNotFound",
    ]  # fmt: skip


def _hub(data: bytes) -> None:
    link, rest = _lines(data, 1)
    answer = _host(rest.encode("latin-1"), {"link": link})
    hub._tree(_HUB_REF, SourceSettings(), answer)


def _hub_seeds() -> list[bytes]:
    rows = [
        {"type": "file", "path": "config.json", "size": 2},
        {"type": "file", "path": "a/m.safetensors", "size": 9,
         "lfs": {"oid": "0" * 64, "size": 9}},
        {"type": "directory", "path": "a"},
    ]  # fmt: skip
    body = json.dumps(rows).encode()
    link = f'<{_PUBLIC}/api/models/org/repo/tree/x?cursor=1>; rel="next"'.encode()
    return [b"\n" + body, link + b"\n" + body]


def _oci(data: bytes) -> None:
    manifest, _ = oci._manifest(_host(data, {}), _OCI_REF)
    oci._layers(manifest, _OCI_REF, SourceSettings())


def _oci_seeds() -> list[bytes]:
    digest = "sha256:" + "0" * 64
    layer = {"mediaType": "application/vnd.cncf.model.weight.v1.raw", "size": 9,
             "digest": digest, "annotations": {
                 "org.cncf.model.filepath": "m.safetensors"}}  # fmt: skip
    tar = layer | {"mediaType": "application/vnd.cncf.model.weight.v1.tar"}
    index = {"manifests": [{"digest": digest, "platform": {"os": "linux"}}]}
    found = [{"schemaVersion": 2, "layers": [layer, tar]}, index]
    return [json.dumps(item).encode() for item in found]


def _token(data: bytes) -> None:
    challenge, rest = _lines(data, 1)
    answer = _host(rest.encode("latin-1"), {})
    with _no_names():
        Tokens(lambda _: answer, _PUBLIC, "a/b", "user", "word").challenged(challenge)


def _token_seeds() -> list[bytes]:
    return [
        b'Bearer realm="https://host.example/token",service="s"\n{"token":"abc"}',
        b'basic realm="x"\n',
        b'Bearer realm="/t?x=1#y"\n{"access_token":"abc"}',
    ]


def _shards(data: bytes) -> None:
    web._shards(data, "model.safetensors.index.json", 100, 1024)


def _shards_seeds() -> list[bytes]:
    return [b'{"weight_map":{"a":"m-1.safetensors","b":"m-2.safetensors"}}']


def _tar(data: bytes) -> None:
    members(lambda offset, length: data[offset : offset + length], len(data),
            name="x", limits=DEFAULT)  # fmt: skip


def tar_seeds() -> list[bytes]:
    """A small archive in each of the forms that are understood."""
    seeds = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
            for name in (
                "a.json",
                "b" * 90 if kind == tarfile.USTAR_FORMAT else "é" * 60,
            ):
                info = tarfile.TarInfo(name)
                info.size = 3
                archive.addfile(info, io.BytesIO(b"123"))
        seeds.append(out.getvalue()[: archive.offset + 1024])
    return seeds


def _place(data: bytes) -> None:
    """A reference to a host, and whether that host may be asked."""
    ref = parse(data.decode("utf-8", "replace"))
    if ref.scheme in (Scheme.HTTPS, Scheme.OCI):
        url = f"https://{ref.location}"
        with _no_names():
            answers.check_place(url, ("10.0.0.1:80",), who="host")


def _place_seeds() -> list[bytes]:
    return [b"https://host:5000/a.gguf", b"oci://10.0.0.1:80/a:b", b"oci://a.b/c"]


def _policy(value: Any) -> None:
    if isinstance(value, dict):
        load_policy(value)


def _reference(value: Any) -> None:
    if isinstance(value, dict):
        reference_from_object(value)


def _manifest_seeds(*names: str) -> Callable[[], list[bytes]]:
    def seeds() -> list[bytes]:
        found = [
            yaml.safe_load((DATA / "manifests" / name).read_text()) for name in names
        ]
        return [json.dumps(item).encode() for item in found]

    return seeds


def _policy_seeds() -> list[bytes]:
    made = json.dumps(policy_object()).encode()
    names = ("clusterlineagepolicy.yaml", "lineagepolicy.yaml")
    return [made, *_manifest_seeds(*names)()]


def _deployment(value: Any) -> None:
    if isinstance(value, dict):
        subject_from_model_deployment(value, {})
        model_fields(value)


def _admission(data: bytes) -> None:
    request = parse_review(data, "application/json")
    adapter = adapter_for(request.kind, request.resource, request.subresource)
    if adapter is not None:
        models_unchanged(adapter, request.old_object, request.object)
        adapter.subject(request.object or {}, {})


def _admission_seeds() -> list[bytes]:
    obj = deployment(model(), model("draft"))
    bodies = [
        review_body("CREATE", obj, uid="u"),
        review_body("UPDATE", obj, obj, uid="u"),
        review_body("DELETE", None, obj, uid="u", subResource="scale"),
    ]
    return [orjson.dumps(orjson.loads(body)) for body in bodies]


def _manifests(data: bytes) -> None:
    path = folder() / "manifests.yaml"
    path.write_bytes(data)
    for document in read_manifests(str(path)):
        check_model_fields(document)


def _manifests_seeds() -> list[bytes]:
    names = ("modeldeployment.yaml", "lineagepolicy.yaml")
    texts = [(DATA / "manifests" / name).read_bytes() for name in names]
    return [*texts, b"a: !!int 1\nb: !!timestamp 2026-01-01\nc: !!bool yes\n"]


def _batch(data: bytes) -> None:
    for entry in app._batch(data):
        ledger._checked(entry)


def _batch_seeds() -> list[bytes]:
    return [json.dumps({"entries": [admission(), admission()]}).encode()]


def _cursor(data: bytes) -> None:
    filters, order = Filters(), query.Order.ASC
    query._place(data.decode("utf-8", "replace"), filters, order)


def _cursor_seeds() -> list[bytes]:
    return [query._cursor(7, Filters(), query.Order.ASC).encode()]


def _duration(data: bytes) -> None:
    with suppress(ValueError):  # as it says; its callers name the field
        parse_duration(data.decode("utf-8", "replace"))


_URL_WORDS = (
    b"https://", b"http://", b"//", b"[::1]", b"127.0.0.1", b"@", b":99999", b"\t",
    b"%", b"#", b"?", b"\n", b"bytes ", b"file:", b"0x7f.1",
)  # fmt: skip
TARGETS = (
    Target("answers", _answers, _answers_seeds, _URL_WORDS),
    Target("hub-tree", _hub, _hub_seeds,
           (b"type", b"file", b"lfs", b"oid", b"rel=next", *_URL_WORDS)),
    Target("oci-manifest", _oci, _oci_seeds,
           (b"layers", b"manifests", b"mediaType", b"platform", b"tar+gzip"), JSON),
    Target("oci-token", _token, _token_seeds, (b'realm="', *_URL_WORDS)),
    Target("web-shards", _shards, _shards_seeds, (b"weight_map",), JSON),
    Target("tar-archive", _tar, tar_seeds, (b"ustar", b"x", b"L", b"path="),
           bytes_max=8192),
    Target("places", _place, _place_seeds, _URL_WORDS, bytes_max=300),
    Target("policy", of_json(_policy), _policy_seeds, (b"spec", b"rules", b"1h"), JSON,
           1 << 14),
    Target("reference-model", of_json(_reference),
           _manifest_seeds("referencemodel.yaml"), (b"aliases", b"trust"), JSON),
    Target("model-deployment", of_json(_deployment),
           _manifest_seeds("modeldeployment.yaml"), (b"models", b"huggingFace"), JSON),
    Target("admission-review", _admission, _admission_seeds,
           (b"object", b"oldObject", b"subResource", b"groups"), JSON),
    Target("manifests", _manifests, _manifests_seeds,
           (b"!!int ", b"!!bool ", b"!!timestamp ", b"!!float ", b"&a ", b"*a", b"<<: ",
            b"---\n", b"kind: List\nitems:\n", b"? "), bytes_max=2048),
    Target("audit-batch", _batch, _batch_seeds, (b"entries", b"key"), JSON),
    Target("audit-cursor", _cursor, _cursor_seeds, (b"=", b"W10", b"-_")),
    Target("duration", _duration, lambda: [b"1h30m", b"90s", b"1.5h"],
           (b"h", b"m", b"s", b"ms", b"."), bytes_max=64),
)  # fmt: skip
"""In no order."""
