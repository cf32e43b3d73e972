# SPDX-License-Identifier: Apache-2.0
"""Opinion: what a policy says about the evidence.

:func:`pedigree.policy.evaluate.judge` is the one pure function that the webhook, the
operator, the command line and replay all call.
"""
