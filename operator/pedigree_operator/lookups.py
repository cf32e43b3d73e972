# SPDX-License-Identifier: Apache-2.0
"""What this process knows of each model reference, and the work to learn more.

One lookup per access at a time, and one examination per content at a time, however many
objects wait for it.  Accesses that differ share nothing: one object's Secret must not
answer for another's.  What is learnt here is not durable: what must survive is in
the evidence and in the status of the objects.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from pedigree.digests import Digest
from pedigree.errors import (
    ArtifactError,
    ModelRefError,
    PedigreeError,
    SourceRefused,
    SourceUnavailable,
    quote,
)
from pedigree.policy.verdict import Reason
from pedigree.refs import Scheme
from pedigree_operator.access import Access
from pedigree_operator.fair_room import FairRoom
from pedigree_operator.jobs import Examined
from pedigree_operator.kinds import Key

REFUSED_RETRY = timedelta(hours=1)
"""A refusal stands until the reference changes; but somebody may fix the source."""
CREDENTIALED_RETRY = timedelta(minutes=5)
"""A Secret may be put right at any time, and is not watched (arbitrary)."""
EXAMINE_AGAIN = timedelta(minutes=1)
"""Evidence that is missing right after an examination is not made again at once:
somebody deletes it, or cannot read what we write, and would keep us busy for ever."""
BACKOFF_FIRST = timedelta(seconds=5)
BACKOFF_MAX = timedelta(minutes=15)
_DOUBLINGS_MAX = 16
RATE_LIMITED = "RateLimited"
RESOLVE_TIMEOUT_S = 60.0
RESOLVING_MAX = 64
"""References that are asked for at once, each by a thread (arbitrary)."""
RESOLVING_EACH = 8
"""Those of them that one namespace's objects wait for.  Whoever runs a source can keep
a thread for ever, byte by byte, and keeps its own namespace waiting with it."""

log = logging.getLogger(__name__)


class Stage(StrEnum):
    """What is being done about a reference."""

    IDLE = "Idle"
    RESOLVING = "Resolving"
    EXAMINING = "Examining"


@dataclass(frozen=True, slots=True)
class Located:
    """What a reference meant, and when.

    Attributes:
        pinned_uri: The reference pinned as far as its source can.
        identity: The source's cheap identity.
        at: When it was asked.
        digest: Root digest of the content, where it was examined just now.
    """

    pinned_uri: str
    identity: str
    at: datetime
    digest: Digest | None = None

    def examine_after(self) -> datetime:
        """When this content may be examined, if there is no evidence of it."""
        return self.at + EXAMINE_AGAIN if self.digest is not None else self.at


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a reference could not be resolved or examined.

    Attributes:
        reason: Of the closed set.
        detail: The source's own token, such as ``NotFound``.
        message: For people.
        retry_at: When to try again.
        count: Failures in a row.
    """

    reason: Reason
    detail: str
    message: str
    retry_at: datetime
    count: int


@dataclass(frozen=True, slots=True)
class UriState:
    """What this process knows of one access.

    Attributes:
        located: From the last success.
        failure: If the last attempt failed.
        stage: What is going on.
    """

    located: Located | None = None
    failure: Failure | None = None
    stage: Stage = Stage.IDLE


UNSEEN = UriState()


def failure_from(error: PedigreeError, now: datetime, count: int) -> Failure:
    """How an error is told and when to try again.

    Args:
        error: What was raised.
        now: When.
        count: Failures in a row, this one included.
    """
    if isinstance(error, SourceRefused | ModelRefError):
        wait = REFUSED_RETRY
    else:
        wait = min(BACKOFF_FIRST * 2 ** min(count - 1, _DOUBLINGS_MAX), BACKOFF_MAX)
    asked = getattr(error, "retry_after_s", None)
    if asked is not None:
        wait = max(wait, timedelta(seconds=min(float(asked), 86400.0)))
    return Failure(_reason(error), error.reason, str(error), now + wait, count)


def _reason(error: PedigreeError) -> Reason:
    match error:
        case SourceRefused():
            return Reason.SOURCE_REFUSED
        case SourceUnavailable():
            return Reason.SOURCE_UNAVAILABLE
        case ModelRefError():
            return Reason.REFERENCE_INVALID
        case ArtifactError():
            return Reason.ARTIFACT_INVALID
    return Reason.INTERNAL_ERROR


class Lookups:
    """Runs lookups and remembers what came of them.

    Args:
        resolve: Asks a source, cheaply, what a reference means now.
        examine: Examines a model, and records the evidence before it returns.
        now: Wall clock.
        wake: Called with each object that waited for a lookup, when it has ended.
        concurrency: Examinations at once.
    """

    def __init__(
        self,
        *,
        resolve: Callable[[Access], Awaitable[Located]],
        examine: Callable[[Access], Awaitable[Examined]],
        now: Callable[[], datetime],
        wake: Callable[[Key], None],
        concurrency: int,
    ) -> None:
        self._resolve = resolve
        self._examine = examine
        self._now = now
        self._wake = wake
        self._states: dict[Access, UriState] = {}
        self._waiting: dict[Access, set[Key]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._sharing: dict[tuple[Access, str], set[Access]] = {}
        self._asking: set[asyncio.Task[Located]] = set()
        self._contents: dict[tuple[Access, str], asyncio.Task[Examined]] = {}
        self._slots = FairRoom(concurrency)
        self._resolving = FairRoom(RESOLVING_MAX, RESOLVING_EACH)
        self.in_flight = 0
        """Examinations that run now."""

    def state(self, access: Access) -> UriState:
        """What is known of a reference."""
        return self._states.get(access, UNSEEN)

    def resolve(self, access: Access, key: Key) -> None:
        """Ask what a reference means now, unless that is going on already."""
        self._start(access, key, Stage.RESOLVING, self._resolve_once)

    def examine(self, access: Access, key: Key) -> None:
        """Examine what a reference means, unless that is going on already."""
        self._start(access, key, Stage.EXAMINING, self._examine_once)

    def forgive(self, access: Access) -> None:
        """Let a reference that failed be tried again at once.

        Not where the source said that it is asked too often: whoever edits an object
        again and again would have it refuse everybody.
        """
        state = self._states.get(access)
        failure = state.failure if state is not None else None
        if state is not None and failure is not None and failure.detail != RATE_LIMITED:
            soon = replace(failure, retry_at=self._now())
            self._states[access] = replace(state, failure=soon)

    def keep_only(self, used: set[Access]) -> None:
        """Forget references that nobody uses any more."""
        for access in list(self._states):
            if access not in used and self._states[access].stage is Stage.IDLE:
                del self._states[access]

    async def stop(self) -> None:
        """End everything that runs."""
        tasks = [*self._tasks, *self._asking, *self._contents.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(
        self,
        access: Access,
        key: Key,
        stage: Stage,
        work: Callable[[Access], Awaitable[Located]],
    ) -> None:
        waiting = self._waiting.setdefault(access, set())
        another = all(it.namespace != key.namespace for it in waiting)
        waiting.add(key)
        state = self.state(access)
        if state.stage is not Stage.IDLE:
            if another:  # whose turn may come before that of those who waited
                self._resolving.look()
                self._slots.look()
            return
        self._states[access] = replace(state, stage=stage)
        task = asyncio.create_task(self._run(access, work), name=f"{stage} {access}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(
        self, access: Access, work: Callable[[Access], Awaitable[Located]]
    ) -> None:
        failed = self.state(access).failure
        try:
            located = await work(access)
        except PedigreeError as error:
            self._fail(access, error, 1 + (failed.count if failed else 0))
        except Exception as error:
            log.exception("lookup of %s failed unexpectedly", access)
            bug = PedigreeError(f"{type(error).__name__}: {error}")
            self._fail(access, bug, 1 + (failed.count if failed else 0))
        else:
            self._states[access] = UriState(located=located)
        finally:
            for key in self._waiting.pop(access, set()):
                self._wake(key)

    def _fail(self, access: Access, error: PedigreeError, count: int) -> None:
        failure = failure_from(error, self._now(), count)
        if access.secret:
            # Nothing tells us that somebody has mended the Secret.
            soon = self._now() + CREDENTIALED_RETRY
            failure = replace(failure, retry_at=min(failure.retry_at, soon))
        located = self.state(access).located
        self._states[access] = UriState(located=located, failure=failure)
        log.warning(
            "model reference failed: %s",
            failure.message,
            extra={
                "fields": {
                    "uri": access.uri,
                    "scope": access.scope,
                    "reason": failure.detail,
                    "count": count,
                }
            },
        )

    async def _resolve_once(self, access: Access) -> Located:
        """Ask a source; the room that it takes is free again only when it has ended."""
        if _is_claim(access):  # asked by a Job, which has a deadline
            return await self._resolve(access)
        begun = asyncio.Event()

        async def ask() -> Located:
            async with self._resolving.taken(self._namespaces({access})):
                begun.set()
                return await self._resolve(access)

        task = asyncio.create_task(ask())
        self._asking.add(task)
        task.add_done_callback(self._asked)
        task.add_done_callback(lambda _: begun.set())
        await begun.wait()
        try:
            return await asyncio.wait_for(asyncio.shield(task), RESOLVE_TIMEOUT_S)
        except TimeoutError:
            raise SourceUnavailable(
                f"source of {quote(access.uri)} did not answer within "
                f"{RESOLVE_TIMEOUT_S:g} s"
            ) from None

    def _asked(self, task: asyncio.Task[Located]) -> None:
        self._asking.discard(task)
        if not task.cancelled():
            task.exception()  # told already, or by nobody who waits any more

    def _namespaces(self, accesses: set[Access]) -> Callable[[], set[str]]:
        """Who waits for any of these accesses, whenever that is asked."""
        return lambda: (
            {key.namespace for each in accesses for key in self._waiting.get(each, ())}
            or {""}
        )

    async def _examine_once(self, access: Access) -> Located:
        located = self.state(access).located
        pinned = replace(access, uri=located.pinned_uri) if located else access
        content = (pinned, located.identity if located else "")
        joined = self._contents.get(content)
        sharing = self._sharing.setdefault(content, set())
        sharing.add(access)
        task = joined or asyncio.create_task(self._examine_slotted(access, sharing))
        if joined is None:
            self._contents[content] = task
            task.add_done_callback(lambda _: self._contents.pop(content, None))
            task.add_done_callback(lambda _: self._sharing.pop(content, None))
        else:
            self._slots.look()
        examined = await asyncio.shield(task)
        digest = examined.evidence.digest
        seen = examined.evidence.resolutions[0]
        if joined is None or located is None:
            return Located(seen.pinned_uri, seen.identity, self._now(), digest)
        if (replace(access, uri=seen.pinned_uri), seen.identity) == content:
            return replace(located, digest=digest)
        # The other reference moved on before it was read: nothing is known of ours.
        return located

    async def _examine_slotted(self, access: Access, sharing: set[Access]) -> Examined:
        """Examine when there is room; a claim is read elsewhere, and may take long."""
        namespaces = self._namespaces(sharing)
        room = nullcontext() if _is_claim(access) else self._slots.taken(namespaces)
        async with room:
            self.in_flight += 1
            try:
                return await self._examine(access)
            finally:
                self.in_flight -= 1


def _is_claim(access: Access) -> bool:
    return access.uri.startswith(f"{Scheme.PVC}://")
