"""Writes a condensed set in another format: `python -m gmlight.export run=<folder> format=png`."""

from gmlight.config.stored import run_command_on_a_set


def main() -> None:
    run_command_on_a_set("export", own_keys=("format", "to", "compare"))


if __name__ == "__main__":
    main()
