# SPDX-License-Identifier: Apache-2.0
"""The serving certificate: loaded at start, and again when its files change.

cert-manager and the kubelet replace the files of a mounted Secret in place.  A new
pair is tried on a context of its own first: a pair that does not fit, as in the moment
between two writes, leaves the one in use alone and is tried again.
"""

from __future__ import annotations

import hashlib
import logging
import ssl
import threading
from pathlib import Path

from cryptography import x509

from pedigree.errors import ConfigError

CHECK_INTERVAL_S = 5.0
"""Two small reads; the kubelet takes up to a minute to project a Secret anyway."""

log = logging.getLogger(__name__)


class ServingCertificate:
    """A certificate and key on disk, and the TLS context that serves them.

    Attributes:
        context: For the server; new handshakes get what was loaded last.
    """

    def __init__(self, cert_file: Path, key_file: Path, ca_file: Path | None) -> None:
        """Load the pair.

        Raises:
            ConfigError: It cannot be read, or key and certificate do not fit.
        """
        self._cert_file = cert_file
        self._key_file = key_file
        self._ca_file = ca_file
        self._stop = threading.Event()
        self._complained = ""
        self.context = _context()
        try:
            self._loaded = self._fingerprint()
            self._expiries = self._read_expiries()
            self.context.load_cert_chain(cert_file, key_file)
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"serving certificate {str(cert_file)!r} with key {str(key_file)!r} "
                f"cannot be loaded: {error}",
                hint="check PEDIGREE_TLS_CERT_FILE and PEDIGREE_TLS_KEY_FILE",
            ) from error

    def expiries(self) -> dict[str, float]:
        """``serving`` and, if known, ``ca`` -> end of validity, seconds since 1970."""
        return self._expiries

    def reload_if_changed(self) -> bool:
        """Load the files again if they changed; say whether a new pair is in use."""
        try:
            found = self._fingerprint()
            if found == self._loaded:
                return False
            _context().load_cert_chain(self._cert_file, self._key_file)
            expiries = self._read_expiries()
            self.context.load_cert_chain(self._cert_file, self._key_file)
        except (OSError, ValueError) as error:
            if str(error) != self._complained:
                self._complained = str(error)
                log.warning("new serving certificate is not usable yet: %s", error)
            return False
        self._loaded, self._expiries, self._complained = found, expiries, ""
        log.info("serving certificate was replaced and is in use")
        return True

    def watch(self, interval_s: float = CHECK_INTERVAL_S) -> None:
        """Look for new files from a thread of its own, until ``close``."""

        def run() -> None:
            while not self._stop.wait(interval_s):
                self.reload_if_changed()

        threading.Thread(target=run, name="certificate-watch", daemon=True).start()

    def close(self) -> None:
        """Stop looking."""
        self._stop.set()

    def _fingerprint(self) -> bytes:
        """Of the files' contents: Secrets are swapped by symlink, mtimes mislead."""
        files = (self._cert_file, self._key_file, self._ca_file)
        parts = [
            hashlib.sha256(file.read_bytes()).digest()
            for file in files
            if file is not None
        ]
        return b"".join(parts)

    def _read_expiries(self) -> dict[str, float]:
        expiries = {"serving": _earliest_expiry(self._cert_file)}
        if self._ca_file is not None:
            expiries["ca"] = _earliest_expiry(self._ca_file)
        return expiries


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _earliest_expiry(file: Path) -> float:
    """The end of validity of whichever certificate in a PEM file ends first."""
    certificates = x509.load_pem_x509_certificates(file.read_bytes())
    return min(
        certificate.not_valid_after_utc.timestamp() for certificate in certificates
    )
