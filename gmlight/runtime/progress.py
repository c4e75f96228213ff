"""How much of something long is done, and how the console shows it."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

PLAIN_SECONDS = 30  # after which there is a new line in any case, where the output is no terminal

Told = Callable[[float], None]  # is told how much is done


def untold(done: float) -> None:
    """For work that nobody watches."""


@contextmanager
def shown(doing: str, unit: str, total: int, console: Console) -> Iterator[Told]:
    """A live bar, or plain lines without a terminal; yields what is told how many units are done."""
    if not console.is_terminal:
        last_line = time.monotonic()

        def line(done: float) -> None:
            nonlocal last_line
            if time.monotonic() - last_line > PLAIN_SECONDS:
                last_line = time.monotonic()
                console.print(f"{doing}  {unit} {int(done)}/{total}  {done / total:.0%}")

        yield line
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        TextColumn(f"{unit} {{task.fields[whole]}}/{total}"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task(doing, total=total, whole=0)
        yield lambda done: bar.update(task, completed=done, whole=int(done))
