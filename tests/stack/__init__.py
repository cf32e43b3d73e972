# SPDX-License-Identifier: Apache-2.0
"""Pedigree as it ships, on a real control plane: the chart's own objects, and the three
services as processes that use the chart's ServiceAccounts and certificates.

For tests and demonstrations; nothing here is part of the product.
"""

from stack.services import Service
from stack.stack import Stack

__all__ = ["Service", "Stack"]
