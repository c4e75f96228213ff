"""Accuracies of runs, grouped by the cells of tables."""

import shlex
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from gmlight.artifacts.record import base_name
from gmlight.reporting.paper import Cell


@dataclass
class Entry:
    """The accuracies of one cell at one scale.

    Args:
        dataset: the dataset's name in the runs; the cell has the paper's name.
        cell: a cell of the paper's tables, or of the table of other runs.
        scale: label of the runs' scale, with the protocol unless it is plain.
        accuracies: in percent, one per network; by seed, or by set for sets that were evaluated again.
        commands: commands that measured the accuracies, by the same keys.
        storage_bytes: size of each set's stored values in bytes; None for older results.
        test_images: digest of the test images; None for older results.
    """

    dataset: str
    cell: Cell
    scale: str
    accuracies: dict[int | str, list[float]] = field(default_factory=dict)
    commands: dict[int | str, str] = field(default_factory=dict)
    storage_bytes: int | None = None
    test_images: str | None = None

    @property
    def pooled(self) -> list[float]:
        """The accuracies of all networks of all seeds."""
        return [accuracy for accuracies in self.accuracies.values() for accuracy in accuracies]

    @property
    def mean(self) -> float:
        """Mean over the networks of all seeds."""
        return statistics.fmean(self.pooled)

    @property
    def std(self) -> float:
        """Population std over the networks of all seeds."""
        return statistics.pstdev(self.pooled)

    @property
    def std_between_seeds(self) -> float | None:
        """Population std of the seeds' means; None if there is one seed."""
        means = [statistics.fmean(accuracies) for accuracies in self.accuracies.values()]
        return statistics.pstdev(means) if len(means) > 1 else None

    @property
    def n(self) -> str:
        """Number of networks: `2x10` for two seeds with ten networks each; `10+5` if the numbers differ."""
        sizes = [len(accuracies) for accuracies in self.accuracies.values()]
        return f"{len(sizes)}x{sizes[0]}" if len(set(sizes)) == 1 else "+".join(map(str, sizes))

    @property
    def command(self) -> str:
        """One sweep over the seeds if the commands differ only in seed and folder; else all commands."""
        without_seeds = {
            tuple(word for word in shlex.split(command) if not word.startswith(("seed=", "hydra.")))
            for command in self.commands.values()
        }
        if len(self.commands) == 1 or len(without_seeds) > 1:
            return "; ".join(self.commands.values())
        (words,) = without_seeds
        seeds = "seed=" + ",".join(map(str, sorted(self.commands)))
        return shlex.join([*words[:3], "-m", *words[3:], seeds])  # python -m gmlight.train -m ...

    @property
    def base_scale(self) -> str:
        """The scale's name without the sizes that differ from it."""
        return base_name(self.scale)


@dataclass(frozen=True)
class MeasuredZeta:
    """How long the network trained after each image update in a run with `schedule=until_overfit`.

    Args:
        dataset: name of the dataset.
        ipc: images per class.
        method: the run's label of its method.
        scale: the run's label of its scale.
        seed: of the run.
        unit: `epochs` or `steps`.
        values: zeta after each update and outer iteration, [T-1][K], in that unit.
    """

    dataset: str
    ipc: int
    method: str
    scale: str
    seed: int
    unit: str
    values: Sequence[Sequence[int]]


def find_whole_set(entries: Iterable[Entry], dataset: str, scale: str) -> Entry | None:
    """Finds the entry of the whole training set, to compare other entries of a dataset with.

    Args:
        entries: of Table 3.
        dataset: name of the dataset.
        scale: label of the scale.

    Returns:
        The entry at this scale, else the only one with the same base scale; None if there is none or several.
    """
    whole_sets = [entry for entry in entries if entry.cell.choice == "whole" and entry.dataset == dataset]
    same_scale = [entry for entry in whole_sets if entry.scale == scale]
    found = same_scale or [entry for entry in whole_sets if entry.base_scale == base_name(scale)]
    return found[0] if len(found) == 1 else None
