# SPDX-License-Identifier: Apache-2.0
"""What fixes the bits of a fingerprint.

Two fingerprints can be compared if their specs are equal.  Every number that changes
a bit of output is here, is stored with the fingerprint, and is described in
``docs/format.md``.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

LAYERS_MAX = 512
"""Far above published models, the deepest of which have about 130."""
BLOCKS_MAX = 2048
"""Feed-forward blocks that are sketched: 256 layers of 8 experts."""
AXIS_MAX = 2**18
"""Rows or columns of a matrix other than embedding and head; published models stay
below 60,000.  Bounds the memory of a sketch matrix to 67 MB."""
VOCABULARY_MAX = 2**22
"""Rows of embedding and head; published models stay below 300,000."""
SPEC_NAME = "pedigree.dev/fingerprint/v1"


@dataclass(frozen=True, slots=True, kw_only=True)
class FingerprintSpec:
    """Parameters of fingerprint v1; the defaults are v1.

    Sizes are guesses that the measurements in ``docs/lineage.md`` support: 64 rows
    give a floor of 1/64! = 1e-89 per layer, 3 x 32 sketch values per row leave a
    noise of 0.1 on one row's cosine.
    """

    name: str = SPEC_NAME
    seed: int = 0x706564696772
    """Public; the ASCII text ``pedigr``, below 2**53."""
    neurons: int = 64
    """Sampled neurons of each feed-forward block."""
    channels: int = 64
    """Sampled residual channels for features of weights."""
    sketch: int = 32
    """Sketch values per row and role."""
    tokens: int = 128
    """Sampled rows of embedding and head."""
    norm_channels: int = 256
    """Sampled residual channels for norm vectors."""
    experts: int = 8
    """Experts per layer that are sketched; the first ones."""

    def to_dict(self) -> dict[str, int | str]:
        """JSON form."""
        return asdict(self)


V1 = FingerprintSpec()
