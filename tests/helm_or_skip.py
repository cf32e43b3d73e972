# SPDX-License-Identifier: Apache-2.0
"""Helm, for tests that render the chart."""

import os
from pathlib import Path

import pytest

from controlplane import ProgramError
from controlplane.binaries import ensure


def helm_or_skip() -> Path:
    """Helm, built on first use; without it the test is skipped, but never in CI."""
    try:
        return ensure(["helm"])["helm"]
    except ProgramError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no helm: {error}")
