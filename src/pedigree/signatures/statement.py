# SPDX-License-Identifier: Apache-2.0
"""What a signature says about a model: its files and how they were hashed.

Source: OpenSSF Model Signing v1.0, sections 5 to 7, with its statement and predicate
schemas, and section 11 for the layout of release 0.2.

Resources must be sorted, by the whole name as the specification says, or by the parts
of the path and the numbers of the range as its reference tool does.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pedigree.digests import Digest, sha256
from pedigree.errors import quote
from pedigree.signatures.bundle import child, only, refuse
from pedigree.tensors import strictjson

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://model_signing/signature/v1.0"
OLD_PREDICATE = "https://model_signing/Digests/v0.1"
RESOURCES_MAX = 100_000
"""Files, or byte ranges of files: of 1 GB each they are 100 TB."""
IGNORED_MAX = 1_000
DIGEST_CHARS = {"sha256": 64, "blake2b": 128, "blake3": 64}
_PATH_MAX_CHARS = 1_024
_HEX = re.compile(r"[0-9a-f]+")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")


@dataclass(frozen=True, slots=True)
class Resource:
    """One signed file, or one signed byte range of a file.

    Attributes:
        path: Of the file, relative to the model's root.
        digest: Of the bytes, in hex digits.
        begin: First byte; 0 for a whole file.
        end: Byte after the last; None for a whole file.
    """

    path: str
    digest: str
    begin: int = 0
    end: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """What was signed.

    Attributes:
        resources: Files or ranges, in the order signed, none twice, at least one.
        hash_type: Algorithm of all their digests.
        shard_size: Bytes of a range; None when whole files were hashed.
        allow_symlinks: Whether symbolic links were followed.
        ignore_paths: What the signer left out.
        subject: Digest that the statement gives of the model; None in release 0.2,
            which gave none.
        old: Whether it has the layout of release 0.2.
    """

    resources: tuple[Resource, ...]
    hash_type: str
    shard_size: int | None
    allow_symlinks: bool
    ignore_paths: tuple[str, ...]
    subject: Digest | None
    old: bool

    @property
    def root_digest(self) -> Digest:
        """Digest of the model that follows from its resources, section 6.5.1."""
        return sha256(b"".join(bytes.fromhex(item.digest) for item in self.resources))

    def leaves_out(self, path: str) -> bool:
        """Whether the signer left a file out, by its name or that of a folder."""
        parts = path.split("/")
        return any(
            "/".join(parts[:count]) in self.ignore_paths
            for count in range(1, len(parts) + 1)
        )


def read_statement(payload: bytes, path: str) -> Statement:
    """Read a signed statement.

    Args:
        payload: JSON.
        path: File of the signature, for messages.

    Raises:
        ArtifactError: It is none that is understood (``MalformedSignature``).
    """
    root = strictjson.load(
        payload,
        what="signed statement",
        path=path,
        depth_max=16,
        values_max=12 * RESOURCES_MAX,
        malformed="MalformedSignature",
    )
    if not isinstance(root, dict):
        refuse(path, "signs no JSON object")
    only(path, root, "statement", ("_type", "subject", "predicateType", "predicate"))
    if root.get("_type") != STATEMENT:
        refuse(path, f"signs a {quote(root.get('_type'), 80)}, wanted {STATEMENT}")
    subjects = _list(path, root, "subject", RESOURCES_MAX)
    kind = root.get("predicateType")
    if kind == OLD_PREDICATE:
        return _old_statement(path, subjects)
    if kind != PREDICATE:
        refuse(path, f"signs the predicate {quote(kind, 80)}, wanted {PREDICATE}")
    if len(subjects) != 1:
        refuse(path, f"signs {len(subjects)} subjects, wanted one")
    return _statement(
        path, _sha256_of(path, subjects[0]), child(path, root, "predicate")
    )


def _statement(path: str, subject: str, predicate: dict[str, Any]) -> Statement:
    only(path, predicate, "predicate", ("resources", "serialization"))
    how = child(path, predicate, "serialization")
    known = ("method", "hash_type", "shard_size", "allow_symlinks", "ignore_paths")
    only(path, how, "serialization", known)
    method, hash_type = how.get("method"), how.get("hash_type")
    if method not in ("files", "shards"):
        refuse(path, f"uses the method {quote(method, 80)}, wanted files or shards")
    if not isinstance(hash_type, str) or hash_type not in DIGEST_CHARS:
        wanted = ", ".join(DIGEST_CHARS)
        refuse(path, f"uses the hash {quote(hash_type, 80)}, wanted one of {wanted}")
    symlinks = how.get("allow_symlinks")
    if not isinstance(symlinks, bool):
        refuse(path, "does not say whether it follows symbolic links")
    shard_size = _shard_size(path, method, how)
    items = _list(path, predicate, "resources", RESOURCES_MAX)
    resources = tuple(_resource(path, item, hash_type, shard_size) for item in items)
    _check_order(path, [str(item["name"]) for item in items], resources)
    return Statement(
        resources=resources,
        hash_type=hash_type,
        shard_size=shard_size,
        allow_symlinks=symlinks,
        ignore_paths=_ignored(path, how),
        subject=Digest(subject),
        old=False,
    )


def _old_statement(path: str, subjects: list[Any]) -> Statement:
    """Release 0.2: the files are the subjects, and nothing says how they were found."""
    resources = []
    for item in subjects:
        digest = _sha256_of(path, item)
        resources.append(Resource(_path(path, item["name"]), digest))
    _check_order(path, [item.path for item in resources], resources)
    return Statement(
        resources=tuple(resources),
        hash_type="sha256",
        shard_size=None,
        allow_symlinks=False,
        ignore_paths=(),
        subject=None,
        old=True,
    )


def _shard_size(path: str, method: str, how: dict[str, Any]) -> int | None:
    size = how.get("shard_size")
    if method == "files":
        if "shard_size" in how:
            refuse(path, "gives a shard_size for whole files")
        return None
    if isinstance(size, float) and size.is_integer():
        size = int(size)  # some writers know only one kind of number
    if type(size) is not int or not 0 < size < 2**53:
        refuse(path, f"has the shard_size {quote(size, 80)}, wanted bytes, at least 1")
    return size


def _ignored(path: str, how: dict[str, Any]) -> tuple[str, ...]:
    if "ignore_paths" not in how:
        return ()
    found = _list(path, how, "ignore_paths", IGNORED_MAX, least=0)
    for item in found:
        if not isinstance(item, str) or not 0 < len(item) <= _PATH_MAX_CHARS:
            refuse(path, f"ignores {quote(item, 80)}, wanted a path")
    return tuple(found)


def _resource(
    path: str, item: object, hash_type: str, shard_size: int | None
) -> Resource:
    if not isinstance(item, dict):
        refuse(path, "has a resource that is no object")
    name, digest = item.get("name"), item.get("digest")
    names = [hash_type]
    if shard_size is not None:  # what the reference tool writes, up to 1.1.1 at least
        names.append(f"{hash_type}-sharded-{shard_size}")
    if item.get("algorithm") not in names:
        refuse(
            path,
            f"hashes {quote(name, 80)} with {quote(item.get('algorithm'), 40)}, "
            f"and says {hash_type} of all",
        )
    if (
        not isinstance(digest, str)
        or len(digest) != DIGEST_CHARS[hash_type]
        or not _HEX.fullmatch(digest)
    ):
        refuse(path, f"has the {hash_type} digest {quote(digest, 80)}")
    if shard_size is None:
        return Resource(_path(path, name), digest)
    head, begin, end = _range(path, name)
    return Resource(_path(path, head), digest, begin, end)


def _range(path: str, name: object) -> tuple[str, int, int]:
    """Split ``weights.bin:0:1000``; the path may hold colons itself."""
    parts = name.rsplit(":", 2) if isinstance(name, str) else []
    if len(parts) != 3 or not all(_NUMBER.fullmatch(part) for part in parts[1:]):
        refuse(path, f"names the byte range {quote(name, 80)}, wanted path:begin:end")
    begin, end = int(parts[1]), int(parts[2])
    if begin >= end:
        refuse(path, f"names the empty byte range {quote(name, 80)}")
    return parts[0], begin, end


def _path(path: str, name: object) -> str:
    """A name as section 6.1.2 wants it: relative, within the tree, in one spelling."""
    if (
        not isinstance(name, str)
        or len(name) > _PATH_MAX_CHARS
        or "\0" in name
        or any(part in ("", ".", "..") for part in name.split("/"))
    ):
        refuse(path, f"signs the path {quote(name, 80)}, wanted one below the model")
    return name


def _check_order(path: str, names: list[str], resources: Sequence[Resource]) -> None:
    """One order, or one model would have several digests; and nothing twice."""
    if len(set(names)) != len(names):
        refuse(path, "signs a name twice")
    parts = [(item.path.split("/"), item.begin) for item in resources]
    if names != sorted(names) and parts != sorted(parts):
        refuse(path, "does not sort its resources by name")


def _sha256_of(path: str, subject: object) -> str:
    digests = subject.get("digest") if isinstance(subject, dict) else None
    digest = digests.get("sha256") if isinstance(digests, dict) else None
    if not isinstance(subject, dict) or not isinstance(subject.get("name"), str):
        refuse(path, "has a subject without name")
    if not isinstance(digest, str) or len(digest) != 64 or not _HEX.fullmatch(digest):
        refuse(path, f"gives its subject the sha256 {quote(digest, 80)}")
    return digest


def _list(
    path: str, parent: dict[str, Any], key: str, most: int, *, least: int = 1
) -> list[Any]:
    value = parent.get(key)
    if not isinstance(value, list) or not least <= len(value) <= most:
        refuse(path, f"has no list {key} of {least} to {most} entries")
    return value
