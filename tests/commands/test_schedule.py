"""gmlight.schedule: the table of epochs that until_overfit runs used."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from gmlight import schedule
from gmlight.artifacts.run_folder import RunFolder
from gmlight.errors import ConfigError
from helpers.results import write_result


def write_run(
    folder: Path, used: list[list[int]], name: str = "until_overfit", unit: str = "epochs"
) -> RunFolder:
    return write_result(
        folder, ("choices.schedule", name), ("zeta_used", used), ("config.schedule.unit", unit)
    )


def test_mean_over_runs_and_outer_iterations(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / "a", [[50, 40], [9, 10]]), write_run(tmp_path / "b", [[30, 20], [7, 10]])]
    assert schedule.mean_epochs(runs) == [35, 9]
    assert schedule.finished_runs([f"{tmp_path}/*"]) == runs


def test_unsuitable_runs_are_refused(tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", [[50], [9]])
    with pytest.raises(ConfigError, match="no finished run there"):
        schedule.finished_runs([f"{tmp_path}/none*"])
    with pytest.raises(ConfigError, match="not a run with schedule=until_overfit"):
        schedule.mean_epochs([write_run(tmp_path / "fixed", [[50]], "fixed")])
    with pytest.raises(ConfigError, match="counts steps"):
        schedule.mean_epochs([write_run(tmp_path / "steps", [[50]], unit="steps")])
    (good.path.parent / "bad").mkdir()
    (good.path.parent / "bad" / "result.json").write_text("{")
    with pytest.raises(ConfigError, match=r"bad/result\.json: not the result of a run"):
        schedule.mean_epochs([RunFolder(good.path.parent / "bad")])
    with pytest.raises(ConfigError, match="differ in their number of updates"):
        schedule.mean_epochs([good, write_run(tmp_path / "other", [[50]])])


def test_table_of_two_runs_is_used_in_a_run(
    run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    folders = [run("ipc=3", "schedule=until_overfit", "schedule.limit=4", f"seed={seed}") for seed in (0, 1)]
    monkeypatch.setattr("sys.argv", ["schedule", f"runs={folders[0]},{folders[1]}"])
    capsys.readouterr()
    schedule.main()
    words = capsys.readouterr().out.split()
    assert words[0] == "schedule=table"
    folder = run("ipc=3", *words)
    found = json.loads((folder / "result.json").read_text())
    assert [[epochs[0]] * 2 for epochs in found["zeta_used"]] == found["zeta_used"]
    assert words[1] == f"schedule.epochs=[{','.join(str(epochs[0]) for epochs in found['zeta_used'])}]"
