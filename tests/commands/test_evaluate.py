"""What gmlight.evaluate says of an evaluation: the settings that differ from the run's."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf

from gmlight.builders.data import build_data
from gmlight.builders.stored_set import StoredSet
from gmlight.commands.evaluate import changed, logged_protocol
from gmlight.config.validate import check
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.runs import Run, composed, refusal, train_tiny

RUN = ("dataset=mnist", "method=md", "scale=reduced")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["evaluation.networks=3", "evaluation.every=1", "evaluation.test_batch=7"], []),
        (["evaluation.lr=0.1"], ["lr=0.1"]),
        (["evaluation.batch_size=8", "evaluation.momentum=0.5"], ["batch_size=8", "momentum=0.5"]),
        (["evaluation.weight_decay=0"], ["weight_decay=0"]),
        (["evaluation.batch_norm=batch", "seed=4"], ["batch_norm=batch", "seed=4"]),
        (["evaluation.epochs=7"], ["epochs=7"]),
        (["holdout=0.1"], ["holdout=0.1"]),
        (["evaluation.cutmix=0.5"], []),  # in the protocol's name, as the augmentation
        (["augmentation=dsa"], []),
        (["augmentation=idc", "evaluation=idc"], []),
        (["augmentation=dsa", "evaluation.fall=0.2"], ["fall=0.2", "falls=[0.5]"]),
        (["augmentation=idc", "evaluation=idc", "evaluation.precision=bfloat16"], ["precision=bfloat16"]),
        (["evaluation.precision=bfloat16"], ["precision=bfloat16"]),
        (["architecture=mlp"], []),  # has its own column
    ],
    ids=str,
)
def test_settings_that_differ_from_the_run(words: list[str], expected: list[str]) -> None:
    original = OmegaConf.to_container(composed(*RUN), resolve=True)
    augmentation = next((w.split("=")[1] for w in words if w.startswith("augmentation=")), None)
    assert changed(composed(*RUN, *words), original, augmentation) == expected  # type: ignore[arg-type]


def test_the_first_images_of_a_set_are_evaluated_beside_as_many_random_ones(tmp_path: Path) -> None:
    train_tiny(tmp_path / "run", "multi_size=true", "evaluation.baselines.random=0")
    words = [f"run={tmp_path / 'run'}", "ipc=1", "evaluation.baselines.random=1"]
    done = subprocess.run(
        [sys.executable, "-m", "gmlight.evaluate", *words, f"hydra.run.dir={tmp_path / 'again'}"],
        capture_output=True, text=True, timeout=300, check=True,
    )  # fmt: skip
    assert "first 1 of 2" in done.stdout
    rows = json.loads((tmp_path / "again" / "result.json").read_text())["evaluations"]
    assert [row["name"] for row in rows] == ["condensed, first 1 of 2", "random images"]
    assert [(row["images"], row["storage_bytes"]) for row in rows] == [(10, 10 * 64 * 4)] * 2
    refused = subprocess.run(
        [sys.executable, "-m", "gmlight.evaluate", words[0], "ipc=3"], capture_output=True, text=True
    )
    assert "ipc=3: must be from 1 to 2" in refusal(refused)


def test_networks_of_a_killed_evaluation_are_not_trained_again(typed: Run, tmp_path: Path) -> None:
    run = tmp_path / "run"
    train_tiny(run, "evaluation.baselines.random=0")
    words = ["evaluate", f"run={run}", "evaluation.networks=3"]
    assert typed(*words).returncode == 0
    [first] = (run / "evaluations").iterdir()
    values = json.loads((first / "result.json").read_text())["evaluations"][0]["accuracy"]["values"]
    (first / "result.json").unlink()  # as if it had been killed after two networks
    log = first / "evaluation.jsonl"
    log.write_text("\n".join(log.read_text().split("\n")[:3]))
    assert typed(*words).returncode == 0
    [second] = set((run / "evaluations").iterdir()) - {first}
    again = json.loads((second / "result.json").read_text())["evaluations"][0]["accuracy"]["values"]
    assert again == values
    assert len((second / "evaluation.jsonl").read_text().split()) < len(log.read_text().split())
    assert typed(*words, "evaluation.lr=0.02").returncode == 0  # another protocol: trained anew
    [third] = set((run / "evaluations").iterdir()) - {first, second}
    assert len((third / "evaluation.jsonl").read_text().strip().split("\n")) == 3


def test_what_logged_accuracies_depend_on() -> None:
    """Accuracies on other test images are not reused, even if the set and the protocol are the same."""
    found = []
    config, device = composed("dataset=digits"), torch.device("cpu")
    for words in ([], ["dataset.load.split_seed=1"]):
        data = build_data(composed("dataset=digits", *words)).load(device)
        images = LabelledImages(torch.zeros(1, 1, 8, 8), torch.tensor([0]))
        found.append(logged_protocol(config, StoredSet({}, "condensed", images, data, {}, device, None)))
    whole, less = (protocol.pop("data") for protocol in found)
    assert whole["test"] != less["test"]
    assert found[0] == found[1]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["synthetic=shared_components", "initialization=real"], "multi_size=true: this form has no images"),
        (["matching=inter", "matching.mixed_real=8"], "multi_size=true: mixed batches have no prefixes"),
    ],
)
def test_sets_without_prefixes_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check(composed("multi_size=true", *words))
