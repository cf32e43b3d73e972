# SPDX-License-Identifier: Apache-2.0
"""Certificates that change while they are served, seen from a client's side."""

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509

from controlplane.certificates import KeyPair, make_ca, make_leaf
from pedigree.errors import ConfigError
from pedigree.serving.tls import ServingCertificate

CA = make_ca("one")


def leaf(lifetime: timedelta = timedelta(days=1)) -> KeyPair:
    return make_leaf(CA, ip_addresses=["127.0.0.1"], lifetime=lifetime)


def serial(pair: KeyPair) -> int:
    return x509.load_pem_x509_certificate(pair.certificate_pem).serial_number


def expiry(pair: KeyPair) -> float:
    certificate = x509.load_pem_x509_certificate(pair.certificate_pem)
    return certificate.not_valid_after_utc.timestamp()


class Files:
    """The mounted Secret."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "tls.crt", folder / "tls.key"
        self.ca = folder / "ca.crt"
        self.ca.write_bytes(CA.certificate_pem)
        self.told: dict[str, float] = {}
        self.failures = 0

    def write(self, pair: KeyPair) -> KeyPair:
        self.cert.write_bytes(pair.certificate_pem)
        self.key.write_bytes(pair.key_pem)
        return pair

    def serve(self) -> ServingCertificate:
        return ServingCertificate(
            self.cert,
            self.key,
            self.ca,
            on_expiry=self.told.__setitem__,
            on_failure=self.fail,
        )

    def fail(self) -> None:
        self.failures += 1


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


@contextmanager
def server(certificate: ServingCertificate) -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                with connection:
                    certificate.context.wrap_socket(
                        connection, server_side=True
                    ).close()

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join()


def served(port: int, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> int:
    context = ssl.create_default_context(cadata=CA.certificate_pem.decode())
    context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", port), 5) as raw,
        context.wrap_socket(raw, server_hostname="127.0.0.1") as connection,
    ):
        der = connection.getpeercert(binary_form=True)
    assert der is not None
    return x509.load_der_x509_certificate(der).serial_number


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_new_connections_get_the_new_certificate(
    files: Files, version: ssl.TLSVersion
) -> None:
    old = files.write(leaf())
    certificate = files.serve()
    with server(certificate) as port:
        assert served(port, version) == serial(old)
        new = files.write(leaf(lifetime=timedelta(days=3)))
        assert served(port, version) == serial(old)
        assert certificate.poll() is True
        assert served(port, version) == serial(new)
        assert certificate.poll() is False
    assert files.told["serving"] == expiry(new)


def test_half_a_rotation_keeps_the_old_pair_and_is_said_once(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    old = files.write(leaf())
    certificate = files.serve()
    new = leaf(lifetime=timedelta(days=3))
    with server(certificate) as port:
        files.cert.write_bytes(new.certificate_pem)
        assert [certificate.poll() for _ in range(3)] == [False] * 3
        assert served(port) == serial(old)
        assert files.failures == 1
        assert caplog.text.count("the old pair stays in use") == 1
        assert files.told["serving"] == expiry(old)
        files.key.write_bytes(new.key_pem)
        assert certificate.poll() is True
        assert served(port) == serial(new)


@pytest.mark.parametrize("content", [b"", b"not a certificate", b"\x00" * 100])
def test_rubbish_and_missing_files_keep_the_old_pair(
    files: Files, content: bytes
) -> None:
    old = files.write(leaf())
    certificate = files.serve()
    with server(certificate) as port:
        files.cert.write_bytes(content)
        assert certificate.poll() is False
        files.cert.unlink()
        assert [certificate.poll() for _ in range(3)] == [False] * 3
        assert served(port) == serial(old)
        assert files.failures == 2
        files.write(old)
        assert certificate.poll() is False
        new = files.write(leaf())
        assert certificate.poll() is True
        assert served(port) == serial(new)


def test_a_swapped_symbolic_link_is_noticed(tmp_path: Path) -> None:
    """As the kubelet changes a mounted Secret."""
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        Files(tmp_path / name).write(leaf())
    data = tmp_path / "..data"
    data.symlink_to("first")
    certificate = ServingCertificate(data / "tls.crt", data / "tls.key")
    (tmp_path / "..tmp").symlink_to("second")
    (tmp_path / "..tmp").replace(data)
    assert certificate.poll() is True


def test_both_expiries_are_told(files: Files) -> None:
    pair = files.write(leaf())
    files.serve()
    assert files.told == {"serving": expiry(pair), "ca": expiry(CA)}


def test_of_a_bundle_the_authority_that_signed_counts(files: Files) -> None:
    other = make_ca("two", lifetime=timedelta(days=1))
    files.ca.write_bytes(other.certificate_pem + CA.certificate_pem)
    files.write(leaf())
    files.serve()
    assert files.told["ca"] == expiry(CA)


def test_a_new_authority_file_is_noticed_by_itself(files: Files) -> None:
    files.write(leaf())
    certificate = files.serve()
    renewed = make_ca("one", lifetime=timedelta(days=90))
    files.ca.write_bytes(renewed.certificate_pem)
    assert certificate.poll() is True
    assert files.told["ca"] == expiry(renewed)


def test_a_first_pair_that_does_not_fit_is_a_wrong_start(files: Files) -> None:
    files.write(leaf())
    files.key.write_bytes(leaf().key_pem)
    with pytest.raises(ConfigError, match="PEDIGREE_TLS_CERT_FILE"):
        files.serve()


@pytest.mark.parametrize(
    ("cert", "key"), [("a.crt", "b.key"), ("a.crt", "none.key"), ("a.key", "a.key")]
)
def test_what_is_no_pair_of_files_is_a_wrong_start(
    tmp_path: Path, cert: str, key: str
) -> None:
    leaf().write(tmp_path, "a")
    leaf().write(tmp_path, "b")
    with pytest.raises(ConfigError, match=r"certificate .* cannot be used"):
        ServingCertificate(tmp_path / cert, tmp_path / key)


def test_a_chain_is_good_until_the_first_of_it_expires(files: Files) -> None:
    short = make_ca("short", lifetime=timedelta(hours=1))
    pair = leaf()
    files.write(pair)
    files.cert.write_bytes(pair.certificate_pem + short.certificate_pem)
    files.serve()
    assert files.told["serving"] == expiry(short)


def test_of_authorities_that_did_not_sign_the_first_to_expire_counts(
    files: Files,
) -> None:
    late, soon = make_ca("late"), make_ca("soon", lifetime=timedelta(days=1))
    files.ca.write_bytes(late.certificate_pem + soon.certificate_pem)
    files.write(leaf())
    files.serve()
    assert files.told["ca"] == expiry(soon)


def test_watching_takes_a_new_pair_into_use_by_itself(files: Files) -> None:
    before = expiry(files.write(leaf()))
    certificate = files.serve()
    stopping = threading.Event()
    thread = certificate.watch(stopping, 0.01)
    new = files.write(leaf(lifetime=timedelta(days=5)))
    deadline = time.monotonic() + 10
    while files.told["serving"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert files.told["serving"] == expiry(new)
    stopping.set()
    thread.join(10)
    assert not thread.is_alive()


def test_old_protocol_versions_are_not_spoken(files: Files) -> None:
    files.write(leaf())
    assert files.serve().context.minimum_version >= ssl.TLSVersion.TLSv1_2
