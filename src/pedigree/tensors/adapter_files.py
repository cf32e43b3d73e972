# SPDX-License-Identifier: Apache-2.0
"""Adapters in a folder that servers would take for other weights than were read.

Loaders with PEFT look for ``adapter_config.json`` first.  Where it is, they load the
base that it names, perhaps from elsewhere, and put ``adapter_model.*`` on it: whole
weights beside it are left alone.  Loaders without PEFT, and those that know of models
published with an adapter, load the weights.  So a folder that has both means two
models, and only one of them can be compared.

Of several adapters in folders of one model a server loads the one that it is told to;
what one of them descends from says nothing of the others.

Source: behaviour of ``from_pretrained`` in transformers 4 and of PEFT's file names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.formats import PYTORCH, SAFETENSORS
from pedigree.tensors.layout import WeightSet
from pedigree.tensors.remarks import WARNING, Remark

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_STEM = "adapter_model"
_INDEX_SUFFIX = ".index.json"
"""An index means whole weights, in whatever folder its shards are."""


def adapter_remarks(sizes: Mapping[str, int], weights: WeightSet) -> list[Remark]:
    """What is to be told of adapters beside what was opened.

    Args:
        sizes: Bytes of each file of the model that counts, by path.
        weights: What was opened of it.

    Raises:
        ArtifactError: There are several adapters, and no weights of which they could
            be parts (``AmbiguousWeights``).
    """
    if weights.form not in (SAFETENSORS, PYTORCH):
        return []  # readers of GGUF look at nothing beside it
    whole = sorted(
        path
        for path in {*weights.files, *(p for p in sizes if p.endswith(_INDEX_SUFFIX))}
        if "/" not in path and not path.startswith(_ADAPTER_STEM)
    )
    adapters = sorted(filter(_is_adapter, weights.files))
    if not whole and len(adapters) > 1:
        raise several_adapters(adapters, "folder", path=adapters[1])
    if not whole or ADAPTER_CONFIG not in sizes:
        return []
    return [
        Remark(
            "UnreadWeights",
            ADAPTER_CONFIG,
            f"beside {quote(whole[0])} is {ADAPTER_CONFIG!r}; some servers load the "
            "base that it names in place of these weights, and that was not compared",
            WARNING,
        )
    ]


def several_adapters(
    adapters: Sequence[str], place: str, path: str = ""
) -> ArtifactError:
    """That a model has adapters only, and which of them is meant cannot be told.

    Args:
        adapters: What people call them.
        place: What each has of its own: ``file`` or ``folder``.
        path: The file that is told of, if it is one.
    """
    return ArtifactError(
        f"model has {len(adapters)} adapters, in {quote(adapters)}, wanted one; "
        "what one of them descends from says nothing of the others",
        reason="AmbiguousWeights",
        hint=name_one(place),
        path=path,
    )


def name_one(place: str) -> str:
    """What to do where a place has several models: a hint.

    Args:
        place: What each has of its own: ``file`` or ``folder``.
    """
    return (
        f"name one of them: its own {place} here, elsewhere a reference such as "
        f"hf://org/repo@revision#{place}"
    )


def _is_adapter(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_ADAPTER_STEM)
