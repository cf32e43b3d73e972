# SPDX-License-Identifier: Apache-2.0
"""Who descends from whom: tests of dependence between two fingerprints.

Importing this package loads no numerics, so that policy and admission can name
lineage classes without them.
"""
