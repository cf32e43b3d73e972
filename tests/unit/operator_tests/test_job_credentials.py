# SPDX-License-Identifier: Apache-2.0
"""What an examining process is given of credentials, and what comes back of them."""

import asyncio
import json
import os
import sys
from pathlib import Path

import pytest

from operator_world.worlds import evidence
from pedigree.errors import PedigreeError, SourceRefused
from pedigree.evidence import to_object
from pedigree_operator.credentials import NONE, Credentials
from pedigree_operator.jobs import (
    SCHEMA,
    STDERR_TAIL_CHARS,
    ExaminationFailed,
    ExamineCommand,
    Examined,
    examine,
)

CANARY = "hf_CanaryCanaryCanary0123456789"
OURS = "hf_OperatorsOwnToken987654321"
HELD = Credentials({"HF_TOKEN": CANARY, "AWS_REGION": "eu-north-1"})


def command(folder: Path, script: str) -> ExamineCommand:
    environment = {
        **os.environ,
        "HF_TOKEN": OURS,
        "HUGGING_FACE_HUB_TOKEN": OURS,
        "HF_ENDPOINT": "https://mirror.example",
        "HTTPS_BEARER_TOKEN": CANARY[::-1],
    }
    return ExamineCommand(
        store=folder / "store",
        file_roots=(folder,),
        deadline_s=60.0,
        private_hosts=("minio.store:9000", "http://hub.local:80"),
        program=(sys.executable, "-c", script),
        environment=environment,
    )


def run(folder: Path, script: str, credentials: Credentials = HELD) -> Examined:
    work = examine("hf://org/model", command(folder, script), credentials)
    return asyncio.run(work)


def seen_by_child(folder: Path, credentials: Credentials) -> dict[str, str]:
    """The child's environment and arguments, written to a file of the test's."""
    target = folder / "seen.json"
    script = (
        "import json, os, sys\n"
        f"json.dump([dict(os.environ), open('/proc/self/cmdline').read()], "
        f"open({str(target)!r}, 'w'))\nsys.exit(70)"
    )
    with pytest.raises(ExaminationFailed):
        run(folder, script, credentials)
    environment, arguments = json.loads(target.read_text())
    assert CANARY not in arguments
    found: dict[str, str] = environment
    return found


def test_credentials_reach_the_child_by_its_environment_and_not_its_arguments(
    tmp_path: Path,
) -> None:
    seen = seen_by_child(tmp_path, HELD)
    assert seen["HF_TOKEN"] == CANARY
    assert seen["AWS_REGION"] == "eu-north-1"
    assert seen["HF_ENDPOINT"] == "https://mirror.example"


def test_a_child_with_an_objects_credentials_has_none_of_the_operators(
    tmp_path: Path,
) -> None:
    for held in (HELD, Credentials({"AWS_REGION": "eu-north-1"})):
        assert OURS not in seen_by_child(tmp_path, held).values()


def test_a_child_without_has_the_operators_as_before(tmp_path: Path) -> None:
    assert seen_by_child(tmp_path, NONE)["HF_TOKEN"] == OURS


@pytest.mark.parametrize("held", [NONE, HELD])
def test_the_child_learns_which_private_hosts_are_allowed(
    tmp_path: Path, held: Credentials
) -> None:
    hosts = seen_by_child(tmp_path, held)["PEDIGREE_PRIVATE_HOSTS"]
    assert hosts == "minio.store:9000,http://hub.local:80"


@pytest.mark.parametrize(
    "script",
    [
        "import os, sys; sys.exit('gave up: ' + os.environ['HF_TOKEN'])",
        "import os; raise ValueError('header ' + repr(os.environ['HF_TOKEN']))",
        # The tail that is kept begins in the middle of the value.
        "import os, sys; sys.exit(os.environ['HF_TOKEN'] + 'x' * "
        f"{STDERR_TAIL_CHARS - 12})",
        "import json, os, sys; print(json.dumps({'error': {'class': 'SourceRefused',"
        "'reason': 'Denied', 'message': 'no ' + os.environ['HF_TOKEN'],"
        "'hint': os.environ['HF_TOKEN']}})); sys.exit(3)",
        "import json, os, sys; print(json.dumps({'error': {'class': 'ArtifactError',"
        "'reason': os.environ['HF_TOKEN'], 'message': 'x'}})); sys.exit(3)",
        "import os; print(os.environ['HF_TOKEN'])",
        "import json, os; print(json.dumps({'schema': os.environ['HF_TOKEN']}))",
    ],
)
def test_nothing_that_a_failing_child_says_shows_a_credential(
    tmp_path: Path, script: str
) -> None:
    with pytest.raises(PedigreeError) as caught:
        run(tmp_path, script)
    error: BaseException | None = caught.value
    told = f"{caught.value.reason}"
    while error is not None:
        told += f" {error} {error!r} {error.args}"
        error = error.__cause__
    pieces = {CANARY[i : i + 8] for i in range(len(CANARY) - 7)}
    assert not [piece for piece in pieces if piece in told]


def test_evidence_that_repeats_a_credential_is_thrown_away(tmp_path: Path) -> None:
    obj = to_object(evidence())
    answer = {"schema": SCHEMA, "evidence": obj}
    (tmp_path / "answer.json").write_text(json.dumps(answer))
    read = f"text = open({str(tmp_path / 'answer.json')!r}).read()"
    assert run(tmp_path, f"{read}; print(text)").evidence == evidence()
    uri = obj["status"]["resolutions"][0]["uri"]
    leak = f"{read}; import os; print(text.replace({uri!r}, os.environ['HF_TOKEN']))"
    with pytest.raises(SourceRefused) as caught:
        run(tmp_path, leak)
    assert caught.value.reason == "CredentialsInAnswer"
    assert CANARY not in str(caught.value)


def test_a_token_of_this_process_is_told_to_no_host_that_others_name(
    tmp_path: Path,
) -> None:
    child = json.dumps(seen_by_child(tmp_path, NONE))
    assert OURS in child
    assert CANARY[::-1] not in child
