# SPDX-License-Identifier: Apache-2.0
"""``pedigree tree``: the family tree of a set of models."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pedigree.cli.failure import EXIT_NOTHING_TO_CHECK, EXIT_OK
from pedigree.cli.far import add_options
from pedigree.cli.models import (
    FINGERPRINT_SUFFIX,
    MODEL_HELP,
    Subject,
    read_subject,
    source_settings,
)
from pedigree.cli.progress import count_progress
from pedigree.cli.render import (
    counted,
    human_bytes,
    print_json,
    print_lines,
    visible,
)
from pedigree.errors import ArtifactError, ConfigError, quote
from pedigree.tensors.formats import GGUF, PYTORCH, SAFETENSORS, format_by_name

if TYPE_CHECKING:
    from pedigree.lineage.tree import Tree
    from pedigree.sources import SourceSettings

SCHEMA = "pedigree.dev/tree/v1"
_PLAIN = (SAFETENSORS, GGUF)
_READ = (*_PLAIN, PYTORCH)
"""A ``.bin`` or ``.pkl`` beside folders of models makes no model of their folder."""
_MODELS_MAX = 1000
"""Pairs are compared, so a thousand models already take half a million comparisons."""


def register(subparsers: Any) -> None:
    """Add the command."""
    parser: argparse.ArgumentParser = subparsers.add_parser(
        "tree",
        help="reconstruct the family tree of a set of models",
        description="Reconstruct the family tree of a set of models from their weights "
        "alone. Every pair is compared; the p-values hold over all pairs. Exits with 4 "
        "if there are fewer than two models.",
    )
    parser.add_argument(
        "models",
        metavar="DIR",
        nargs="+",
        help=f"{MODEL_HELP}, or a folder of such folders",
    )
    add_options(parser)
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--dot", action="store_true", help="print a graph for Graphviz")
    form.add_argument("--json", action="store_true", help="print one JSON document")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Reconstruct one tree."""
    from pedigree.lineage.tree import reconstruct
    from pedigree.lineage.tree_text import dot, lines

    started = time.perf_counter()
    places = [place for text in args.models for place in models_at(text)]
    subjects, refused = _read(places, source_settings(args))
    prints = {
        name: subject.fingerprint
        for name, subject in zip(unique_names(subjects), subjects, strict=True)
    }
    with count_progress("comparing pairs") as progress:
        tree = reconstruct(prints, progress=progress)
    seconds = time.perf_counter() - started
    if args.json:
        print_json(_document(tree, prints, subjects, refused, seconds))
    elif args.dot:
        sys.stdout.write(dot(tree))
    else:
        size = human_bytes(sum(subject.bytes_read for subject in subjects))
        pairs = len(prints) * (len(prints) - 1) // 2
        models = counted(len(prints), "model")
        tail = f"{models}, {counted(pairs, 'pair')}, {size} read, {seconds:.2f} s"
        print_lines(*lines(tree), "", tail)
    for name, error in refused:  # also where the output goes to a program
        text = f"left out {name}: {error.reason}: {error.message}"
        sys.stderr.write(visible(text) + "\n")
    return EXIT_OK if len(prints) > 1 else EXIT_NOTHING_TO_CHECK


def models_at(text: str) -> list[str]:
    """A model, or all models directly in a folder that is none itself.

    Args:
        text: What the person typed.

    Raises:
        ConfigError: A folder holds no model (``NoModels``).
    """
    folder = Path(text).expanduser()
    if "://" in text or not folder.is_dir() or _has_weights(folder, _PLAIN):
        return [text]
    found = sorted(
        str(entry)
        for entry in folder.iterdir()
        if entry.name.endswith(FINGERPRINT_SUFFIX)
        or (entry.is_dir() and _has_weights(entry, _READ))
    )
    if not found and _has_weights(folder, _READ):
        return [text]
    if not found:
        raise ConfigError(
            f"folder {quote(text)} holds no model, and no folder in it does",
            reason="NoModels",
            hint="name models, kept fingerprints, or folders that hold either",
        )
    return found


def _has_weights(folder: Path, formats: tuple[str, ...]) -> bool:
    return any(
        format_by_name(path.name) in formats
        and not path.name.endswith(FINGERPRINT_SUFFIX)
        for path in folder.iterdir()
    )


def unique_names(subjects: Sequence[Subject]) -> list[str]:
    """The last part of each path; all of it where two models share the last part."""
    short = [
        subject.name.rstrip("/").rpartition("/")[2].removesuffix(FINGERPRINT_SUFFIX)
        for subject in subjects
    ]
    return [
        last if short.count(last) == 1 else subject.name
        for last, subject in zip(short, subjects, strict=True)
    ]


def _read(
    places: Sequence[str], sources: SourceSettings
) -> tuple[list[Subject], list[tuple[str, ArtifactError]]]:
    """All models that can be read, each once, and why the others cannot."""
    distinct = list(dict.fromkeys(places))
    if len(distinct) > _MODELS_MAX:
        raise ConfigError(
            f"{len(distinct)} models were named, allowed are {_MODELS_MAX}",
            reason="TooManyModels",
            hint="add them to a registry and scan that",
        )
    subjects: list[Subject] = []
    refused: list[tuple[str, ArtifactError]] = []
    for place in distinct:
        try:
            subjects.append(read_subject(place, hold=False, sources=sources))
        except ArtifactError as error:
            refused.append((place, error))
    return subjects, refused


def _document(
    tree: Tree,
    names: Iterable[str],
    subjects: Sequence[Subject],
    refused: Sequence[tuple[str, ArtifactError]],
    seconds: float,
) -> dict[str, Any]:
    from pedigree.lineage.tree_text import document

    return {
        "schema": SCHEMA,
        **document(tree),
        "models": [
            {"name": name, **subject.to_dict()}
            for name, subject in zip(names, subjects, strict=True)
        ],
        "refused": [
            {"model": name, "reason": error.reason, "message": error.message}
            for name, error in refused
        ],
        "bytesRead": sum(subject.bytes_read for subject in subjects),
        "seconds": round(seconds, 4),
    }
