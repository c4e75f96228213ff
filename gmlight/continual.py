"""Learns classes in steps with a condensed memory: `python -m gmlight.continual dataset=mnist ipc=10`."""

from gmlight.config.command_line import run_command
from gmlight.config.resume import expand


def main() -> None:
    run_command("continual", lambda words: expand([_memories(word) for word in words]))


def _memories(word: str) -> str:
    # `memory` is a group of keys of every run, such as memory.device_share.
    key, _, value = word.partition("=")
    return f"memories=[{value.strip('[]')}]" if key == "memory" else word


if __name__ == "__main__":
    main()
