"""Progress of long tasks on the console."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 30  # seconds between two lines of progress if the output is not a terminal

ProgressCallback = Callable[[float], None]  # called with the number of units done, possibly a fraction


def no_progress(done: float) -> None:
    """Ignores progress."""


@contextmanager
def show_progress(task: str, unit: str, total: int, console: Console) -> Iterator[ProgressCallback]:
    """Shows a live bar on a terminal, else a line every `PLAIN_SECONDS`.

    Args:
        task: description of the task.
        unit: name of a unit of work, e.g. `epoch`.
        total: number of units.
        console: where to show it.

    Yields:
        A callback for the number of units done.
    """
    if not console.is_terminal:
        last_line = time.monotonic()

        def print_line(done: float) -> None:
            nonlocal last_line
            if time.monotonic() - last_line > PLAIN_SECONDS:
                last_line = time.monotonic()
                console.print(f"{task}  {unit} {int(done)}/{total}  {done / total:.0%}")

        yield print_line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn(f"{unit} {{task.fields[completed_units]}}/{total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        bar_task = bar.add_task(task, total=total, completed_units=0)
        yield lambda done: bar.update(bar_task, completed=done, completed_units=int(done))
