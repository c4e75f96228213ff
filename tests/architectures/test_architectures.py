"""Networks: parameter counts of the protocol, shapes, and refused settings."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console

from gmlight import CondensedDataset
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluators, evaluation_architecture
from gmlight.builders.parts import build_factory, needs_statistics
from gmlight.config.compose import instantiate
from gmlight.errors import ConfigError
from gmlight.runtime.compile import Compilation
from helpers.runs import composed

COUNTS = {  # protocol values per architecture: 1x28x28 with 10 classes, 3x32x32 with 10, 3x32x32 with 100
    "convnet": (317_706, 320_010, 504_420),
    "mlp": (118_282, 411_146, 422_756),
    "lenet": (61_706, 62_006, 69_656),
    "alexnet": (1_865_802, 1_872_202, 2_148_772),
    "vgg11": (9_229_962, 9_231_114, 9_277_284),
    "vgg11_bn": (9_229_962, 9_231_114, 9_277_284),
    "resnet18": (11_172_810, 11_173_962, 11_220_132),
    "resnet18_bn_ap": (11_213_770, 11_250_762, None),
}
SHAPES = ((1, 28, 10), (3, 32, 10), (3, 32, 100))


@pytest.mark.parametrize("name", COUNTS)
def test_parameter_counts(name: str) -> None:
    architecture = instantiate(composed("dataset=mnist", f"architecture={name}").architecture)
    for (channels, side, classes), expected in zip(SHAPES, COUNTS[name], strict=True):
        with torch.device("cpu"):
            network = architecture(channels=channels, size=(side, side), classes=classes)
        if expected is not None:
            assert sum(parameter.numel() for parameter in network.parameters()) == expected


def test_convnet_of_tiny_imagenet() -> None:
    architecture = instantiate(composed("dataset=mnist").architecture)
    network = architecture(channels=3, size=(64, 64), classes=200)
    assert sum(parameter.numel() for parameter in network.parameters()) == 1_938_120


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg11", "resnet18"])
@pytest.mark.parametrize(("channels", "side"), [(1, 28), (3, 32), (3, 64)])
def test_networks_accept_images_of_each_size(name: str, channels: int, side: int) -> None:
    architecture = instantiate(composed("dataset=mnist", f"architecture={name}").architecture)
    network = architecture(channels=channels, size=(side, side), classes=7)
    assert network(torch.randn(2, channels, side, side)).shape == (2, 7)


@pytest.mark.parametrize("name", ["lenet", "alexnet", "vgg11", "resnet18"])
def test_images_too_small_for_a_network_are_refused(name: str) -> None:
    architecture = instantiate(composed("dataset=mnist", f"architecture={name}").architecture)
    with pytest.raises(ConfigError, match="nothing of a 3x3 image"):
        architecture(channels=1, size=(3, 3), classes=7)


def test_several_architectures_are_evaluated_in_one_run(run: Callable[..., Path]) -> None:
    folder = run("evaluation.architectures=[mlp,convnet]", "evaluation.baselines={random:0,whole:0}")
    found = json.loads((folder / "result.json").read_text())
    assert [row["architecture"] for row in found["evaluations"]] == ["mlp", "convnet, width=8"]
    assert CondensedDataset(folder).metadata["evaluations"] == found["evaluations"]
    config = composed("evaluation.architectures=[mlp,convnet]", "architecture.width=16")
    made = build_evaluators(
        config, build_data(config), "convnet, width=16", Compilation(False, print), Console()
    )
    assert list(made) == ["mlp", "convnet, width=16"]
    assert made["convnet, width=16"].factory().conv0.out_channels == 16
    with pytest.raises(ConfigError, match="architecture=mlq: no such option, did you mean mlp"):
        run("evaluation.architectures=[mlq]")


def test_result_names_the_norm_that_evaluates_a_batch_norm_source(
    run: Callable[..., Path], capsys: pytest.CaptureFixture
) -> None:
    folder = run("architecture=convnet_bn")
    said = "convnet_bn is evaluated with instance norm instead of batch norm"
    assert said in capsys.readouterr().out.splitlines()
    row = json.loads((folder / "result.json").read_text())["evaluations"][0]
    assert row["architecture"] == "convnet_bn, width=8 (instance)"


@pytest.mark.parametrize("name", ["convnet_bn", "vgg11_bn", "resnet18_bn_ap"])
def test_sources_with_batch_norm(name: str) -> None:
    config = composed("dataset=mnist", f"architecture={name}")
    factory = build_factory(config.architecture, config.dataset)
    assert needs_statistics(factory)
    target = evaluation_architecture(config.architecture, "instance")
    assert not needs_statistics(build_factory(target, config.dataset))


@pytest.mark.parametrize("activation", ["sigmoid", "relu", "leaky_relu", "swish"])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
@pytest.mark.parametrize("pooling", ["none", "max", "avg"])
def test_convnet_options(activation: str, norm: str, pooling: str) -> None:
    config = composed(
        "architecture.width=8", f"architecture.activation={activation}", f"architecture.norm={norm}",
        f"architecture.pooling={pooling}",
    )  # fmt: skip
    network = build_factory(config.architecture, config.dataset)()
    assert network(torch.randn(2, 1, 8, 8)).shape == (2, 10)
    assert needs_statistics(lambda: network) == (norm == "batch")


def test_batch_norm_is_evaluated_as_instance_norm() -> None:
    config = composed("architecture.norm=batch")
    assert evaluation_architecture(config.architecture, "instance").norm == "instance"
    assert evaluation_architecture(config.architecture, "batch") == config.architecture
    assert config.architecture.norm == "batch"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["architecture.depth=4"], r"use architecture.depth<=3"),
        (["architecture.width=6", "architecture.norm=group"], "multiple of 4"),
        (["architecture.norm=batchnorm"], "none, batch, layer, instance, group"),
        (["architecture.activation=tanh"], "relu, leaky_relu, sigmoid, swish"),
        (["architecture.activation=[relu]"], "relu, leaky_relu, sigmoid, swish"),
        (["architecture.pooling=mean"], "none, avg, max"),
    ],
    ids=str,
)
def test_refusals(overrides: list[str], message: str) -> None:
    config = composed(*overrides)
    with pytest.raises(ConfigError, match=message):
        build_factory(config.architecture, config.dataset)
