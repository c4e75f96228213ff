"""Writes a condensed set in another format: `python -m gmlight.export run=<folder> format=png`."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console
from torch import Tensor

from gmlight.artifacts import results
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.export_formats import share_clipped
from gmlight.artifacts.record import Invocation, headline
from gmlight.artifacts.results import Evaluation
from gmlight.builders.stored_set import open_set
from gmlight.config.compose import instantiate
from gmlight.config.labels import describe_use
from gmlight.data.images import LabelledImages
from gmlight.reporting.tables import print_table
from gmlight.runtime.console import new_console, print_path
from gmlight.training.evaluator import EvaluatedSet, evaluate_sets

RECORD = "export.json"


def export(config: DictConfig, folder: Path) -> None:
    """Writes the set's images in another format, and measures the loss of a lossy format.

    Args:
        config: of the command.
        folder: gets the exported files and a record, export.json.
    """
    console, invocation = new_console(), describe_use(config)
    condensed, name = CondensedDataset(config.run), invocation.choices["format"]
    read_back = instantiate(config.format)(folder, condensed)
    record = invocation.as_dict() | {"set": results.origin(condensed.metadata)}
    if read_back is None:
        decoded = condensed.form["name"] != "pixels"
        console.print(
            f"{name} holds {'the decoded images of the set' if decoded else 'the images without loss'}"
        )
    else:
        record["clipped"] = share_clipped(condensed)
        console.print(
            f"{name} has 8 bits per channel: values are rounded, and {record['clipped']:.1%} of them lie "
            "outside 0..1 and are clipped"
        )
        if condensed.soft_labels is not None:
            console.print(f"{name} has no soft labels: networks trained on it learn the classes")
        if config.compare:
            evaluations = compare(config, invocation, read_back, name, console)
            record["evaluations"] = [evaluation.as_dict() for evaluation in evaluations]
    results.write_json(folder / RECORD, record)
    print_path(name, folder, console)


def compare(
    config: DictConfig, invocation: Invocation, read_back: Tensor, name: str, console: Console
) -> Sequence[Evaluation]:
    """Evaluates the set and the exported images with the same seeds, and prints both.

    Args:
        config: of the command.
        invocation: of the command.
        read_back: the exported images as read from the files, normalised, [N, channels, H, W].
        name: of the format.
        console: where to print.

    Returns:
        Evaluations of the set on each architecture, then of the exported images on each.
    """
    stored = open_set(config, invocation, console)
    exported = LabelledImages(read_back, stored.images.labels.cpu()).to(stored.device)
    sets = [
        EvaluatedSet(stored.name, stored.images, config.compare),
        EvaluatedSet(f"as {name}", exported, config.compare),
    ]
    evaluations = evaluate_sets(stored.evaluators, sets, console)
    print_table(evaluations, headline(stored.metadata), console)
    half = len(evaluations) // 2
    for before, after in zip(evaluations[:half], evaluations[half:], strict=True):
        difference = after.accuracy.mean - before.accuracy.mean
        console.print(
            f"as {name} {difference:+.2f} points on {after.architecture} (n = {config.compare} networks each)"
        )
    return evaluations
