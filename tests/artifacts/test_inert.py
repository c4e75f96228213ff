"""Text from files does nothing where it is shown."""

import io

import pytest
from rich.table import Table

from gmlight.artifacts.inert import code_fence, figure_text, file_name, markdown_text, spreadsheet_text
from gmlight.errors import ConfigError, one_line
from gmlight.runtime.console import new_console


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mnist, ipc 1 ± ü 猫", "mnist, ipc 1 ± ü 猫"),
        ("\x1b[31mred\x07", r"\x1b[31mred\x07"),
        ("a\nb\r\tc", r"a\nb\r\tc"),
        ("a\x9b31m\x7f", r"a\x9b31m\x7f"),
        ("a\u2028b\u202ec", r"a\u2028b\u202ec"),
    ],
)
def test_control_characters_are_escaped(text: str, shown: str) -> None:
    assert one_line(text) == shown
    assert str(ConfigError(f"{text}: wrong")) == f"{shown}: wrong"


def test_nothing_acts_on_the_terminal() -> None:
    console = new_console()
    console.file = io.StringIO()
    console.print("two\nlines \x1b[2J [bold]x[/bold] :smile:")
    table = Table("\x1b[1m", title="\x1b]0;title\x07")
    table.add_row("\x1b[31m")
    console.print(table)
    text = console.file.getvalue()
    assert "\x1b" not in text
    assert "\x07" not in text
    assert text.startswith("two\nlines \\x1b[2J [bold]x[/bold] :smile:\n")


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("cos_mse 91.9±0.4", "cos_mse 91.9±0.4"),
        ("a|b", r"a\|b"),
        ("a\n| b |", r"a\\n\| b \|"),
        ("<img src=x>", r"\<img src=x\>"),
        ("`x` [l](javascript:x)", r"\`x\` \[l\](javascript:x)"),
    ],
)
def test_markdown_is_text(text: str, escaped: str) -> None:
    assert markdown_text(text) == escaped


def test_code_block_is_not_ended_by_its_content() -> None:
    assert code_fence("python -m gmlight.train") == "```"
    assert code_fence("a ``` b ````` c") == "``````"


@pytest.mark.parametrize("value", [-1.5, 3, None, 0.0])
def test_numbers_stay_numbers(value: float | None) -> None:
    assert spreadsheet_text(value) is value


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@sum", "\tx", "\rx"])
def test_formulas_are_marked_as_text(text: str) -> None:
    assert spreadsheet_text(text) == f"'{one_line(text)}"
    assert spreadsheet_text(f"a{text}") == f"a{one_line(text)}"


def test_names_of_files_stay_in_their_folder() -> None:
    assert file_name("../../etc/x") == ".._.._etc_x"
    assert len(file_name("x" * 1000)) == 120


def test_figures_show_dollar_signs() -> None:
    assert figure_text(r"$\frac{a}$") == r"\$\frac{a}\$"
