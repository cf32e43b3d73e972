# SPDX-License-Identifier: Apache-2.0
"""From weights to a fingerprint."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.canonical import CanonicalReader
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.model import Fingerprint, Shape, TensorRecord
from pedigree.fingerprint.roles import Part, Role, RoleMap, Slot, map_roles
from pedigree.fingerprint.sampling import Axis, order, sketch_matrix
from pedigree.fingerprint.sketches import centred_ranks, quantise
from pedigree.fingerprint.spec import V2, FingerprintSpec, Profile
from pedigree.tensors.checkpoint import Checkpoint

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) after each tensor."""
Values = NDArray[np.float32]
UNKNOWN = -32768


class Tokens(Protocol):
    """What is asked of a vocabulary."""

    token_hashes: NDArray[np.uint64]
    lengths: NDArray[np.int64]


def build_fingerprint(
    checkpoint: Checkpoint,
    *,
    vocabulary: Tokens | None = None,
    profile: Profile | None = None,
    spec: FingerprintSpec = V2,
    progress: Progress | None = None,
) -> Fingerprint:
    """Fingerprint a model."""
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    roles = map_roles(shapes, FAMILIES)
    return _Maker(checkpoint, roles, spec, vocabulary).make()


class _Maker:
    def __init__(
        self,
        checkpoint: Checkpoint,
        roles: RoleMap,
        spec: FingerprintSpec,
        vocabulary: Tokens | None,
    ) -> None:
        self.spec, self.roles, self.vocabulary = spec, roles, vocabulary
        reader = CanonicalReader(checkpoint)
        self.w: dict[Slot, Values] = {}
        self.other: list[tuple[Slot, Values]] = []
        for piece in roles.pieces:
            value = np.concatenate(list(reader.blocks(piece)))
            if piece.slot.role is Role.OTHER:
                self.other.append((piece.slot, value))
            else:
                self.w[piece.slot] = value
        head, emb = self.get(Role.HEAD), self.get(Role.EMBEDDING)
        if head is not None and emb is not None and np.array_equal(head, emb):
            del self.w[Slot(Role.HEAD)]

    def get(self, role: Role, layer: int = -1, expert: int = -1) -> Values | None:
        return self.w.get(Slot(role, layer, expert))

    def axis(self, axis: Axis, size: int, count: int) -> NDArray[np.int64]:
        return order(self.spec.seed, axis, size, count)

    def make(self) -> Fingerprint:
        emb = self.get(Role.EMBEDDING)
        layers = sorted({s.layer for s in self.w if s.layer >= 0})
        blocks = sorted(
            (s.layer, s.expert)
            for s in self.w
            if s.role is Role.UP and s.part is Part.WEIGHT and s.expert < 8
        )
        first = self.get(Role.UP, *blocks[0]) if blocks else None
        shape = Shape(
            len(layers),
            emb.shape[1] if emb is not None else 0,
            len(first) if first is not None else 0,
            len(emb) if emb is not None else 0,
            sum(v.size for v in self.w.values()) + sum(v.size for _, v in self.other),
        )
        self.shape, self.layers, self.blocks = shape, layers, blocks
        parts: dict[str, NDArray[Any]] = {}
        records = sorted(
            (self.record(slot, v) for slot, v in [*self.w.items(), *self.other]),
            key=lambda r: (r.slot, r.sample_digest),
        )
        if emb is not None and blocks:
            self.anchors(parts)
            self.neurons(parts)
            self.channels(parts)
            self.norms(parts)
            self.raw(parts, records)
            self.tables(parts)
        return Fingerprint(
            settings=self.spec,
            profile=Profile.DEEP,
            architecture=self.roles.family,
            reason=self.roles.reason,
            shape=shape,
            tensors=tuple(records),
            layers=tuple(layers),
            blocks=tuple(blocks),
            parts=parts,
        )

    def row_order(self, slot: Slot, rows: int, count: int) -> NDArray[np.int64]:
        role = slot.role
        if role in (Role.EMBEDDING, Role.HEAD):
            return self.axis(Axis.TOKEN, rows, count)
        if role in (Role.GATE, Role.UP):
            return self.axis(Axis.NEURON, rows, count)
        if role in (Role.O, Role.DOWN):
            return self.axis(Axis.CHANNEL, rows, count)
        return self.axis(Axis.HEAD, rows, count)

    def column_order(self, slot: Slot, columns: int, count: int) -> NDArray[np.int64]:
        if slot.role is Role.DOWN:
            return self.axis(Axis.NEURON, columns, count)
        if slot.role is Role.O:
            return self.axis(Axis.HEAD, columns, count)
        return self.axis(Axis.CHANNEL, columns, count)

    def record(self, slot: Slot, v: Values) -> TensorRecord:
        sample = v[self.row_order(slot, len(v), 8)] if v.ndim == 2 else v
        head = np.array([v.ndim, *v.shape], "<i8").tobytes()
        bits = np.ascontiguousarray(v).view(np.uint32) >> 16
        sbits = np.ascontiguousarray(sample).view(np.uint32) >> 16
        return TensorRecord(
            slot,
            v.shape,
            hashlib.sha256(head + sbits.astype("<u2").tobytes()).digest()[:16],
            hashlib.sha256(head + bits.astype("<u2").tobytes()).digest()[:16],
            v.size,
            int(v.size - np.count_nonzero(v)),
            min(65535, len(np.unique(v.reshape(-1)[:65536]))),
        )

    def gamma(self, layer: int, role: Role = Role.NORM_MLP) -> Values:
        found = self.get(role, layer)
        return np.ones(self.shape.width, np.float32) if found is None else found

    def anchors(self, parts: dict[str, NDArray[Any]]) -> None:
        spec, emb = self.spec, self.get(Role.EMBEDDING)
        assert emb is not None
        index = self.axis(Axis.TOKEN, len(emb), spec.index_tokens_deep)
        parts["anchor.index"] = index.astype(np.int32)
        rows = np.zeros(0, np.int64)
        hashes = np.zeros(0, np.uint64)
        if self.vocabulary is not None:
            known = self.vocabulary.token_hashes[: len(emb)]
            lengths = self.vocabulary.lengths[: len(emb)]
            where = np.flatnonzero(known)
            keys = np.lexsort((known[where], lengths[where] > 3))
            rows = where[keys][: spec.byte_tokens_deep]
            hashes = known[rows]
        parts["anchor.bytes"] = (hashes & np.uint64(0xFFFFFFFF)).astype(np.uint32)
        self.units = {"": self.unit(emb, rows), "i": self.unit(emb, index[: spec.projected_index_tokens_deep])}
        channels = self.axis(Axis.CHANNEL, self.shape.width, spec.channels)
        for name, role in (("embedding", Role.EMBEDDING), ("head", Role.HEAD)):
            table = self.get(role)
            if table is None or table.shape != emb.shape:
                continue
            for kind, at in (("bytes", rows), ("index", index)):
                parts[f"{name}.{kind}"] = quantise(
                    table[at][:, channels].T.astype(np.float64)
                )
            fossils = self.axis(Axis.TOKEN, len(emb), spec.fossils_deep)
            part = table[fossils][:, channels[:8]]
            bits = np.ascontiguousarray(part).view(np.uint32) >> np.uint32(16)
            label = "index" if name == "embedding" else "head"
            parts[f"fossil.{label}"] = bits.astype(np.uint16)
            parts["fossil.rows"] = fossils.astype(np.int32)

    @staticmethod
    def unit(emb: Values, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        e = emb[rows].astype(np.float64)
        if not len(e):
            return e
        e -= e.mean(axis=0)
        norm = np.linalg.norm(e, axis=1, keepdims=True)
        result: NDArray[np.float64] = e / np.where(norm > 0, norm, 1)
        return result

    def block(
        self, layer: int, expert: int
    ) -> tuple[NDArray[np.float64] | None, NDArray[np.float64], NDArray[np.float64]]:
        g, u, d = (
            self.get(role, layer, expert) for role in (Role.GATE, Role.UP, Role.DOWN)
        )
        assert u is not None
        scale = self.gamma(layer).astype(np.float64)
        down = d.T if d is not None else np.zeros_like(u)
        return (None if g is None else g * scale, u * scale, down.astype(np.float64))

    def neurons(self, parts: dict[str, NDArray[Any]]) -> None:
        spec = self.spec
        n, b, k = spec.neurons, len(self.blocks), spec.sketch
        out = {r: np.zeros((b, n, k), np.int8) for r in ("gate", "up", "down")}
        tsp = {
            f"{kind}.{r}": np.zeros((b, n, len(self.units[kind])), np.int8)
            for kind in self.units
            for r in ("gate", "up", "down")
        }
        scalars = np.full((b, n, 6), UNKNOWN, np.int16)
        for i, key in enumerate(self.blocks):
            g, u, d = self.block(*key)
            at = self.axis(Axis.NEURON, len(u), n)
            for r, rows in (("gate", g), ("up", u), ("down", d)):
                if rows is None:
                    continue
                role = Role[r.upper()]
                matrix = sketch_matrix(spec.seed, role, rows.shape[1], k)
                out[r][i, : len(at)] = quantise(rows[at] @ matrix)
                for kind, e in self.units.items():
                    if len(e):
                        tsp[f"{kind}.{r}"][i, : len(at)] = quantise(rows[at] @ e.T)
            scalars[i, : len(at)] = _scalars(g, u, d)[at]
        for r in out:
            parts[f"neuron.{r}"] = out[r]
            parts[f"neuron.tsp.{r}"] = tsp[f".{r}"]
            parts[f"neuron.tspi.{r}"] = tsp[f"i.{r}"]
        parts["neuron.scalars"] = scalars

    def channels(self, parts: dict[str, NDArray[Any]]) -> None:
        spec = self.spec
        at = self.axis(Axis.CHANNEL, self.shape.width, spec.channels)
        k = spec.channel_sketch
        for r in ("o", "down", "up"):
            out = np.zeros((len(self.layers), len(at), k), np.int8)
            for i, layer in enumerate(self.layers):
                rows = self.get(Role[r.upper()], layer)
                if rows is None:
                    continue
                rows = rows.T if r == "up" else rows
                role = Role[r.upper()]
                matrix = sketch_matrix(spec.seed, role, rows.shape[1], k)
                out[i] = quantise(rows[at].astype(np.float64) @ matrix)
            parts[f"channel.{r}"] = out

    def norms(self, parts: dict[str, NDArray[Any]]) -> None:
        at = self.axis(Axis.CHANNEL, self.shape.width, self.spec.norm_channels)
        out = np.zeros((len(self.layers), 2, len(at)), np.int8)
        for i, layer in enumerate(self.layers):
            for j, role in enumerate((Role.NORM_ATTENTION, Role.NORM_MLP)):
                v = self.get(role, layer)
                if v is not None and len(v) == self.shape.width:
                    out[i, j] = centred_ranks(v[at])
        final = self.get(Role.NORM_FINAL)
        parts["norm.ranks"] = out
        parts["norm.final"] = (
            np.zeros(len(at), np.int8) if final is None else centred_ranks(final[at])
        )

    def raw(self, parts: dict[str, NDArray[Any]], records: list[TensorRecord]) -> None:
        s = self.spec.raw_deep
        kept, where = [], []
        for i, record in enumerate(records):
            v = self.w.get(record.slot)
            if v is None or v.ndim != 2 or min(v.shape) < s:
                continue
            rows = self.row_order(record.slot, v.shape[0], s)
            columns = self.column_order(record.slot, v.shape[1], s)
            part = np.ascontiguousarray(v[rows][:, columns])
            kept.append((part.view(np.uint32) >> np.uint32(16)).astype(np.uint16))
            where.append(i)
        parts["raw"] = np.array(kept, np.uint16).reshape(-1, s, s)
        parts["raw.record"] = np.array(where, np.int32)

    def tables(self, parts: dict[str, NDArray[Any]]) -> None:
        rows: dict[str, list[NDArray[Any]]] = {}
        blocks, begin = [], 0
        grams = _Grams(self)
        for key in self.blocks:
            g, u, d = self.block(*key)
            blocks.append((*key, begin, begin + len(u)))
            begin += len(u)
            for r, values in (("gate", g), ("up", u), ("down", d)):
                if values is None:
                    continue
                for kind, e in self.units.items():
                    if len(e):
                        rows.setdefault(f"table{kind}.{r}", []).append(
                            quantise(values @ e.T)
                        )
                rows.setdefault(f"table.qf.{r}", []).append(
                    grams.features(values, key[0])
                )
            rows.setdefault("table.scalars", []).append(_scalars(g, u, d))
        parts["table.block"] = np.array(blocks, np.int32).reshape(-1, 4)
        for name, chunks in rows.items():
            parts[name] = np.concatenate(chunks)


def _norm(x: NDArray[np.float64]) -> NDArray[np.float64]:
    length: NDArray[np.float64] = np.sqrt((x * x).sum(axis=1))
    return np.where(length > 0, length, 1e-30)


def _scalars(
    g: NDArray[np.float64] | None, u: NDArray[np.float64], d: NDArray[np.float64]
) -> NDArray[np.int16]:
    """Invariants: log|g|, log|u||d|, cos(u,d), cos(g,u)cos(g,d), |cos gu|, |cos gd|."""
    lu, ld = _norm(u), _norm(d)
    ud = (u * d).sum(axis=1) / (lu * ld)
    out = np.full((len(u), 6), UNKNOWN, np.int16)

    def log(x: NDArray[np.float64]) -> NDArray[np.int16]:
        return np.rint(np.clip(np.log(x) * 1024, -32000, 32000)).astype(np.int16)

    def cos(x: NDArray[np.float64]) -> NDArray[np.int16]:
        return np.rint(x * 16384).astype(np.int16)

    out[:, 1], out[:, 2] = log(lu * ld), cos(ud)
    out[:, 0] = log(lu if g is None else _norm(g))
    if g is not None:
        lg = _norm(g)
        gu, gd = (g * u).sum(axis=1) / (lg * lu), (g * d).sum(axis=1) / (lg * ld)
        out[:, 3], out[:, 4], out[:, 5] = cos(gu * gd), cos(abs(gu)), cos(abs(gd))
    return out


class _Grams:
    """Normalised Gram matrices on the residual axis: of each layer, and of all."""

    ROLES = (Role.Q, Role.K, Role.V, Role.O, Role.GATE, Role.UP, Role.DOWN)

    def __init__(self, maker: _Maker) -> None:
        self.by_layer: dict[tuple[int, Role], NDArray[np.float64]] = {}
        d = maker.shape.width
        total = {role: np.zeros((d, d)) for role in self.ROLES}
        for slot, v in maker.w.items():
            if slot.role not in self.ROLES or slot.part is not Part.WEIGHT:
                continue
            outward = slot.role in (Role.O, Role.DOWN)
            attention = slot.role in (Role.Q, Role.K, Role.V)
            norm = Role.NORM_ATTENTION if attention else Role.NORM_MLP
            x = v.astype(np.float64)
            x = x.T if outward else x * maker.gamma(slot.layer, norm)
            if x.shape[1] != d:
                continue
            gram = x.T @ x
            key = (slot.layer, slot.role)
            self.by_layer[key] = self.by_layer.get(key, 0) + gram
            total[slot.role] += gram
        self.total = total
        self.width = d

    def features(self, x: NDArray[np.float64], layer: int) -> NDArray[np.int16]:
        x = x / _norm(x)[:, None]
        columns = []
        for role in self.ROLES:
            for gram in (self.by_layer.get((layer, role)), self.total[role]):
                trace = 0.0 if gram is None else float(np.trace(gram))
                if gram is None or trace <= 0:
                    columns += [np.full(len(x), -32.0)] * 2
                    continue
                y = x @ (gram * (self.width / trace))
                columns += [
                    np.log((x * y).sum(1) + 1e-12),
                    np.log((y * y).sum(1) + 1e-12),
                ]
        return np.rint(np.clip(np.array(columns).T * 1024, -32767, 32767)).astype(
            np.int16
        )
