"""Makes text from files inert where it is shown: in Markdown, spreadsheets, figures and names of files."""

import re
from typing import Any

from gmlight.errors import one_line

_MARKDOWN = re.compile(r"([\\`\[\]<>|])")


def markdown_text(text: object) -> str:
    """Escapes what Markdown would read as a cell of a table, a link, code or HTML."""
    return _MARKDOWN.sub(r"\\\1", one_line(text))


def code_fence(content: str) -> str:
    """Returns the fence of a code block that the content cannot end."""
    longest = max(map(len, re.findall("`+", content)), default=0)
    return "`" * max(3, longest + 1)


def file_name(text: str) -> str:
    """Returns the text as the name of a file in its folder: without separators, of a usual length."""
    return re.sub(r"[/\\:]+", "_", one_line(text))[:120]


def figure_text(text: str) -> str:
    """Escapes the dollar signs that matplotlib would read as mathematics."""
    return one_line(text).replace("$", r"\$")


def spreadsheet_text(value: Any) -> Any:
    """Marks text that a spreadsheet would run as a formula by an apostrophe; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    return (
        f"'{one_line(value)}" if value.startswith(("=", "+", "-", "@", "\t", "\r", "\n")) else one_line(value)
    )
