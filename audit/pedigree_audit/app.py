# SPDX-License-Identifier: Apache-2.0
"""Routes of the audit service; who may call them is decided in ``access``.

Producers call ``POST /api/v1/entries`` and keep an entry until it is answered with
``stored`` or ``duplicate``.  People and ``pedigree audit`` call the rest.  Every answer
that is not a success has the form of ``ErrorAnswer``.
"""

import json
import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Path, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

import pedigree
from pedigree.errors import LedgerError, PedigreeError, quote
from pedigree.ledger.chain import Head
from pedigree.ledger.facets import Filters
from pedigree_audit import query
from pedigree_audit.access import Access, AccessDenied
from pedigree_audit.ledger import Appended, Ledger, Outcome
from pedigree_audit.metrics import CONTENT_TYPE, Metrics
from pedigree_audit.schema import (
    BATCH_MAX_ENTRIES,
    BODY_MAX_BYTES,
    AppendAnswer,
    EntryBatch,
    ErrorAnswer,
    LedgerHead,
    LedgerRecord,
    RecordPage,
    RecordQuery,
    VerifyAnswer,
)

ENTRIES, VERDICTS, VERIFY = "/api/v1/entries", "/api/v1/verdicts", "/api/v1/verify"
READ = "read"  # and not "get", which everybody may below /api/; see ``access``
RETRY_AFTER_S = 5
_STATUS = {
    "BatchInvalid": 400,
    "BodyTooLarge": 413,
    "CursorInvalid": 400,
    "DiskFull": 507,
    "EntryUnknown": 404,
    "FilterInvalid": 400,
    "HeadInvalid": 400,
    "VerifyBusy": 429,
}
"""Of the reasons that are not 503."""
_ERRORS: dict[int | str, dict[str, Any]] = {
    400: {"model": ErrorAnswer, "description": "The request is wrong."},
    401: {"model": ErrorAnswer, "description": "No token, or one not accepted."},
    403: {"model": ErrorAnswer, "description": "The user may not do this."},
    503: {"model": ErrorAnswer, "description": "Try again later."},
    "default": {"model": ErrorAnswer, "description": "Any other failure."},
}

log = logging.getLogger(__name__)
_bearer = HTTPBearer(
    auto_error=False, description="A Kubernetes token, as of a ServiceAccount."
)


def create_app(
    ledger: Ledger,
    access: Access,
    metrics: Metrics,
    *,
    clock: Callable[[], float] = time.time,
) -> FastAPI:
    """The API.

    Args:
        ledger: Opened for writing.
        access: Who may do what.
        metrics: Counted into, and served.
        clock: Seconds since 1970.
    """
    app = FastAPI(
        title="Pedigree audit",
        version=pedigree.__version__,
        description="Append-only ledger of every admission decision and judgement.",
        docs_url=None,  # both would load scripts from elsewhere
        redoc_url=None,
    )
    _add_error_handlers(app)
    _add_probes(app, ledger, metrics)
    _add_append(app, ledger, access, metrics, clock)
    _add_reading(app, ledger, access)
    _add_verification(app, ledger, access, metrics)
    return app


def _add_append(
    app: FastAPI,
    ledger: Ledger,
    access: Access,
    metrics: Metrics,
    clock: Callable[[], float],
) -> None:
    """What webhook and operator call; they come again until it succeeds."""

    @app.post(
        ENTRIES,
        response_model=AppendAnswer,
        responses=_ERRORS
        | {
            413: {"model": ErrorAnswer, "description": "More than 4 MiB."},
            507: {"model": ErrorAnswer, "description": "The ledger's disk is full."},
        },
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {
                    "application/json": {"schema": EntryBatch.model_json_schema()}
                },
            }
        },
        summary="Append entries, all durable when this answers",
    )
    async def append(
        request: Request, producer: Annotated[str, Depends(_may(access, ENTRIES))]
    ) -> Response:
        entries = _batch(await _body(request))
        results = await run_in_threadpool(
            _append, ledger, metrics, entries, producer, clock
        )
        answer = {"results": [_result(item) for item in results]}
        return _json(answer | ledger.head.to_dict())


def _add_reading(app: FastAPI, ledger: Ledger, access: Access) -> None:
    """What people, pages and ``pedigree audit query`` call."""

    @app.get(
        VERDICTS,
        response_model=RecordPage,
        responses=_ERRORS,
        summary="Records that match, a page at a time",
    )
    def verdicts(
        wanted: Annotated[RecordQuery, Query()],
        user: Annotated[str, Depends(_may(access, VERDICTS, READ))],
    ) -> Response:
        del user
        filters = Filters(**wanted.model_dump(exclude={"order", "limit", "cursor"}))
        found = query.page(
            ledger.path,
            filters,
            order=query.Order(wanted.order),
            limit=wanted.limit,
            cursor=wanted.cursor,
        )
        items = b",".join(record.to_line() for record in found.records)
        cursor = json.dumps(found.next_cursor).encode("ascii")
        return _raw(b'{"items":[' + items + b'],"nextCursor":' + cursor + b"}")

    @app.get(
        f"{ENTRIES}/{{seq}}",
        response_model=LedgerRecord,
        responses=_ERRORS | {404: {"model": ErrorAnswer, "description": "None."}},
        summary="One record",
    )
    def entry(
        seq: Annotated[int, Path(ge=1, le=2**53, description="Its number.")],
        user: Annotated[str, Depends(_may(access, VERDICTS, READ))],
    ) -> Response:
        del user
        record = query.get(ledger.path, seq)
        if record is None:
            raise LedgerError(f"the ledger has no entry {seq}", reason="EntryUnknown")
        return _raw(record.to_line())


def _add_verification(
    app: FastAPI, ledger: Ledger, access: Access, metrics: Metrics
) -> None:
    """What auditors call, and whoever keeps heads elsewhere."""
    verifying = threading.Lock()

    @app.get(
        "/api/v1/head",
        response_model=LedgerHead,
        responses=_ERRORS,
        summary="The state of the whole ledger in one value, to keep elsewhere",
    )
    def head(user: Annotated[str, Depends(_may(access, VERIFY, READ))]) -> Response:
        del user
        return _json(ledger.head.to_dict())

    @app.get(
        VERIFY,
        response_model=VerifyAnswer,
        responses=_ERRORS
        | {429: {"model": ErrorAnswer, "description": "One is running already."}},
        summary="Recompute the whole chain",
    )
    def verify(
        user: Annotated[str, Depends(_may(access, VERIFY, READ))],
        known: Annotated[
            str | None,
            Query(
                max_length=100,
                description="A head kept elsewhere, ENTRIES:sha256:HEX; without it "
                "entries cut off the end before this service started can go unnoticed.",
            ),
        ] = None,
    ) -> Response:
        del user
        heads = [ledger.head] if known is None else [ledger.head, Head.parse(known)]
        if not verifying.acquire(blocking=False):
            raise LedgerError("a verification is running", reason="VerifyBusy")
        try:
            report = query.verify(ledger.path, heads)
        finally:
            verifying.release()
        if report.first_bad is not None:
            metrics.count_broken()
            log.error("the ledger is broken: %s", json.dumps(report.to_dict()))
        return _json(report.to_dict())


def create_probe_app(ledger: Ledger, metrics: Metrics) -> FastAPI:
    """Probes and metrics alone, for the plain port."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    _add_error_handlers(app)
    _add_probes(app, ledger, metrics)
    return app


def _add_probes(app: FastAPI, ledger: Ledger, metrics: Metrics) -> None:
    """What the kubelet and Prometheus call, without a token."""

    @app.get("/healthz", include_in_schema=False)
    def healthz() -> Response:
        return Response("ok", media_type="text/plain")

    @app.get("/readyz", include_in_schema=False)
    def readyz() -> Response:
        query.get(ledger.path, 1)  # LedgerError, and so 503, if it cannot be read
        return Response("ok", media_type="text/plain")

    @app.get("/metrics", include_in_schema=False)
    def scrape() -> Response:
        return Response(metrics.render(), media_type=CONTENT_TYPE)


def _may(
    access: Access, path: str, verb: str = "post"
) -> Callable[[Request, HTTPAuthorizationCredentials | None], str]:
    """A dependency that gives the caller's user name, or refuses."""

    def caller(
        request: Request,
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
    ) -> str:
        del request
        token = credentials.credentials if credentials else ""
        return access.authorize(token, path, verb)

    return caller


async def _body(request: Request) -> bytes:
    """The body, as long as it is not too long."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > BODY_MAX_BYTES:
            raise LedgerError(
                f"the body has more than {BODY_MAX_BYTES} bytes",
                reason="BodyTooLarge",
                hint="send fewer entries at once",
            )
    return bytes(body)


def _batch(body: bytes) -> list[object]:
    wanted = f'{{"entries": [1 to {BATCH_MAX_ENTRIES} entries]}}'
    try:
        sent = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise LedgerError(
            f"the body is not JSON: {error}; wanted {wanted}", reason="BatchInvalid"
        ) from error
    entries = sent.get("entries") if isinstance(sent, dict) and len(sent) == 1 else None
    if not isinstance(entries, list) or not 1 <= len(entries) <= BATCH_MAX_ENTRIES:
        raise LedgerError(
            f"the body is {quote(sent, 80)}, wanted {wanted}", reason="BatchInvalid"
        )
    return entries


def _append(
    ledger: Ledger,
    metrics: Metrics,
    entries: list[object],
    producer: str,
    clock: Callable[[], float],
) -> list[Appended]:
    now = clock()
    try:
        with metrics.append_duration.time():
            results = ledger.append(
                entries, producer=producer, now=datetime.fromtimestamp(now, UTC)
            )
    except LedgerError as error:
        metrics.count_failure(error.reason)
        log.error("entries of %s were not stored: %s", quote(producer), error)
        raise
    metrics.count(results, now)
    for item in results:
        if item.outcome in (Outcome.CONFLICT, Outcome.REFUSED):
            log.warning(
                "entry %s of %s was kept out: %s %s",
                quote(item.key),
                quote(producer),
                item.reason,
                item.message,
            )
    return results


def _result(item: Appended) -> dict[str, Any]:
    return {
        "key": item.key,
        "result": str(item.outcome),
        "seq": item.seq,
        "reason": item.reason,
        "message": item.message,
    }


def _add_error_handlers(app: FastAPI) -> None:
    @app.exception_handler(AccessDenied)
    def denied(request: Request, error: AccessDenied) -> Response:
        return _error(error.status, error)

    @app.exception_handler(LedgerError)
    def failed(request: Request, error: LedgerError) -> Response:
        return _error(_STATUS.get(error.reason, 503), error)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        said = f"parameter {quote(where, 80)}: {first['msg']}"
        return _error(400, PedigreeError(said, reason="ParameterInvalid"))

    @app.exception_handler(HTTPException)
    def refused(request: Request, error: HTTPException) -> Response:
        said = PedigreeError(str(error.detail), reason="RouteUnknown")
        return _error(error.status_code, said)

    @app.exception_handler(ClientDisconnect)
    def gone(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(Exception)
    def bug(request: Request, error: Exception) -> Response:
        log.exception("a request failed unexpectedly", exc_info=error)
        said = PedigreeError("this is a bug; the log has a traceback")
        return _error(500, said)


def _error(status: int, error: PedigreeError) -> Response:
    body = {
        "error": {
            "reason": error.reason,
            "message": error.message,
            "hint": error.hint or "",
        }
    }
    response = _json(body, status)
    if status in (429, 503):
        response.headers["Retry-After"] = str(RETRY_AFTER_S)
    if status == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response


def _json(value: object, status: int = 200) -> Response:
    # ASCII, so that text that is not Unicode in an echoed value cannot break it.
    return _raw(json.dumps(value).encode("ascii"), status)


def _raw(body: bytes, status: int = 200) -> Response:
    return Response(body, status, media_type="application/json")
