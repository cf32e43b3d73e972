# SPDX-License-Identifier: Apache-2.0
import socket
import ssl
import stat
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controlplane.certificates import (
    KeyPair,
    make_ca,
    make_leaf,
    public_key,
    write_private,
)


def shake_hands(leaf: KeyPair, ca: KeyPair, host: str, folder: Path) -> str | None:
    """Connect over TLS as strictly as Python can; the TLS version."""
    server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_context.load_cert_chain(*leaf.write(folder, "server"))
    context = ssl.create_default_context(cadata=ca.certificate_pem.decode())
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    ours, theirs = socket.socketpair()

    def serve() -> None:
        try:
            with server_context.wrap_socket(theirs, server_side=True) as connection:
                connection.recv(1)
        except OSError:  # the client did not like the certificate
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with ours, context.wrap_socket(ours, server_hostname=host) as connection:
            connection.send(b"x")
            return connection.version()
    finally:
        thread.join()


def test_a_leaf_is_good_for_its_names_and_addresses(tmp_path: Path) -> None:
    ca = make_ca()
    leaf = make_leaf(ca, dns_names=["gate.ns.svc"], ip_addresses=["127.0.0.1", "::1"])
    for host in ("gate.ns.svc", "127.0.0.1", "::1"):
        assert shake_hands(leaf, ca, host, tmp_path) == "TLSv1.3"


def test_a_leaf_is_refused_under_another_name(tmp_path: Path) -> None:
    ca = make_ca()
    leaf = make_leaf(ca, dns_names=["gate.ns.svc"])
    with pytest.raises(ssl.SSLCertVerificationError, match="not valid for 'other"):
        shake_hands(leaf, ca, "other.ns.svc", tmp_path)


def test_a_leaf_of_another_authority_is_refused(tmp_path: Path) -> None:
    leaf = make_leaf(make_ca(), dns_names=["gate.ns.svc"])
    with pytest.raises(ssl.SSLCertVerificationError):
        shake_hands(leaf, make_ca(), "gate.ns.svc", tmp_path)


def test_an_expired_leaf_is_refused(tmp_path: Path) -> None:
    ca = make_ca()
    start = datetime.now(UTC) - timedelta(hours=2)
    leaf = make_leaf(
        ca, dns_names=["gate"], not_before=start, lifetime=timedelta(hours=1)
    )
    with pytest.raises(ssl.SSLCertVerificationError, match="expired"):
        shake_hands(leaf, ca, "gate", tmp_path)


def test_lifetimes_are_what_was_asked_for() -> None:
    start = datetime(2030, 1, 1, tzinfo=UTC)
    ca = make_ca(not_before=start, lifetime=timedelta(days=2))
    leaf = make_leaf(ca, common_name="x", not_before=start, lifetime=timedelta(hours=3))
    ends = [
        x509.load_pem_x509_certificate(pair.certificate_pem).not_valid_after_utc
        for pair in (ca, leaf)
    ]
    assert ends == [start + timedelta(days=2), start + timedelta(hours=3)]


def test_user_and_groups_are_in_the_subject() -> None:
    leaf = make_leaf(make_ca(), common_name="ann", organizations=["admins", "ops"])
    subject = x509.load_pem_x509_certificate(leaf.certificate_pem).subject
    assert subject.rfc4514_string() == "CN=ann,O=ops,O=admins"


def test_a_leaf_for_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="give a common_name"):
        make_leaf(make_ca())


def test_only_the_owner_may_read_a_key(tmp_path: Path) -> None:
    certificate, key = make_ca().write(tmp_path, "ca")
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert certificate.read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")


def test_a_file_that_everybody_could_read_is_private_after_writing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "key"
    path.touch(mode=0o644)
    write_private(path, b"secret")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert path.read_bytes() == b"secret"


def test_the_public_key_belongs_to_the_private_one() -> None:
    ca = make_ca()
    certificate = x509.load_pem_x509_certificate(ca.certificate_pem)
    assert certificate.public_key() == load_pem_public_key(public_key(ca.key_pem))
