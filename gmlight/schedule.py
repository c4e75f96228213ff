"""Computes a table of epochs from `schedule=until_overfit` runs: section 3.3's preliminary experiments.

python -m gmlight.schedule runs='runs/cifar10-ipc10/*'
python -m gmlight.train ... schedule=table schedule.epochs=[...]
"""

import statistics
import sys
from collections.abc import Sequence

from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from gmlight.runtime.console import matching_folders
from gmlight.runtime.streams import lasting_streams
from gmlight.runtime.terminal import prepare_terminal, print_version

USAGE = "usage: python -m gmlight.schedule runs=<run folders or globs, separated by commas>"


@lasting_streams()
def main() -> None:
    prepare_terminal()
    if print_version(sys.argv[1:]):
        return
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(USAGE)
        return
    words = sys.argv[1:]
    if len(words) != 1 or not words[0].startswith("runs="):
        sys.exit(USAGE)
    try:
        epochs = mean_epochs(finished_runs(words[0].removeprefix("runs=").split(",")))
    except ConfigError as error:
        sys.exit(f"gmlight: {error}")
    print(f"schedule=table schedule.epochs=[{','.join(map(str, epochs))}]")


def finished_runs(patterns: Sequence[str]) -> list[RunFolder]:
    """Finds the finished runs among the folders that the patterns name.

    Args:
        patterns: run folders or globs.

    Raises:
        ConfigError: there is none.
    """
    folders = [RunFolder(path) for path in matching_folders(list(patterns))]
    runs = [folder for folder in folders if folder.result.is_file()]
    if not runs:
        raise ConfigError(f"runs={','.join(patterns)}: no finished run there; name folders of finished runs")
    return runs


def mean_epochs(runs: Sequence[RunFolder]) -> list[int]:
    """Averages zeta over the outer iterations of all runs.

    Args:
        runs: finished runs with the same T.

    Returns:
        Mean number of epochs after each image update t, rounded; T-1 numbers.

    Raises:
        ConfigError: a run did not measure when the network overfits, or the runs differ in T.
    """
    zetas = [_measured_zeta(run) for run in runs]  # [run][t][k]
    if len({len(zeta) for zeta in zetas}) > 1:
        raise ConfigError("the runs differ in their number of updates T; use runs with one T")
    return [
        round(statistics.fmean(epochs for zeta in zetas for epochs in zeta[t])) for t in range(len(zetas[0]))
    ]


def _measured_zeta(run: RunFolder) -> list[list[int]]:
    try:
        result = run.read_result()
        measured, zeta = result["choices"]["schedule"] == "until_overfit", result["zeta_used"]
        unit = result["config"]["schedule"]["unit"]
    except (KeyError, TypeError):
        measured, zeta, unit = False, [], ""
    if not measured or not zeta:
        raise ConfigError(f"{run.path}: not a run with schedule=until_overfit and T>=2; leave it out")
    if unit != "epochs":
        raise ConfigError(f"{run.path}: counts {unit}, but a table counts epochs; leave it out")
    return zeta


if __name__ == "__main__":
    main()
