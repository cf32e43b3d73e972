# SPDX-License-Identifier: Apache-2.0
"""Near identity: what is kept of a model's weights."""
