"""Evaluates a condensed set: `python -m gmlight.evaluate run=<folder> architecture=mlp`."""

from gmlight.config.stored import run_command_on_a_set


def main() -> None:
    run_command_on_a_set("evaluate", own_keys=("ipc", "budget", "budget_epochs", "memory_limit"))


if __name__ == "__main__":
    main()
