"""Writes a condensed set in another format: `python -m gmlight.export run=<folder> format=png`."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from gmlight.artifacts import results
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.export_formats import outside
from gmlight.artifacts.record import Invocation
from gmlight.builders.stored_set import open_set
from gmlight.config.compose import instantiate
from gmlight.config.labels import describe_use
from gmlight.data.images import LabelledImages
from gmlight.reporting.tables import print_table
from gmlight.runtime.console import new_console, print_path
from gmlight.training.evaluator import EvaluatedSet, evaluate_sets

RECORD = "export.json"


def export(config: DictConfig, folder: Path) -> None:
    """Writes the files, says what was lost and what that costs, and leaves export.json beside them."""
    console, called = new_console(), describe_use(config)
    record = called.as_dict()
    condensed, name = CondensedDataset(config.run), record["choices"]["format"]
    read_back = instantiate(config.format)(folder, condensed)
    record["set"] = results.origin(condensed.metadata)
    if read_back is None:
        formed = condensed.floats != condensed.images.numel()
        console.print(f"{name} holds the {'images that come of the set' if formed else 'set as it is'}")
    else:
        record["clipped"] = outside(condensed)
        lost = f"values are rounded, and {record['clipped']:.1%} of them, outside of 0..1, clipped"
        console.print(f"{name} has 8 bits a channel: {lost}")
        if config.compare:
            record["evaluations"] = compare(config, called, read_back, name, console)
    results.write_json(folder / RECORD, record)
    print_path(name, folder, console)


def compare(
    config: DictConfig, called: Invocation, read_back: Tensor, name: str, console: Console
) -> list[dict[str, Any]]:
    """Trains networks on the set and on what is read back, with the same seeds, and prints both."""
    stored = open_set(config, called, console)
    after = LabelledImages(read_back, stored.images.labels.cpu()).to(stored.device)
    sets = [
        EvaluatedSet(stored.name, stored.images, config.compare),
        EvaluatedSet(f"as {name}", after, config.compare),
    ]
    rows = evaluate_sets(stored.evaluators, sets, console)
    print_table(rows, stored.made, console)
    for before, now in zip(rows[: len(rows) // 2], rows[len(rows) // 2 :], strict=True):
        difference = now.accuracy.mean - before.accuracy.mean
        console.print(
            f"as {name} {difference:+.2f} points on {now.architecture} (n = {config.compare} networks each)"
        )
    return [row.as_dict() for row in rows]
