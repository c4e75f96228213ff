"""Makes a table of epochs from `schedule=until_overfit` runs: the preliminary experiments of section 3.3.

python -m gmlight.schedule runs='runs/cifar10-ipc10/*'
python -m gmlight.train ... schedule=table schedule.epochs=[...]
"""

import json
import statistics
import sys
from pathlib import Path

from gmlight.errors import ConfigError
from gmlight.runtime.console import matching_folders

USAGE = "usage: python -m gmlight.schedule runs=<run folders or globs, separated by commas>"


def main() -> None:
    words = sys.argv[1:]
    if len(words) != 1 or not words[0].startswith("runs="):
        sys.exit(USAGE)
    try:
        epochs = table_of(find_runs(words[0].removeprefix("runs=").split(",")))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    print(f"schedule=table schedule.epochs=[{','.join(map(str, epochs))}]")


def find_runs(patterns: list[str]) -> list[Path]:
    """The run folders that the patterns name."""
    runs = [folder for folder in matching_folders(patterns) if (folder / "result.json").is_file()]
    if not runs:
        raise ConfigError(
            f"runs={','.join(patterns)}: no finished run there; name folders with a result.json"
        )
    return runs


def table_of(runs: list[Path]) -> list[int]:
    """For each t the mean zeta over the outer iterations of all runs, rounded.

    Raises:
        ConfigError: a run did not measure when it overfits, or the runs differ in T.
    """
    used: list[list[list[int]]] = []  # [run][t][k]
    for run in runs:
        try:
            result = json.loads((run / "result.json").read_text())
            measured, of_run = result["choices"]["schedule"] == "until_overfit", result["zeta_used"]
            unit = result["config"]["schedule"]["unit"]
        except (OSError, ValueError, KeyError, TypeError):
            measured, of_run, unit = False, [], ""
        if not measured or not of_run:
            raise ConfigError(f"{run}: not a run with schedule=until_overfit and T>=2; leave it out")
        if unit != "epochs":
            raise ConfigError(f"{run}: counts {unit}, a table is made of epochs; leave it out")
        used.append(of_run)
    if len({len(of_run) for of_run in used}) > 1:
        raise ConfigError("the runs differ in their number of updates T; make a table for each")
    return [
        round(statistics.fmean(zeta for of_run in used for zeta in of_run[t])) for t in range(len(used[0]))
    ]


if __name__ == "__main__":
    main()
