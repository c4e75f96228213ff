"""Collects finished runs from folders into the cells of the paper's tables."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gmlight.artifacts.result_file import describe, is_evaluated_again, read_result_file
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError, one_line
from gmlight.reporting.entries import Entry, MeasuredZeta, find_whole_set
from gmlight.reporting.measurements import Measurement, measure_run, measure_set
from gmlight.reporting.paper import RELATIVE_FROM, Cell, PaperAccuracy, read_paper_accuracies
from gmlight.reporting.robust_notes import augmentation_notes
from gmlight.runtime.console import matching_folders


@dataclass
class RunCollection:
    """Finished runs, sorted into tables.

    Args:
        paper: accuracies that the paper reports, by cell.
        entries: measured accuracies, by table.
        zetas: measured in runs with `schedule=until_overfit`.
        notes: lines about runs that are left out, and about the reference of relative accuracies.
        results: content of the result files, by run folder.
        again: content of the result files of sets that were evaluated again.
    """

    paper: dict[Cell, PaperAccuracy]
    entries: dict[str, list[Entry]] = field(default_factory=lambda: defaultdict(list))
    zetas: list[MeasuredZeta] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    results: dict[Path, dict[str, Any]] = field(default_factory=dict)
    again: list[dict[str, Any]] = field(default_factory=list)

    def add(self, folder: RunFolder, measurement: Measurement) -> None:
        """Adds the accuracies of one result to the entries of its cells.

        If a cell already has accuracies of the same source, the first ones count.

        Args:
            folder: of the result.
            measurement: content of the result.
        """
        for found in measurement.cells:
            entry = self._entry(measurement, found.cell)
            if measurement.source in entry.accuracies:
                self.notes.append(f"{folder.path}: {_same_source(measurement)} is counted instead")
                continue
            entry.accuracies[measurement.source] = found.accuracies
            entry.commands[measurement.source] = measurement.command
            entry.storage_bytes = found.storage_bytes
        if measurement.zeta is not None and measurement.zeta not in self.zetas:
            self.zetas.append(measurement.zeta)

    def _entry(self, measurement: Measurement, cell: Cell) -> Entry:
        # Accuracies on different test images are never pooled; those of older results are not known.
        table, scale, images = self.entries[cell.table], measurement.scale, measurement.test_images
        other = f"{scale}, test images {images[:8]}" if images else scale
        alike = [
            e
            for e in table
            if (e.dataset, e.cell) == (measurement.dataset, cell) and e.scale in (scale, other)
        ]
        for entry in alike:
            if images is None or entry.test_images in (None, images):
                entry.test_images = entry.test_images or images
                return entry
        table.append(Entry(measurement.dataset, cell, other if alike else scale, test_images=images))
        return table[-1]


def collect_runs(patterns: Sequence[str]) -> RunCollection:
    """Collects all runs in the folders that the patterns name, at any depth.

    Args:
        patterns: folders or globs.

    Returns:
        The runs, sorted into tables.

    Raises:
        ConfigError: there is no run.
    """
    collection = RunCollection(read_paper_accuracies())
    found = {folder for root in matching_folders(list(patterns)) for folder in RunFolder.find_all(root)}
    folders = sorted(found, key=lambda folder: folder.result)
    for folder in folders:
        if not folder.result.exists():
            collection.notes.append(
                f"{folder.path} has no {folder.result.name}: the run failed or is not finished"
            )
    for folder in folders:
        if folder.result.exists():
            _add_result(collection, folder)
    if not collection.entries and not collection.notes:
        raise ConfigError(f"runs={','.join(patterns)}: no run there; name run folders or a folder above them")
    if "table3" in collection.entries:
        _add_relative_accuracies(collection)
    collection.notes += augmentation_notes(collection.results, collection.again)
    collection.notes = list(dict.fromkeys(collection.notes))
    return collection


def _add_result(collection: RunCollection, folder: RunFolder) -> None:
    # A broken file, or a stranger's, is named; it never costs the others.
    try:
        result = read_result_file(folder.result)
        if "blank" in result:  # the experiment skips this configuration
            return
        again = is_evaluated_again(result)
        measurement = (measure_set if again else measure_run)(result, collection.paper)
    except (ConfigError, LookupError, TypeError, ValueError) as error:
        collection.notes.append(
            one_line(f"{folder.result}: cannot be read as a result of gmlight.train ({describe(error)})")
        )
        return
    if again:
        collection.again.append(result)
    else:
        collection.results[folder.path] = result
    collection.add(folder, measurement)


def _same_source(measurement: Measurement) -> str:
    if isinstance(measurement.source, int):
        return f"another run of seed {measurement.source}"
    return "another evaluation of its set"


def _add_relative_accuracies(collection: RunCollection) -> None:
    # Adds entries with accuracies in percent of the whole set's mean accuracy.
    table3 = collection.entries["table3"]
    for entry in table3:
        if entry.cell.choice == "whole" or entry.cell.ipc < RELATIVE_FROM:
            continue
        label = f"{entry.dataset}, {entry.scale}"
        whole = find_whole_set(table3, entry.dataset, entry.scale)
        if whole is None:
            collection.notes.append(
                f"{label}: accuracies relative to the whole set need one run of method=whole at this scale"
            )
            continue
        relative = {
            seed: [100 * accuracy / whole.mean for accuracy in accuracies]
            for seed, accuracies in entry.accuracies.items()
        }
        cell = replace(entry.cell, table="relative_accuracy")
        collection.entries[cell.table].append(replace(entry, cell=cell, accuracies=relative))
        collection.notes.append(
            f"{label}: relative to the whole set's {whole.mean:.2f}±{whole.std:.2f} "
            f"({whole.n}, {whole.scale})"
        )
