"""Measures a condensed set in fewer and fewer bits: size of its file, and accuracy."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from omegaconf import DictConfig
from rich.console import Console

from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.export_formats import PNG_CHANNELS, numpy_file, png
from gmlight.artifacts.quantization import BITS
from gmlight.artifacts.record import Invocation
from gmlight.artifacts.results import Evaluation
from gmlight.builders.stored_set import open_set
from gmlight.data.images import LabelledImages
from gmlight.reporting.use_page import UseTable
from gmlight.runtime.console import format_bytes, pluralize
from gmlight.training.evaluator import EvaluatedSet, evaluate_sets

Writer = Callable[[Path, CondensedDataset], LabelledImages | None]


def storage_frontier(
    config: DictConfig, called: Invocation, condensed: CondensedDataset, console: Console
) -> list[dict[str, Any]]:
    """Measures the size of the set in fewer and fewer bits, and the accuracy of networks trained on each.

    Args:
        config: of the command; `compare` is the number of networks for each, 0: only sizes.
        called: how the command was called.
        condensed: the set.
        console: where progress is shown.

    Returns:
        A row for each form: its name, the bytes of its file, and its accuracies.
    """
    forms: dict[str, Writer] = {
        f"numpy, {bits} bits": partial(numpy_file, bits=bits) for bits in sorted(BITS, reverse=True)
    }
    if condensed.images.shape[1] in PNG_CHANNELS:
        forms["png"] = png
    sizes, sets = dict[str, int](), dict[str, LabelledImages]()
    for name, write in forms.items():
        with TemporaryDirectory() as scratch:
            read_back = write(Path(scratch), condensed)
            sizes[name] = sum(path.stat().st_size for path in Path(scratch).rglob("*") if path.is_file())
        sets[name] = condensed.labelled() if read_back is None else read_back
    measured: dict[str, list[Evaluation]] = {name: [] for name in forms}
    if config.compare:
        stored = open_set(config, called, console)
        on_device = [
            EvaluatedSet(name, each.to(stored.device), config.compare) for name, each in sets.items()
        ]
        for evaluation in evaluate_sets(stored.evaluators, on_device, console):
            measured[evaluation.name].append(evaluation)
    return [
        {"form": name, "bytes": size, "evaluations": [each.as_dict() for each in measured[name]]}
        for name, size in sizes.items()
    ]


def frontier_table(condensed: CondensedDataset, rows: Sequence[dict[str, Any]]) -> UseTable:
    """Lays out the sizes and accuracies of `storage_frontier`."""
    architectures = [each["architecture"] for each in rows[0]["evaluations"]]
    cells = [
        [
            row["form"],
            format_bytes(row["bytes"]),
            f"{row['bytes'] / rows[0]['bytes']:.2f}",
            *(f"{a['accuracy']['mean']:.2f} ± {a['accuracy']['std']:.2f}" for a in row["evaluations"]),
        ]
        for row in rows
    ]
    n = f", n = {rows[0]['evaluations'][0]['accuracy']['n']}" if architectures else ""
    return UseTable(
        f"{pluralize(len(condensed), 'image')} of {len(condensed.classes)} classes{n}",
        ("form", "file", "ratio", *(f"{name}, %" for name in architectures)),
        cells,
        ["file: bytes of one exported file, with labels and names; ratio: to the first row"],
    )
