# SPDX-License-Identifier: Apache-2.0
"""What tests judge: subjects, policies, references and evidence, made by code."""
