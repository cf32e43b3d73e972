# SPDX-License-Identifier: Apache-2.0
"""The benchmarks are programs of the repository's root, not of an installed package."""

import sys
from pathlib import Path

ROOT = str(Path(__file__).resolve().parents[3])
if ROOT not in sys.path:
    sys.path.append(ROOT)
