"""A result.json as a run writes it, with what a test changes."""

import json
from pathlib import Path
from typing import Any

from gmlight.artifacts.run_folder import RunFolder

GOOD: dict[str, Any] = {
    "command": "python -m gmlight.train seed=0", "overrides": ["seed=0"], "departures": [],
    "choices": {"architecture": "convnet", "matching": "multilevel", "distance": "cos", "schedule": "fixed"},
    "config": {"dataset": {"name": "mnist"}, "ipc": 1, "iterations": 2, "seed": 0,
               "schedule": {"unit": "epochs"}},
    "method": "m", "scale": "paper", "architecture": "convnet", "protocol": "plain", "zeta_used": [[1]],
    "evaluations": [{"name": "condensed", "images": 10, "architecture": "convnet", "storage_bytes": 40,
                     "accuracy": {"values": [90.0, 92.0], "epochs": 3, "protocol": "plain"}}],
    "seconds": {"condensing": 1.5},
}  # fmt: skip


def changed(*changes: tuple[str, Any]) -> dict[str, Any]:
    """Copies the good result with other values; a key has dots, and numbers for places in lists."""
    result = json.loads(json.dumps(GOOD))
    for key, value in changes:
        *path, last = (int(name) if name.isdigit() else name for name in key.split("."))
        node = result
        for name in path:
            node = node[name]
        node[last] = value
    return result


def write_result(folder: Path, *changes: tuple[str, Any]) -> RunFolder:
    """Writes the good result with other values into a run folder."""
    run = RunFolder(folder)
    folder.mkdir(parents=True, exist_ok=True)
    run.result.write_text(json.dumps(changed(*changes)))
    return run
