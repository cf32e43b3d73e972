# SPDX-License-Identifier: Apache-2.0
"""How an object store is asked, and what its errors mean: pure, without its client.

obstore fills every setting it is not given from the process environment, and looks for
credentials at the instance metadata address.  A model of one tenant must not be read
with the rights of this process, so :func:`store_config` states each of these settings,
and without credentials requests are not signed at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, NoReturn
from urllib.parse import urlsplit

from pedigree.errors import SourceError, SourceRefused, SourceUnavailable, quote
from pedigree.refs import ModelRef, Scheme
from pedigree.sources.answers import addresses, is_loopback, is_public, shown
from pedigree.sources.settings import SourceSettings

_REGION = re.compile(r"[a-z0-9-]{1,32}")
_ACCOUNT = re.compile(r"[a-z0-9]{3,24}")
_ENDPOINTS = "AWS_ENDPOINT_URL, GOOGLE_BASE_URL or AZURE_STORAGE_ENDPOINT"
GIVE_CREDENTIALS = (
    "give the store's credentials: as variables, or in the Secret that "
    "credentialsSecret names"
)
_ALLOWED = "have the host allowed: in the cluster by operator.privateHosts"
_STATUS = re.compile(r"non-2xx status code: ([1-5]\d\d)\b")


@dataclass(frozen=True, slots=True)
class StoreConfig:
    """How a store is asked.

    Attributes:
        kind: Name of obstore's class.
        place: Bucket or container.
        endpoint: Base address of the store.
        options: obstore's ``config``.  Not shown in ``repr``.
        s3_keys: Access key, secret key and session token of S3, or None.  Not shown
            in ``repr``.
        shows_secret: Whether requests carry what would let whoever sees one ask for
            anything else: a token or a shared access signature.
    """

    kind: str
    place: str
    endpoint: str
    options: Mapping[str, Any] = field(repr=False)
    s3_keys: tuple[str, str, str | None] | None = field(default=None, repr=False)
    shows_secret: bool = False


def store_config(ref: ModelRef, settings: SourceSettings) -> StoreConfig:
    """What obstore is told, from the reference and the settings alone.

    Raises:
        SourceRefused: Credentials are incomplete or malformed (``BadCredentials``).
    """
    place = ref.location.partition("/")[0]
    given = settings.credentials
    if ref.scheme is Scheme.S3:
        return _s3(place, given)
    if ref.scheme is Scheme.GCS:
        return _gcs(place, given)
    return _azure(place, given)


def _gcs(place: str, given: Mapping[str, str]) -> StoreConfig:
    endpoint = given.get("GOOGLE_BASE_URL") or "https://storage.googleapis.com"
    key = given.get("GOOGLE_SERVICE_ACCOUNT_KEY") or None
    # The address is stated, since the key may name another one.
    options: dict[str, Any] = {
        "base_url": endpoint.rstrip("/"),
        "skip_signature": not key,
    }
    if key:
        options["service_account_key"] = key
    return StoreConfig("GCSStore", place, endpoint, options, shows_secret=bool(key))


def _s3(place: str, given: Mapping[str, str]) -> StoreConfig:
    region = given.get("AWS_REGION") or "us-east-1"
    if not _REGION.fullmatch(region):
        _bad_credentials("AWS_REGION", "a region such as us-east-1")
    suffix = ".cn" if region.startswith("cn-") else ""
    endpoint = given.get("AWS_ENDPOINT_URL") or (
        f"https://s3.{region}.amazonaws.com{suffix}"
    )
    access, secret = given.get("AWS_ACCESS_KEY_ID"), given.get("AWS_SECRET_ACCESS_KEY")
    if bool(access) != bool(secret):
        _bad_credentials(
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY", "both or neither"
        )
    keys = None
    if access and secret:
        keys = (access, secret, given.get("AWS_SESSION_TOKEN") or None)
    options = {
        "region": region,
        # Goes before "endpoint", and so before both variables of the environment.
        "aws_endpoint_url_s3": endpoint.rstrip("/"),
        "virtual_hosted_style_request": False,
        "s3_express": False,
        "request_payer": False,
        "skip_signature": keys is None,
    }
    return StoreConfig("S3Store", place, endpoint, options, keys)


def _azure(place: str, given: Mapping[str, str]) -> StoreConfig:
    account = given.get("AZURE_STORAGE_ACCOUNT_NAME") or ""
    if not _ACCOUNT.fullmatch(account):
        _bad_credentials("AZURE_STORAGE_ACCOUNT_NAME", "3 to 24 letters and digits")
    endpoint = given.get("AZURE_STORAGE_ENDPOINT") or (
        f"https://{account}.blob.core.windows.net"
    )
    key, sas = (
        given.get("AZURE_STORAGE_ACCOUNT_KEY"),
        given.get("AZURE_STORAGE_SAS_KEY"),
    )
    options: dict[str, Any] = {
        "account_name": account,
        "endpoint": endpoint.rstrip("/"),
        "use_emulator": False,
        "use_azure_cli": False,
        "skip_signature": not (key or sas),
        "credential_type": "auto",
    }
    if key:
        options |= {"account_key": key, "credential_type": "access_key"}
    elif sas:
        options |= {"sas_key": sas, "credential_type": "sas_token"}
    shows = bool(sas and not key)
    return StoreConfig("AzureStore", place, endpoint, options, shows_secret=shows)


def _bad_credentials(name: str, wanted: str) -> NoReturn:
    raise SourceRefused(
        f"credentials give no usable {name}, wanted {wanted}",
        reason="BadCredentials",
        hint=GIVE_CREDENTIALS,
    )


def check_endpoint(
    endpoint: str, private_hosts: tuple[str, ...] | None, *, shows_secret: bool = False
) -> bool:
    """Judge whether an endpoint may be asked.

    Args:
        endpoint: Base address of a store; whoever wrote the credentials chose it.
        private_hosts: See :class:`~pedigree.sources.settings.SourceSettings`.
        shows_secret: See :class:`StoreConfig`.

    Returns:
        Whether it is without TLS.

    Raises:
        SourceRefused: No plain address (``BadEndpoint``), one that is without TLS
            or private and not allowed (``PrivateHost``), or a secret would be shown
            to the network (``InsecureAddress``).
    """
    try:
        parts = urlsplit(endpoint)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        host, port, parts = "", None, urlsplit("")
    beyond = "@" in parts.netloc or parts.query or parts.fragment
    if parts.scheme not in ("http", "https") or not host or beyond:
        raise SourceRefused(
            "the endpoint given with the credentials is no plain address, wanted "
            "http or https, a host and no user, query or fragment",
            reason="BadEndpoint",
            hint=f"check {_ENDPOINTS}",
        )
    plain = parts.scheme == "http"
    listed = {host, f"{host}:{port}"} & {
        x.removeprefix("http://") for x in private_hosts or ()
    }
    if shows_secret and plain and not (listed or is_loopback(host)):
        raise SourceRefused(
            f"credentials would be sent to {shown(endpoint)} without TLS, wanted https",
            reason="InsecureAddress",
            hint=_ALLOWED,
        )
    if private_hosts is None or listed:
        return plain
    found = addresses(host)
    if plain or not all(is_public(address) for address in found):
        what = "has no TLS" if plain else "is at a private address"
        raise SourceRefused(
            f"endpoint {shown(endpoint)} {what}, wanted https at a public one",
            reason="PrivateHost",
            hint=_ALLOWED,
        )
    return plain


def failure_of(
    error: Exception, what: str, known: ModuleType, *, listed: bool
) -> SourceError:
    """What an error of a store means, told without any of its own words.

    Args:
        error: What obstore raised.
        what: Reference or key that was asked for.
        known: obstore's module of exceptions.
        listed: Whether it was there when listed.
    """
    text = str(error)
    match = _STATUS.search(text)
    status = int(match[1]) if match else 0
    asked = quote(what)
    missing = isinstance(error, FileNotFoundError) or status in (404, 410)
    if isinstance(error, known.PreconditionError) or (missing and listed):
        return SourceUnavailable(
            f"object {asked} changed while it was being read",
            reason="ChangedWhileReading",
            hint="try again when the upload has finished",
        )
    if missing:
        return SourceRefused(
            f"{asked} was not found",
            reason="NotFound",
            hint="check bucket, key and version, and that the credentials fit it",
        )
    denied = (known.PermissionDeniedError, known.UnauthenticatedError)
    if isinstance(error, denied) or status in (401, 403):
        return SourceRefused(
            f"{asked} may not be read with the credentials given",
            reason="Forbidden",
            hint="give credentials that may list and read it: as variables, or in the "
            "Secret that credentialsSecret names",
        )
    if isinstance(error, known.InvalidPathError):
        return SourceRefused(
            f"store lists a key below {asked} that is no plain relative path",
            reason="MalformedName",
            hint="rename the object",
        )
    if 300 <= status < 500 and status not in (408, 429):
        return SourceRefused(
            f"store answered {status} for {asked}",
            reason="Refused",
            hint="check region, endpoint and credentials",
        )
    if "non-partial response" in text:
        return SourceUnavailable(
            f"store sent all of {asked} for a part of it",
            reason="RangeIgnored",
            hint="upload it without a content encoding, which the store undoes",
        )
    return _unavailable(asked, status, unsent="HTTP error" in text)


def _unavailable(asked: str, status: int, *, unsent: bool) -> SourceUnavailable:
    reason = {429: "RateLimited", 408: "Timeout"}.get(status) or (
        "ServerError" if status else "Unreachable" if unsent else "BadAnswer"
    )
    said = f"answered {status}" if status else "gave no usable answer"
    if reason == "Unreachable":
        said = "could not be reached, or broke off,"
    hint = "try again later" if status else f"check the network and {_ENDPOINTS}"
    return SourceUnavailable(f"store {said} for {asked}", reason=reason, hint=hint)
