# SPDX-License-Identifier: Apache-2.0
"""What a parser promises, and the judge of one execution.

A parser is given bytes and returns, or raises a :class:`PedigreeError`.  Any other
exception, a warning of numpy, more than a second of processor time or a jump of the
memory in use is a finding.
"""

from __future__ import annotations

import hashlib
import json
import resource
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pedigree.errors import PedigreeError

SECONDS_MAX = 1.0
MEMORY_MAX_KB = 256 << 10
"""Growth of the largest resident set by one execution on inputs of some kilobytes."""
_KEPT_PER_KEY = 3

Frame = tuple[Callable[[bytes], tuple[bytes, bytes, bytes]],
              Callable[[bytes, bytes, bytes], bytes]]  # fmt: skip
"""How the JSON of an input is cut out of it, and put back."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parser.

    Attributes:
        name: Folder of its corpus.
        run: The parser.
        seeds: Inputs to begin with.
        words: Texts that mean something to it.
        json: Where in an input there is JSON, or None.
        bytes_max: Longest input.
    """

    name: str
    run: Callable[[bytes], object]
    seeds: Callable[[], list[bytes]]
    words: tuple[bytes, ...] = ()
    json: Frame | None = None
    bytes_max: int = 4096


@dataclass(frozen=True, slots=True)
class Finding:
    """A broken promise: what, where, and for which input."""

    target: str
    key: str
    detail: str
    data: bytes

    @property
    def digest(self) -> str:
        """Name of the input's file."""
        return hashlib.sha256(self.data).hexdigest()[:16]

    def write(self, folder: Path) -> None:
        """Keep the input, and what happened, in a folder of the target."""
        place = folder / self.target
        place.mkdir(parents=True, exist_ok=True)
        (place / self.digest).write_bytes(self.data)
        note = {"key": self.key, "detail": self.detail}
        (place / f"{self.digest}.json").write_text(json.dumps(note, indent=1))


def whole(data: bytes) -> tuple[bytes, bytes, bytes]:
    """All of an input is JSON."""
    return b"", data, b""


def joined(before: bytes, text: bytes, after: bytes) -> bytes:
    """Parts put together as they are."""
    return before + text + after


JSON: Frame = (whole, joined)


def execute(target: Target, data: bytes) -> Finding | None:
    """Run one input; a finding, or None if the parser kept its promise."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    began = time.process_time()
    try:
        target.run(data)
    except PedigreeError as error:
        _ = str(error)  # a message that cannot be made is a finding too
    except Exception as error:
        return Finding(target.name, _key(error), traceback.format_exc(limit=-6), data)
    spent = time.process_time() - began
    if spent > SECONDS_MAX:
        return Finding(target.name, "slow", f"{spent:.1f} s", data)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory
    if grown > MEMORY_MAX_KB:
        return Finding(target.name, "memory", f"{grown} kB more", data)
    return None


def _key(error: Exception) -> str:
    """The kind of an error and the place in our code that it came through last."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/pedigree" in frame.filename] or frames
    last = ours[-1]
    return f"{type(error).__name__} {Path(last.filename).name}:{last.name}"


class Findings:
    """Findings of one run, few of each kind."""

    def __init__(self, folder: Path | None = None) -> None:
        self.by_key: dict[str, list[Finding]] = {}
        self._folder = folder

    def add(self, finding: Finding) -> None:
        """Keep a finding unless there are enough of its kind."""
        known = self.by_key.setdefault(finding.key, [])
        if len(known) < _KEPT_PER_KEY:
            known.append(finding)
            if self._folder is not None:
                finding.write(self._folder)
