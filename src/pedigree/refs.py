# SPDX-License-Identifier: Apache-2.0
"""Model references: which model, where, at which revision, and what of it.

``file:///models/support-llm``              a folder or file this process can read
``hf://org/repo@revision#path``             a Hub repository
``s3://bucket/prefix`` ``gs://`` ``az://``  objects below a prefix, or one object
``oci://registry/name:tag#path``            an artifact; or ``@sha256:...``
``https://host/path/model.gguf``            one file, or an index with its shards
``pvc://claim/path``                        a folder of a volume claim

The part after ``#`` names one file or folder of a model that has several variants.
``parse(str(ref)) == ref`` holds for every reference.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath

from pedigree.errors import ModelRefError, quote

_MAX_CHARS = 1024
_REPO = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95}")
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,254}")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"sha256:[0-9a-f]{64}")
_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,62}")
_KEY = re.compile(r"[A-Za-z0-9!_.*'()=+,$ /-]{1,900}")
_VERSION = re.compile(r"[A-Za-z0-9._~+/=-]{1,128}")
_ARTIFACT = re.compile(
    r"[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"({_LABEL}(?:\.{_LABEL})*)(?::([0-9]{{1,5}}))?")
_HOST_MAX_CHARS = 253
"""Longer names, and longer labels, cannot be looked up (RFC 1035, 2.3.4)."""
_URL_PATH = re.compile(r"/[A-Za-z0-9%._~!$&'()*+,;=:/-]{1,900}")
_CLAIM = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")
_MLFLOW = (
    "write where its files are, such as s3://bucket/prefix: "
    "get_model_version_download_uri of MLflow's client says it"
)
_KUBEFLOW = (
    "write where its files are, such as s3://bucket/prefix: the uri of its "
    "ModelArtifact says it"
)
_ENTRIES = {
    "models": _MLFLOW,
    "runs": _MLFLOW,
    "mlflow-artifacts": _MLFLOW,
    "model-registry": _KUBEFLOW,
}
"""What names an entry of a registry (MLflow, Kubeflow) and no place, and what to write
instead.  Entries and their aliases move, so that whoever reads one must ask a service
what it means now."""


class Scheme(StrEnum):
    """Kinds of place a model can be read from."""

    FILE = "file"
    HUB = "hf"
    S3 = "s3"
    GCS = "gs"
    AZURE = "az"
    OCI = "oci"
    HTTPS = "https"
    PVC = "pvc"


@dataclass(frozen=True, slots=True)
class ModelRef:
    """Where one model is.

    Attributes:
        scheme: Kind of place.
        location: Absolute POSIX path (file); ``org/repo`` (hf); ``bucket/key`` (s3, gs,
            az); ``registry/name`` (oci); ``host/path`` (https); ``claim/path`` (pvc).
        revision: Branch, tag or commit (hf); tag or ``sha256:...`` (oci); version of
            one object (s3, gs, az); ``sha256:...`` of the file (https); else None.
        within: The one file or folder of the model that is meant (hf, oci); else None.
    """

    scheme: Scheme
    location: str
    revision: str | None = None
    within: str | None = None

    def __str__(self) -> str:
        mark = ":" if self.scheme is Scheme.OCI and not self.pinned else "@"
        at = f"{mark}{self.revision}" if self.revision else ""
        inside = f"#{self.within}" if self.within else ""
        return f"{self.scheme}://{self.location}{at}{inside}"

    @property
    def pinned(self) -> bool:
        """Whether the reference can only ever mean one content.

        A 40-hex commit of the Hub, a version of an object, a SHA-256 digest.
        """
        if self.revision is None:
            return False
        if self.scheme is Scheme.HUB:
            return bool(_COMMIT.fullmatch(self.revision))
        if self.scheme in (Scheme.OCI, Scheme.HTTPS):
            return bool(_SHA256.fullmatch(self.revision))
        return True


def parse(text: str) -> ModelRef:
    """Read a model reference.

    Raises:
        ModelRefError: The text is not a reference Pedigree understands; the message
            says which part and what was wanted.
    """
    if len(text) > _MAX_CHARS:
        raise ModelRefError(
            f"model reference has {len(text)} characters, allowed are {_MAX_CHARS}"
        )
    scheme, separator, rest = text.partition("://")
    if (entry := _entry(text)) is not None:
        raise ModelRefError(
            f"model reference {quote(text)} names an entry of a registry with "
            f"{quote(entry + ':')}, which is not read, wanted the place of a model",
            hint=_ENTRIES[entry],
        )
    if not separator:
        raise ModelRefError(
            f"model reference {quote(text)} names no scheme",
            hint="write file:///absolute/folder or hf://org/repo@revision",
        )
    parser = _PARSERS.get(scheme)
    if parser is None:
        raise ModelRefError(
            f"model reference {quote(text)} has the scheme {quote(scheme)}, "
            f"understood are {', '.join(Scheme)}"
        )
    return parser(text, rest)


def is_reference(text: str) -> bool:
    """Whether a text is meant as a reference, understood or not, and not as a path.

    MLflow writes entries of its registry with one slash: ``models:/name/version``.  A
    folder of that name is written ``./models:/name``.
    """
    return "://" in text or _entry(text) is not None


def _entry(text: str) -> str | None:
    """By what a text names an entry of a registry, or None if it names none."""
    name, mark, _ = text.partition(":/")
    return name if mark and name in _ENTRIES else None


def _parse_file(text: str, rest: str) -> ModelRef:
    path = PurePosixPath(rest)
    if not path.is_absolute() or rest.startswith("//"):
        raise ModelRefError(
            f"model reference {quote(text)} has the path {quote(rest)}, "
            "wanted an absolute one",
            hint="write file:///absolute/folder, with three slashes",
        )
    if ".." in path.parts or "\x00" in rest:
        raise ModelRefError(
            f"model reference {quote(text)} leaves its folder with '..'"
        )
    return ModelRef(Scheme.FILE, str(path))


def _parse_hub(text: str, rest: str) -> ModelRef:
    rest, within = _inside(text, rest)
    repo, at, revision = rest.partition("@")
    if not _REPO.fullmatch(repo) or ".." in repo:
        kserve = ":" in repo and not at
        hint = "write hf://org/repo@revision, with @ where KServe has :"
        _refuse(text, "repository", repo, "org/repo", hint if kserve else None)
    if at and (not _REVISION.fullmatch(revision) or ".." in revision):
        _refuse(text, "revision", revision, "a commit, tag or branch")
    return ModelRef(Scheme.HUB, repo, revision or None, within)


def _parse_bucket(text: str, rest: str) -> ModelRef:
    scheme = Scheme(text.partition("://")[0])
    place, at, version = rest.partition("@")
    bucket, _, key = place.partition("/")
    if not _BUCKET.fullmatch(bucket):
        _refuse(text, "bucket", bucket, "3 to 63 lower-case letters, digits, . _ -")
    key = key.strip("/")
    if key and (not _KEY.fullmatch(key) or not _is_plain(key)):
        _refuse(text, "key", key, "a plain path without '.' and '..'")
    if at and not _VERSION.fullmatch(version):
        _refuse(text, "version", version, "the version of one object")
    location = f"{bucket}/{key}" if key else bucket
    return ModelRef(scheme, location, version or None)


def _parse_oci(text: str, rest: str) -> ModelRef:
    rest, within = _inside(text, rest)
    place, at, digest = rest.partition("@")
    registry, _, name = place.partition("/")
    name, colon, tag = name.partition(":")
    if not _is_host(registry):
        _refuse(text, "registry", registry, "host or host:port")
    if not _ARTIFACT.fullmatch(name) or len(name) > 255:
        _refuse(text, "name", name, "lower-case path parts")
    if colon and not _TAG.fullmatch(tag):
        _refuse(text, "tag", tag, "a tag")
    if at and not _SHA256.fullmatch(digest):
        _refuse(text, "digest", digest, "sha256: and 64 hex digits")
    # A digest decides; a tag beside it is only a comment, as registries read it.
    return ModelRef(Scheme.OCI, f"{registry}/{name}", digest or tag or None, within)


def _parse_https(text: str, rest: str) -> ModelRef:
    place, at, digest = rest.partition("@")
    host, slash, path = place.partition("/")
    if not _is_host(host):
        _refuse(text, "host", host, "host or host:port, without user and password")
    if not _URL_PATH.fullmatch(slash + path) or not _is_plain(path):
        _refuse(text, "path", slash + path, "the path of a file, without query")
    if at and not _SHA256.fullmatch(digest):
        _refuse(text, "digest", digest, "sha256: and 64 hex digits")
    return ModelRef(Scheme.HTTPS, f"{host}/{path}", digest or None)


def _parse_pvc(text: str, rest: str) -> ModelRef:
    claim, _, path = rest.partition("/")
    path = path.strip("/")
    if not _CLAIM.fullmatch(claim):
        _refuse(text, "claim", claim, "the name of a PersistentVolumeClaim")
    if path and (not path.isprintable() or not _is_plain(path) or "\\" in path):
        _refuse(text, "path", path, "a plain path without '.' and '..'")
    return ModelRef(Scheme.PVC, f"{claim}/{path}" if path else claim)


def _inside(text: str, rest: str) -> tuple[str, str | None]:
    place, mark, within = rest.partition("#")
    within = within.strip("/")
    if mark and (not within.isprintable() or not _is_plain(within) or "\\" in within):
        _refuse(text, "file or folder", within, "a plain path without '.' and '..'")
    return place, within or None


def _is_host(text: str) -> bool:
    """Whether it is a name that can be looked up, with a port that can be one."""
    match = _HOST.fullmatch(text)
    return (
        match is not None
        and len(match[1]) <= _HOST_MAX_CHARS
        and 0 < int(match[2] or 1) < 1 << 16
    )


def _is_plain(path: str) -> bool:
    return all(part not in ("", ".", "..") for part in path.split("/"))


def _refuse(
    text: str, what: str, got: str, wanted: str, hint: str | None = None
) -> None:
    raise ModelRefError(
        f"model reference {quote(text)} has the {what} {quote(got)}, wanted {wanted}",
        hint=hint,
    )


_PARSERS: dict[str, Callable[[str, str], ModelRef]] = {
    Scheme.FILE: _parse_file,
    Scheme.HUB: _parse_hub,
    Scheme.S3: _parse_bucket,
    Scheme.GCS: _parse_bucket,
    Scheme.AZURE: _parse_bucket,
    Scheme.OCI: _parse_oci,
    Scheme.HTTPS: _parse_https,
    Scheme.PVC: _parse_pvc,
}
