"""The log of finished networks: shared by processes, and robust against what is left of a killed one."""

from pathlib import Path

import pytest

from gmlight.artifacts.work_log import Outcome, WorkLog, work_key
from gmlight.errors import ConfigError


def test_outcomes_are_read_back(tmp_path: Path) -> None:
    log = WorkLog(tmp_path / "networks")
    outcomes = {"a": Outcome(51.5, 2.0), "b": Outcome(None, 0.5, "its weights are not finite")}
    for key, outcome in outcomes.items():
        log.add(key, outcome)
    again = WorkLog(tmp_path / "networks")
    assert {key: again.get(key) for key in outcomes} == outcomes
    assert again.get("c") is None


def test_what_may_not_fail_again_is_not_written(tmp_path: Path) -> None:
    log = WorkLog(tmp_path)
    log.add("a", Outcome(None, 1.0, "killed", lasting=False))
    assert log.get("a") is not None
    assert WorkLog(tmp_path).get("a") is None


def test_files_of_other_processes_are_read(tmp_path: Path) -> None:
    WorkLog(tmp_path).add("a", Outcome(50.0, 1.0))
    [file] = tmp_path.iterdir()
    file.rename(tmp_path / "elsewhere-1.jsonl")
    log = WorkLog(tmp_path)
    log.add("b", Outcome(60.0, 1.0))
    assert [WorkLog(tmp_path).get(key) for key in "ab"] == [Outcome(50.0, 1.0), Outcome(60.0, 1.0)]


@pytest.mark.parametrize("damage", ["cut", "edited", "noise"])
def test_damaged_lines_are_ignored_and_later_ones_are_read(tmp_path: Path, damage: str) -> None:
    log = WorkLog(tmp_path)
    log.add("a", Outcome(50.0, 1.0))
    [file] = tmp_path.iterdir()
    text = file.read_text()
    file.write_text(
        {"cut": text[:-9], "edited": text.replace("50.0", "99.0"), "noise": "\x00[[{" * 9}[damage]
    )
    log.add("b", Outcome(60.0, 1.0))
    again = WorkLog(tmp_path)
    assert again.get("a") is None
    assert again.get("b") == Outcome(60.0, 1.0)


def test_a_file_is_refused_as_folder(tmp_path: Path) -> None:
    (tmp_path / "networks").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        WorkLog(tmp_path / "networks")


def test_keys_depend_on_everything_and_not_on_the_order() -> None:
    assert work_key({"a": 1, "b": [2]}) == work_key({"b": [2], "a": 1})
    assert work_key({"a": 1, "b": [2]}) != work_key({"a": 1, "b": [3]})
