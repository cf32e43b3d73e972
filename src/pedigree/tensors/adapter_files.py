# SPDX-License-Identifier: Apache-2.0
"""Adapters in a folder that servers would take for other weights than were read.

Loaders with PEFT look for ``adapter_config.json`` first.  Where it is, they load the
base that it names, perhaps from elsewhere, and put ``adapter_model.*`` on it: whole
weights beside it are left alone.  Loaders without PEFT load those.  So a folder that
has both means two models, and only one of them would be compared.

Of several adapters in folders of one model a server loads the one that it is told to;
what one of them descends from says nothing of the others.

Source: behaviour of ``from_pretrained`` in transformers 4 and of PEFT's file names.
"""

from __future__ import annotations

from collections.abc import Mapping

from pedigree.errors import ArtifactError, quote
from pedigree.tensors.formats import PYTORCH, SAFETENSORS
from pedigree.tensors.layout import WeightSet

ADAPTER_CONFIG = "adapter_config.json"
_ADAPTER_STEM = "adapter_model"
_INDEX_SUFFIX = ".index.json"
"""An index means whole weights, in whatever folder its shards are."""


def check_adapters(sizes: Mapping[str, int], weights: WeightSet) -> None:
    """Refuse whole weights under an adapter's configuration, and several adapters.

    Args:
        sizes: Bytes of each file of the model that counts, by path.
        weights: What was opened of it.

    Raises:
        ArtifactError: Servers would load different weights (``AmbiguousWeights``).
    """
    if weights.form not in (SAFETENSORS, PYTORCH):
        return  # readers of GGUF look at nothing beside it
    whole = sorted(
        path
        for path in {*weights.files, *(p for p in sizes if p.endswith(_INDEX_SUFFIX))}
        if "/" not in path and not path.startswith(_ADAPTER_STEM)
    )
    if whole and ADAPTER_CONFIG in sizes:
        raise ArtifactError(
            f"model has the whole weights {quote(whole[0])} and {ADAPTER_CONFIG!r}, "
            "for which some servers load the base that it names instead; wanted a "
            "model or an adapter",
            reason="AmbiguousWeights",
            hint="remove what is left of the adapter, or put it in a place of its own",
            path=ADAPTER_CONFIG,
        )
    adapters = sorted(filter(_is_adapter, weights.files))
    if not whole and len(adapters) > 1:
        raise ArtifactError(
            f"model has {len(adapters)} adapters, in {quote(adapters)}, wanted one; "
            "what one of them descends from says nothing of the others",
            reason="AmbiguousWeights",
            hint="name one of them in the reference, as in "
            "hf://org/repo@revision#folder",
            path=adapters[1],
        )


def _is_adapter(path: str) -> bool:
    return path.rpartition("/")[2].startswith(_ADAPTER_STEM)
