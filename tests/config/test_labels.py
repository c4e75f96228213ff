"""Labels: read from values, so that no way of setting one hides it."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf, open_dict

from gmlight.artifacts.record import RunRecord
from gmlight.config import labels
from gmlight.config.experiment_cells import apply_cell
from gmlight.config.implied import differences, read_reference
from gmlight.config.labels import NEUTRAL, describe, is_in
from gmlight.config.overrides import flat
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import composed

# Changes of these keys change nothing but rounding. A key is added only with a reason.
HARMLESS = {
    "carry", "datasets", "distillation", "jobs", "memories", "orders", "steps",  # of gmlight.continual
    "against", "json", "rounds",  # of gmlight.benchmark, which condenses nothing
    "cells", "resume", "trust",  # acts through other values
    "checkpoint", "dry_run", "diagnose_every", "log_every", "logger",  # files and measurements
    "data_dir", "dataset.cache", "dataset.path", "dataset.root", "download",  # the digest says which images
    "evaluation.baselines", "evaluation.every", "evaluation.quick_networks",  # accuracies of their own
    "evaluation.networks_at_once", "evaluation.test_batch", "memory",  # how much is computed at once
    "speed.allocator", "speed.classes_per_block", "speed.compile", "speed.microbatch",
    "trainer._partial_", "trainer._target_", "trainer.accelerator", "trainer.benchmark",
    "trainer.default_root_dir", "trainer.detect_anomaly", "trainer.deterministic", "trainer.devices",
    "trainer.enable_autolog_hparams", "trainer.enable_model_summary", "trainer.enable_progress_bar",
    "trainer.num_nodes", "trainer.profiler", "trainer.strategy",
}  # fmt: skip


def described(*words: str) -> RunRecord:
    config = composed(*words)
    apply_cell(config)
    return describe(config)


def names(record: RunRecord) -> tuple[Any, ...]:
    """What tells two runs apart in tables."""
    config = record.config
    return (
        record.method, record.scale, record.architecture, record.protocol,
        config["dataset"]["name"], config["ipc"], config["seed"], config["evaluation"]["architectures"],
    )  # fmt: skip


def other_value(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if value is None or isinstance(value, int | float):
        return (value or 0) + 3
    return [*value, "another"] if isinstance(value, list) else "another"


REPEATED = {"method", "scale.name"}  # keys that repeat the name of a chosen option
CHOICES = [
    (["dataset=cifar10", "method=representative", "ipc=10"],
     {*REPEATED, "dataset.evaluation_epochs"}),  # augmentation=dsa has more
    (["dataset=mnist", "method=mdo", "trainer=ddp", "synthetic=shared_components", "evaluation=cutmix"],
     {*REPEATED, "augmentation.evaluation_epochs"}),
    (["dataset=cifar10", "method=formation", "augmentation=idc", "evaluation=idc", "ipc=10"],
     {*REPEATED, "dataset.evaluation_epochs", "augmentation.evaluation_epochs"}),
    (["dataset=image_folder", "dataset.classes=[a,b]", "method=herding"],
     {*REPEATED, "real_batch", "scale.real_batch", "scale.iterations"}),  # nothing is condensed
]  # fmt: skip


@pytest.mark.parametrize(("words", "harmless"), CHOICES, ids=["cifar10", "mnist", "idc", "folder"])
def test_every_key_is_seen_or_harmless(
    words: list[str], harmless: set[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = composed(*words)
    with open_dict(config):
        config.callbacks = {"own": {"_target_": "my.Callback"}}
        config.trainer.plugins = None
    monkeypatch.setattr("gmlight.config.implied._fill_in_described_data", lambda *_: None)
    choices = describe(config).choices
    reference = read_reference(config, choices)
    monkeypatch.setattr(labels, "read_reference", lambda *_: reference)
    before = names(describe(config))
    unseen = []
    for key, value in flat(OmegaConf.to_container(config, resolve=True)):  # type: ignore
        if is_in(key, HARMLESS):
            continue
        changed, (above, _, last) = config.copy(), key.rpartition(".")
        table = last.isdigit()  # schedule.epochs has numbers as keys; one number may replace them
        OmegaConf.update(changed, above if table else key, 5 if table else other_value(value))
        if names(describe(changed)) == before:
            unseen.append(key)
    assert set(unseen) <= harmless


@pytest.mark.parametrize(
    ("words", "protocol", "scale"),
    [
        (["augmentation=idc", "evaluation=idc"], "idc", "paper"),
        (["augmentation=idc", "evaluation=idc", "evaluation.epochs=9"], "idc",
         "paper with evaluation.epochs=9"),
        (["augmentation=idc"], "idc augmentation", "paper"),
        (["augmentation=idc", "evaluation=cutmix"], "idc augmentation + cutmix", "paper"),
        (["augmentation=idc", "evaluation=idc", "evaluation.cutmix=0.3"], "idc augmentation + cutmix 0.3",
         "paper"),
        (["augmentation=idc", "evaluation=idc", "evaluation.falls=[0.5]"], "idc augmentation + cutmix",
         "paper with evaluation.falls=[0.5]"),
        (["augmentation=idc", "evaluation=idc", "evaluation.batch_size=65"], "idc augmentation + cutmix",
         "paper with evaluation.batch_size=65"),
        (["augmentation=idc", "evaluation=idc", "evaluation.lr=0.1"], "idc", "paper with evaluation.lr=0.1"),
        (["augmentation=idc", "evaluation=idc", "evaluation.precision=bfloat16"], "idc in bfloat16",
         "paper with evaluation.precision=bfloat16"),
        (["evaluation.precision=bfloat16"], "dsa in bfloat16", "paper with evaluation.precision=bfloat16"),
        (["evaluation=cutmix", "evaluation.precision=bfloat16"],
         "dsa + cutmix in bfloat16", "paper with evaluation.precision=bfloat16"),
        (["augmentation=dsa", "evaluation=idc"], "dsa + cutmix",
         "paper with evaluation.batch_size=64, evaluation.falls=[0.66666667,0.83333334], "
         "evaluation.fall=0.2"),
        (["augmentation=dsa", "evaluation.fall=0.2"], "dsa", "paper with evaluation.fall=0.2"),
    ],
    ids=str,
)  # fmt: skip
def test_the_protocol_of_idc_has_its_name_only_if_nothing_differs(
    words: list[str], protocol: str, scale: str
) -> None:
    record = described("dataset=cifar10", "method=formation", *words)
    assert (record.protocol, record.scale) == (protocol, scale)


def test_on_mnist_the_protocol_of_idc_covers_nothing() -> None:
    record = described("dataset=mnist", "method=formation", "augmentation=idc", "evaluation=idc")
    assert (record.protocol, record.scale) == ("idc", "paper")


def test_harmless_keys_are_the_neutral_ones() -> None:
    assert set(NEUTRAL) == HARMLESS


@pytest.mark.parametrize(
    ("words", "method", "scale", "architecture"),
    [
        (["image_lr=0.1", "updates=1", "distance.weight=1"], "md", "paper", "convnet"),
        (["architecture.depth=3", "seed=0"], "md", "paper", "convnet"),
        (["scale.iterations=1", "scale.epochs=1"], "md",
         "paper with iterations=1, evaluation.epochs=1", "convnet"),
        (["scale=smoke", "scale.name=paper"], "md", "smoke", "convnet"),
        (["dataset.evaluation_epochs=7"], "md", "paper with evaluation.epochs=7", "convnet"),
        (["++architecture.width=4"], "md", "paper", "convnet, width=4"),
        (["dataset.convnet_depth=1"], "md with dataset.convnet_depth=1", "paper", "convnet"),
        (["dataset.mean=[0,0,0]"], "md with dataset.mean=[0,0,0]", "paper", "convnet"),
        (["dataset.load.train={train: false}"], "md with dataset.load.train.train=false", "paper", "convnet"),
        (["augmentation=crop_or_noise", "augmentation.noise=1"], "md",
         "paper with augmentation=crop_or_noise, augmentation.noise=1", "convnet"),
        (["evaluation.lr=1"], "md", "paper with evaluation.lr=1", "convnet"),
        (["schedule.epochs=5"], "md with schedule.epochs=5", "paper", "convnet"),
        (["~callbacks", "speed.compile=true"], "md", "paper", "convnet"),
        (["+callbacks.own._target_=my.Own"], "md with callbacks.own._target_=my.Own", "paper", "convnet"),
        (["+callbacks.timer._target_=lightning.pytorch.callbacks.Timer"], "md", "paper", "convnet"),
        (["speed.precision=bfloat16"], "md with speed.precision=bfloat16", "paper", "convnet"),
        (["speed.network_precision=bfloat16"], "md with speed.network_precision=bfloat16", "paper",
         "convnet"),
        (["holdout=0.1"], "md with holdout=0.1", "paper", "convnet"),
    ],
)  # fmt: skip
def test_values_are_named_however_they_are_set(
    words: list[str], method: str, scale: str, architecture: str
) -> None:
    record = described("dataset=cifar10", "method=md", *words)
    assert (record.method, record.scale, record.architecture) == (method, scale, architecture)
    plain = (method, scale, architecture) == ("md", "paper", "convnet")
    sizes_only = method == "md" and scale.startswith(
        ("smoke", "paper with iterations", "paper with evaluation.ep")
    )
    assert (record.departures == []) is (plain or sizes_only or architecture != "convnet")


def test_options_of_ones_own_are_named_by_value(tmp_path: Path) -> None:
    for name, text in {
        "experiment/quiet": "# @package _global_\nnetwork_lr: 0.5\nevaluation: {lr: 0.5}\n",
        "evaluation/mine": "defaults: [paper]\nmomentum: 0.1\n",
        "scale/mine": "name: paper\niterations: 3\nreal_batch: 256\nnetworks: 50\nepochs: null\n",
        "method/slow": "# @package _global_\nimage_lr: 0.01\n",
        "architecture/mine": "_target_: my.Net\n_partial_: true\nwidth: 7\n",
        "dataset/mine": (CONF_DIR / "dataset" / "cifar10.yaml").read_text().replace("flip: 0.5", "flip: 0.1"),
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.yaml").write_text(text)
    folder = f"hydra.searchpath=['file://{tmp_path}']"
    start = ["dataset=cifar10", "method=md", folder]
    assert described(*start, "experiment=quiet").departures == ["network_lr=0.5", "evaluation.lr=0.5"]
    assert described(*start, "evaluation=mine").scale == "paper with evaluation.momentum=0.1"
    assert described(*start, "scale=mine").scale == "mine with iterations=3"
    slow = described("dataset=cifar10", "method=slow", folder)
    assert (slow.method, slow.departures) == ("slow with image_lr=0.01", ["image_lr=0.01", "method=slow"])
    assert described(*start, "architecture=mine").architecture.startswith("mine, ")
    assert described(*start[1:], "dataset=mine").departures == ["dataset.flip=0.1"]
    assert described(*start[1:], "dataset=mine", "dataset.name=mine").departures == ["dataset.flip=0.1"]


COPY = ["dataset=image_folder", "dataset.classes=[a,b]", "method=md", "ipc=50"]
STATISTICS = ["dataset.mean=[.4914,.4822,.4465]", "dataset.std=[.2470,.2435,.2616]"]


def test_a_copy_of_a_paper_dataset_is_compared_with_the_original(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "gmlight.config.implied._fill_in_described_data",
        lambda reference, config, _: reference.update(classes=config.dataset.classes),
    )
    name = "dataset.name=cifar10-jpeg"
    assert described(*COPY, name, *STATISTICS, "distance.weight=0.1").departures == []
    assert described(*COPY, name, *STATISTICS).departures == ["distance.weight=1.0"]
    assert described(*COPY, name, "ipc=1").departures == ["dataset.mean=null", "dataset.std=null"]
    assert described(*COPY, name, *STATISTICS, "ipc=1", "dataset.size=[64,64]").method.endswith(
        "size=[64,64]"
    )
    assert described(*COPY, "dataset.name=cifar10-lt", "distance.weight=0.1").departures
    mnist = described(*COPY, "dataset.name=mnist-jpeg", "dataset.channels=1", "dataset.size=[28,28]")
    assert "dataset.evaluation_augmentation=none" in mnist.departures


class Named:
    """An augmentation of one's own whose protocol depends on its settings."""

    while_matching = True

    def __init__(self, strength: int) -> None:
        self.strength = strength

    @property
    def protocol(self) -> str:
        return f"mine of {self.strength}"


def test_an_augmentation_names_its_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    module = types.ModuleType("own_augmentation")
    module.Named = Named  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "own_augmentation", module)
    config = composed("dataset=cifar10")
    config.augmentation = {"_target_": "own_augmentation.Named", "strength": 3, "evaluation_epochs": 5}
    assert labels.protocol_label(config) == "mine of 3"
    assert labels.augments_while_matching(config)
    config.augmentation.strength = "x"
    assert labels.protocol_label(config) == "mine of x"
    config.augmentation = {"_target_": "own_augmentation.Named", "wrong": 3}  # refused later, in one line
    assert labels.protocol_label(config) == "Named"


def test_an_added_node_is_named_by_its_values_alone() -> None:
    """Neither the nodes above it nor the table that it replaces count as removed."""
    config, reference = (OmegaConf.create({"a": {"b": 1}, "table": {0: 5, 1: 6}}) for _ in range(2))
    assert differences(config, reference) == {}
    config.a.c = {"d": {"e": 2}}
    config.table = 7
    assert differences(config, reference) == {"a.c.d.e": 2, "table": 7}
    del config["a"]["b"]
    assert differences(config, reference) == {"a.c.d.e": 2, "table": 7, "a.b": None}
    config.a = 3  # a value where a node was
    assert differences(config, reference) == {"a": 3, "table": 7}
    assert differences(reference, OmegaConf.create({"a": 3, "table": 7})) == {
        "a.b": 1, "table.0": 5, "table.1": 6,
    }  # fmt: skip


def test_footnote_5_decides_by_value() -> None:
    here = ["dataset=cifar10", "ipc=50", "method=md"]
    assert described(*here, "distance.weight=0.1").departures == []
    assert described(*here).departures == ["distance.weight=1.0"]
    assert described("experiment=table3", *here).departures == []
    typed = described("experiment=table3", *here, "distance.weight=1")
    assert (typed.config["distance"]["weight"], typed.departures) == (1, ["distance.weight=1"])
