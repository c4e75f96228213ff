"""Finished runs, from any number of folders and machines, sorted into the cells of the paper's tables."""

import json
import shlex
import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gmlight.artifacts.record import base_name
from gmlight.errors import ConfigError
from gmlight.reporting.paper import RELATIVE_FROM, Cell, Figure, cells_of, figures, name_of
from gmlight.runtime.console import matching_folders

OTHER = "other"  # the table of what is in none of the paper's


@dataclass
class Entry:
    """What was measured for one cell at one scale.

    values: by seed, or of sets that were evaluated again by set, the accuracies of its networks in percent.
    commands: likewise, what made them.
    storage_bytes: that each set takes as numbers of 4 bytes; null: older runs do not say.
    """

    dataset: str
    cell: Cell
    scale: str
    values: dict[int | str, list[float]] = field(default_factory=dict)
    commands: dict[int | str, str] = field(default_factory=dict)
    storage_bytes: int | None = None

    @property
    def pooled(self) -> list[float]:
        return [value for of_seed in self.values.values() for value in of_seed]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.pooled)

    @property
    def std(self) -> float:
        """Population std over the networks of all seeds."""
        return statistics.pstdev(self.pooled)

    @property
    def between(self) -> float | None:
        """Population std of the seeds' means; null: there is one seed."""
        means = [statistics.fmean(of_seed) for of_seed in self.values.values()]
        return statistics.pstdev(means) if len(means) > 1 else None

    @property
    def n(self) -> str:
        """`2x10`: seeds and networks of each, `10+5` where these differ."""
        sizes = [len(of_seed) for of_seed in self.values.values()]
        return f"{len(sizes)}x{sizes[0]}" if len(set(sizes)) == 1 else "+".join(map(str, sizes))

    @property
    def command(self) -> str:
        """What made it: one sweep over the seeds where the commands differ in nothing else but the folder."""
        kinds = {
            tuple(word for word in shlex.split(made) if not word.startswith(("seed=", "hydra.")))
            for made in self.commands.values()
        }
        if len(self.commands) == 1 or len(kinds) > 1:
            return "; ".join(self.commands.values())
        (words,) = kinds
        seeds = "seed=" + ",".join(map(str, sorted(self.commands)))
        return shlex.join([*words[:3], "-m", *words[3:], seeds])  # python -m gmlight.train -m ...

    @property
    def base_scale(self) -> str:
        """The scale without what departs from it."""
        return base_name(self.scale)


@dataclass(frozen=True)
class Zetas:
    """Network epochs that a run with `schedule=until_overfit` used: [T-1][K]."""

    dataset: str
    ipc: int
    method: str
    scale: str
    seed: int
    unit: str
    used: Sequence[Sequence[int]]


@dataclass
class Gathered:
    """Entries by table, what the paper has beside them, epochs used, and what is to be said of the runs.

    runs: by folder, the result of each.
    """

    entries: dict[str, list[Entry]]
    figures: dict[Cell, Figure]
    zetas: list[Zetas]
    notes: list[str]
    runs: dict[Path, dict[str, Any]]


def gather(patterns: list[str]) -> Gathered:
    """All runs in the folders that the patterns name, at any depth.

    Raises:
        ConfigError: there is none.
    """
    folders = matching_folders(patterns)
    paths = sorted({path for folder in folders for path in folder.rglob("result.json")})
    claimed = {path.parent for folder in folders for path in folder.rglob("config.yaml")}
    unfinished = sorted(claimed - {path.parent for path in paths})
    notes = [f"{folder}: has no result.json; it failed, or is not finished" for folder in unfinished]
    known = figures()
    entries: dict[tuple[str, Cell, str], Entry] = {}
    zetas, runs = [], {}
    for path in paths:
        try:
            result = json.loads(path.read_text())
            if "blank" in result:  # of a cell that is not applicable
                continue
            again = "set" in result  # of gmlight.evaluate
            filled = list(_of_a_set(result, known) if again else _cells(result, known))
            used = [] if again else _zetas(result)
        except (OSError, ValueError, KeyError, TypeError) as error:
            notes.append(f"{path}: cannot be read as a result of gmlight.train ({error!r})")
            continue
        if not again:
            runs[path.parent] = result
        zetas += [one for one in used if one not in zetas]
        dataset = result["config"]["dataset"]["name"]
        # Of a set that was evaluated again the set, whatever seed its networks have now.
        seed = result["set"]["sha256"] if again else result["config"]["seed"]
        for cell, row in filled:
            key = dataset, cell, scale_shown(result)
            entry = entries.setdefault(key, Entry(*key))
            if seed in entry.values:
                other = "another evaluation of its set" if again else f"another run of seed {seed}"
                notes.append(f"{path.parent}: {other} is counted in its place")
                continue
            entry.values[seed] = row["accuracy"]["values"]
            entry.storage_bytes = row.get("storage_bytes")
            entry.commands[seed] = result["command"]
    if not entries and not notes:
        raise ConfigError(f"runs={','.join(patterns)}: no run there; name folders with a result.json in them")
    by_table: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries.values():
        by_table[entry.cell.table].append(entry)
    relative, said = _relative(by_table.get("table3", []))
    if relative:
        by_table["relative_accuracy"] = relative
    return Gathered(by_table, known, zetas, list(dict.fromkeys(notes + said)), runs)


def paper_figures(record: dict[str, Any]) -> list[tuple[Cell, Figure]]:
    """What the paper has for a run on its own architecture, then what it has beside that: Random, Herding and
    the whole set. Nothing where the run departs from its protocol.

    Args:
        record: of `config.describe`, with its labels.
    """
    known, config = figures(), record["config"]
    if record["departures"] or "," in record["architecture"]:
        return []
    name = name_of(config["dataset"]["name"], {cell.dataset for cell in known})
    target = record["architecture"].split(" ")[0]
    cells = cells_of(record["choices"], name, config["ipc"], record["method"], target)
    if cells and target == "convnet":
        rows = ((config["ipc"], "random"), (config["ipc"], "herding"), (1, "whole"))
        cells += [Cell("table3", name, ipc, choice) for ipc, choice in rows]
    return [(cell, known[cell]) for cell in dict.fromkeys(cells) if cell in known]


def whole_beside(entries: Iterable[Entry], dataset: str, scale: str) -> Entry | None:
    """The whole training set's entry for a dataset: at this scale, else the only one of its base scale."""
    wholes = [entry for entry in entries if entry.cell.choice == "whole" and entry.dataset == dataset]
    same = [entry for entry in wholes if entry.scale == scale]
    akin = [entry for entry in wholes if entry.base_scale == base_name(scale)]
    found = same or akin
    return found[0] if len(found) == 1 else None


def _cells(result: dict[str, Any], known: dict[Cell, Figure]) -> Iterable[tuple[Cell, dict[str, Any]]]:
    # The cells that a result fills, each with the row that has its accuracies.
    config, choices = result["config"], result["choices"]
    ipc, name = config["ipc"], name_of(config["dataset"]["name"], {cell.dataset for cell in known})
    first = result["evaluations"][0]["name"]  # the others are baselines
    plain = not result["departures"] and "," not in result["architecture"]
    for row in result["evaluations"]:
        if row["name"] != first:
            continue
        target = row["architecture"].split(" ")[0]
        cells = cells_of(choices, name, ipc, result["method"], target) if plain else []
        cells = [cell for cell in cells if cell in known or cell.table == "table3"]
        for cell in cells or [Cell(OTHER, name, ipc, result["method"], row["architecture"])]:
            yield cell, row


def _of_a_set(result: dict[str, Any], known: dict[Cell, Figure]) -> Iterable[tuple[Cell, dict[str, Any]]]:
    # Of a set that was evaluated again, the set's own rows.
    config, rows = result["config"], result["evaluations"]
    name = name_of(config["dataset"]["name"], {cell.dataset for cell in known})
    for row in rows:
        if row["name"] == rows[0]["name"]:
            cell = Cell(OTHER, name, config["ipc"], result["set"]["method"], row["architecture"])
            yield cell, row


def scale_shown(result: dict[str, Any]) -> str:
    """The scale, and the protocol where it is not the plain one: such accuracies are other cells."""
    scale = result["scale"] if "set" not in result else f"{result['set']['scale']}, evaluated again"
    if result.get("changed"):
        scale += f" with {', '.join(result['changed'])}"
    protocol = result["evaluations"][0]["accuracy"].get("protocol", "plain")
    return scale if protocol == "plain" else f"{scale}, protocol {protocol}"


def _zetas(result: dict[str, Any]) -> list[Zetas]:
    if result["choices"]["schedule"] != "until_overfit" or not any(result.get("zeta_used", [])):
        return []
    config = result["config"]
    return [
        Zetas(
            config["dataset"]["name"],
            config["ipc"],
            result["method"],
            result["scale"],
            config["seed"],
            config["schedule"]["unit"],
            result["zeta_used"],
        )
    ]


def _relative(entries: list[Entry]) -> tuple[list[Entry], list[str]]:
    # Accuracies in percent of the whole set's mean, and what they are relative to.
    relative, notes = [], []
    for entry in entries:
        if entry.cell.choice == "whole" or entry.cell.ipc < RELATIVE_FROM:
            continue
        whole = whole_beside(entries, entry.dataset, entry.scale)
        if whole is None:
            notes.append(
                f"{entry.dataset}, {entry.scale}: no accuracy relative to the whole set without one run of "
                "method=whole at this scale"
            )
            continue
        values = {seed: [100 * value / whole.mean for value in of] for seed, of in entry.values.items()}
        cell = replace(entry.cell, table="relative_accuracy")
        relative.append(Entry(entry.dataset, cell, entry.scale, values, entry.commands, entry.storage_bytes))
        notes.append(
            f"{entry.dataset}, {entry.scale}: relative to the whole set's {whole.mean:.2f}±{whole.std:.2f} "
            f"({whole.n}, {whole.scale})"
        )
    return relative, notes
