# SPDX-License-Identifier: Apache-2.0
"""Says, on standard error, what is going on and for how long already.

On a terminal that is one line that is written over; elsewhere (a CI log) a new line
every ten seconds.
"""

import sys
import time
from collections.abc import Callable
from typing import TextIO

QUIET_S = 10.0  # longest silence in a log
LIVE_S = 0.25  # arbitrary: looks alive on a terminal
CLEAR_LINE = "\r\x1b[K"


class Progress:
    """What is being done now; ``say`` starts a new step, ``tick`` keeps it alive."""

    def __init__(
        self,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Write to ``stream``; None means standard error.

        Args:
            stream: Whether it is a terminal is asked once, now.
            clock: Seconds since any fixed moment.
        """
        self._clock = clock
        self._stream = sys.stderr if stream is None else stream
        self._live = self._stream.isatty()
        self._step = ""
        self._started = self._written = clock()

    def say(self, step: str) -> None:
        """Start a step, and say so at once."""
        self._step = step
        self._started = self._clock()
        self._write(step)

    def tick(self, step: str | None = None) -> None:
        """Say that the step (or a new one) goes on, if it is time to; call it often."""
        if step is not None and step != self._step:
            self.say(step)
            return
        now = self._clock()
        if now - self._written >= (LIVE_S if self._live else QUIET_S):
            self._write(f"{self._step}, {now - self._started:.0f} s")

    def done(self, result: str) -> None:
        """End the step with a line that stays."""
        took = self._clock() - self._started
        self._write(f"{result} in {took:.0f} s")
        if self._live:
            self._stream.write("\n")
            self._stream.flush()

    def _write(self, text: str) -> None:
        line = f"{CLEAR_LINE}{text}" if self._live else f"{text}\n"
        self._stream.write(line)
        self._stream.flush()
        self._written = self._clock()
