# SPDX-License-Identifier: Apache-2.0
"""Examines models in processes of their own.

The bytes of a model come from strangers.  They are parsed by ``pedigree examine`` in a
child process that has a deadline, may have a memory limit, inherits no credential of
the cluster, and dies with this process; what comes back is one bounded JSON document.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pedigree import evidence as evidence_form
from pedigree.errors import (
    ArtifactError,
    LedgerError,
    ModelRefError,
    PedigreeError,
    SourceRefused,
    SourceUnavailable,
    quote,
)
from pedigree.evidence import Evidence
from pedigree.ranges import Usage
from pedigree.sources.settings import (
    CACHE,
    CACHE_MAX_BYTES,
    CREDENTIALS,
    MEMORY_BYTES,
    PRIVATE_HOSTS,
    SPOOL_MAX_BYTES,
)
from pedigree_operator.credentials import NONE, Credentials

EXIT_OK = 0
EXIT_NO_VERDICT = 3
STDOUT_MAX_BYTES = 4_000_000
"""Evidence is at most 8 KiB; what is longer than this is none."""
STDERR_TAIL_CHARS = 2000
KILL_GRACE_S = 5.0
SCHEMA = "pedigree.dev/examination/v1"

# What an examination may inherit: how to find programs and certificates, how to reach
# the Hub, and what it may keep and hold.  No Kubernetes configuration, no audit token.
INHERITED = frozenset(
    {"PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PEDIGREE_TRUST"}
    | {CACHE, CACHE_MAX_BYTES, MEMORY_BYTES, SPOOL_MAX_BYTES}
)
INHERITED_PREFIXES = ("HF_", "HUGGING", "SSL_", "HTTP", "NO_PROXY", "http", "no_proxy")
_NEVER_INHERITED = frozenset(CREDENTIALS) - {"HF_TOKEN"}
"""``HTTPS_BEARER_TOKEN`` begins as a proxy's variables do, and would be told to every
host that somebody names; the Hub's token goes to the Hub alone."""

# Between fork and exec no Python of this process may run, because it has threads; so
# the child execs this, which sets its limits and then execs the real program.
LAUNCHER = """
import os, resource, signal, sys
parent, memory = int(sys.argv[1]), int(sys.argv[2])
if memory:
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
if os.getppid() != parent:
    sys.exit("the parent ended before its child was started")
os.execv(sys.argv[3], sys.argv[3:])
"""


@dataclass(frozen=True, slots=True)
class Examined:
    """What one examination found.

    Attributes:
        evidence: Facts, with the resolution and without lineage.
        bytes_read: Bytes of the model that were read.
        seconds: How long it took.
        usage: Requests and bytes.
    """

    evidence: Evidence
    bytes_read: int
    seconds: float
    usage: Usage = field(default_factory=Usage)


class ExaminationFailed(PedigreeError):  # noqa: N818 - reads as the reason it is
    """The examining process ended in no way it should: killed, crashed, cut off."""

    default_reason = "ExaminationFailed"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExamineCommand:
    """How models are examined.

    Attributes:
        store: Folder that fingerprints are written to.
        file_roots: ``file://`` models are read from below these only.
        deadline_s: Then the process is killed.
        memory_bytes: Address space it may use; 0 for no limit.
        private_hosts: Hosts it may ask although they are private or without TLS.
        program: What is run; arguments are appended.
        environment: Where inherited variables are taken from.
    """

    store: Path
    file_roots: tuple[Path, ...]
    deadline_s: float
    memory_bytes: int = 0
    private_hosts: tuple[str, ...] = ()
    program: Sequence[str] = (sys.executable, "-Im", "pedigree", "examine")
    environment: Mapping[str, str]

    def arguments(self, uri: str) -> list[str]:
        """The whole command line."""
        roots = [
            part for root in self.file_roots for part in ("--file-root", str(root))
        ]
        limits = [str(os.getpid()), str(self.memory_bytes)]
        command = [*self.program, uri, "--store", str(self.store), *roots, "--json"]
        return [sys.executable, "-ISc", LAUNCHER, *limits, *command]

    def child_environment(self, credentials: Credentials = NONE) -> dict[str, str]:
        """What of the environment a child sees.

        Args:
            credentials: Of the object's own Secret; given any, the child sees none of
                this process.
        """
        inherited = {
            name: value
            for name, value in self.environment.items()
            if name in INHERITED
            or (name.startswith(INHERITED_PREFIXES) and name not in _NEVER_INHERITED)
        }
        if credentials.values:
            inherited = {
                name: value
                for name, value in inherited.items()
                if name not in CREDENTIALS and "TOKEN" not in name
            }
        return {
            **inherited,
            **credentials.values,
            PRIVATE_HOSTS: ",".join(self.private_hosts),
        }


async def examine(
    uri: str, command: ExamineCommand, credentials: Credentials = NONE
) -> Examined:
    """Examine one model in a process of its own.

    A malformed model is a result, with a finding of severity Error.

    Args:
        uri: The reference.
        command: How.
        credentials: What the source is read with instead of what this process has.
            The process gets them by its environment, which no other user can see.

    Raises:
        SourceRefused: The source said no, for good.
        SourceUnavailable: It failed for now, or the deadline passed (reason
            ``DeadlineExceeded``).
        ModelRefError: The reference cannot be understood.
        ExaminationFailed: The process crashed; its last words are in the message.
    """
    process = await asyncio.create_subprocess_exec(
        *command.arguments(uri),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=command.child_environment(credentials),
        cwd="/",
        start_new_session=True,  # so that what it starts can be killed with it
    )
    try:
        async with asyncio.timeout(command.deadline_s):
            stdout, stderr = await asyncio.gather(
                _bounded(process.stdout, STDOUT_MAX_BYTES),
                _tail(process.stderr, STDERR_TAIL_CHARS),
            )
            code = await process.wait()
    except TimeoutError:
        raise SourceUnavailable(
            f"examination of {quote(uri)} was ended after {command.deadline_s:g} s",
            reason="DeadlineExceeded",
            hint="the source is slow or the model large; "
            "raise PEDIGREE_EXAMINE_DEADLINE_S",
        ) from None
    finally:
        await _end(process)
    try:
        answer = stdout.decode("utf-8", "replace")
        if code == EXIT_OK:
            credentials.check(answer, uri)
        return read_answer(uri, code, stdout, stderr)
    except PedigreeError as error:
        raise credentials.clean(error) from None


def read_answer(uri: str, code: int, stdout: bytes, stderr: str) -> Examined:
    """Understand what the examining process printed.

    Raises:
        PedigreeError: As :func:`examine` says.
    """
    if code not in (EXIT_OK, EXIT_NO_VERDICT):
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        last = stderr.strip()[-STDERR_TAIL_CHARS:] or "it said nothing"
        raise ExaminationFailed(f"examination of {quote(uri)} ended with {how}: {last}")
    try:
        answer = json.loads(stdout)
        if code == EXIT_NO_VERDICT:
            raise _error(answer["error"])
        if answer["schema"] != SCHEMA:
            raise ValueError(f"schema is {quote(answer['schema'])}, wanted {SCHEMA}")
        found = answer["evidence"]
        obj = {"metadata": {"name": uri}, "spec": found["spec"], **_status(found)}
        return Examined(
            evidence=evidence_form.from_object(obj),
            bytes_read=int(answer.get("bytesRead", 0)),
            seconds=float(answer.get("seconds", 0.0)),
            usage=_usage(answer),
        )
    except (
        KeyError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        LedgerError,
    ) as error:
        raise ExaminationFailed(
            f"examination of {quote(uri)} printed no evidence: "
            f"{type(error).__name__}: {error}"
        ) from error


def outcome_of(result: Examined | PedigreeError) -> str:
    """The outcome as a metric label; a closed set, see ``metrics.OUTCOMES``."""
    if isinstance(result, Examined):
        errors = any(f.severity == "Error" for f in result.evidence.findings)
        return "malformed" if errors else "recorded"
    if result.reason == "DeadlineExceeded":
        return "deadline"
    if isinstance(result, SourceRefused | ModelRefError):
        return "refused"
    return "unavailable" if isinstance(result, SourceUnavailable) else "failed"


def _usage(answer: Mapping[str, Any]) -> Usage:
    def count(name: str) -> int:
        return max(0, int(answer.get(name, 0)))

    return Usage(
        requests=count("requests"),
        requests_limited=count("requestsLimited"),
        requests_failed=count("requestsFailed"),
        bytes_read=count("bytesRead"),
        bytes_kept=count("bytesKept"),
    )


def _status(found: Mapping[str, Any]) -> dict[str, Any]:
    return {"status": found["status"]} if found.get("status") else {}


def _error(error: Mapping[str, Any]) -> PedigreeError:
    message, reason = str(error["message"]), str(error["reason"])
    hint = error.get("hint")
    match error.get("class"):
        case "SourceRefused":
            return SourceRefused(message, reason=reason, hint=hint)
        case "ModelRefError":
            return ModelRefError(message, reason=reason, hint=hint)
        case "ArtifactError":
            return ArtifactError(message, reason=reason, hint=hint)
        case "SourceUnavailable":
            after = error.get("retryAfterSeconds")
            return SourceUnavailable(
                message,
                reason=reason,
                hint=hint,
                retry_after_s=None if after is None else float(after),
            )
    return ExaminationFailed(message, reason=reason, hint=hint)


async def _bounded(stream: asyncio.StreamReader | None, most: int) -> bytes:
    """All of a stream; what is too long is read and thrown away."""
    content = bytearray()
    while stream is not None and (chunk := await stream.read(65536)):
        if len(content) <= most:
            content += chunk
    return bytes(content[: most + 1]) if len(content) <= most else b""


async def _tail(stream: asyncio.StreamReader | None, most: int) -> str:
    """The end of a stream."""
    content = b""
    while stream is not None and (chunk := await stream.read(65536)):
        content = (content + chunk)[-most:]
    return content.decode("utf-8", "replace")


async def _end(process: asyncio.subprocess.Process) -> None:
    """Kill what is left of the process and its group, and wait for its end."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), KILL_GRACE_S)
