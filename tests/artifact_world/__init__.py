# SPDX-License-Identifier: Apache-2.0
"""Models made by code, right and wrong, and a Hub to read them from."""
