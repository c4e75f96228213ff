"""Writes a condensed set in another format: `python -m gmlight.export run=<folder> format=png`."""

import sys

from gmlight.config.stored import run_command_on_a_set


def main() -> None:
    # Only a comparison of accuracies needs the set's configuration and its dataset.
    compared = [word for word in sys.argv[1:] if word.startswith("compare=")]
    run_command_on_a_set(
        "export",
        own_keys=("format", "to", "compare", "frontier", "push", "push_private", "push_update"),
        configuration=compared[-1:] not in ([], ["compare=0"]),
    )


if __name__ == "__main__":
    main()
