"""Writes a condensed set in another format: `python -m gmlight.export run=<folder> format=png`."""

from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig
from rich.console import Console

from gmlight.applications.storage_frontier import frontier_table, storage_frontier
from gmlight.artifacts import hub, results
from gmlight.artifacts.condensed_set import CondensedDataset, find
from gmlight.artifacts.export_formats import share_clipped
from gmlight.artifacts.hub_names import check_repository
from gmlight.artifacts.quantization import BITS
from gmlight.artifacts.record import Invocation, headline
from gmlight.artifacts.results import Evaluation
from gmlight.artifacts.set_files import GRID, METADATA, TENSORS
from gmlight.builders.stored_set import open_set
from gmlight.config.compose import instantiate
from gmlight.config.labels import describe_use
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.reporting.tables import print_table
from gmlight.reporting.use_page import print_use_table
from gmlight.runtime.console import format_bytes, new_console, print_path
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
    record = invocation.as_dict() | {"set": results.origin(condensed.metadata)}
    target = _find_target(config, name)
    if config.frontier:
        rows = storage_frontier(config, invocation, condensed, console)
        results.write_json(folder / RECORD, record | {"frontier": rows})
        print_use_table(frontier_table(condensed, rows), console)
        print_path("record", folder / RECORD, console)
        return
    if "bits" in config.format:
        check_bits(config.format.bits)
    card = {} if target is None else {"repository": target.name}
    read_back = instantiate(config.format)(folder, condensed, **card)
    record["bytes"] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    line, lost = describe_loss(condensed, read_back, name, config.format.get("bits"))
    record |= lost
    console.print(f"{line}; {format_bytes(record['bytes'])} in all")
    if condensed.soft_labels is not None and read_back is not None and read_back.soft_labels is None:
        console.print(f"{name} has no soft labels: networks trained on it learn the classes")
    if read_back is not None and config.compare:
        evaluations = compare(config, invocation, read_back, name, console)
        record["evaluations"] = [evaluation.as_dict() for evaluation in evaluations]
    files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
    print_path(name, folder, console)
    try:
        if target is not None:
            record["push"] = hub.push(target, files | set_paths(config.run))
            print_path("pushed", record["push"]["address"], console)
    finally:
        results.write_json(folder / RECORD, record)


def _find_target(config: DictConfig, name: str) -> hub.Target | None:
    # Looks before the export whether it may be uploaded; None if it shall not be.
    for key in ("push_private", "push_update"):
        if type(config[key]) is not bool:
            raise ConfigError(f"{key}={config[key]}: must be true or false")
    if config.push is None:
        return None
    if name != "parquet" or config.frontier:
        raise ConfigError(f"push={config.push}: a dataset of the hub is of parquet files; add format=parquet")
    repository = check_repository("push", config.push)
    return hub.find_target(repository, private=config.push_private, update=config.push_update)


def set_paths(run: str) -> dict[str, Path]:
    """Returns the files of a condensed set by their names.

    Args:
        run: its run folder, or its folder.
    """
    folder = find(run)
    return {name: folder / name for name in (METADATA, TENSORS, GRID) if (folder / name).is_file()}


def describe_loss(
    condensed: CondensedDataset, read_back: LabelledImages | None, name: str, bits: int | None
) -> tuple[str, dict[str, float]]:
    """Says what a format loses.

    Args:
        condensed: the set.
        read_back: the set as read from the files; None: nothing is lost.
        name: of the format.
        bits: per value, of a format that has a choice of them.

    Returns:
        A line, and the numbers in it by name.
    """
    if read_back is None:
        decoded = condensed.form["name"] != "pixels"
        return f"{name} holds {'the decoded images of the set' if decoded else 'the images without loss'}", {}
    if bits is not None:
        moved = (read_back.images - condensed.images).abs().max().item()
        return f"{name} has {bits} bits per value: values are rounded by {moved:.2g} at most", {
            "moved": moved
        }
    clipped = share_clipped(condensed)
    line = (
        f"{name} has 8 bits per channel: values are rounded, and {clipped:.1%} of them lie outside 0..1 and "
        "are clipped"
    )
    return line, {"clipped": clipped}


def check_bits(bits: object) -> None:
    """Checks the bits of a format.

    Raises:
        ConfigError: there is no such number of bits.
    """
    if type(bits) is not int or bits not in BITS:
        raise ConfigError(f"format.bits={bits}: must be one of {', '.join(map(str, BITS))}")


def compare(
    config: DictConfig, invocation: Invocation, read_back: LabelledImages, name: str, console: Console
) -> Sequence[Evaluation]:
    """Evaluates the set and the exported images with the same seeds, and prints both.

    Args:
        config: of the command.
        invocation: of the command.
        read_back: the set as read from the files.
        name: of the format.
        console: where to print.

    Returns:
        Evaluations of the set on each architecture, then of the exported images on each.
    """
    stored = open_set(config, invocation, console)
    sets = [
        EvaluatedSet(stored.name, stored.images, config.compare),
        EvaluatedSet(f"as {name}", read_back.to(stored.device), config.compare),
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
