# SPDX-License-Identifier: Apache-2.0
"""The audit service: an append-only ledger and its query API."""
