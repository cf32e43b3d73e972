# SPDX-License-Identifier: Apache-2.0
"""The distribution project's registry as a process, and a realm that gives leave."""

from __future__ import annotations

import http.client
import json
import subprocess
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from secrets import token_hex
from time import time
from urllib.parse import parse_qs, urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.x509.oid import NameOID

from artifact_world.registry import MANIFEST, RAW, digest_of
from artifact_world.web import Handler, serve_at

_START_S = 20.0


@dataclass
class Realm:
    """Gives tokens to everybody, as for public artifacts, or to nobody."""

    gives: bool = True
    key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1())
    )
    scopes: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    @cached_property
    def certificate(self) -> bytes:
        """A certificate of its own key, DER."""
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "realm")])
        now = datetime.now(UTC)
        made = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self.key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=5))
            .not_valid_after(now + timedelta(hours=1))
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), True)
            .sign(self.key, hashes.SHA256())
        )
        return made.public_bytes(serialization.Encoding.DER)

    def token(self, scopes: Sequence[str]) -> str:
        """A token for scopes such as ``repository:org/model:pull``."""
        chain = json.dumps([b64encode(self.certificate).decode()])
        header = f'{{"typ":"JWT","alg":"ES256","x5c":{chain}}}'.encode()
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        now = int(time())
        body = {
            "iss": "realm",
            "aud": "registry",
            "sub": "anybody",
            "nbf": now - 60,
            "exp": now + 600,
            "jti": token_hex(8),
            "access": access,
        }
        signed = f"{_url64(header)}.{_url64(json.dumps(body).encode())}"
        der = self.key.sign(signed.encode(), ec.ECDSA(hashes.SHA256()))
        r, s = decode_dss_signature(der)
        return f"{signed}.{_url64(r.to_bytes(32) + s.to_bytes(32))}"


class _RealmHandler(Handler):
    world: Realm  # type: ignore[assignment]

    def respond(self) -> None:
        self.world.told.append(self.headers.get("Authorization", ""))
        if not self.world.gives:
            self.answer(401, b"", {})
            return
        scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
        self.world.scopes.extend(scopes)
        told = {"token": self.world.token(scopes)}
        self.answer(200, json.dumps(told).encode(), {})


@dataclass
class Distribution:
    """A running registry.

    Attributes:
        host: ``127.0.0.1:port``.
        realm: Who gives leave; None if nobody is asked.
    """

    host: str
    realm: Realm | None

    def push(self, name: str, tag: str, layers: Sequence[dict[str, object]]) -> str:
        """Put a manifest of pushed layers; returns its digest."""
        config = self.blob(name, b"{}", "application/vnd.cncf.model.config.v1+json")
        body = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": MANIFEST,
                "artifactType": "application/vnd.cncf.model.manifest.v1+json",
                "config": config,
                "layers": list(layers),
            }
        ).encode()
        path = f"/v2/{name}/manifests/{tag}"
        self._send("PUT", path, name, body, {"Content-Type": MANIFEST})
        return digest_of(body)

    def blob(
        self, name: str, content: bytes, kind: str = RAW, path: str = ""
    ) -> dict[str, object]:
        """Push a blob; returns its descriptor."""
        place = self._send("POST", f"/v2/{name}/blobs/uploads/", name, b"")
        at = urlsplit(place)
        digest = digest_of(content)
        mark = f"{at.path}?{at.query}&digest={digest}"
        self._send("PUT", mark, name, content, {"Content-Type": "application/x"})
        row: dict[str, object] = {
            "mediaType": kind,
            "digest": digest,
            "size": len(content),
        }
        if path:
            row["annotations"] = {"org.cncf.model.filepath": path}
        return row

    def _send(
        self,
        method: str,
        path: str,
        name: str,
        body: bytes,
        headers: dict[str, str] | None = None,
    ) -> str:
        sent = dict(headers or {})
        if self.realm is not None:
            leave = self.realm.token([f"repository:{name}:pull,push"])
            sent["Authorization"] = f"Bearer {leave}"
        connection = http.client.HTTPConnection(self.host, timeout=20)
        try:
            connection.request(method, path, body, sent)
            answer = connection.getresponse()
            said = answer.read()
            assert answer.status in (201, 202), (answer.status, said)
            return answer.headers["Location"]
        finally:
            connection.close()


@contextmanager
def serve(
    program: Path, folder: Path, realm: Realm | None = None
) -> Iterator[Distribution]:
    """Run the registry on a folder until the end of the block.

    Args:
        program: The registry.
        folder: Empty; settings, blobs and its words go there.
        realm: Whose tokens the registry wants; None if it wants none.
    """
    settings: dict[str, object] = {
        "version": 0.1,
        "log": {"level": "error"},
        "storage": {"filesystem": {"rootdirectory": str(folder / "blobs")}},
        "http": {"addr": "127.0.0.1:0", "secret": token_hex(8)},
    }
    if realm is None:
        with _running(program, folder, settings) as host:
            yield Distribution(host, None)
        return
    bundle = folder / "realm.pem"
    certificate = x509.load_der_x509_certificate(realm.certificate)
    bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    with serve_at(_RealmHandler, realm) as port:
        settings["auth"] = {
            "token": {
                "realm": f"http://127.0.0.1:{port}/token",
                "service": "registry",
                "issuer": "realm",
                "rootcertbundle": str(bundle),
            }
        }
        with _running(program, folder, settings) as host:
            yield Distribution(host, realm)


@contextmanager
def _running(program: Path, folder: Path, settings: dict[str, object]) -> Iterator[str]:
    file = folder / "settings.yaml"
    file.write_text(json.dumps(settings))  # JSON is YAML
    with (folder / "registry.log").open("wb") as log:
        process = subprocess.Popen(
            [str(program), str(file)], stdout=subprocess.PIPE, stderr=log, cwd=folder
        )
    try:
        assert process.stdout is not None
        host = process.stdout.readline().decode().strip()
        assert host, (folder / "registry.log").read_text()
        yield host
    finally:
        process.terminate()
        process.wait(_START_S)
        if process.stdout is not None:
            process.stdout.close()


def _url64(data: bytes) -> str:
    return urlsafe_b64encode(data).rstrip(b"=").decode()
