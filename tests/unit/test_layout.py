# SPDX-License-Identifier: Apache-2.0
"""Guards of the repository's layout; each was seen to fail when it should."""

import ast
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE_ROOTS = {
    "src": "pedigree",
    "operator": "pedigree_operator",
    "webhook": "pedigree_webhook",
    "audit": "pedigree_audit",
}
MODULES = [
    path
    for root in (*SOURCE_ROOTS, "tests", "examples", "bench", "tools")
    for path in sorted((ROOT / root).rglob("*.py"))
]


@pytest.mark.parametrize("root", SOURCE_ROOTS)
def test_a_source_root_is_never_a_package_itself(root: str) -> None:
    assert not (ROOT / root / "__init__.py").exists()


@pytest.mark.parametrize(("root", "package"), SOURCE_ROOTS.items())
def test_a_source_root_holds_exactly_its_one_package(root: str, package: str) -> None:
    found = {path.parent.name for path in (ROOT / root).glob("*/__init__.py")}
    assert found == {package}


def test_no_package_anywhere_is_called_operator() -> None:
    named = [path for path in MODULES if "operator" in path.parts[:-1]]
    assert [
        path for path in named if path.parent.name == "operator" or _packaged(path)
    ] == []


def _packaged(path: Path) -> bool:
    """Whether an ``operator`` folder above the module is a package."""
    for parent in path.parents:
        if parent.name == "operator":
            return (parent / "__init__.py").exists()
    return False


def test_the_standard_library_operator_is_found_from_the_repository_root() -> None:
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONSAFEPATH"
    }
    code = "import operator; print(operator.add(1, 2), operator.__file__)"
    result = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    assert result.stdout.startswith("3 ")
    assert str(ROOT) not in result.stdout


def test_no_module_has_the_name_of_a_standard_library_module() -> None:
    allowed = {"__init__", "__main__"}
    clashes = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if path.stem in sys.stdlib_module_names and path.stem not in allowed
    ]
    assert clashes == []


def test_no_module_is_longer_than_the_house_allows() -> None:
    long = {
        str(path.relative_to(ROOT)): len(path.read_text().splitlines())
        for path in MODULES
        if "tests" not in path.relative_to(ROOT).parts
    }
    assert {name: lines for name, lines in long.items() if lines > 400} == {}


def test_no_function_is_longer_than_the_house_allows() -> None:
    long = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name}": lines
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (lines := (node.end_lineno or 0) - node.lineno + 1) > 60
    }
    assert long == {}


def test_every_module_names_its_licence() -> None:
    missing = [
        str(path.relative_to(ROOT))
        for path in MODULES
        if "SPDX-License-Identifier: Apache-2.0" not in path.read_text()[:200]
    ]
    assert missing == []
