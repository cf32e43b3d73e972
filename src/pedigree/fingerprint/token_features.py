# SPDX-License-Identifier: Apache-2.0
"""The parts that are made of embedding rows: anchors, their values, fossils."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.anchors import (
    Anchors,
    anchors_of,
    choose_by_bytes,
    takes_off_mean,
)
from pedigree.fingerprint.bits import Bits, values_of
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.sampling import Axis
from pedigree.fingerprint.sketches import quantise
from pedigree.fingerprint.slots import Piece, Role, Slot
from pedigree.fingerprint.vocabulary import Vocabulary

_EMPTY = Anchors(np.zeros((0, 0)), np.ones(0), 0)


class TokenFeatures:
    """What is kept of embedding and head.

    Args:
        plan: Of the model.
        reader: Of its weights.
        pieces: By slot.
        vocabulary: What the rows stand for, or None.

    Attributes:
        anchors: By suffix of the parts that are projections: ``tsp`` for anchors known
            by their bytes, ``tspi`` for those known by their row.
    """

    def __init__(
        self,
        plan: Plan,
        reader: BitReader,
        pieces: dict[Slot, Piece],
        vocabulary: Vocabulary | None,
    ) -> None:
        self._plan, self._reader, self._pieces = plan, reader, pieces
        spec, height = plan.spec, plan.shape.vocabulary
        deep = plan.deep
        self._by_bytes, self._names = choose_by_bytes(
            vocabulary,
            height,
            spec.byte_tokens_deep if deep else spec.byte_tokens,
            spec.seed,
        )
        self._by_row = plan.axis(
            Axis.TOKEN, height, spec.index_tokens_deep if deep else spec.index_tokens
        )
        self._fossils = plan.axis(
            Axis.TOKEN, height, spec.fossils_deep if deep else spec.fossils
        )
        self.anchors: dict[str, Anchors] = {"tsp": _EMPTY, "tspi": _EMPTY}
        self._parts: dict[str, NDArray[Any]] = {}

    def take(self, tied: bool) -> None:
        """Read embedding and head.

        Args:
            tied: Whether the head is the embedding.
        """
        self._parts["anchor.bytes"] = self._names
        self._parts["anchor.index"] = self._by_row.astype(np.int32)
        embedding = Slot(Role.EMBEDDING)
        if embedding in self._pieces:
            self._table(embedding, "embedding", "index")
            self._parts["fossil.rows"] = self._fossils.astype(np.int32)
        head = Slot(Role.HEAD)
        same = self._plan.shapes.get(head) == self._plan.shapes.get(embedding)
        if head in self._pieces and same and not tied:
            self._table(head, "head", "head")

    def _table(self, slot: Slot, name: str, fossil: str) -> None:
        plan, spec = self._plan, self._plan.spec
        piece = self._pieces[slot]
        channels = plan.channels(spec.channels)
        by_bytes = self._reader.rows(piece, self._by_bytes)
        count = max(len(self._by_row), len(self._fossils))
        every = plan.axis(Axis.TOKEN, plan.shape.vocabulary, count)
        by_row = self._reader.rows(piece, every)  # both samples are its beginnings
        for kind, rows, fast in (
            ("bytes", by_bytes, spec.byte_tokens),
            ("index", by_row[: len(self._by_row)], spec.index_tokens),
        ):
            at = values_of(np.ascontiguousarray(rows[:, channels].T))
            self._parts[f"{name}.{kind}"] = quantise(at.astype(np.float64), fast)
        kept = by_row[: len(self._fossils)][:, channels[: spec.fossil_channels]]
        self._parts[f"fossil.{fossil}"] = kept
        if slot.role is Role.EMBEDDING:
            self._project(by_bytes, by_row)

    def _project(self, by_bytes: Bits, by_row: Bits) -> None:
        spec = self._plan.spec
        count = (
            spec.projected_index_tokens_deep
            if self._plan.deep
            else spec.projected_index_tokens
        )
        centred = takes_off_mean(self._pieces)
        self.anchors = {
            "tsp": anchors_of(by_bytes, spec.byte_tokens, centred=centred),
            "tspi": anchors_of(
                by_row[:count], spec.projected_index_tokens, centred=centred
            ),
        }

    def parts(self) -> dict[str, NDArray[Any]]:
        """Arrays by name."""
        return self._parts
