# SPDX-License-Identifier: Apache-2.0
"""The operator: examines models, judges them, holds and releases workloads."""
