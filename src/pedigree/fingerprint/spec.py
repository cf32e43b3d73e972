# SPDX-License-Identifier: Apache-2.0
"""What fixes the bits of a fingerprint.

Two fingerprints can be compared if their specs are equal.  Every number that changes
a bit of output is here, is stored with the fingerprint, and is described in
``docs/format.md``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum

LAYERS_MAX = 512
"""Far above published models, the deepest of which have about 130."""
BLOCKS_MAX = 2048
"""Feed-forward blocks that are sketched: 256 layers of 8 experts."""
AXIS_MAX = 2**18
"""Rows or columns of a matrix other than embedding and head; published models stay
below 60,000.  Bounds the memory of a sketch matrix to 67 MB."""
VOCABULARY_MAX = 2**22
"""Rows of embedding and head; published models stay below 300,000."""
SPEC_V1 = "pedigree.dev/fingerprint/v1"
SPEC_NAME = "pedigree.dev/fingerprint/v2"
RUN = 16
"""Consecutive indices that are sampled together, so that one ranged read does."""


class Profile(StrEnum):
    """How much of a model a fingerprint keeps; each holds all of the one before."""

    MINIMAL = "minimal"
    """Coarse codes and a few sketches: below 10 kB for any size of model."""
    FAST = "fast"
    """Sampled rows, read by ranges: below 1 % of the bytes of a large model."""
    DEEP = "deep"
    """All bytes: digests of whole tensors, and tables of all neurons of some blocks,
    which a permutation of the neurons cannot hide from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintSpec:
    """Parameters of fingerprint v2; the defaults are v2."""

    name: str = SPEC_NAME
    seed: int = 0x706564696772
    """Public; the ASCII text ``pedigr``, below 2**53.  A salted fingerprint has
    another, which only the owner of the salt can tell."""
    salted: int = 0
    """1 if ``seed`` comes from a secret salt."""
    neurons: int = 32
    """Sampled neurons of each feed-forward block."""
    projected_neurons: int = 16
    """Those of them that are projected on anchor tokens; deep: all."""
    channels: int = 64
    """Sampled residual channels for features of weights."""
    digest_rows: int = 8
    """Sampled rows of every matrix that its sample digest and counts are of."""
    digest_values: int = 65536
    """Values of a vector that they are of; the first ones."""
    distinct_values: int = 8192
    """Sampled values among which distinct ones are counted; the first ones."""
    sketch: int = 32
    """Sketch values per neuron and role."""
    channel_sketch: int = 16
    """Sketch values per residual channel and role."""
    byte_tokens: int = 48
    """Anchor tokens chosen by their bytes; deep: ``byte_tokens_deep``."""
    byte_tokens_deep: int = 128
    index_tokens: int = 64
    """Anchor tokens chosen by their row; deep: ``index_tokens_deep``."""
    index_tokens_deep: int = 256
    projected_index_tokens: int = 24
    """Index anchors that neurons are projected on; deep: the next field."""
    projected_index_tokens_deep: int = 48
    norm_channels: int = 256
    """Sampled residual channels for norm vectors."""
    experts: int = 8
    """Experts per layer that are sketched, at most; the first ones."""
    blocks: int = 64
    """Blocks that are sketched, if every layer has one; sets experts per layer."""
    raw: int = 8
    """Rows and columns of each matrix of which values are kept; deep: ``raw_deep``."""
    raw_deep: int = 32
    fossils: int = 64
    """Embedding rows of which values are kept; deep: ``fossils_deep``."""
    fossils_deep: int = 2048
    fossil_channels: int = 8
    """Sampled channels at which they are kept."""
    table_neurons: int = 8192
    """Deep: neurons in the tables of whole blocks, if more than one block."""
    table_values: int = 2**26
    """Deep: weights of a matrix of which whole neurons are compared across roles."""
    gram_products: int = 2**33
    """Deep: multiplications for the directions of a model, above which there are no
    features by them."""
    gram_channels: int = 128
    """Deep: rows and columns of which inner products are kept for adapters."""
    grid_rows: int = 2
    """Sampled rows that lattices are looked for in."""
    minimal_layers: int = 10
    """Minimal: layers that are kept, spread evenly; and so below."""
    minimal_neurons: int = 8
    minimal_sketch: int = 16
    minimal_tokens: int = 16
    minimal_norm_channels: int = 64
    auto_deep_bytes: int = 2**28
    """Tensor bytes up to which the profile is deep if none is asked for."""

    def to_dict(self) -> dict[str, int | str]:
        """JSON form."""
        return asdict(self)


V2 = FingerprintSpec()
