# SPDX-License-Identifier: Apache-2.0
"""The ``pedigree`` command: arguments in, exit code out.

This module knows the commands by name only.  Each is a module
``<name>_command.py`` with two functions::

    register(subparsers)   adds its parser and sets ``run`` as its default
    run(args) -> int       does the work; imports what is heavy inside

so that ``pedigree --help`` loads no numerics.  A command returns 0, 1 or 4 itself and
raises a :class:`~pedigree.errors.PedigreeError` when it has no answer.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from pedigree import __version__
from pedigree.cli.failure import (
    EXIT_BUG,
    EXIT_INTERRUPTED,
    EXIT_USAGE,
    exit_code,
    print_failure,
)
from pedigree.errors import PedigreeError

COMMANDS = (
    "compare",
    "scan",
    "tree",
    "fingerprint",
    "registry",
    "examine",
    "gate",
    "audit",
    "explain",
)
"""In the order ``--help`` shows them."""

_GARBAGE_FROM = 50_000
"""Objects made since the last look for garbage in cycles."""
_EXITS = """\
exit codes:
  0  answered; nothing forbids it     3  no answer was possible: the model, its
  1  answered: the verdict is no         source or the policy is wrong
  2  wrong usage or configuration     4  there was nothing to check
                                     70  a bug in pedigree
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        argv: Arguments without the program's name; those of the process if None.

    Returns:
        The exit code; the table is in ``docs/cli.md``.
    """
    # Products here are small: a pool of threads makes them slower, by ten times on a
    # machine that is busy, and takes memory.  Numerics are loaded after this.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    # Loading makes many objects and no garbage: looking for it is a tenth of the time.
    gc.set_threshold(max(_GARBAGE_FROM, gc.get_threshold()[0]))
    arguments = list(sys.argv[1:] if argv is None else argv)
    try:
        args = _parser(arguments).parse_args(arguments)
    except SystemExit as stop:  # argparse has printed help or the usage error
        return stop.code if isinstance(stop.code, int) else EXIT_USAGE
    as_json = bool(getattr(args, "json", False))
    try:
        code = args.run(args)
        sys.stdout.flush()
        return int(code)
    except PedigreeError as error:
        print_failure(error, as_json=as_json)
        return exit_code(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)  # noqa: T201 - the command's own voice
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as `| head` does: say nothing more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        traceback.print_exc()
        print_failure(error, as_json=as_json)
        return EXIT_BUG


def _parser(arguments: Sequence[str]) -> argparse.ArgumentParser:
    """All commands, or only the one that is named: each costs time to load."""
    named = [name for name in arguments[:1] if name in COMMANDS]
    parser = _Parser(
        prog="pedigree",
        description="What do these weights descend from, and may that run here?",
        epilog=_EXITS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"pedigree {__version__}"
    )
    subparsers = parser.add_subparsers(
        title="commands", metavar="COMMAND", required=True, parser_class=_Parser
    )
    for name in named or COMMANDS:
        import_module(f"pedigree.cli.{name}_command").register(subparsers)
    return parser


class _Parser(argparse.ArgumentParser):
    """Usage errors in the voice of all other errors."""

    def error(self, message: str) -> NoReturn:
        self.print_usage(sys.stderr)
        self.exit(EXIT_USAGE, f"error: {message}\nhint: {self.prog} --help\n")
