"""Joins condensed sets of different classes: `python -m gmlight.merge runs=[a,b] to=c`."""

from pathlib import Path

from omegaconf import DictConfig

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.runtime.console import format_bytes, new_console, print_path


def merge(config: DictConfig, folder: Path) -> None:
    """Writes the joined set to the folder, and prints how it is stored.

    Args:
        config: of the command.
        folder: of the joined set.
    """
    console = new_console()
    joined = CondensedDataset.union(list(config.runs), folder)
    name, stored = joined.form["name"], format_bytes(4 * joined.floats)
    console.print(f"{len(joined)} images of {len(joined.classes)} classes, stored as {name} in {stored}")
    if len({CondensedDataset(run).form["name"] for run in config.runs} | {name}) > 1:
        console.print("the parts are stored in different ways, so that their decoded images are stored")
    if "config" not in joined.metadata:
        console.print(
            "gmlight.evaluate cannot use it: the parts differ in their dataset or in their images per class, "
            "or were made with holdout=",
            soft_wrap=True,
        )
    print_path("set", folder, console)
