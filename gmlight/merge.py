"""Joins condensed sets of different classes: `python -m gmlight.merge runs=[a,b] to=c`."""

from gmlight.config.command_line import run_command
from gmlight.config.path_words import check_named, with_runs_as_list


def main() -> None:
    run_command("merge", _prepared)


def _prepared(words: list[str]) -> list[str]:
    check_named(words, {"runs": "the sets to join", "to": "a new folder"})
    return with_runs_as_list(words)


if __name__ == "__main__":
    main()
