# SPDX-License-Identifier: Apache-2.0
"""What is kept of one model of the Model Provenance Kit's database.

The kit keeps features, not fingerprints: metadata and, if they were installed, vectors
of its "deep signals".  They are stored as they came, in a file of arrays; what can be
tested of them is in ``kit_tests``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.registry.arrayfile import ArrayFile, encode_arrays
from pedigree.registry.catalogue import KIT_SPEC

REASON = "MalformedKitSignals"
VALUES_MAX = 16_000_000
"""Numbers of one signal: 128 layers of 30 matrices of 4096 values."""
SIGNALS = {
    "eas_self_sim": "eas",
    "end_histogram": "end",
    "lep_profile": "lep",
    "nlf_vector": "nlf",
    "wsp_signature": "wsp",
}
"""The kit's names of its vectors, and ours."""
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class KitSignals:
    """One model's signals.

    Attributes:
        metadata: What the kit read from config.json, as it wrote it.
        mode: ``direct`` if the norm vectors are whole, else ``stats``, or empty.
        vectors: By our names; shape (k,).
        layers: WVC by layer number; shape (k,).
    """

    metadata: Mapping[str, Any]
    mode: str = ""
    vectors: Mapping[str, Floats] = field(default_factory=dict)
    layers: Mapping[int, Floats] = field(default_factory=dict)

    @property
    def width(self) -> int:
        """Residual channels; 0 if the kit did not tell."""
        value = self.metadata.get("hidden_size")
        return value if isinstance(value, int) and value > 0 else 0


def encode_signals(signals: KitSignals) -> bytes:
    """The stored form; equal signals give equal bytes."""
    numbers = sorted(signals.layers)
    values = [np.asarray(signals.layers[number], "<f4") for number in numbers]
    arrays = {
        f"signal.{name}": np.asarray(vector, "<f4")
        for name, vector in signals.vectors.items()
    }
    arrays["wvc.layer"] = np.array(numbers, "<i4")
    arrays["wvc.end"] = np.cumsum([len(v) for v in values], dtype="<i8")
    arrays["wvc.values"] = np.concatenate([np.empty(0, "<f4"), *values])
    return encode_arrays(
        arrays,
        {
            "schema": KIT_SPEC,
            # As text: it holds numbers that canonical JSON does not know.
            "metadata": json.dumps(dict(signals.metadata), sort_keys=True),
            "mode": signals.mode,
            "signals": sorted(signals.vectors),
        },
    )


def decode_signals(data: bytes, name: str) -> KitSignals:
    """Read stored signals.

    Args:
        data: The whole file.
        name: Of the reference, for messages.

    Raises:
        ArtifactError: They are damaged (reason ``MalformedKitSignals`` or of the
            header).
    """
    file = ArrayFile.of_bytes(data, name, reason=REASON)
    try:
        document = json.loads(file.metadata)
        if document["schema"] != KIT_SPEC:
            raise ValueError(f"schema {document['schema']!r}")
        metadata = json.loads(document["metadata"])
        mode, names = str(document["mode"]), [str(n) for n in document["signals"]]
        if not isinstance(metadata, dict):
            raise TypeError("metadata is no map")
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise file.damaged(f"{type(error).__name__}: {str(error)[:200]}") from error
    vectors = {n: file.array(f"signal.{n}", "F32", None) for n in names}
    numbers = file.array("wvc.layer", "I32", None)
    ends = file.array("wvc.end", "I64", len(numbers))
    values = file.array("wvc.values", "F32", None)
    if not _ascending(ends, len(values)) or len(set(numbers.tolist())) < len(numbers):
        raise file.damaged("array wvc.end does not fit wvc.values")
    if not all(np.isfinite(v).all() for v in (values, *vectors.values())):
        raise file.damaged("a value is not finite")
    begins = np.concatenate([np.zeros(1, np.int64), ends[:-1]]) if len(ends) else ends
    layers = {
        int(number): values[int(begin) : int(end)]
        for number, begin, end in zip(numbers, begins, ends, strict=True)
    }
    return KitSignals(metadata, mode, vectors, layers)


def check_signals(data: bytes, name: str) -> None:
    """Refuse stored signals that could not be used.

    Raises:
        ArtifactError: As :func:`decode_signals`.
    """
    decode_signals(data, name)


def _ascending(ends: NDArray[np.int64], size: int) -> bool:
    if not len(ends):
        return size == 0
    in_order = bool(np.all(np.diff(ends) >= 0))
    return in_order and int(ends[0]) >= 0 and int(ends[-1]) == size
