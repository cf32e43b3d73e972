# SPDX-License-Identifier: Apache-2.0
"""What in a model's files could run code, hide, or lead elsewhere.

Facts and no verdict: names, first bytes, configurations, small texts and chat templates
are looked at; nothing is executed, rendered, unpacked or loaded.
"""
