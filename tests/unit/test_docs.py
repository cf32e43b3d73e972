# SPDX-License-Identifier: Apache-2.0
"""What the documents say exists: links, commands, targets, files, variables."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("bench/*.md")]
)
LINK = re.compile(r"\]\(([^)#\s]*)(#[^)\s]*)?\)")
FENCE = re.compile(r"```(?:console|sh|bash)\n(.*?)```", re.DOTALL)


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """The anchors that headings get where Markdown is shown."""
    headings = re.findall(r"^#+ (.*)$", document.read_text(), re.MULTILINE)
    kept = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return {"#" + heading.replace(" ", "-") for heading in kept}


@pytest.mark.parametrize("document", DOCUMENTS, ids=relative)
def test_every_link_within_the_repository_leads_somewhere(document: Path) -> None:
    broken = []
    for target, anchor in LINK.findall(document.read_text()):
        if "://" in target:
            continue
        path = (document.parent / target).resolve() if target else document
        found = path.exists() and (
            not anchor or path.suffix != ".md" or anchor in anchors(path)
        )
        if not found:
            broken.append(target + anchor)
    assert broken == []


def shown(pattern: str) -> set[str]:
    """What is shown in the fenced commands of README and CONTRIBUTING."""
    text = (ROOT / "README.md").read_text() + (ROOT / "CONTRIBUTING.md").read_text()
    return {
        match
        for block in FENCE.findall(text)
        for line in block.splitlines()
        for match in re.findall(pattern, line)
    }


def test_every_make_target_that_is_shown_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    wanted = shown(r"^make ([a-z]+)")
    assert {"demo", "test"} <= wanted <= targets


def test_make_help_names_every_target_for_people() -> None:
    # Under another make, this one must not inherit its flags.
    environment = {key: value for key, value in os.environ.items() if "MAKE" not in key}
    result = subprocess.run(
        ["make", "help"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    targets = re.findall(r"^([a-z]+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    assert [line.split()[1] for line in result.stdout.splitlines()] == targets


def test_the_commands_of_the_readme_work_in_their_order(tmp_path: Path) -> None:
    block = next(
        block
        for block in FENCE.findall((ROOT / "README.md").read_text())
        if "pedigree compare" in block
    )
    lines = re.findall(r"^\.venv/bin/(pedigree .*)$", block, re.MULTILINE)
    assert len(lines) == 4
    for line in lines:
        _, *arguments = shlex.split(line.replace("./known", str(tmp_path / "known")))
        result = subprocess.run(
            [sys.executable, "-Im", "pedigree", *arguments],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr


def test_every_file_of_the_examples_that_is_shown_exists() -> None:
    named = shown(r"(examples/[\w./-]+)")
    assert named
    assert [name for name in named if not (ROOT / name).exists()] == []


def test_every_decision_is_in_the_index() -> None:
    folder = ROOT / "docs" / "adr"
    index = (folder / "README.md").read_text()
    written = sorted(path.name for path in folder.glob("0*.md"))
    assert [name for name in written if f"({name})" not in index] == []
