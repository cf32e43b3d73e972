# SPDX-License-Identifier: Apache-2.0
"""Everything here that looks at a model's files, in one call."""

from __future__ import annotations

from pedigree.examine.safety.configuration import configuration_sightings
from pedigree.examine.safety.credentials import credential_sightings
from pedigree.examine.safety.heads import head_sightings
from pedigree.examine.safety.names import name_sightings
from pedigree.examine.safety.sightings import told
from pedigree.examine.safety.template_files import template_facts
from pedigree.examine.safety.texts import Texts
from pedigree.examine.seen import Facts, Seen
from pedigree.tensors.formats import GGUF, PYTORCH, SAFETENSORS, format_by_name


def facts(seen: Seen) -> Facts:
    """Look for what could run code, hide, or lead elsewhere.

    Args:
        seen: What the examination has.

    Returns:
        Digests of chat templates as declarations, and at most one remark for each
        reason and severity.

    Raises:
        SourceError: The bytes could not be had.
    """
    listing = seen.listing
    texts = Texts(seen.source, seen.limits, listing.held)
    told_already = {remark.path for remark in listing.remarks}
    if not {SAFETENSORS, GGUF} & set(listing.formats):
        # Pickles are what was read, and their reader tells of them.
        told_already |= {x for x in texts.sizes if format_by_name(x) == PYTORCH}
    sightings = [
        *name_sightings(texts.sizes, told_already),
        *head_sightings(listing.heads, listing.zip_ends, told_already),
        *configuration_sightings(texts),
        *credential_sightings(texts, frozenset(listing.held)),
    ]
    declared, found = template_facts(texts, seen.metadata)
    return Facts(declared=tuple(declared), remarks=told([*sightings, *found]))
