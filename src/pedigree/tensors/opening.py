# SPDX-License-Identifier: Apache-2.0
"""Which of a model's files are its weights, and their headers, whatever the format.

A model has weights in one format.  Where it has several, the one that servers prefer is
read, and every file of the others is remarked on: see ``docs/formats.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from pedigree.errors import ArtifactError
from pedigree.limits import DEFAULT, Limits
from pedigree.manifest import is_ignored
from pedigree.ranges import ModelSource
from pedigree.tensors.adapter_files import adapter_remarks
from pedigree.tensors.formats import GGUF, PYTORCH, SAFETENSORS, format_by_name
from pedigree.tensors.layout import WeightSet
from pedigree.tensors.quantisation import is_packed, read_quantisation
from pedigree.tensors.safetensors_set import open_safetensors

Sizes = Mapping[str, int]
"""Bytes of each file of a model that counts, by path, sorted."""
Opener = Callable[[ModelSource, Sizes, Limits], WeightSet]


def _open_safetensors(source: ModelSource, sizes: Sizes, limits: Limits) -> WeightSet:
    """Opens the files, and makes one tensor of the parts of a packed one."""
    weights = open_safetensors(source, sizes, limits)
    if not is_packed(weights.tensors):
        return weights  # plain models cost no read of the configuration
    from pedigree.tensors.packed import decoded  # as below

    return decoded(weights, read_quantisation(source, sizes, limits))


# What plain safetensors have no use for is loaded when a model has it: all of it takes
# longer to load than a small model to compare.


def _open_gguf(source: ModelSource, sizes: Sizes, limits: Limits) -> WeightSet:
    from pedigree.tensors.gguf_set import open_gguf

    return open_gguf(source, sizes, limits)


def _open_pytorch(source: ModelSource, sizes: Sizes, limits: Limits) -> WeightSet:
    from pedigree.tensors.pytorch_set import open_pytorch

    return open_pytorch(source, sizes, limits)


OPENERS: dict[str, Opener] = {
    SAFETENSORS: _open_safetensors,
    GGUF: _open_gguf,
    PYTORCH: _open_pytorch,
}
"""Formats that are read, the one servers prefer first."""


def open_weights(source: ModelSource, limits: Limits = DEFAULT) -> WeightSet:
    """Read the headers of a model's weight files.

    Args:
        source: The model.
        limits: Bounds.

    Raises:
        ArtifactError: No file in a format that is read (``NoReadableWeights``), or
            reasons of the format's own module.
        SourceError: The bytes could not be had.
    """
    sizes = {
        entry.path: entry.size for entry in source.files() if not is_ignored(entry.path)
    }
    found = {format_by_name(path.removesuffix(".index.json")) for path in sizes}
    for form, opener in OPENERS.items():
        if form in found:
            weights = opener(source, sizes, limits)
            beside = adapter_remarks(sizes, weights)
            return replace(weights, remarks=(*weights.remarks, *beside))
    raise ArtifactError(
        f"model has no weights that can be read among its {len(sizes)} files, wanted "
        f"one of {', '.join(OPENERS)}",
        reason="NoReadableWeights",
        hint="publish the weights as safetensors",
    )
