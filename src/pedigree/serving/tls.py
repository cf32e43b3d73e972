# SPDX-License-Identifier: Apache-2.0
"""Serving certificates that change while the process runs.

cert-manager and the kubelet replace the files; new connections then get the new
certificate, without a restart.  Files are compared by content, because a mounted
Secret changes by swapping a symbolic link.  A pair is loaded into a context of its own
first: what does not fit together (half of a swap, a wrong key) never replaces what
works, and is tried again when it changes.
"""

from __future__ import annotations

import logging
import ssl
import threading
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from pedigree.digests import Digest, sha256
from pedigree.errors import ConfigError, quote

log = logging.getLogger(__name__)

POLL_S = 2.0
"""How often the files are read.  The kubelet takes up to a minute to change them."""


class ServingCertificate:
    """The certificate in use, and the files that the next one will be in.

    Args:
        cert_file: Chain, leaf first, PEM.
        key_file: Private key of the leaf, PEM.
        ca_file: Who signed the leaf, only to know when that expires; None if unknown.
        on_expiry: Told ``("serving" or "ca", seconds since 1970)`` for what is in use.
        on_failure: Told when changed files could not be used.

    Raises:
        ConfigError: The first pair cannot be used.
    """

    def __init__(
        self,
        cert_file: Path,
        key_file: Path,
        ca_file: Path | None = None,
        *,
        on_expiry: Callable[[str, float], None] = lambda _cert, _time: None,
        on_failure: Callable[[], None] = lambda: None,
    ) -> None:
        self._cert_file, self._key_file, self._ca_file = cert_file, key_file, ca_file
        self._on_expiry, self._on_failure = on_expiry, on_failure
        self._rejected: Digest | None = None
        self._problem = ""
        try:
            self._seen = self._digest()
            self._current, expiries = self._load()
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"certificate {quote(str(cert_file))} with key {quote(str(key_file))} "
                f"cannot be used: {error}",
                hint="check PEDIGREE_TLS_CERT_FILE and PEDIGREE_TLS_KEY_FILE",
            ) from error
        self._announce(expiries)
        self._entry = _new_context()
        # Called for every handshake, also when the client names no server.
        self._entry.sni_callback = self._choose

    @property
    def context(self) -> ssl.SSLContext:
        """For the server; stays the same object while certificates change."""
        return self._entry

    def poll(self) -> bool:
        """Look at the files once; whether a new pair was taken into use."""
        digest: Digest | None = None
        try:
            digest = self._digest()
            if digest in (self._seen, self._rejected):
                return False
            context, expiries = self._load()
            if self._digest() != digest:
                return False  # they changed meanwhile: look again at the next poll
        except (OSError, ValueError) as error:
            self._reject(digest, str(error))
            return False
        self._seen, self._current = digest, context
        self._rejected, self._problem = None, ""
        self._announce(expiries)
        log.info("a new serving certificate is in use")
        return True

    def watch(
        self, stopping: threading.Event, interval_s: float = POLL_S
    ) -> threading.Thread:
        """Poll in a thread of its own until told to stop."""
        thread = threading.Thread(
            target=self._watch,
            args=(stopping, interval_s),
            name="certificates",
            daemon=True,
        )
        thread.start()
        return thread

    def _watch(self, stopping: threading.Event, interval_s: float) -> None:
        while not stopping.wait(interval_s):
            try:
                self.poll()
            except Exception:  # a bug must not end the watch: certificates expire
                log.exception("looking at the certificate files failed")

    def _choose(
        self, connection: ssl.SSLObject, _name: str | None, _entry: ssl.SSLContext
    ) -> None:
        connection.context = self._current

    def _load(self) -> tuple[ssl.SSLContext, dict[str, float]]:
        """A context with the pair in the files, and when certificates expire."""
        context = _new_context()
        context.load_cert_chain(self._cert_file, self._key_file)  # checks that they fit
        chain = x509.load_pem_x509_certificates(self._cert_file.read_bytes())
        expiries = {"serving": _earliest(chain)}
        if self._ca_file is not None:
            bundle = x509.load_pem_x509_certificates(self._ca_file.read_bytes())
            expiries["ca"] = _ca_expiry(chain, bundle)
        return context, expiries

    def _announce(self, expiries: dict[str, float]) -> None:
        for certificate, timestamp_s in expiries.items():
            self._on_expiry(certificate, timestamp_s)

    def _reject(self, digest: Digest | None, problem: str) -> None:
        """Say once what is wrong with the files; they are read again when they change.

        Args:
            digest: Of the files as they were read; None when they could not be.
            problem: What is wrong.
        """
        self._rejected = digest
        if problem == self._problem:
            return
        self._problem = problem
        self._on_failure()
        log.error(
            "certificate files %s and %s changed and cannot be used; the old pair "
            "stays in use: %s",
            self._cert_file,
            self._key_file,
            problem,
        )

    def _digest(self) -> Digest:
        files = [self._cert_file, self._key_file]
        if self._ca_file is not None:
            files.append(self._ca_file)
        return sha256(b"".join(sha256(path.read_bytes()).raw for path in files))


def _new_context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context


def _earliest(certificates: list[x509.Certificate]) -> float:
    """When the first of them expires; a chain is good for no longer."""
    return min(each.not_valid_after_utc.timestamp() for each in certificates)


def _ca_expiry(chain: list[x509.Certificate], bundle: list[x509.Certificate]) -> float:
    """When the signer expires; of a bundle in rotation the one that counts."""
    signers = [ca for ca in bundle if any(_signed(each, ca) for each in chain)]
    return _earliest(signers[:1] or bundle)


def _signed(certificate: x509.Certificate, ca: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(ca)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
