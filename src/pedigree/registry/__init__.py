# SPDX-License-Identifier: Apache-2.0
"""Known models: their fingerprints, and the scan against them."""
