"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

from gmlight.config.command_line import run_command
from gmlight.config.resume import expand


def main() -> None:
    run_command("train", expand)


if __name__ == "__main__":
    main()
