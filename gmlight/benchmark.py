"""Times gmlight against the plain loop: `python -m gmlight.benchmark dataset=cifar10 ipc=1`."""

from gmlight.config.command_line import run_command


def main() -> None:
    run_command("benchmark")


if __name__ == "__main__":
    main()
