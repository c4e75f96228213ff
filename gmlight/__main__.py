"""Lists the commands, or runs one: `python -m gmlight train dataset=mnist`."""

import ast
import sys
from importlib import import_module
from pathlib import Path

from gmlight.runtime.terminal import prepare_terminal, print_version

COMMANDS = (
    "train", "evaluate", "analyze", "export", "convert", "merge", "proxy", "continual", "report", "schedule",
    "benchmark",
)  # fmt: skip


def main() -> None:
    prepare_terminal()
    words = sys.argv[1:]
    if words and words[0] in COMMANDS:
        sys.argv = [f"gmlight.{words[0]}", *words[1:]]
        import_module(f"gmlight.{words[0]}").main()
    elif not print_version(words):
        print(usage())
        if words and words[0] not in ("-h", "--help"):
            sys.exit(f"gmlight: {words[0]}: no such command; use one of {', '.join(COMMANDS)}")


def usage() -> str:
    """Returns a line for each command: how to call it, and what it does."""
    lines = [f"  python -m gmlight.{name:<10} {_summary(name)}" for name in COMMANDS]
    return "\n".join(
        ["usage: python -m gmlight.<command> key=value ...", "", *lines, "", "--help explains each."]
    )


def _summary(name: str) -> str:
    # Read from the source, because importing all commands is slow.
    source = Path(__file__).with_name(f"{name}.py").read_text(encoding="utf-8")
    return (ast.get_docstring(ast.parse(source)) or "").split(":")[0]


if __name__ == "__main__":
    main()
