"""`import gmlight`: the commands as functions, and the condensed set."""

import asyncio
import importlib
import inspect
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hydra
import numpy as np
import pytest
import torch
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from PIL import Image
from sklearn.datasets import load_digits

import gmlight
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from gmlight.runtime.signals import signal_handler
from helpers.runs import THREADS, Run, refusal

DIGITS = load_digits()
IMAGES = torch.tensor(DIGITS.images[:400] / 16).float().unsqueeze(1)  # [N, 1, 8, 8]
LABELS = torch.tensor(DIGITS.target[:400])
TRAIN, TEST = (IMAGES[:300], LABELS[:300]), (IMAGES[300:], LABELS[300:])
TINY: dict[str, Any] = {"ipc": 2, "scale": "smoke", "progress": False}
FEW = [
    "trainer=cpu", "architecture.width=8", "evaluation.networks=1", "evaluation.every=0",
    "evaluation.baselines={random:0,whole:0}", "speed.compile=false",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> gmlight.CondensedDataset:
    """A set of images that were given without a test part."""
    torch.set_num_threads(THREADS)
    folder = tmp_path_factory.mktemp("library") / "run"
    return gmlight.condense(TRAIN, **TINY, overrides=FEW, folder=folder, name="mine")


def result_of(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "result.json").read_text())


def test_what_gmlight_offers() -> None:
    assert set(gmlight.__all__) == {
        "CondensationData", "CondensedDataset", "Condenser", "ConfigError", "Evaluator", "__version__",
        "condense", "evaluate",
    }  # fmt: skip
    assert dir(gmlight) == sorted(gmlight.__all__)
    for name in gmlight.__all__:
        assert getattr(gmlight, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'condens'"):
        gmlight.condens  # noqa: B018


def test_a_command_of_the_same_name_does_not_hide_the_function() -> None:
    module = importlib.import_module("gmlight.evaluate")
    assert inspect.isfunction(gmlight.evaluate)
    assert callable(module.main)


def test_it_leaves_the_run_folder_of_the_command(made: gmlight.CondensedDataset) -> None:
    for name in (
        "config.yaml",
        "result.json",
        "report.html",
        "condensed/metadata.json",
        "checkpoints/last.ckpt",
    ):
        assert (made.path / name).is_file(), name


def test_the_record_says_what_the_data_was(made: gmlight.CondensedDataset) -> None:
    config = yaml.safe_load((made.path / "config.yaml").read_text())
    dataset = config["dataset"]
    assert (dataset["name"], dataset["channels"], dataset["size"]) == ("mine", 1, [8, 8])
    assert dataset["classes"] == list("0123456789")
    assert len(dataset["sha256"]) == 64
    assert config["holdout"] == 0.2
    assert "holdout=0.2" in result_of(made.path)["departures"]
    assert "holdout=0.2" in result_of(made.path)["method"]


def test_a_typed_share_is_held_out_instead_of_the_usual_one(tmp_path: Path) -> None:
    made = gmlight.condense(TRAIN, **TINY, overrides=[*FEW, "holdout=0.4"], folder=tmp_path / "run")
    assert result_of(made.path)["config"]["holdout"] == 0.4
    counts = result_of(made.path)["data"]
    share = sum(counts["test"]["counts"]) / sum(counts["test"]["counts"] + counts["train"]["counts"])
    assert share == pytest.approx(0.4, abs=0.02)


def test_the_set_has_its_accuracies(made: gmlight.CondensedDataset) -> None:
    (row,) = result_of(made.path)["evaluations"]
    assert list(made.evaluations) == [row["architecture"]]
    assert made.evaluations[row["architecture"]].values == row["accuracy"]["values"]


def test_a_set_says_what_it_is(made: gmlight.CondensedDataset) -> None:
    lines = repr(made).splitlines()
    assert lines[0] == f"CondensedDataset {made.path}"
    assert "20 images of 10 classes, 1x8x8" in lines[1]
    assert "mine, ipc 2, mda" in lines[2]
    assert str(next(iter(made.evaluations.values()))) in lines[3]


def test_a_set_has_what_torchvisions_have(made: gmlight.CondensedDataset) -> None:
    assert made.targets == made.labels.tolist() == [c for c in range(10) for _ in range(2)]
    assert made.class_to_idx == {str(c): c for c in range(10)}


def test_a_set_normalises_real_images_as_its_own(made: gmlight.CondensedDataset) -> None:
    pixels = (IMAGES[0] * 255).round().byte()
    expected = (pixels / 255 - made.mean[0]) / made.std[0]
    for image in (pixels, pixels[0].numpy()[..., None], Image.fromarray(pixels[0].numpy()), pixels / 255):
        normal = made.normalize(image)
        torch.testing.assert_close(normal, expected)
        assert type(normal) is torch.Tensor
    assert made.normalize(IMAGES).shape == IMAGES.shape
    coloured = Image.fromarray(pixels[0].numpy()).convert("RGB")
    torch.testing.assert_close(made.normalize(coloured), expected, atol=0.02, rtol=0)


def test_a_set_shows_its_images(made: gmlight.CondensedDataset) -> None:
    pixels = made.images[3] * made.std[0] + made.mean[0]
    seen = np.asarray(made.to_pil(3)) / 255
    np.testing.assert_allclose(seen, pixels[0].clamp(0, 1), atol=0.5 / 255 + 1e-6)


def test_the_set_is_the_commands(run: Callable[..., Path], tmp_path: Path) -> None:
    words = ["dataset=digits", "ipc=2", "scale=smoke", *FEW]
    folder = run(*words)
    condensed = gmlight.condense(
        "digits", **TINY, overrides=[*FEW, "download=false"], folder=tmp_path / "other"
    )
    assert torch.equal(condensed.images, gmlight.CondensedDataset(folder).images)
    one, other = (yaml.safe_load((each / "config.yaml").read_text()) for each in (folder, condensed.path))
    assert one.pop("command") != other.pop("command")  # in another order
    assert one == other


def test_it_prints_nothing_without_progress(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """And has a folder of its own each time, whatever the program's own command line says."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["program", "--its", "own=words"])
    sets = [gmlight.condense(TRAIN, test=TEST, **TINY, overrides=FEW) for _ in range(2)]
    assert capfd.readouterr() == ("", "")
    assert torch.equal(sets[0].images, sets[1].images)
    assert sets[0].path != sets[1].path
    for each in sets:
        assert each.path.parent == tmp_path / "runs" / "in-memory-ipc2"
        assert "own=words" not in result_of(each.path)["command"]
        assert not result_of(each.path)["departures"] or "holdout" not in str(
            result_of(each.path)["departures"]
        )


def test_progress_says_what_is_held_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gmlight.condense(TRAIN, 1, scale="smoke", overrides=FEW, folder=tmp_path / "run")
    lines = capsys.readouterr().out
    assert "20% of each class's training images are held out for testing" in lines
    assert "condensing" in lines


def test_in_a_program_that_uses_hydra_and_an_event_loop(tmp_path: Path) -> None:
    async def notebook() -> gmlight.CondensedDataset:
        return gmlight.condense(TRAIN, test=TEST, **TINY, overrides=FEW, folder=tmp_path / "run")

    with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.2"):
        HydraConfig.instance().cfg = mine = hydra.compose("train", ["ipc=7"], return_hydra_config=True)
        before = GlobalHydra.instance().hydra
        assert asyncio.run(notebook()).evaluations
        assert GlobalHydra.instance().hydra is before
        assert HydraConfig.instance().cfg is mine
        assert hydra.version.base_at_least("1.2")
        assert not hydra.version.base_at_least("1.3")
    HydraConfig.instance().cfg = None


def _condense_elsewhere(folder: Path) -> None:
    torch.set_num_threads(THREADS)
    gmlight.condense(TRAIN, test=TEST, **TINY, overrides=FEW, folder=folder)


def test_in_a_spawned_process(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(
        target=_condense_elsewhere, args=[tmp_path / "run"]
    )
    process.start()
    process.join()
    assert process.exitcode == 0
    assert gmlight.CondensedDataset(tmp_path / "run").evaluations


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "method": ({"method": "nope"}, "method=nope: no such option; use one of best, dc, .*mda"),
    "no choice": ({"method": 3}, "method=3: no option of method; use one of best"),
    "scale": ({"scale": "huge"}, "scale=huge: .*paper, reduced"),
    "dataset": ({"train": "cifar11"}, "dataset=cifar11: no such option, did you mean cifar10"),
    "ipc": ({"ipc": 0}, "ipc=0: must be a whole number"),
    "too many": ({"ipc": 31, "method": "random", "overrides": []}, "31 images of class .* it has only"),
    "key": ({"overrides": ["image_lrr=2"]}, "image_lrr"),
    "value": ({"overrides": ["image_lr=-2"]}, "image_lr=-2: must be"),
    "one word": ({"overrides": "image_lr=2"}, "must be a list of words"),
    "no word": ({"overrides": ["image_lr"]}, "must be a word such as"),
    "dry run": ({"overrides": ["dry_run=true"]}, "use python -m gmlight.train dry_run=true"),
    "several": ({"overrides": ["trainer=ddp"]}, "trainer: a program uses one process; use trainer=auto"),
    "whole": ({"method": "whole"}, "there is no condensed set to return"),
    "floats": ({"train": (IMAGES * 255, LABELS)}, "must be in 0..1: divide them by 255"),
    "test of another size": ({"test": (IMAGES[:, :, 1:], LABELS)}, "test: images are 1x7x8"),
    "test beside a name": ({"train": "digits", "test": TEST}, "has its own test images"),
    "name": ({"name": "a/b"}, "name='a/b': must be letters"),
    "column": ({"train": "digits", "name": "x"}, "has its own test images and name"),
    "own conf": ({"config_dir": "nowhere"}, "config_dir=nowhere: no such folder"),
    "dataset twice": ({"overrides": ["dataset=digits"]}, "pass the dataset as the argument train"),
    "folder twice": ({"overrides": ["hydra.run.dir=x"]}, "pass the folder as the argument folder"),
    "nothing to resume": ({"resume": True, "folder": "nowhere"}, "no run there to resume"),
    "resume": ({"resume": True}, "name the run folder by folder="),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused_before_anything_runs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    arguments, line = WRONG[name]
    with pytest.raises(ConfigError, match=line) as error:
        gmlight.condense(**({"train": TRAIN, "overrides": FEW} | TINY | arguments))
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="is a file; name a folder"):
        gmlight.condense(TRAIN, **TINY, overrides=FEW, folder=tmp_path / "file")


def test_evaluate_refuses_another_set_and_a_single_name(made: gmlight.CondensedDataset) -> None:
    with pytest.raises(ConfigError, match="pass the condensed set as the first argument"):
        gmlight.evaluate(made, TEST, overrides=["run=elsewhere"])
    with pytest.raises(ConfigError, match=r"must be a list of names, \['mlp'\]"):
        gmlight.evaluate(made, TEST, architectures="mlp")


def test_unknown_keywords_are_refused() -> None:
    with pytest.raises(TypeError, match="unexpected keyword argument 'verbose'"):
        gmlight.condense(TRAIN, verbose=True)


def test_a_folder_with_files_is_refused(made: gmlight.CondensedDataset) -> None:
    with pytest.raises(ConfigError, match="already holds a run or other files; name another"):
        gmlight.condense(TRAIN, **TINY, folder=made.path)


def test_a_run_is_resumed_with_the_same_data(tmp_path: Path, typed: Run) -> None:
    longer = [*FEW, "iterations=3"]
    known = {"train": TRAIN, "test": TEST} | TINY
    gmlight.condense(**known, overrides=FEW, folder=tmp_path / "run")
    with pytest.raises(ConfigError, match=r"would change the synthetic set .*dataset.sha256"):
        gmlight.condense(
            **(known | {"train": (IMAGES[:299], LABELS[:299])}),
            overrides=longer,
            folder=tmp_path / "run",
            resume=True,
        )
    refused = refusal(typed("train", f"resume={tmp_path / 'run'}", "iterations=3"))
    assert "passed from Python" in refused
    assert "resume=True) with the same images" in refused
    resumed = gmlight.condense(**known, overrides=longer, folder=tmp_path / "run", resume=True)
    whole = gmlight.condense(**known, overrides=longer, folder=tmp_path / "whole")
    assert torch.equal(resumed.images, whole.images)


def test_an_interrupted_run_says_how_it_is_resumed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGINT)

    def interrupted(*_: object) -> None:
        with signal_handler.deferred():
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("gmlight.library.train_command", interrupted)
    with pytest.raises(KeyboardInterrupt, match="stopped by SIGINT"):
        gmlight.condense(TRAIN, **TINY, folder=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is before
    assert signal_handler.signum is None


def test_evaluation(made: gmlight.CondensedDataset, capfd: pytest.CaptureFixture[str]) -> None:
    words = ["trainer=cpu", "evaluation.epochs=1"]
    found = gmlight.evaluate(
        made, TEST, architectures=["mlp", "convnet"], networks=2, overrides=words, progress=False
    )
    assert capfd.readouterr() == ("", "")
    assert list(found) == ["mlp", "convnet, width=8"]  # as in the run that made the set
    for accuracy in found.values():
        assert len(accuracy.values) == 2
        assert accuracy.mean == pytest.approx(sum(accuracy.values) / 2)
        assert accuracy.std == pytest.approx(abs(accuracy.values[0] - accuracy.values[1]) / 2)
        right = [value / 100 * len(TEST[0]) for value in accuracy.values]
        assert right == pytest.approx([round(number) for number in right], abs=1e-3)
    again = gmlight.evaluate(
        made.path, TEST, architectures=["mlp"], networks=1, overrides=words, progress=False
    )
    assert again["mlp"].values == found["mlp"].values[:1]  # a folder names the same set
    for path in made.path.glob("evaluations/*/result.json"):
        if len(result_of(path.parent)["evaluations"]) == 1:
            (path.parent / "result.json").unlink()
    (path,) = made.path.glob("evaluations/*/result.json")
    assert 0 < result_of(path.parent)["seconds"]["evaluation"] < 600
    assert result_of(path.parent)["config"]["holdout"] == 0  # all of the test images


def test_evaluation_of_what_does_not_fit(made: gmlight.CondensedDataset) -> None:
    for test, line in (
        ((IMAGES[:, :, 1:], LABELS), "those of the condensed set 1x8x8"),
        (None, r"gmlight.evaluate\(set, test=...\)"),
        ("digits", "the set.s (mean|std)"),
    ):
        with pytest.raises(ConfigError, match=line):
            gmlight.evaluate(made, test, overrides=["trainer=cpu"], progress=False)
    with pytest.raises(ConfigError, match="belongs to the run that made the set"):
        gmlight.evaluate(made, TEST, overrides=["ipc=3"], progress=False)
    with pytest.raises(ConfigError, match="need training images"):
        gmlight.evaluate(made, TEST, overrides=["evaluation.baselines.random=1"], progress=False)
