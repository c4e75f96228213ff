"""What a user sets in `trainer` and adds in `callbacks` reaches Lightning."""

import contextlib
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from lightning.pytorch import callbacks as lightning_callbacks
from lightning.pytorch.plugins.io import AsyncCheckpointIO, TorchCheckpointIO
from lightning.pytorch.profilers import AdvancedProfiler, SimpleProfiler
from rich.console import Console

from gmlight.artifacts.checkpoint_io import AtomicCheckpointIO
from gmlight.builders.parts import build_callbacks
from gmlight.builders.trainer import _plugins, build_trainer
from gmlight.callbacks.progress_bar import ProgressBar
from gmlight.errors import ConfigError
from helpers.runs import composed

TIMER = "+callbacks.timer._target_=lightning.pytorch.callbacks.Timer"


def test_a_profiler_reports_into_the_folder(tmp_path: Path) -> None:
    trainer = build_trainer(composed("trainer=cpu", "trainer.profiler=simple"), folder=tmp_path)
    assert isinstance(trainer.profiler, SimpleProfiler)
    assert (trainer.profiler.dirpath, trainer.profiler.filename) == (tmp_path, "profile")
    named = ["+trainer.profiler._target_=lightning.pytorch.profilers.AdvancedProfiler"]
    named += ["+trainer.profiler.filename=mine", f"+trainer.default_root_dir={tmp_path}/there"]
    trainer = build_trainer(composed("trainer=cpu", *named), folder=tmp_path)
    assert isinstance(trainer.profiler, AdvancedProfiler)
    assert (trainer.profiler.dirpath, trainer.profiler.filename) == (f"{tmp_path}/there", "mine")
    assert trainer.default_root_dir == f"{tmp_path}/there"
    with pytest.raises(ConfigError, match=r"trainer.profiler=fast: must be null or one of simple, advanced"):
        build_trainer(composed("trainer=cpu", "trainer.profiler=fast"))
    with pytest.raises(ConfigError, match=r"trainer.profiler=3: must be null or one of simple, advanced"):
        build_trainer(composed("trainer=cpu", "trainer.profiler=3"))


def test_what_is_shown_is_what_was_asked_for() -> None:
    def kinds(*words: str, extra: tuple = ()) -> set[type]:
        callbacks = [ProgressBar(1, 1, Console()), *extra]
        return {
            type(each)
            for each in build_trainer(composed("trainer=cpu", *words), callbacks=callbacks).callbacks
        }

    assert kinds() == kinds("+trainer.enable_progress_bar=true") == {ProgressBar}
    assert kinds("+trainer.enable_progress_bar=false") == set()
    assert kinds(extra=(lightning_callbacks.TQDMProgressBar(),)) == {lightning_callbacks.TQDMProgressBar}
    (summary,) = kinds("+trainer.enable_model_summary=true") - {ProgressBar}
    assert issubclass(summary, lightning_callbacks.ModelSummary)
    checkpoint = lightning_callbacks.ModelCheckpoint()
    assert kinds(extra=(checkpoint,)) == {ProgressBar, lightning_callbacks.ModelCheckpoint}


@pytest.mark.parametrize(("words", "set_up"), [(["trainer=slurm"], True), (["trainer=cpu"], False)])
def test_processes_of_a_slurm_job_agree_on_a_port(
    words: list[str], set_up: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    monkeypatch.setattr("gmlight.runtime.slurm.check_tasks", lambda together: asked.append(f"{together}"))
    monkeypatch.setattr("gmlight.runtime.slurm.set_port", lambda: asked.append("port"))
    with contextlib.suppress(ConfigError, KeyError, RuntimeError, ValueError):  # there is no Slurm here
        build_trainer(composed(*words))
    assert asked == [f"{set_up}"] + ["port"] * set_up


def test_plugins_are_passed_on_one_or_several() -> None:
    """Beside gmlight's own, which writes checkpoints at once or not at all."""
    one, other = TorchCheckpointIO(), AsyncCheckpointIO()
    for given, expected in ((None, []), (one, [one]), ([one, other], [one, other]), ((other,), [other])):
        own, *passed = _plugins(given, in_own_process=False)
        assert isinstance(own, AtomicCheckpointIO)
        assert passed == expected


def test_a_plugin_of_another_precision_is_refused() -> None:
    plugin = "{_target_: lightning.pytorch.plugins.MixedPrecision, precision: bf16-mixed, device: cpu}"
    with pytest.raises(ConfigError, match=r"precision is bf16-mixed: set speed.precision instead"):
        build_trainer(composed("trainer=cpu", f"+trainer.plugins=[{plugin}]"))


def test_an_entry_that_is_no_callback() -> None:
    with pytest.raises(ConfigError, match=r"^callbacks.x: must be a Lightning callback"):
        build_callbacks(composed("+callbacks.x._target_=builtins.dict"))
    with pytest.raises(ConfigError, match=r"^callbacks.x: must be a Lightning callback"):
        build_callbacks(composed("+callbacks.x=3"))
    with pytest.raises(ConfigError, match=r"callbacks.x: cannot build .*TimerX") as error:
        build_callbacks(composed("+callbacks.x._target_=lightning.pytorch.callbacks.TimerX"))
    assert "\n" not in str(error.value)
    assert "HYDRA_FULL_ERROR" not in str(error.value)
    assert build_callbacks(composed("+callbacks.x=null")) == []


def test_anomaly_detection_reaches_a_run(run: Callable[..., Path]) -> None:
    folder = run("iterations=1", "+trainer.detect_anomaly=true", "speed.compile=auto")
    assert (folder / "result.json").exists()


def test_a_callback_and_a_profiler_change_no_result(run: Callable[..., Path]) -> None:
    plain = run()
    folder = run(TIMER, "trainer.profiler=simple")
    assert "run_training_batch" in (folder / "fit-profile.txt").read_text()
    tensors = "condensed/condensed.safetensors"
    assert (folder / tensors).read_bytes() == (plain / tensors).read_bytes()
    result = json.loads((folder / "result.json").read_text())
    assert (result["method"], result["departures"], result["scale"]) == ("mda", [], "smoke")


def test_a_callback_that_stops_the_run_leaves_no_finished_one(
    run: Callable[..., Path], tmp_path: Path
) -> None:
    words = (TIMER, "+callbacks.timer.duration.seconds=0", "+callbacks.timer.interval=step")
    with pytest.raises(ConfigError, match="a callback stopped the run after image update 0 of 4; resume="):
        run(*words)
    assert not (tmp_path / "run0" / "result.json").exists()
    assert not (tmp_path / "run0" / "condensed").exists()
