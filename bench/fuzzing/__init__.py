# SPDX-License-Identifier: Apache-2.0
"""Hostile bytes for every parser; started by ``bench.fuzz``."""
