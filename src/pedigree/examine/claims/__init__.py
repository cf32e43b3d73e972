# SPDX-License-Identifier: Apache-2.0
"""What a model's files declare of it, and where that cannot be true.

One module for each kind of file; :mod:`pedigree.examine.claims.reading` has them all.
"""
