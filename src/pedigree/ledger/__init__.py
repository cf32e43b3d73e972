# SPDX-License-Identifier: Apache-2.0
"""Audit entries, and their durable delivery."""
