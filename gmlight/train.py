"""Condenses a dataset: `python -m gmlight.train dataset=mnist ipc=1`."""

import sys

from gmlight.config.command_line import run_command
from gmlight.config.resume import expand
from gmlight.errors import ConfigError


def main() -> None:
    try:
        sys.argv[1:] = expand(sys.argv[1:])
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    run_command("train")


if __name__ == "__main__":
    main()
