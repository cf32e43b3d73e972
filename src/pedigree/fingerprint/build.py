# SPDX-License-Identifier: Apache-2.0
"""From weights to a fingerprint.

Fast reads sampled rows only; deep reads the same rows and then every byte.  What both
keep is equal, so that any two profiles can be compared.
"""

from __future__ import annotations

import hashlib
import hmac
import math
from collections.abc import Callable, Iterator
from dataclasses import replace

from pedigree.errors import ConfigError
from pedigree.fingerprint.canonical import CanonicalReader
from pedigree.fingerprint.families import FAMILIES
from pedigree.fingerprint.hints import Hints
from pedigree.fingerprint.layer_pass import LayerPass
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.plan import Plan
from pedigree.fingerprint.reduced import reduced
from pedigree.fingerprint.roles import map_roles
from pedigree.fingerprint.sampled import BitReader
from pedigree.fingerprint.slots import FEW_BITS, QUANTISED, Role, RoleMap
from pedigree.fingerprint.spec import V2, FingerprintSpec, Profile
from pedigree.fingerprint.vocabulary import Vocabulary
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.dtypes import DTYPES

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all) after each tensor."""
_ROUNDED_BITS = 9
"""For each value, scales included: 8.5 of GGUF's Q8_0 is the most of any layout."""
_COARSE_BITS = 4
"""Below that: layouts of 3 bits and less, with their scales where they are inside."""
ADAPTER_DEEP_BYTES = 2**31
"""Tensor bytes up to which an adapter's profile is deep if none is asked for: rank 64
for all matrices of a model with 70 billion weights takes 1.6 GB (12 ms for each MB)."""
SALT_MIN_BYTES = 16
"""A salt that can be guessed hides nothing."""


def build_fingerprint(
    checkpoint: Checkpoint,
    *,
    vocabulary: Vocabulary | None = None,
    hints: Hints | None = None,
    profile: Profile | None = None,
    spec: FingerprintSpec = V2,
    salt: bytes | None = None,
    progress: Progress | None = None,
) -> Fingerprint:
    """Fingerprint a model.

    Args:
        checkpoint: The model's weights.
        vocabulary: What its embedding's rows stand for; None if that is not known.
        hints: How its fused tensors are laid out.
        profile: How much to keep; None for deep up to ``spec.auto_deep_bytes`` of
            tensors, else fast.
        spec: What fixes the bits.
        salt: A secret of at least 16 bytes that decides what is sampled, so that
            nobody else knows which weights are looked at.
        progress: Told after each tensor how many bytes are done.

    Returns:
        The fingerprint.  An unknown architecture has records only, and says so in
        ``reason``.

    Raises:
        ArtifactError: A weight that was read is not finite (``NonFiniteTensor``),
            cannot be read (reasons of :class:`Checkpoint`), or there are more layers
            than any model has (``LimitExceeded``).
        ConfigError: The salt is too short (``SaltTooShort``).
        SourceError: The bytes could not be had.
    """
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    roles = map_roles(shapes, FAMILIES, hints)
    notes = {*roles.notes, *_storage_notes(checkpoint)}
    roles = replace(roles, notes=tuple(sorted(notes)))
    if profile is None:
        profile = automatic_profile(checkpoint, spec)
    whole = profile if profile is Profile.DEEP else Profile.FAST
    settings = spec if salt is None else salted(spec, salt)
    reader = CanonicalReader(checkpoint)
    plan = _plan(reader, roles, settings, whole)
    bits = BitReader(checkpoint, reader)
    made = LayerPass(checkpoint, bits, roles, plan, vocabulary, progress).run()
    return made if profile is whole else reduced(made)


def _storage_notes(checkpoint: Checkpoint) -> Iterator[str]:
    """What is to be remarked about how most weights are stored."""
    rounded = coarse = every = 0
    for info in checkpoint.tensors.values():
        every += info.count
        coded = info.coding is not None or DTYPES[info.dtype].bits <= 8
        if not coded or len(info.shape) < 2:
            continue
        rounded += info.count if 8 * info.nbytes <= _ROUNDED_BITS * info.count else 0
        coarse += info.count if 8 * info.nbytes < _COARSE_BITS * info.count else 0
    if 2 * rounded > every:
        yield QUANTISED
    if 2 * coarse > every:
        yield FEW_BITS


def automatic_profile(checkpoint: Checkpoint, spec: FingerprintSpec = V2) -> Profile:
    """Deep for small models, else fast; deep for adapters, unless they are very large.

    A fast fingerprint keeps nothing that tells an adapter's base.
    """
    size = sum(info.end - info.begin for info in checkpoint.tensors.values())
    adapter = _is_adapter(checkpoint)
    allowed = ADAPTER_DEEP_BYTES if adapter else spec.auto_deep_bytes
    return Profile.DEEP if size <= allowed else Profile.FAST


def _is_adapter(checkpoint: Checkpoint) -> bool:
    if not any(".lora_" in name for name in checkpoint.tensors):
        return False  # as nearly always, and cheap to tell
    shapes = {name: info.shape for name, info in checkpoint.tensors.items()}
    return map_roles(shapes, FAMILIES, None).reason == "AdapterWeights"


def salted(spec: FingerprintSpec, salt: bytes) -> FingerprintSpec:
    """The spec with a seed that only the owner of the salt can tell.

    Raises:
        ConfigError: The salt has less than 16 bytes (``SaltTooShort``).
    """
    if len(salt) < SALT_MIN_BYTES:
        raise ConfigError(
            f"salt has {len(salt)} bytes, wanted at least {SALT_MIN_BYTES}",
            reason="SaltTooShort",
            hint="make one with `head -c 32 /dev/urandom > FILE`",
        )
    mac = hmac.new(salt, spec.name.encode(), hashlib.sha256).digest()
    return replace(spec, seed=int.from_bytes(mac[:8], "big") >> 11, salted=1)


def _plan(
    reader: CanonicalReader, roles: RoleMap, spec: FingerprintSpec, profile: Profile
) -> Plan:
    mapped = {
        piece.slot: reader.shape(piece)
        for piece in roles.pieces
        if piece.slot.role is not Role.OTHER
    }
    parameters = sum(math.prod(reader.shape(piece)) for piece in roles.pieces)
    return Plan(mapped, parameters, spec, profile)
