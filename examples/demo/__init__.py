# SPDX-License-Identifier: Apache-2.0
"""The demonstration: Pedigree gating real models on a real Kubernetes API server.

``make demo`` runs it.  The same steps, with services killed in the middle of each, are
tests in ``tests/demo``.
"""
