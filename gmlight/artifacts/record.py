"""What is known about a run: its names and its one-line description."""

from typing import Any

_WITH = " with "


def named_with(name: str, changes: list[str]) -> str:
    """`reduced` and `iterations=30` -> `reduced with iterations=30`."""
    return f"{name}{_WITH}{', '.join(changes)}" if changes else name


def base_name(label: str) -> str:
    """`reduced with iterations=30` -> `reduced`."""
    return label.partition(_WITH)[0]


def headline(record: dict[str, Any]) -> str:
    """What is or was run, in one line; the record is `describe`'s or an artifact's metadata."""
    config = record["config"]
    parts = [
        config["dataset"]["name"],
        f"ipc {config['ipc']}",
        record["method"],
        f"scale {record['scale']}",
        f"seed {config['seed']}",
    ]
    return ", ".join(parts)
