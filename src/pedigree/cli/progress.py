# SPDX-License-Identifier: Apache-2.0
"""Progress of long reads, on stderr, and only where somebody watches."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pedigree.cli.far import usage_words

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

    from pedigree.ranges import Usage

Report = Callable[[int, int], None]
"""Called with (done, in all)."""
StageReport = Callable[[str, int, int], None]
"""Called with (stage, done, in all)."""
Spent = Callable[[], "Usage"]
"""What reading took so far."""


@contextmanager
def byte_progress(label: str, spent: Spent | None = None) -> Iterator[Report | None]:
    """A bar of one stage; see :func:`stage_progress`."""
    with stage_progress(spent) as report:
        if report is None:
            yield None
        else:
            yield lambda done, total: report(label, done, total)


@contextmanager
def stage_progress(spent: Spent | None = None) -> Iterator[StageReport | None]:
    """One bar per stage; None where stderr is no terminal.

    Args:
        spent: Of a model that is far, of which most is never read: then the bar shows
            the share of the stage, and what was received and asked for so far.  Else it
            counts bytes.
    """
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, Progress, TaskID, TextColumn

    counted = _bytes_columns() if spent is None else _spent_columns(spent)
    columns = (TextColumn("{task.description}"), BarColumn(), *counted)
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        tasks: dict[str, TaskID] = {}

        def report(stage: str, done: int, total: int) -> None:
            if stage not in tasks:
                tasks[stage] = bar.add_task(escape(stage), total=total)
            bar.update(tasks[stage], completed=done, total=total)

        yield report


def _bytes_columns() -> tuple[ProgressColumn, ...]:
    from rich.progress import DownloadColumn, TimeRemainingColumn, TransferSpeedColumn

    return DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn()


def _spent_columns(spent: Spent) -> tuple[ProgressColumn, ...]:
    from rich.progress import ProgressColumn, Task, TaskProgressColumn
    from rich.text import Text

    class SpentColumn(ProgressColumn):
        """Asks at every refresh: between two steps there may be hundreds of reads."""

        def render(self, task: Task) -> Text:
            del task
            return Text(usage_words(spent()))

    return TaskProgressColumn(), SpentColumn()


@contextmanager
def count_progress(label: str) -> Iterator[Report | None]:
    """A bar that counts things; None where stderr is no terminal."""
    if not sys.stderr.isatty():
        yield None
        return
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(label), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)
