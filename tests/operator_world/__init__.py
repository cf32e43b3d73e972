# SPDX-License-Identifier: Apache-2.0
"""A world for tests of the operator: a control plane, models, and the process."""
