# SPDX-License-Identifier: Apache-2.0
"""Changes that people, tools and attackers make to models, made with numpy alone.

``network`` holds a model of one of three kinds in one form; ``files`` reads and writes
it; ``launder``, ``rounding``, ``damage``, ``shape`` and ``merging`` change it;
``catalogue`` gives every change a name.
"""
