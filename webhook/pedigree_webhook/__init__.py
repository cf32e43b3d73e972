# SPDX-License-Identifier: Apache-2.0
"""The validating admission webhook: answers from memory, fails closed."""
