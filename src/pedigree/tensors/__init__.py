# SPDX-License-Identifier: Apache-2.0
"""Read weights, run nothing: strict bounded parsers over ranged reads."""
