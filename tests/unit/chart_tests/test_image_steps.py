# SPDX-License-Identifier: Apache-2.0
"""The Dockerfile: its rules, and its own steps run in empty virtual environments.

There is no container engine here. What COPY and RUN of the first stage say is done in a
temporary folder, word for word but for the paths; only that the dependencies are not
installed a second time: the new environment sees those of this one.
"""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

from pedigree import __version__

ROOT = Path(__file__).parents[3]
DOCKERFILE = ROOT / "Dockerfile"
COMPONENTS = ("operator", "webhook", "audit")
STEP_TIMEOUT_S = 120.0


@dataclass(frozen=True)
class Step:
    """One instruction of a Dockerfile."""

    word: str
    text: str


def read(path: Path) -> list[Step]:
    """The instructions, without comments, continued lines joined."""
    lines = [
        line
        for line in path.read_text("utf-8").splitlines()
        if line.strip() and not line.lstrip().startswith("#")
    ]
    joined = "\n".join(lines).replace("\\\n", " ")
    pairs = [line.split(maxsplit=1) for line in joined.splitlines()]
    return [Step(word, " ".join(text.split())) for word, text in pairs]


STEPS = read(DOCKERFILE)
STARTS = [index for index, step in enumerate(STEPS) if step.word == "FROM"]
BUILD = STEPS[STARTS[0] : STARTS[1]]
RUNTIME = STEPS[STARTS[1] :]


def texts(steps: list[Step], word: str) -> list[str]:
    return [step.text for step in steps if step.word == word]


def arguments(steps: list[Step]) -> dict[str, str]:
    return dict(text.split("=", 1) for text in texts(steps, "ARG"))


def environment(steps: list[Step]) -> dict[str, str]:
    pairs = [pair for text in texts(steps, "ENV") for pair in text.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def test_there_are_two_stages_on_one_base_that_is_pinned_and_can_be_replaced() -> None:
    assert texts(STEPS, "FROM") == ["${BASE} AS build", "${BASE} AS runtime"]
    (base,) = texts(STEPS[: STARTS[0]], "ARG")
    name, tag = base.removeprefix("BASE=").split(":", 1)
    assert name == "python"
    assert re.fullmatch(r"3\.\d+(\.\d+)?-slim-[a-z]+(@sha256:[0-9a-f]{64})?", tag)
    minor = re.search(r'requires-python = ">=(3\.\d+)"', _pyproject())
    assert minor is not None
    assert tag.startswith(minor[1])


def _pyproject() -> str:
    return (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_image_runs_as_a_numeric_user_that_is_not_root() -> None:
    (user,) = texts(RUNTIME, "USER")
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user)
    assert "USER" not in {step.word for step in BUILD}
    after = [step.word for step in RUNTIME[_index(RUNTIME, "USER") + 1 :]]
    assert not {"RUN", "COPY"} & set(after)


def _index(steps: list[Step], word: str) -> int:
    return [step.word for step in steps].index(word)


def test_the_final_stage_installs_nothing() -> None:
    assert texts(RUNTIME, "RUN") == []
    assert all(text.startswith("--from=build ") for text in texts(RUNTIME, "COPY"))


def test_nothing_is_added_from_elsewhere_and_no_shell_stands_in_between() -> None:
    words = {step.word for step in STEPS}
    assert not {"ADD", "SHELL", "ONBUILD", "ENTRYPOINT", "MAINTAINER"} & words
    assert texts(RUNTIME, "CMD") == ['["pedigree", "--help"]']
    assert texts(RUNTIME, "HEALTHCHECK") == ["NONE"]


def test_folders_are_absolute_and_commands_need_no_rights() -> None:
    assert all(text.startswith("/") for text in texts(STEPS, "WORKDIR"))
    commands = " ".join(texts(STEPS, "RUN"))
    assert not re.search(r"\b(sudo|curl|wget|apt|apt-get|cd|chmod)\b", commands)
    assert "|" not in commands


def test_packages_come_as_wheels_and_leave_no_cache() -> None:
    assert environment(BUILD)["PIP_NO_CACHE_DIR"] == "1"
    installs = [text for text in texts(BUILD, "RUN") if " install " in text]
    assert installs
    assert all("--only-binary=:all:" in text for text in installs)


def test_the_image_has_the_extras_that_a_cluster_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    extras = set(arguments(BUILD)["EXTRAS"].split(","))
    assert extras <= set(project["optional-dependencies"])
    # What a model or the chart may ask for; the others are for people.
    assert {"cloud", "gguf", "keyless"} <= extras


def test_numerics_start_no_threads_for_the_cores_of_a_node() -> None:
    setting = environment(RUNTIME)["OPENBLAS_NUM_THREADS"]
    code = "import os, numpy; print(len(os.listdir('/proc/self/task')))"
    started = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "OPENBLAS_NUM_THREADS": setting},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(started.stdout) == 1


def test_python_imports_nothing_from_the_working_folder_and_writes_no_bytecode() -> (
    None
):
    settings = environment(RUNTIME)
    assert settings["PYTHONSAFEPATH"] == "1"
    assert settings["PYTHONDONTWRITEBYTECODE"] == "1"
    assert settings["HOME"] == "/tmp"
    assert settings["PATH"].split(":")[0] == "/opt/pedigree/bin"


def test_labels_and_package_have_one_version() -> None:
    assert f"VERSION={__version__}" in texts(RUNTIME, "ARG")
    labels = " ".join(texts(RUNTIME, "LABEL"))
    assert 'org.opencontainers.image.version="${VERSION}"' in labels
    assert 'org.opencontainers.image.licenses="Apache-2.0"' in labels


def ignored() -> tuple[set[str], list[str]]:
    """What .dockerignore lets in, and what it leaves out of that."""
    lines = (ROOT / ".dockerignore").read_text("utf-8").splitlines()
    rules = [line for line in lines if line and not line.startswith("#")]
    assert rules[0] == "*", "everything must be left out first"
    let_in = {rule[1:] for rule in rules if rule.startswith("!")}
    return let_in, [rule for rule in rules[1:] if not rule.startswith("!")]


def test_the_build_gets_what_it_copies_and_nothing_else() -> None:
    copied = {name for text in texts(BUILD, "COPY") for name in text.split()[:-1]}
    let_in, left_out = ignored()
    assert copied == let_in
    assert all((ROOT / name).exists() for name in copied)
    assert left_out == ["**/__pycache__", "**/*.py[cod]"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that stands for the image's root after the first stage."""
    root = tmp_path_factory.mktemp("image")
    (folder,) = texts(BUILD, "WORKDIR")
    work = root / folder.lstrip("/")
    work.mkdir()
    for text in texts(BUILD, "COPY"):
        *names, target = text.split()
        for name in names:
            _copy(ROOT / name, work / target / ("" if target == name else name))
    settings = {**arguments(BUILD), **environment(BUILD)}
    del settings["PIP_NO_CACHE_DIR"]  # of the build tool alone; saves a download
    for text in texts(BUILD, "RUN"):
        command = re.sub(r"(?<![\w.])/(?=(opt|wheels)\b)", f"{root}/", text)
        assert command != text, "a step that changes nothing in the image"
        if " install " in text:  # not before: the build tool needs what it needs
            settings["PIP_NO_DEPS"] = "1"
        _run(["sh", "-euc", command], work, {**_outside(), **settings})
    here = sysconfig.get_path("purelib")
    (there,) = root.glob("opt/pedigree/lib/python3.*/site-packages")
    # After the folder's own modules, and without the .pth files that `here` has: what
    # is installed in `here` in editable form is not seen through it.
    (there / "dependencies.pth").write_text(f"{here}\n", "utf-8")
    return root


def _copy(source: Path, target: Path) -> None:
    if source.is_dir():
        skip = shutil.ignore_patterns("__pycache__", "*.py[cod]")
        shutil.copytree(source, target, ignore=skip)
    else:
        shutil.copy(source, target)


def _outside() -> dict[str, str]:
    """Our own environment, where `python` is this one."""
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ["PATH"]))
    kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return {**kept, "PATH": path, "PIP_QUIET": "1"}


def _run(
    command: list[str], folder: Path, env: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    result = subprocess.run(
        command,
        cwd=folder,
        env=env,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )
    assert result.returncode == 0, f"{command}\n{result.stdout}\n{result.stderr}"
    return result


def inside(image: Path, *command: str, **more: str) -> subprocess.CompletedProcess[str]:
    """Run a command as a container of the image would, from ``/``."""
    settings = more | {
        key: value.replace("/opt/pedigree", f"{image}/opt/pedigree")
        for key, value in environment(RUNTIME).items()
    }
    program = shutil.which(command[0], path=settings["PATH"].split(":")[0])
    assert program is not None, f"{command[0]} is not in the image"
    return subprocess.run(
        [program, *command[1:]],
        cwd="/",
        env=settings,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=STEP_TIMEOUT_S,
        check=False,
    )


def test_the_command_line_is_what_an_image_without_arguments_runs(image: Path) -> None:
    result = inside(image, "pedigree", "--help")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: pedigree ")


def test_the_image_holds_the_wheel_and_not_the_checkout(image: Path) -> None:
    names = ["pedigree", *(f"pedigree_{component}" for component in COMPONENTS)]
    listed = ", ".join(names)
    code = f"import {listed}\nfor each in ({listed}): print(each.__file__)"
    result = inside(image, "python", "-c", code)
    assert result.returncode == 0, result.stderr
    places = result.stdout.splitlines()
    assert len(places) == len(names)
    assert all(place.startswith(f"{image}/opt/pedigree/lib/") for place in places)


@pytest.mark.parametrize("component", COMPONENTS)
def test_a_service_with_too_few_settings_says_what_it_wants_and_ends(
    image: Path, component: str, tmp_path: Path
) -> None:
    command = ("python", "-m", f"pedigree_{component}")
    result = inside(image, *command, PEDIGREE_DATA_DIR=str(tmp_path))
    assert result.returncode == 2, result.stderr
    assert "PEDIGREE_" in result.stderr
    assert "Traceback" not in result.stderr


def test_every_module_of_the_checkout_is_in_the_wheel(image: Path) -> None:
    (packages,) = image.glob("opt/pedigree/lib/python3.*/site-packages")
    for root, package in (
        ("src", "pedigree"),
        *((component, f"pedigree_{component}") for component in COMPONENTS),
    ):
        wanted = {
            path.relative_to(image / "src" / root)
            for path in (image / "src" / root / package).rglob("*")
            if path.is_file() and "__pycache__" not in path.parts
        }
        missing = {path for path in wanted if not (packages / path).exists()}
        assert missing == set()
