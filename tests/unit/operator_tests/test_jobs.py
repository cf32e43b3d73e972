# SPDX-License-Identifier: Apache-2.0
"""Examinations in real processes of their own."""

import asyncio
import json
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from pedigree.errors import PedigreeError, SourceRefused, SourceUnavailable
from pedigree.evidence import to_object
from pedigree_operator.jobs import (
    ExaminationFailed,
    ExamineCommand,
    Examined,
    examine,
    outcome_of,
    read_answer,
)
from worlds.evidences import maximal_evidence

EXAMPLES = Path(__file__).parents[3] / "examples" / "models"


def run(
    uri: str, folder: Path, *script: str, deadline_s: float = 60.0, memory: int = 0
) -> Examined:
    more = {"program": (sys.executable, "-c", *script)} if script else {}
    command = ExamineCommand(
        store=folder / "store",
        file_roots=(folder, EXAMPLES),
        deadline_s=deadline_s,
        memory_bytes=memory,
        environment={**os.environ, "KUBECONFIG": "/secret", "HF_HOME": "/hub"},
        **more,
    )
    return asyncio.run(examine(uri, command))


def test_a_model_is_examined_and_its_fingerprint_stored(tmp_path: Path) -> None:
    result = run(f"file://{EXAMPLES}/llama-a", tmp_path)
    digest = result.evidence.digest
    assert result.evidence.fingerprint is not None
    assert (tmp_path / "store/fingerprints" / f"{digest.hex}.safetensors").is_file()
    assert result.bytes_read > 1_000_000
    assert (result.usage.requests, result.usage.bytes_read) == (0, result.bytes_read)
    assert outcome_of(result) == "recorded"


def test_a_malformed_model_is_a_result(tmp_path: Path) -> None:
    shutil.copytree(EXAMPLES / "llama-a", tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"\xff" * 100)
    result = run(f"file://{tmp_path}/bad", tmp_path)
    assert result.evidence.fingerprint is None
    assert outcome_of(result) == "malformed"


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as caught:
        run(f"file://{tmp_path}/nothing", tmp_path)
    assert caught.value.reason == "NotFound"
    assert outcome_of(caught.value) == "refused"


def test_a_folder_outside_the_roots_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefused) as caught:
        run("file:///etc", tmp_path)
    assert outcome_of(caught.value) == "refused"


def test_an_examination_past_its_deadline_is_killed_with_its_children(
    tmp_path: Path,
) -> None:
    pids = tmp_path / "pids"
    script = (
        "import os, subprocess, sys, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(pids)!r}, 'w').write(f'{{os.getpid()}} {{child.pid}}')\n"
        "time.sleep(60)\n"
    )
    started = time.monotonic()
    with pytest.raises(SourceUnavailable) as caught:
        run("file:///x", tmp_path, script, deadline_s=1.5)
    assert time.monotonic() - started < 10
    assert caught.value.reason == "DeadlineExceeded"
    assert outcome_of(caught.value) == "deadline"
    for pid in pids.read_text().split():
        assert gone(int(pid))


def gone(pid: int) -> bool:
    for _ in range(100):
        stat = Path(f"/proc/{pid}/stat")
        if not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z":
            return True
        time.sleep(0.02)
    return False


def test_the_last_words_of_a_crash_are_in_the_message(tmp_path: Path) -> None:
    script = "import sys, os; print('out of luck', file=sys.stderr); os._exit(70)"
    with pytest.raises(ExaminationFailed, match="exit code 70: out of luck") as caught:
        run("file:///x", tmp_path, script)
    assert outcome_of(caught.value) == "failed"


def test_a_signal_is_named(tmp_path: Path) -> None:
    with pytest.raises(ExaminationFailed, match="signal 11"):
        run("file:///x", tmp_path, "import os; os.kill(os.getpid(), 11)")


def test_a_flood_of_output_is_no_evidence_and_takes_no_memory(tmp_path: Path) -> None:
    script = "import sys\nfor _ in range(100): sys.stdout.write('x' * 100_000)"
    with pytest.raises(ExaminationFailed, match="no evidence"):
        run("file:///x", tmp_path, script)


def test_a_memory_limit_ends_an_examination_that_exceeds_it(tmp_path: Path) -> None:
    script = "x = bytearray(4_000_000_000)"
    with pytest.raises(ExaminationFailed, match="MemoryError"):
        run("file:///x", tmp_path, script, memory=1_000_000_000)


def test_an_examination_inherits_no_credential_of_the_cluster(tmp_path: Path) -> None:
    script = "import os, sys; sys.exit(' '.join(sorted(os.environ)))"
    with pytest.raises(ExaminationFailed) as caught:
        run("file:///x", tmp_path, script)
    names = caught.value.message.partition(": ")[2].split()
    assert "HF_HOME" in names
    assert "KUBECONFIG" not in names


def test_an_examination_is_told_what_it_may_keep_and_hold(tmp_path: Path) -> None:
    bounds = {
        "PEDIGREE_CACHE": "/kept",
        "PEDIGREE_CACHE_MAX_BYTES": "1",
        "PEDIGREE_MEMORY_BYTES": "2",
        "PEDIGREE_SPOOL_MAX_BYTES": "3",
    }
    command = ExamineCommand(
        store=tmp_path,
        file_roots=(),
        deadline_s=1,
        environment={**bounds, "PEDIGREE_TOKEN_FILE": "/secret"},
    )
    child = command.child_environment()
    assert bounds.items() <= child.items()
    assert "PEDIGREE_TOKEN_FILE" not in child


def _answer(**changes: object) -> bytes:
    found = to_object(maximal_evidence())
    evidence = {"spec": found["spec"], "status": found["status"]}
    answer = {"schema": "pedigree.dev/examination/v1", "evidence": evidence}
    return json.dumps(answer | changes).encode()


def test_an_answer_with_evidence_is_read() -> None:
    read = read_answer("file:///x", 0, _answer(bytesRead=7), "")
    assert read.bytes_read == 7


@pytest.mark.parametrize(
    ("stdout", "code"),
    [
        (b"", 0),
        (b"[]", 0),
        (b'{"schema": "other", "evidence": {}}', 0),
        (b'{"schema": "pedigree.dev/examination/v1"}', 0),
        (b'{"schema": "pedigree.dev/examination/v1", "evidence": {"spec": 3}}', 0),
        (b"{}", 3),
        (b'{"error": {"message": "x"}}', 3),
        (b"[" * 100_000, 0),
        (_answer(bytesRead=float("inf")), 0),
        (_answer(seconds="x"), 0),
    ],
)
def test_an_answer_that_is_none_is_an_error(stdout: bytes, code: int) -> None:
    with pytest.raises(ExaminationFailed, match="no evidence"):
        read_answer("file:///x", code, stdout, "")


def test_an_error_keeps_its_class_reason_and_wait() -> None:
    answer = (
        b'{"error": {"class": "SourceUnavailable", "reason": "RateLimited", '
        b'"message": "slow down", "retryAfterSeconds": 7}}'
    )
    with pytest.raises(SourceUnavailable) as caught:
        read_answer("hf://a/b", 3, answer, "")
    assert caught.value.retry_after_s == 7.0
    assert caught.value.reason == "RateLimited"
    assert isinstance(caught.value, PedigreeError)
