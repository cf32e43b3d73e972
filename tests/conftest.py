# SPDX-License-Identifier: Apache-2.0
"""What holds for every test."""

from hypothesis import settings

# How long one example takes says more of the machine than of the code; a hang is what
# the timeout of each test is for.
settings.register_profile("pedigree", deadline=None)
settings.load_profile("pedigree")
