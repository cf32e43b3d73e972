# SPDX-License-Identifier: Apache-2.0
"""Bounded GET requests: size, time, redirects and tokens under control.

The Hub's own client pages through listings without a time-out, reads answers of any
size, and sends the token wherever a paging link leads.  Here every answer has a limit
of bytes and seconds, redirects are judged one by one, and the token goes to the
endpoint's origin and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from pedigree.errors import SourceRefused, SourceUnavailable
from pedigree.ranges import Usage
from pedigree.refs import ModelRef
from pedigree.sources.answers import check_redirect, failure, origin, shown
from pedigree.sources.patience import Patience
from pedigree.sources.spans import Meter

_REDIRECTS_MAX = 5
_SLOWEST_BYTES_PER_S = 65_536
"""A transfer slower than this is given up (arbitrary; far below any useful rate)."""
_BACKOFF_S = 0.25
_TRANSIENT = frozenset({"ServerError", "Timeout", "Unreachable", "TruncatedResponse"})
_BUSY = frozenset({"RateLimited", "ServerError"})

Check = Callable[[int, Mapping[str, str]], None]
"""Judges status and headers of an answer before its body is received."""


class Response(Protocol):
    """What is used of an HTTP client's streamed response."""

    status_code: int

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers; look-up ignores case."""
        ...

    def iter_raw(self, chunk_size: int | None = None) -> Iterator[bytes]:
        """Body as it arrives."""
        ...


class Session(Protocol):
    """What is used of an HTTP client."""

    def stream(
        self, method: str, url: str, **options: Any
    ) -> AbstractContextManager[Response]:
        """Send a request; the body is read by the caller."""
        ...


@dataclass(frozen=True, slots=True)
class Answer:
    """A successful answer.

    Attributes:
        status: 200 or 206.
        headers: Names in lower case.
        body: At most as many bytes as were allowed.
        url: Where it came from, after redirects.
        first_headers: Headers of the first answer, before redirects.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    url: str
    first_headers: Mapping[str, str]


@dataclass(slots=True, kw_only=True)
class Exchange:
    """GET requests under limits.

    Attributes:
        session: HTTP client that does not follow redirects when told so.
        client_errors: What the client raises when there is no answer.
        timeout_errors: Those of them that are time-outs.
        endpoint: Base address of the Hub, registry or host.
        who: What the other side is called in messages.
        token: Sent to the endpoint's origin only.
        authorization: Says what ``Authorization`` a request to the endpoint's origin
            carries; by default the token as Bearer.
        challenged: Told the ``WWW-Authenticate`` of a 401 from the endpoint's origin;
            says whether the request is worth a second try.
        guard: Called with every address before it is asked; raises to refuse it.
        headers: Sent with every request; no secret among them.
        timeout_s: Seconds without a byte before a request has failed.
        attempts: Tries of a request that fails for now.
        sleep: Waits between tries.
        clock: Monotonic seconds.
        meter: Counts requests and bytes.
        patience: How long it waits when the source says that it is busy.
    """

    session: Session
    client_errors: tuple[type[BaseException], ...]
    timeout_errors: tuple[type[BaseException], ...]
    endpoint: str
    who: str = "Hub"
    token: str | None = field(default=None, repr=False)
    authorization: Callable[[], str | None] | None = field(default=None, repr=False)
    challenged: Callable[[str], bool] | None = field(default=None, repr=False)
    guard: Callable[[str], None] | None = field(default=None, repr=False)
    headers: Mapping[str, str]
    timeout_s: float
    attempts: int
    sleep: Callable[[float], None] = time.sleep
    clock: Callable[[], float] = time.monotonic
    meter: Meter = field(default_factory=Meter, repr=False)
    patience: Patience = field(default_factory=Patience, repr=False)

    @property
    def usage(self) -> Usage:
        """What was asked and received so far."""
        return replace(self.meter.usage, limited_s=self.patience.waited_s)

    def get(
        self,
        url: str,
        *,
        body_max: int,
        extra: Mapping[str, str] | None = None,
        check: Check | None = None,
    ) -> Answer:
        """Get one address, following allowed redirects.

        Args:
            url: Address.
            body_max: Bytes allowed.
            extra: More headers.
            check: Called with status and headers before the body is received; raises
                to refuse it.

        Raises:
            SourceRefused: The source said no, or answered with too much
                (``AnswerTooLarge``), or redirects where it may not.
            SourceUnavailable: It failed for now, after ``attempts`` tries.
        """
        failed = 0
        while True:
            self.patience.wait()
            try:
                return self._follow(url, body_max, extra or {}, check)
            except SourceUnavailable as error:
                said = error.retry_after_s is not None
                self.meter.failed(limited=said or error.reason == "RateLimited")
                # Patience has an end, and so has this.
                if error.reason in _BUSY and self.patience.grant(error.retry_after_s):
                    continue
                failed += 1
                # When it said until when, that was too long.
                if error.reason not in _TRANSIENT or said or failed >= self.attempts:
                    raise
                self.sleep(_BACKOFF_S * 2 ** (failed - 1))

    def _follow(
        self, url: str, body_max: int, extra: Mapping[str, str], check: Check | None
    ) -> Answer:
        first: Mapping[str, str] | None = None
        at = url
        for _ in range(_REDIRECTS_MAX + 1):
            answer = self._answered(at, body_max, extra, check)
            first = first if first is not None else answer.headers
            if answer.status < 300:
                return Answer(answer.status, answer.headers, answer.body, at, first)
            at = check_redirect(
                at, answer.headers.get("location", ""), self.endpoint, who=self.who
            )
        raise SourceRefused(
            f"{self.who} redirects {shown(url)} more than {_REDIRECTS_MAX} times",
            reason="RedirectRefused",
        )

    def _answered(
        self, url: str, body_max: int, extra: Mapping[str, str], check: Check | None
    ) -> Answer:
        """One answer; a 401 is asked again once when somebody knows what to do."""
        answer = self._once(url, body_max, extra, check)
        if answer.status == 401 and self.challenged is not None:
            if self.challenged(answer.headers.get("www-authenticate", "")):
                answer = self._once(url, body_max, extra, check)
            if answer.status == 401:
                raise failure(401, answer.headers, url, who=self.who)
        return answer

    def _once(
        self, url: str, body_max: int, extra: Mapping[str, str], check: Check | None
    ) -> Answer:
        headers = {**self.headers, "accept-encoding": "identity", **extra}
        if self.guard is not None:
            self.guard(url)
        own = origin(url) == origin(self.endpoint)
        authorization = self._authorization() if own else None
        if authorization:
            headers["authorization"] = authorization
        self.meter.asked()
        deadline = self.clock() + 2 * self.timeout_s + body_max / _SLOWEST_BYTES_PER_S
        try:
            with self.session.stream(
                "GET",
                url,
                headers=headers,
                follow_redirects=False,
                timeout=self.timeout_s,
            ) as response:
                return self._receive(response, url, body_max, deadline, check)
        except self.timeout_errors as error:
            raise SourceUnavailable(
                f"{self.who} gave no answer for {shown(url)} within "
                f"{self.timeout_s:g} s",
                reason="Timeout",
            ) from error
        except self.client_errors as error:
            # The client's text may hold the whole address with its signature.
            raise SourceUnavailable(
                f"{self.who} cannot be reached for {shown(url)}: "
                f"{type(error).__name__}",
                reason="Unreachable",
                hint="check the name of the host, the network and the proxy",
            ) from error

    def _authorization(self) -> str | None:
        if self.authorization is not None:
            return self.authorization()
        return f"Bearer {self.token}" if self.token else None

    def _receive(
        self,
        response: Response,
        url: str,
        body_max: int,
        deadline: float,
        check: Check | None,
    ) -> Answer:
        status = response.status_code
        headers = {name.lower(): value for name, value in response.headers.items()}
        own = origin(url) == origin(self.endpoint)
        if status == 401 and own and self.challenged is not None:
            return Answer(status, headers, b"", url, headers)
        if status >= 400:
            raise failure(status, headers, url, who=self.who)
        if status >= 300:
            return Answer(status, headers, b"", url, headers)
        if check is not None:
            check(status, headers)
        body = self._body(response, url, body_max, deadline)
        length = headers.get("content-length", "")
        if length.isdecimal() and int(length[:19]) != len(body):
            raise SourceUnavailable(
                f"{self.who} sent {len(body)} bytes for {shown(url)}, announced were "
                f"{length[:19]}",
                reason="TruncatedResponse",
            )
        return Answer(status, headers, body, url, headers)

    def _body(
        self, response: Response, url: str, body_max: int, deadline: float
    ) -> bytes:
        pieces: list[bytes] = []
        size = 0
        for piece in response.iter_raw():
            size += len(piece)
            self.meter.received(len(piece))
            if size > body_max:
                raise SourceRefused(
                    f"{self.who} sent over {body_max} bytes for {shown(url)}, "
                    "wanted at most that",
                    reason="AnswerTooLarge",
                )
            if self.clock() > deadline:
                raise SourceUnavailable(
                    f"{self.who} sends {shown(url)} too slowly: {size} bytes so far",
                    reason="TooSlow",
                )
            pieces.append(piece)
        return b"".join(pieces)


class AskingSource:
    """What each source that asks by an exchange says of itself."""

    _ref: ModelRef
    _exchange: Exchange

    @property
    def ref(self) -> ModelRef:
        """The reference, pinned as far as the place can pin it."""
        return self._ref

    @property
    def bytes_read(self) -> int:
        """Bytes received so far, listings included."""
        return self._exchange.meter.bytes_read

    @property
    def usage(self) -> Usage:
        """What was asked and received so far."""
        return self._exchange.usage
