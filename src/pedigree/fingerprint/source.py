# SPDX-License-Identifier: Apache-2.0
"""From a model at some place to its fingerprint: the one way everybody takes.

A fingerprint depends on the tokenizer (which rows are anchors) and on the
configuration (how fused tensors are split), so whoever made one without them would
have another fingerprint of the same model.
"""

from __future__ import annotations

from pedigree.fingerprint.build import Progress, build_fingerprint
from pedigree.fingerprint.hints import hints_of, read_hints
from pedigree.fingerprint.model import Fingerprint
from pedigree.fingerprint.spec import Profile
from pedigree.fingerprint.vocabulary import read_vocabulary
from pedigree.limits import DEFAULT, Limits
from pedigree.ranges import ModelSource
from pedigree.tensors.checkpoint import Checkpoint
from pedigree.tensors.remarks import Remark


def fingerprint_source(
    source: ModelSource,
    *,
    checkpoint: Checkpoint | None = None,
    profile: Profile | None = None,
    salt: bytes | None = None,
    limits: Limits = DEFAULT,
    progress: Progress | None = None,
    remarks: list[Remark] | None = None,
) -> Fingerprint:
    """Fingerprint a model with its tokenizer and configuration.

    Args:
        source: The model.
        checkpoint: Its weights, if they were opened already.
        profile: See :func:`~pedigree.fingerprint.build.build_fingerprint`.
        salt: See there.
        limits: Bounds.
        progress: See there.
        remarks: Filled with what is wrong with tokenizers; see
            :func:`~pedigree.fingerprint.vocabulary.read_vocabulary`.

    Raises:
        ArtifactError: The weights are refused; see there.
        ConfigError: The salt is too short (``SaltTooShort``).
        SourceError: The bytes could not be had.
    """
    weights = Checkpoint.open(source, limits) if checkpoint is None else checkpoint
    own = weights.config  # the file that the weights are in knows better than another
    return build_fingerprint(
        weights,
        vocabulary=read_vocabulary(source, limits, remarks, weights.tokens),
        hints=hints_of(own) if own else read_hints(source, limits),
        profile=profile,
        salt=salt,
        progress=progress,
    )
