# SPDX-License-Identifier: Apache-2.0
"""``python -m pedigree`` is the ``pedigree`` command."""

import sys

from pedigree.cli import main

if __name__ == "__main__":
    sys.exit(main())
