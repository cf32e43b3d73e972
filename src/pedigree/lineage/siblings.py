# SPDX-License-Identifier: Apache-2.0
"""SIBLING: with their common root known, is a relative a parent or a sibling?

Definition
    R is the root, S a reference made from R, Q the model asked about.  Every matrix of
    S and Q is first brought to the scale of R, row by row and column by column.  With
    ``d = S - R`` and ``q = Q - R``, the *carried share* is ``<q, d> / <d, d>``: how
    much of what S added to R is in Q.  The reverse share is ``<q, d> / <q, q>``.
Decision
    Q is told a sibling if little of what S changed is in it: the carried share with 3
    standard errors at most 0.2 over all matrices, and at most 0.3 in every layer and
    every role (and not as far below zero), while Q is not more than 3 times as far
    from R as S is.  If the reverse share is above 0.35, Q may also be a step on the way
    to S, which the sentence says; it does not descend from S in either case.  That R is
    older than S must be known from elsewhere: a chain S -> R -> Q looks the same.
What it costs to fake
    Whoever tuned a denied S must make the share small to be told a sibling.  Noise or
    further training add to q what has nothing to do with d: the share stays and its
    error grows.  Rescaled neurons, heads and channels are scaled back.  Rotated heads
    make q large.  Kept layers or roles are looked at one by one.  What is left is to
    subtract ``S - R``, which takes away what S added, or to do so only where we look.
    Positions follow from a public seed, so this is evidence for a policy only if
    the seed is salted, or if tables of all neurons, seen through as many tokens as half
    the width, agree.  Otherwise it is a remark (``counts`` is False).
    In the second case the change in attention alone could still be hidden.
No p-value
    Thresholds were measured, see ``docs/lineage.md``: 0.4 and more for descendants.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pedigree.fingerprint.model import Fingerprint
from pedigree.lineage.delta import BODY
from pedigree.lineage.paired import samples

CARRIED_MAX = 0.2
PART_MAX = 0.3
REVERSE_MAX = 0.35
SIZE_MAX = 3.0
ERRORS = 3.0
MATRICES_MIN = 6
"""Matrices that S and Q must both have changed."""
SAME_COSINE = 0.5
"""Rows and columns less alike than this have no scale that could be told."""
_ROUNDS = 3
_TABLES = ("gate", "up", "down")

Values = NDArray[np.float64]
Kept = NDArray[np.float32] | NDArray[np.int8]
Key = tuple[str, int, tuple[int, ...]]
"""Role, layer, rows and columns of the matrix."""


@dataclass(frozen=True, slots=True)
class Sibling:
    """A reference that comes from the same root as the model, by another way.

    Attributes:
        root: Name of the reference that both come from.
        carried: Share of the reference's own change that is in the model.
        error: Its standard error, over matrices.
        counts: Whether nobody could have prepared it cheaply; else a remark only.
        evidence: One sentence about A (the reference) and B (the model).
    """

    root: str
    carried: float
    error: float
    counts: bool
    evidence: str


@dataclass(frozen=True, eq=False, slots=True)
class Seen:
    """What of one model is looked at; taken out once, as it is compared with many.

    Attributes:
        raw: Samples by role, layer and shape.
        tables: Of all neurons, in the same way.
        tokens: What the columns of the tables are.
        covers: Whether tables hold all neurons, through enough tokens.
        salted: Whether nobody else knows the sampled places.
    """

    raw: Mapping[Key, list[Kept]]
    tables: Mapping[Key, list[Kept]]
    tokens: tuple[int, ...]
    covers: bool
    salted: bool


def see(model: Fingerprint) -> Seen:
    """Take out of a fingerprint what is looked at."""
    tokens = model.part("anchor.bytes")
    return Seen(
        raw=_raw(model),
        tables=_tables(model),
        tokens=() if tokens is None else tuple(tokens.tolist()),
        covers=_covers(model),
        salted=bool(model.settings.salted),
    )


def sibling_of(name: str, root: Seen, reference: Seen, model: Seen) -> Sibling | None:
    """What three models say of two of them; None if not that they are siblings.

    Args:
        name: Of the root.
        root: R, known to be older than S.
        reference: S.
        model: Q.
    """
    raw = _shares(root.raw, reference.raw, model.raw)
    if raw is None or not raw.apart:
        return None
    tabled = None
    if root.tokens == reference.tokens == model.tokens:
        tabled = _shares(root.tables, reference.tables, model.tables)
    if tabled is not None and not tabled.apart:
        return None
    salted = root.salted and reference.salted and model.salted
    covered = tabled is not None and root.covers and reference.covers and model.covers
    return Sibling(
        root=name,
        carried=raw.carried,
        error=raw.error,
        counts=salted or covered,
        evidence=(
            f"both come from {name}: B carries {raw.carried:.0%} "
            f"(+- {raw.error:.0%}) of what A changed"
            + (", or A comes from B" if raw.reverse > REVERSE_MAX else "")
        ),
    )


def central(models: Mapping[str, Seen]) -> str | None:
    """The model that is nearest to all others, as a root is to its descendants.

    Args:
        models: By name; only those of the most common form are looked at.

    Returns:
        A name, or None if fewer than three can be laid side by side.
    """
    bodies = {name: model.raw for name, model in sorted(models.items())}
    forms = [tuple(sorted(_form(body).items())) for body in bodies.values()]
    common = max(forms, key=forms.count, default=())
    same = {
        name: np.concatenate([m.ravel() for key in sorted(body) for m in body[key]])
        for (name, body), form in zip(bodies.items(), forms, strict=True)
        if form == common and form
    }
    size = min(map(len, same.values()), default=0)
    if len(same) < 3 or any(len(values) != size for values in same.values()):
        return None
    table = np.stack(list(same.values()))
    away = np.sqrt(((table[:, None] - table[None]) ** 2).sum(axis=2)).sum(axis=1)
    return list(same)[int(np.argmin(away))]


@dataclass(frozen=True, slots=True)
class _Shares:
    carried: float
    error: float
    reverse: float
    size: float
    parts: tuple[float, ...]

    @property
    def apart(self) -> bool:
        high = abs(self.carried) + ERRORS * self.error
        return (
            high <= CARRIED_MAX
            and max(map(abs, self.parts)) <= PART_MAX
            and self.size <= SIZE_MAX
        )


def _shares(
    root: Mapping[Key, list[Kept]],
    reference: Mapping[Key, list[Kept]],
    model: Mapping[Key, list[Kept]],
) -> _Shares | None:
    """Shares over matrices that all three have in one shape; None if these are few."""
    if not (_form(root) == _form(reference) == _form(model)):
        return None
    rows: list[tuple[float, float, float]] = []
    keys: list[Key] = []
    for key in sorted(root):
        for three in zip(root[key], reference[key], model[key], strict=True):
            size = min(map(len, three))
            r, s, q = (x[:size, :size].astype(np.float64) for x in three)
            d, e = _to_scale(s, r) - r, _to_scale(q, r) - r
            rows.append(
                (float((d * e).sum()), float((d * d).sum()), float((e * e).sum()))
            )
            keys.append(key)
    moved = np.array(rows, float).reshape(-1, 3)
    if (moved[:, 1:].min(axis=1, initial=np.inf) > 0).sum() < MATRICES_MIN:
        return None
    both, own, other = moved.sum(axis=0)
    carried = both / own
    spread = moved[:, 0] - carried * moved[:, 1]
    return _Shares(
        carried=float(carried),
        error=float(np.sqrt((spread**2).sum()) / own),
        reverse=float(both / other),
        size=float(np.sqrt(other / own)),
        parts=tuple(_parts(keys, moved)),
    )


def _form(matrices: Mapping[Key, list[Kept]]) -> dict[Key, int]:
    return {key: len(values) for key, values in matrices.items()}


def _parts(keys: list[Key], moved: Values) -> Iterable[float]:
    """The carried share by role and by layer, where the reference changed anything."""
    for at in (0, 1):
        for value in sorted({key[at] for key in keys}, key=str):
            both, own, _ = moved[[key[at] == value for key in keys]].sum(axis=0)
            if own > 0:
                yield float(both / own)


def _to_scale(values: Values, like: Values) -> Values:
    """Rows and columns brought to the scale they have in another matrix."""
    for _ in range(_ROUNDS):
        for axis in (1, 0):
            both = (values * like).sum(axis=axis, keepdims=True)
            wanted = (like * like).sum(axis=axis, keepdims=True)
            own = (values * values).sum(axis=axis, keepdims=True)
            same = both**2 > SAME_COSINE**2 * wanted * own
            values = values * np.where(same, wanted / np.where(same, both, 1.0), 1.0)
    return values


def _raw(model: Fingerprint) -> dict[Key, list[Kept]]:
    found: dict[Key, list[Kept]] = {}
    for slot, (record, values) in sorted(samples(model).items()):
        if slot.role in BODY:
            key = (str(slot.role), slot.layer, record.shape)
            found.setdefault(key, []).append(values)
    return found


def _tables(model: Fingerprint) -> dict[Key, list[Kept]]:
    blocks = model.part("table.block")
    found: dict[Key, list[Kept]] = {}
    for layer, _, begin, end in [] if blocks is None else blocks.tolist():
        for role in _TABLES:
            table = model.part(f"table.{role}")
            if table is not None and len(table):
                rows = table[begin:end]
                found.setdefault((role, layer, rows.shape), []).append(rows)
    return found


def _covers(model: Fingerprint) -> bool:
    """Whether tables hold all neurons, through enough tokens to see most of each."""
    blocks, tokens = model.part("table.block"), model.part("anchor.bytes")
    if blocks is None or tokens is None or 2 * len(tokens) < model.shape.width:
        return False
    held = {(int(layer), int(expert)) for layer, expert, _, _ in blocks.tolist()}
    return held == set(model.blocks) and len(held) >= model.shape.layers
