# SPDX-License-Identifier: Apache-2.0
"""Pedigree: what do these weights descend from, and may that run here?

The core of the gate.  It knows no server, no cluster and no framework: the
operator, the webhook and the audit service are built on it and never on each
other.  Packages, from the bottom up:

``digests``, ``refs``, ``limits``, ``ranges``
    exact identity, model references, bounds on hostile input, ranged reads
``manifest``, ``tensors``
    the files of a model and their root digest; strict, bounded header parsing
``fingerprint``, ``lineage``
    what is kept of the weights; tests of dependence between two fingerprints
``evidence``
    facts about one model, without opinion
``policy``, ``registry``, ``sources``, ``ledger``
    opinion under a policy; known models; where bytes come from; audit entries
``examine``, ``cli``
    a model reference to evidence; the ``pedigree`` command
"""

__version__ = "0.1.0"

__all__ = ["__version__"]
