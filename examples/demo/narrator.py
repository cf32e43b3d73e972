# SPDX-License-Identifier: Apache-2.0
"""What the demonstration prints: titles, commands, their output, and the time."""

import sys
import textwrap
import time
from typing import TextIO

WIDTH = 88
BOLD, DIM, GREEN, RED, PLAIN = "\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"


class Narrator:
    """Prints for people; colours only on a terminal."""

    def __init__(self, stream: TextIO = sys.stdout) -> None:
        self._stream = stream
        self._colours = stream.isatty()
        self._began = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        """Seconds since the beginning."""
        return time.monotonic() - self._began

    def title(self, text: str) -> None:
        """A step begins."""
        self._line("")
        self._line(self._paint(BOLD, f"[{self.elapsed_s:4.0f} s] {text}"))

    def say(self, text: str) -> None:
        """A sentence or two, wrapped."""
        for line in textwrap.wrap(text, WIDTH - 2):
            self._line(f"  {line}")

    def command(self, text: str) -> None:
        """Something that a reader could type."""
        self._line(self._paint(DIM, f"  $ {text}"))

    def output(self, text: str) -> None:
        """What a command printed, as it is."""
        for line in text.rstrip().splitlines():
            self._line(f"    {line}")

    def good(self, text: str) -> None:
        """Something came out as promised."""
        self._mark(GREEN, "ok", text)

    def bad(self, text: str) -> None:
        """Something did not."""
        self._mark(RED, "FAILED", text)

    def _mark(self, colour: str, mark: str, text: str) -> None:
        first, *rest = textwrap.wrap(f"{mark}: {text}", WIDTH - 2) or [mark]
        self._line(f"  {self._paint(colour, first)}")
        for line in rest:
            self._line(f"  {self._paint(colour, line)}")

    def _paint(self, colour: str, text: str) -> str:
        return f"{colour}{text}{PLAIN}" if self._colours else text

    def _line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)
