# SPDX-License-Identifier: Apache-2.0
"""The way in to the programs: ``ensure`` for code, a command for the shell.

    python -m controlplane.binaries [NAME ...]

locates or builds the named programs (all if none is named; ``promtool`` may be
named too) and prints their paths, one a line.
"""

import argparse
import sys

from controlplane.errors import ControlPlaneError
from controlplane.pins import PROGRAMS
from controlplane.programs import ensure
from controlplane.promtool import ensure_promtool

__all__ = ["ensure", "ensure_promtool", "main"]


def main(arguments: list[str] | None = None) -> int:
    """Run the command; see the module's docstring."""
    parser = argparse.ArgumentParser(
        prog="python -m controlplane.binaries",
        description="Locate or build the programs of a real Kubernetes control plane.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join(PROGRAMS)} or promtool; all but promtool if none is named",
    )
    names = parser.parse_args(arguments).names or list(PROGRAMS)
    try:
        paths = ensure(name for name in names if name != "promtool")
        if "promtool" in names:
            paths["promtool"] = ensure_promtool()
    except ControlPlaneError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    for path in paths.values():
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
