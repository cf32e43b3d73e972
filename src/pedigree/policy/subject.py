# SPDX-License-Identifier: Apache-2.0
"""What is judged: an object of the cluster, reduced to what policies look at."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from pedigree.digests import Digest
from pedigree.errors import ModelRefError, quote
from pedigree.refs import ModelRef, Scheme, parse

MODELS_MAX = 16
URI_MAX_CHARS = 1024
NAMESPACE_LABEL = "kubernetes.io/metadata.name"
BOUND = frozenset({Scheme.PVC, Scheme.OCI})
"""Schemes of which a namespace believes what others must not.  A claim is one of the
namespace.  A registry, which anybody may run, states digests that an examination by
ranges believes, and so could have evidence made of a model that it does not have."""
_SECRET_NAME = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class Role(StrEnum):
    """What a model is for within its deployment."""

    BASE = "Base"
    ADAPTER = "Adapter"
    DRAFT = "Draft"
    RERANKER = "Reranker"
    EMBEDDER = "Embedder"
    TOKENIZER = "Tokenizer"
    OTHER = "Other"


@dataclass(frozen=True, slots=True)
class SubjectModel:
    """One model that an object names.

    Attributes:
        name: Its name within the object.
        role: What it is for.
        uri: The reference as written, ``huggingFace`` turned into ``hf://``.
        ref: The same, understood; None when it cannot be.
        expected_digest: The only digest, of names and contents or root digest, that
            the object accepts, if it says so.
        claims: What the object declares: ``baseModel``, ``relation``, ``license``.
        field_path: Where it is in the object, such as ``spec.models[0]``.
        problem: Why it cannot be judged at all; empty when it can.
        secret: Name of the Secret whose credentials it is read with; empty for none.
    """

    name: str
    role: str
    uri: str
    ref: ModelRef | None
    expected_digest: Digest | None = None
    claims: Mapping[str, str] = field(default_factory=dict)
    field_path: str = "spec.models"
    problem: str = ""
    secret: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """One object.

    Attributes:
        kind: Its kind.
        namespace: Its namespace.
        namespace_labels: Labels of that namespace.
        name: Its name.
        labels: Its own labels.
        models: The models it names.
        problem: Why it cannot be judged at all; empty when it can.
    """

    kind: str
    namespace: str
    namespace_labels: Mapping[str, str]
    name: str
    labels: Mapping[str, str]
    models: tuple[SubjectModel, ...]
    problem: str = ""


def subject_from_model_deployment(
    obj: Mapping[str, Any], namespace_labels: Mapping[str, str]
) -> Subject:
    """Reduce a ``ModelDeployment`` to what policies look at.  Never raises.

    What the CRD would have refused becomes a ``problem`` that :func:`judge` answers
    as an error, so that an object which bypassed the CRD cannot bypass the gate.
    """
    metadata = _as_mapping(obj.get("metadata"))
    models = _as_mapping(obj.get("spec")).get("models")
    problem = ""
    read: tuple[SubjectModel, ...] = ()
    if not isinstance(models, list) or not models:
        problem = "spec.models names no model, wanted at least one"
    elif len(models) > MODELS_MAX:
        problem = f"spec.models has {len(models)} models, allowed are {MODELS_MAX}"
    else:
        read = tuple(_model(item, index) for index, item in enumerate(models))
        problem = _duplicates(read)
    return Subject(
        kind="ModelDeployment",
        namespace=_as_text(metadata.get("namespace")),
        namespace_labels=dict(namespace_labels),
        name=_as_text(metadata.get("name")) or _as_text(metadata.get("generateName")),
        labels=_as_texts(metadata.get("labels")),
        models=read,
        problem=problem,
    )


def model_fields(obj: Mapping[str, Any]) -> list[Any]:
    """The part of a ``ModelDeployment`` that says which models run.

    Two objects with equal model fields run the same models; everything else (labels,
    replicas, Pod template, revalidation) may differ.  Order does not count, and an
    absent role is the default one.
    """
    models = _as_mapping(obj.get("spec")).get("models")
    if not isinstance(models, list):
        return []
    plain = [
        {"role": Role.BASE.value, **item} if isinstance(item, Mapping) else item
        for item in models
    ]
    return sorted(plain, key=lambda item: str(_as_mapping(item).get("name")))


def is_pinned(model: SubjectModel) -> bool:
    """Whether the object itself fixes the model's content.

    Either by the digest it expects or by a commit; a folder is never pinned by its
    path, whatever it holds today.
    """
    if model.expected_digest is not None:
        return True
    return (
        model.ref is not None and model.ref.scheme is not Scheme.FILE
    ) and model.ref.pinned


def source_uri(source: object) -> str:
    """The reference a ``source`` means: its ``uri``, or ``huggingFace`` as ``hf://``.

    Raises:
        ValueError: It is not exactly one of the two.
    """
    members = _as_mapping(source)
    given = [key for key in ("uri", "huggingFace") if members.get(key) is not None]
    if len(given) != 1:
        got = " and ".join(given) or "neither"
        raise ValueError(f"has {got}, wanted exactly one of uri and huggingFace")
    if given == ["uri"]:
        uri = members["uri"]
        if not isinstance(uri, str):
            raise ValueError(f"has the uri {quote(uri, 80)}, wanted a string")
        return uri
    hub = _as_mapping(members["huggingFace"])
    repo, revision = hub.get("repo"), hub.get("revision")
    if not isinstance(repo, str) or not isinstance(revision, str | None):
        raise ValueError("has a huggingFace without repo, wanted {repo, revision?}")
    return f"hf://{repo}@{revision}" if revision else f"hf://{repo}"


def credentials_secret(source: object) -> str:
    """Name of the Secret that a ``source`` names; empty if it names none.

    Raises:
        ValueError: ``credentialsSecret`` is there and names none.
    """
    given = _as_mapping(source).get("credentialsSecret")
    if given is None:
        return ""
    name = _as_mapping(given).get("name")
    if not isinstance(name, str) or not _SECRET_NAME.fullmatch(name):
        raise ValueError(
            f"has the credentialsSecret {quote(given, 80)}, wanted {{name}} of a Secret"
        )
    return name


def scope_of(uri: str, namespace: str, secret: str) -> str:
    """With whose access a reference is read: what it means is true for those alone.

    A Secret is one way to reach a source and may even name the endpoint, so what was
    learnt with it holds for who names the same Secret.  What :data:`BOUND` schemes lead
    to holds in one namespace.  Everything else means the same to everybody.

    An object of the cluster, which administrators write, is in no namespace and is
    bound to none.

    Args:
        uri: The reference.
        namespace: Of the object that names it.
        secret: Name of the Secret that it is read with; empty for none.

    Returns:
        ``""``, a namespace, or ``namespace/secret``.
    """
    if secret:
        return f"{namespace}/{secret}"
    return namespace if uri.partition("://")[0] in BOUND else ""


def _model(item: object, index: int) -> SubjectModel:
    path = f"spec.models[{index}]"
    data = _as_mapping(item)
    problems: list[str] = []
    name = _as_text(data.get("name"))
    if not name:
        problems.append(f"{path}.name is missing")
    uri, ref, secret = "", None, ""
    try:
        secret = credentials_secret(data.get("source"))
        uri = source_uri(data.get("source"))
        ref = parse(uri)
    except ValueError as error:
        problems.append(f"{path}.source {error}")
    except ModelRefError as error:
        problems.append(str(error))
    digest = None
    if data.get("expectedDigest") is not None:
        try:
            digest = Digest.parse(_as_text(data["expectedDigest"]))
        except ValueError as error:
            problems.append(f"{path}.expectedDigest: {error}")
    role = data.get("role", Role.BASE.value)
    if not isinstance(role, str) or role not in set(Role):
        problems.append(f"{path}.role is {quote(role, 80)}, known are {_listed(Role)}")
    return SubjectModel(
        name=name or f"#{index}",
        role=_as_text(role),
        uri=uri[:URI_MAX_CHARS],
        ref=ref,
        expected_digest=digest,
        claims=_as_texts(data.get("claims")),
        field_path=path,
        problem="; ".join(problems),
        secret=secret,
    )


def _duplicates(models: tuple[SubjectModel, ...]) -> str:
    names = [model.name for model in models]
    double = sorted({name for name in names if names.count(name) > 1})
    return f"spec.models has the name {quote(double[0], 80)} twice" if double else ""


def _listed(values: type[StrEnum]) -> str:
    return ", ".join(values)


def _as_mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _as_text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _as_texts(value: object) -> dict[str, str]:
    return {
        key: text
        for key, text in _as_mapping(value).items()
        if isinstance(key, str) and isinstance(text, str)
    }
