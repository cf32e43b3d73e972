# SPDX-License-Identifier: Apache-2.0
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from audit_world.entries import NOW, admission, judgement
from audit_world.service import Service
from pedigree.cli import main
from pedigree_audit.ledger import Ledger


@pytest.fixture
def database(tmp_path: Path) -> Path:
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.append(
        [admission(1), admission(2, decision="Allow", user="bob"), judgement(3)],
        producer="webhook",
        now=NOW,
    )
    ledger.close()
    return ledger.path


@pytest.fixture
def export(database: Path, tmp_path: Path) -> Path:
    path = tmp_path / "export.jsonl"
    assert main(["audit", "export", "--db", str(database), "-o", str(path)]) == 0
    return path


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    with Service(tmp_path_factory.mktemp("audit")) as service:
        service.post([admission(1), admission(2, user="bob"), judgement(3)])
        yield service


def test_query_shows_who_asked_what_and_what_became_of_it(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "query", "--db", str(database)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines if line.strip()][2:] == ["3", "2", "1"]
    assert any("Deny" in line and "alice" in line for line in lines)
    assert any("LineageVerified" in line and "llama-a" in line for line in lines)


def test_query_as_json_has_a_schema_and_whole_records(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["audit", "query", "--db", str(database), "--user", "bob", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "pedigree.dev/audit-query/v1"
    assert [item["entry"] for item in document["items"]] == [
        admission(2, decision="Allow", user="bob")
    ]
    assert document["more"] is False


def test_query_says_that_there_is_more_or_nothing(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["audit", "query", "--db", str(database)]
    assert main([*where, "--limit", "1", "--order", "asc"]) == 0
    assert "there are more" in capsys.readouterr().err
    assert main([*where, "--namespace", "elsewhere"]) == 0
    assert capsys.readouterr().out == "no entry matches\n"


def test_a_hostile_name_does_not_reach_the_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    hostile = "[red]x[/red]\x1b[2J\x07\u202e"
    ledger.append([admission(1, name=hostile)], producer="me", now=NOW)
    ledger.close()
    assert main(["audit", "query", "--db", str(ledger.path)]) == 0
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out  # shown, not obeyed
    assert not {"\x1b", "\x07", "\u202e"} & set(out)


def test_verify_recomputes_from_file_export_and_service(
    database: Path,
    export: Path,
    service: Service,
    capsys: pytest.CaptureFixture[str],
) -> None:
    remote = ["--url", service.url, "--ca-file", str(service.ca_file)]
    for place in (["--db", str(database)], ["--file", str(export)], remote):
        assert main(["audit", "verify", *place]) == 0
        out = capsys.readouterr().out
        assert "intact    3 entries (recomputed here)" in out
        assert "keep this head elsewhere" in out
    assert main(["audit", "verify", *remote, "--trust-server", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["schema"] == "pedigree.dev/audit-verify/v1"
    assert (document["ok"], document["recomputed"]) == (True, False)


def test_verify_finds_an_edited_a_missing_and_an_unreadable_line(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = export.read_bytes().splitlines(keepends=True)
    edited = [lines[0], lines[1].replace(b"Allow", b"Deny"), lines[2]]
    broken = {
        "LeafChanged": edited,
        "SequenceBroken": [lines[0], lines[2]],
        "LeafUnreadable": [lines[0], b"{\n", lines[2]],
    }
    for reason, content in broken.items():
        export.write_bytes(b"".join(content))
        assert main(["audit", "verify", "--file", str(export)]) == 1
        assert f"BROKEN    entry 2: {reason}" in capsys.readouterr().out


def test_verify_with_a_known_head_finds_entries_cut_off_the_end(
    export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "verify", "--file", str(export), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    head = f"{document['entries']}:{document['head']}"
    export.write_bytes(b"".join(export.read_bytes().splitlines(keepends=True)[:2]))
    verify = ["audit", "verify", "--file", str(export)]
    assert main(verify) == 0
    assert main([*verify, "--known-head", head]) == 1
    assert "TailMissing" in capsys.readouterr().out


def test_a_service_that_hides_its_newest_entries_is_caught_by_its_own_head(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pedigree.ledger.reader import ServiceSource

    real = ServiceSource._get

    def hiding(self: ServiceSource, path: str) -> object:
        body = real(self, path)
        if "items" in body:
            body["items"] = body["items"][:-1]
        return body

    monkeypatch.setattr(ServiceSource, "_get", hiding)
    place = ["--url", service.url, "--ca-file", str(service.ca_file)]
    assert main(["audit", "verify", *place]) == 1


def test_query_pages_through_the_service(
    service: Service,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pedigree.ledger.reader.PAGE", 1)
    monkeypatch.setenv("PEDIGREE_AUDIT_URL", service.url + "/")
    monkeypatch.setenv("PEDIGREE_AUDIT_CA_FILE", str(service.ca_file))
    assert main(["audit", "query", "--order", "asc", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [item["seq"] for item in items] == [1, 2, 3]
    assert main(["audit", "query", "--ancestor", "llama-a", "--json"]) == 0
    items = json.loads(capsys.readouterr().out)["items"]
    assert [item["seq"] for item in items] == [3]


def test_an_export_of_the_service_and_of_its_file_are_the_same_bytes(
    service: Service, tmp_path: Path
) -> None:
    place = ["--url", service.url, "--ca-file", str(service.ca_file)]
    one, two = tmp_path / "one", tmp_path / "two"
    assert main(["audit", "export", *place, "-o", str(one)]) == 0
    assert main(["audit", "export", "--db", str(service.ledger), "-o", str(two)]) == 0
    assert one.read_bytes() == two.read_bytes()


def test_an_export_overwrites_nothing(
    database: Path, export: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["audit", "export", "--db", str(database), "-o", str(export)]) == 3
    assert "File exists" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["verify"], 2, "no ledger was named"),
        (["verify", "--url", "http://audit.example"], 2, "wanted https"),
        (["verify", "--url", "https://127.0.0.1:1"], 3, "does not answer"),
        (["verify", "--db", "missing"], 3, "not a file"),
        (["verify", "--db", __file__], 3, "cannot be read"),
        (["verify", "--file", "missing"], 3, "cannot be opened"),
        (["verify", "--file", __file__, "--known-head", "x"], 2, "wanted ENTRIES"),
        (["verify", "--file", __file__, "--trust-server"], 2, "nobody to ask"),
        (["query", "--db", __file__, "--since", "x"], 2, "wanted a time"),
        (["query", "--limit", "0"], 2, "limit"),
        (["query", "--db", "a", "--file", "b"], 2, "not allowed with"),
    ],
)
def test_what_cannot_be_answered_says_why_and_what_to_do(
    arguments: list[str],
    code: int,
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("PEDIGREE_AUDIT_URL", raising=False)
    assert main(["audit", *arguments]) == code
    assert said in capsys.readouterr().err


def test_a_ledger_in_a_folder_that_cannot_be_written_is_read(
    database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    database.parent.chmod(0o500)
    try:
        assert main(["audit", "verify", "--db", str(database)]) == 0
    finally:
        database.parent.chmod(0o700)
    assert "intact    3 entries" in capsys.readouterr().out


DOCUMENT = Path(__file__).parents[3] / "docs" / "audit.md"


@pytest.mark.parametrize(
    ("language", "command"), [("bash", "bash"), ("python", sys.executable)]
)
def test_an_export_is_verified_by_hand_with_the_scripts_of_the_documentation(
    language: str,
    command: str,
    export: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["audit", "verify", "--file", str(export), "--json"])
    head = json.loads(capsys.readouterr().out)["head"]
    [script] = re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)

    def run_by_hand() -> str:
        result = subprocess.run(
            [command, "-c", script],
            cwd=export.parent,
            capture_output=True,
            text=True,
            check=False,
        )
        return f"sha256:{result.stdout.strip()}"

    assert run_by_hand() == head
    export.write_bytes(export.read_bytes().replace(b"alice", b"carol"))
    assert run_by_hand() != head
