# SPDX-License-Identifier: Apache-2.0
"""Entries, ledgers and running audit services, for tests and benchmarks."""
