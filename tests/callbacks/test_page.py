"""When the run's page is written, and by which process."""

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.callbacks import page
from gmlight.callbacks.page import PAGE_SECONDS, RETRY_SECONDS, RunPage, mend_page
from gmlight.errors import ConfigError
from gmlight.reporting.run_page import State
from gmlight.runtime.processes import LostProcessError

RECORD = RunRecord("", [], {}, {"iterations": 1000, "updates": 1}, "md", [], "paper", "convnet", "plain")


class Writer:
    """Notes the states of the pages that are written; fails as often as told."""

    def __init__(self, failures: int = 0) -> None:
        self.failures, self.states = failures, list[str]()

    def __call__(self, folder: RunFolder, record: RunRecord, classes: Any, state: State, data: Any) -> Path:
        if self.failures:
            self.failures -= 1
            raise OSError(28, "No space left on device")
        self.states.append(f"{state.name} {state.reason}".strip())
        return folder.page


@pytest.fixture
def run_page(tmp_path: Path) -> RunPage:
    return RunPage(RunFolder(tmp_path), RECORD, ("0", "1"), Console(quiet=True))


def test_page_that_cannot_be_written_is_tried_again(
    run_page: RunPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, writer = 0.0, Writer(failures=1)
    monkeypatch.setattr(page, "write_run_page", writer)
    monkeypatch.setattr(page, "time", SimpleNamespace(monotonic=lambda: now))
    trainer: Any = SimpleNamespace(global_step=0)

    def pages_after(seconds: float) -> int:
        nonlocal now
        now += seconds
        trainer.global_step += 1
        run_page.on_train_batch_end(trainer, None, None, None, 0)  # type: ignore[arg-type]
        return len(writer.states)

    run_page.on_train_start(trainer, None)  # type: ignore[arg-type]
    assert pages_after(RETRY_SECONDS - 1) == 0
    assert pages_after(2) == 1
    assert pages_after(PAGE_SECONDS - 1) == 1
    assert pages_after(2) == 2


@pytest.mark.parametrize(("rank_0_lives", "states"), [(True, 0), (False, 1)])
def test_another_rank_shows_the_loss_of_rank_0(
    run_page: RunPage, monkeypatch: pytest.MonkeyPatch, rank_0_lives: bool, states: int
) -> None:
    writer, error = Writer(), LostProcessError(run_page.folder.path)
    monkeypatch.setattr(page, "write_run_page", writer)
    monkeypatch.setattr(page, "is_main", lambda: False)
    run_page.show_evaluating()
    assert writer.states == []
    locked = run_page.folder.locked() if rank_0_lives else nullcontext()
    with locked, pytest.raises(LostProcessError), run_page.showing_errors():
        raise error
    assert writer.states == [f"stopped {error}"] * states


def test_another_rank_writes_no_page_for_its_own_errors(
    run_page: RunPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = Writer()
    monkeypatch.setattr(page, "write_run_page", writer)
    monkeypatch.setattr(page, "is_main", lambda: False)
    run_page.show_evaluating()
    with pytest.raises(ValueError, match="mine"), run_page.showing_errors():
        raise ValueError("mine")
    assert writer.states == []


def test_lost_process_is_shown_and_printed(
    run_page: RunPage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    writer = Writer()
    monkeypatch.setattr(page, "write_run_page", writer)
    run_page.show_lost_process()
    (state,) = writer.states
    assert state.startswith("stopped another process of the run has ended")
    assert f"gmlight: {state.removeprefix('stopped ')}\n" == capsys.readouterr().err


def test_page_of_a_finished_run_is_written_if_it_is_missing_or_older_than_the_result(
    run: Callable[..., Path],
) -> None:
    folder = RunFolder(run())
    record = RunRecord.from_dict(folder.read_result())
    folder.page.unlink()
    mend_page(folder, record, Console(quiet=True))
    assert '<strong class="finished">' in folder.page.read_text()
    for age, mended in ((-1, True), (1, False)):
        folder.page.write_text("condensing")
        seconds = folder.result.stat().st_mtime + age
        os.utime(folder.page, (seconds, seconds))
        with folder.locked():  # the run is about to write its page
            mend_page(folder, record, Console(quiet=True))
        assert folder.page.read_text() == "condensing"
        mend_page(folder, record, Console(quiet=True))
        assert ('<strong class="finished">' in folder.page.read_text()) == mended


def test_page_is_mended_unless_a_stranger_wrote_other_counts(run: Callable[..., Path]) -> None:
    folder = RunFolder(run())
    content = folder.read_result()
    record = RunRecord.from_dict(content)
    folder.page.unlink()
    for data in (5, {"train": []}, {"train": {"counts": [1]}, "test": {"counts": 2}}):
        folder.result.write_text(json.dumps(content | {"data": data}))
        with pytest.raises(
            ConfigError, match=r"result.json: not the result of a run \(data: must be digests"
        ):
            mend_page(folder, record, Console(quiet=True))
    one_class = {split: {"sha256": "x", "counts": [1]} for split in ("train", "test")}
    for data in (None, one_class):  # of a version without digests; of another number of classes
        folder.result.write_text(json.dumps(content | {"data": data}))
        folder.page.unlink(missing_ok=True)
        mend_page(folder, record, Console(quiet=True))
        assert '<strong class="finished">' in folder.page.read_text()


def test_run_that_is_not_finished_gets_no_page(tmp_path: Path) -> None:
    mend_page(RunFolder(tmp_path), RECORD, Console(quiet=True))
    assert not RunFolder(tmp_path).page.exists()
