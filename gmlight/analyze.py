"""Analyzes training on a condensed set: `python -m gmlight.analyze run=<folder>`."""

from gmlight.config.stored import run_command_on_a_set


def main() -> None:
    run_command_on_a_set("analyze", own_keys=("points", "real_images"))


if __name__ == "__main__":
    main()
