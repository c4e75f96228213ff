"""Writes the page of a use of condensed sets: tables, a picture and the command, in one file."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from gmlight.reporting.html import data_uri, render
from gmlight.runtime.atomic import atomic_write


@dataclass(frozen=True)
class UseTable:
    """A table for the terminal and the page; its first column is text, the others are numbers.

    Args:
        title: of the table.
        headings: of the columns.
        rows: cells as text.
        lines: explanations under the table.
    """

    title: str
    headings: Sequence[str]
    rows: Sequence[Sequence[str]]
    lines: Sequence[str] = field(default=())


def print_use_table(table: UseTable, console: Console) -> None:
    """Prints a table and its lines."""
    printed = Table(
        title=table.title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), title_style="bold", title_justify="left"
    )
    for place, heading in enumerate(table.headings):
        printed.add_column(heading, justify="right" if place else "left", no_wrap=place > 0)
    for row in table.rows:
        printed.add_row(*row)
    console.print(printed)
    for line in table.lines:
        console.print(line)


def write_use_page(
    path: Path, title: str, subtitle: str, tables: Sequence[UseTable], picture: Path, command: str
) -> Path:
    """Writes the page.

    Args:
        path: of the page.
        title: of the page.
        subtitle: under the title.
        tables: in their order.
        picture: a PNG file, shown under the tables.
        command: that made the page.

    Returns:
        The path.
    """
    content = render(
        "use.html",
        title=title,
        subtitle=subtitle,
        tables=[asdict(table) for table in tables],
        picture={"title": "Figure", "source": data_uri(picture)},
        command=command,
    )
    with atomic_write(path, new=True) as file:
        file.write_text(content, encoding="utf-8")
    return path
