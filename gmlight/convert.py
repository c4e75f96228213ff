"""Converts a condensed set of another program: `python -m gmlight.convert from=<file> dataset=cifar10`."""

from gmlight.config.command_line import run_command
from gmlight.config.path_words import check_named


def main() -> None:
    run_command("convert", _checked)


def _checked(words: list[str]) -> list[str]:
    check_named(words, {"from": "the file or folder to convert", "dataset": "the dataset that was condensed"})
    return words


if __name__ == "__main__":
    main()
