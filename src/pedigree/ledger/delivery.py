# SPDX-License-Identifier: Apache-2.0
"""Delivery: a thread that carries entries from the outbox to the audit service.

Every entry is sent until the service says that it holds it; the service knows keys, so
sending one twice does no harm.  What the service says about one entry decides:

=====================  =====================================================
``stored, duplicate``  the ledger holds it: delivered
``refused, conflict``  the ledger never will: parked, counted and logged
anything else          try again later, more and more slowly
=====================  =====================================================

An answer of the service that refuses a whole batch (400, 413, 422) is narrowed down by
sending its entries one by one, so that a single bad entry does not hold up the others.
Parked entries get one more chance at each start, as after an upgrade of the service.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pedigree.errors import LedgerError, quote
from pedigree.ledger.outbox import Outbox, Waiting
from pedigree.ledger.transport import TIMEOUT_S, Answer, Connection, Endpoint

BATCH_MAX_ENTRIES = 128
BATCH_MAX_BYTES = 2 * 1024 * 1024
"""Half of what the service takes."""
LINGER_S = 0.05
"""Wait after an append for more of them: one request then carries a burst."""
POLL_S = 5.0
"""Look for entries that another process appended."""
BACKOFF_FIRST_S = 0.5
BACKOFF_MAX_S = 30.0
CHECKPOINT_S = 30.0
_HELD = frozenset({"stored", "duplicate"})
_NEVER = frozenset({"refused", "conflict"})
_BAD_BATCH = frozenset({400, 413, 422})

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DeliveryStats:
    """How delivery is doing, for metrics.

    Attributes:
        depth: Entries that wait.
        oldest_age_s: How long the oldest of them has waited, in seconds.
        delivered_total: Entries delivered since start.
        failures_total: Requests that failed since start.
        parked: Entries the ledger will not take; a person must look.
        last_success: Seconds since 1970 of the last delivery; 0 before the first.
        last_error: What the last request said if it failed, else empty.
    """

    depth: int
    oldest_age_s: float
    delivered_total: int
    failures_total: int
    parked: int
    last_success: float
    last_error: str


class Deliverer:
    """Carries entries from an outbox to the audit service, in a thread of its own."""

    def __init__(
        self,
        outbox: Outbox,
        url: str,
        token_file: Path | None = None,
        ca_file: Path | None = None,
        *,
        timeout_s: float = TIMEOUT_S,
        backoff_first_s: float = BACKOFF_FIRST_S,
        backoff_max_s: float = BACKOFF_MAX_S,
        clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Describe a delivery; nothing runs before ``start``.

        Args:
            outbox: Where entries wait.
            url: Of the audit service, without ``/api``.
            token_file: Bearer token, read again for every connection.
            ca_file: Who signed the service's certificate; None: the system's list.
            timeout_s: For each step of a request.
            backoff_first_s: Wait after the first failure; doubles with each one more.
            backoff_max_s: Longest such wait.
            clock: Seconds since 1970.
            jitter: Gives numbers in [0, 1), so that producers do not retry in step.

        Raises:
            ConfigError: The URL would send the token in the clear, or is none.
        """
        self._outbox = outbox
        self._endpoint = Endpoint(url, token_file, ca_file, timeout_s)
        self._backoff_first_s = backoff_first_s
        self._backoff_max_s = backoff_max_s
        self._clock = clock
        self._jitter = jitter
        self._changed = threading.Condition()
        self._appended = self._hurried = self._stopping = False
        self._thread: threading.Thread | None = None
        self._failed_in_a_row = 0
        self._delivered_total = self._failures_total = 0
        self._last_success = 0.0
        self._last_error = ""
        self._next_checkpoint = 0.0
        self._retry_after_s: float | None = None

    def start(self) -> None:
        """Start the thread; entries of an earlier run are sent first.

        Raises:
            LedgerError: The outbox cannot be used (reason ``OutboxUnavailable``).
        """
        if self._thread is None:
            self._stopping = False
            self._outbox.on_append = self._notice
            self._outbox.release_parked()
            self._thread = threading.Thread(
                target=self._run, name="ledger-delivery", daemon=True
            )
            self._thread.start()

    def stop(self, timeout_s: float = 15.0) -> None:
        """End the thread after the request it is in; entries left stay in the outbox.

        Args:
            timeout_s: How long to wait for that request.
        """
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join(timeout_s)
            self._thread = None

    def flush(self, timeout_s: float) -> bool:
        """Send now, whatever the backoff says, and wait until nothing waits.

        Returns:
            Whether the outbox was empty before the time was up.
        """
        deadline = time.monotonic() + timeout_s
        with self._changed:
            self._hurried = True
            self._changed.notify_all()
            while self._outbox.depth():
                left = deadline - time.monotonic()
                if left <= 0:
                    return False
                self._changed.wait(min(left, 0.1))
                self._hurried = True
        return True

    def stats(self) -> DeliveryStats:
        """How delivery is doing."""
        now = datetime.fromtimestamp(self._clock(), UTC)
        return DeliveryStats(
            depth=self._outbox.depth(),
            oldest_age_s=self._outbox.oldest_age_s(now),
            delivered_total=self._delivered_total,
            failures_total=self._failures_total,
            parked=self._outbox.parked_count(),
            last_success=self._last_success,
            last_error=self._last_error,
        )

    def _notice(self) -> None:
        with self._changed:
            if not self._appended:
                self._appended = True
                self._changed.notify_all()

    def _run(self) -> None:
        while not self._stopping:
            try:
                self._deliver_all()
                self._checkpoint()
            except LedgerError as error:
                self._failed(str(error))
            except Exception as error:  # a bug must not end delivery
                log.exception("delivery of ledger entries failed unexpectedly")
                self._failed(f"{type(error).__name__}: {error}")
            self._wait()

    def _wait(self) -> None:
        """Until there is something to do, or the backoff is over."""
        with self._changed:
            self._changed.notify_all()  # wakes flush
            if self._failed_in_a_row:
                self._changed.wait_for(
                    lambda: self._stopping or self._hurried, self._backoff_s()
                )
            else:
                self._changed.wait_for(
                    lambda: self._stopping or self._hurried or self._appended, POLL_S
                )
                if self._appended and not self._hurried:
                    self._changed.wait_for(
                        lambda: self._stopping or self._hurried, LINGER_S
                    )
            self._appended = self._hurried = False

    def _backoff_s(self) -> float:
        """Exponential, between half and all of it; at least what the service asked."""
        doubled = self._backoff_first_s * float(2 ** min(self._failed_in_a_row - 1, 30))
        wait = min(doubled, self._backoff_max_s) * (0.5 + 0.5 * self._jitter())
        return max(wait, self._retry_after_s or 0.0)

    def _deliver_all(self) -> None:
        """Send batches until nothing waits.

        Raises:
            LedgerError: A request failed; what was delivered before is marked.
        """
        if not self._outbox.depth():
            return
        with Connection(self._endpoint) as connection:
            while not self._stopping:
                batch = list(_bounded(self._outbox.pending(BATCH_MAX_ENTRIES)))
                if not batch:
                    return
                self._deliver(connection, batch)
                self._succeeded()

    def _deliver(self, connection: Connection, batch: Sequence[Waiting]) -> None:
        body = b'{"entries":[' + b",".join(item.body for item in batch) + b"]}"
        answer = connection.request("POST", "/api/v1/entries", body)
        self._retry_after_s = answer.retry_after_s
        if answer.status in _BAD_BATCH and answer.is_error:
            self._narrow(connection, batch, answer)
        elif answer.status == 200:
            self._sort(batch, answer)
        else:
            raise LedgerError(
                f"audit service took no entries: {answer.error()}",
                reason="DeliveryFailed",
            )

    def _narrow(
        self, connection: Connection, batch: Sequence[Waiting], answer: Answer
    ) -> None:
        if len(batch) == 1:
            self._park(batch[0].key, answer.error())
            return
        for item in batch:
            self._deliver(connection, [item])

    def _sort(self, batch: Sequence[Waiting], answer: Answer) -> None:
        """Mark each entry as the service said."""
        results = _results(answer)
        held = [item.key for item in batch if results.get(item.key, ("",))[0] in _HELD]
        self._outbox.mark_delivered(held)
        self._delivered_total += len(held)
        if held:
            self._last_success = self._clock()
        unsettled = 0
        for item in batch:
            result, why = results.get(item.key, ("", ""))
            if result in _NEVER:
                self._park(item.key, f"{result}: {why}")
            elif result not in _HELD:
                unsettled += 1
        if unsettled:
            raise LedgerError(
                f"audit service said nothing of use about {unsettled} of "
                f"{len(batch)} entries",
                reason="DeliveryFailed",
            )

    def _park(self, key: str, reason: str) -> None:
        self._outbox.park(key, reason)
        log.error(
            "ledger entry %s is parked in the outbox, the ledger will not take it: %s",
            quote(key),
            quote(reason),
        )

    def _succeeded(self) -> None:
        if self._failed_in_a_row:
            log.info("audit service takes entries again")
        self._failed_in_a_row = 0
        self._last_error = ""

    def _failed(self, message: str) -> None:
        self._failures_total += 1
        self._failed_in_a_row += 1
        self._last_error = message
        if self._failed_in_a_row == 1:  # one line per outage, not per attempt
            log.warning("ledger entries wait in the outbox: %s", message)

    def _checkpoint(self) -> None:
        now = time.monotonic()
        if now >= self._next_checkpoint:
            self._next_checkpoint = now + CHECKPOINT_S
            self._outbox.checkpoint()


def _bounded(items: Sequence[Waiting]) -> Iterator[Waiting]:
    """As many of the first entries as one request may carry, at least one."""
    total = 0
    for index, item in enumerate(items):
        total += len(item.body)
        if index and total > BATCH_MAX_BYTES:
            return
        yield item


def _results(answer: Answer) -> dict[str, tuple[str, str]]:
    """Key to result and reason; empty if the answer is not of this protocol."""
    try:
        return {
            str(item["key"]): (
                str(item["result"]),
                " ".join(str(item.get(f) or "") for f in ("reason", "message")),
            )
            for item in answer.body["results"]
        }
    except (AttributeError, KeyError, TypeError):
        return {}
