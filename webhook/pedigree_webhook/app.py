# SPDX-License-Identifier: Apache-2.0
"""The routes, and nothing else; the only module that knows the web framework.

``/validate`` is called by API servers only.  An HTTP error there makes them do what
the configuration's ``failurePolicy`` says; any other answer is an AdmissionReview.
``/healthz`` and ``/readyz`` are called by the kubelet, ``/metrics`` by Prometheus.
"""

from __future__ import annotations

from collections.abc import Sequence

import orjson
from fastapi import FastAPI, Request, Response
from starlette.concurrency import run_in_threadpool

from pedigree_webhook.gate import Gate
from pedigree_webhook.metrics import CONTENT_TYPE, Metrics
from pedigree_webhook.readiness import Readiness
from pedigree_webhook.review import ReviewError

JSON = "application/json"


def probes_app(metrics: Metrics, readiness: Readiness) -> FastAPI:
    """``/healthz``, ``/readyz`` and ``/metrics``."""
    app = FastAPI(
        title="Pedigree webhook", openapi_url=None, docs_url=None, redoc_url=None
    )

    @app.get("/healthz")
    def healthz() -> Response:
        return _probe(readiness.unhealthy())

    @app.get("/readyz")
    def readyz() -> Response:
        return _probe(readiness.not_ready())

    @app.get("/metrics")
    def scrape() -> Response:
        return Response(metrics.exposition(), media_type=CONTENT_TYPE)

    return app


def webhook_app(
    gate: Gate, metrics: Metrics, readiness: Readiness, *, max_review_bytes: int
) -> FastAPI:
    """Everything, for the TLS port."""
    app = probes_app(metrics, readiness)

    @app.post("/validate")
    async def validate(request: Request) -> Response:
        try:
            body = await _body(request, max_review_bytes)
        except ReviewError as error:
            answer = gate.bad_call(error)
        else:
            content_type = request.headers.get("content-type", "")
            # In a thread: the outbox may wait for the disk, and probes must not.
            answer = await run_in_threadpool(gate.answer, body, content_type)
        # Connections of a process that is about to end are not used again.
        headers = {"connection": "close"} if readiness.draining else None
        return Response(answer.body, answer.http_status, headers, media_type=JSON)

    return app


async def _body(request: Request, max_bytes: int) -> bytes:
    """The body, never holding more than allowed.

    Raises:
        ReviewError: It is longer.
    """
    announced = request.headers.get("content-length", "0")
    if announced.isdigit() and int(announced) > max_bytes:
        raise _too_long(f"{announced} bytes", max_bytes)
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > max_bytes:
            raise _too_long(f"more than {max_bytes} bytes", max_bytes)
        parts.append(part)
    return b"".join(parts)


def _too_long(got: str, max_bytes: int) -> ReviewError:
    return ReviewError(
        f"body has {got}, allowed are {max_bytes}; PEDIGREE_MAX_REVIEW_BYTES sets this",
        http_status=413,
    )


def _probe(problems: Sequence[str]) -> Response:
    body = orjson.dumps({"ok": not problems, "reasons": list(problems)})
    return Response(body, 503 if problems else 200, media_type=JSON)
