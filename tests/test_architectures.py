"""Networks: sizes of the protocol, shapes, and refusals."""

import pytest
import torch

from conftest import composed
from gmlight.build import build_factory, evaluation_architecture, needs_statistics
from gmlight.errors import ConfigError


def parameters(*overrides: str) -> int:
    config = composed(*overrides)
    return sum(
        parameter.numel() for parameter in build_factory(config.architecture, config.dataset)().parameters()
    )


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        (["dataset=mnist"], 317_706),
        (["dataset=svhn"], 320_010),
        (["dataset=mnist", "architecture=mlp"], 118_282),
        (["dataset=svhn", "architecture=mlp"], 411_146),
    ],
    ids=str,
)
def test_parameter_counts(overrides: list[str], expected: int) -> None:
    assert parameters(*overrides) == expected


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
    assert evaluation_architecture(config.architecture).norm == "instance"
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
