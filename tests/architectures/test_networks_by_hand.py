"""Forward passes of the networks, written a second time with torch's functions and their own weights."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from gmlight.architectures import blocks
from gmlight.architectures.alexnet import AlexNet
from gmlight.architectures.convnet import ConvNet
from gmlight.architectures.lenet import LeNet
from gmlight.architectures.mlp import MLP
from gmlight.architectures.resnet import ResNet18
from gmlight.architectures.vgg import VGG11
from gmlight.errors import ConfigError


def images(channels: int, height: int, width: int) -> Tensor:
    return torch.randn(2, channels, height, width, generator=torch.Generator().manual_seed(0)).double()


def weights(network: nn.Module) -> Callable[[], Tensor]:
    """Returns the parameters one by one, in their order; scales and shifts are made to matter first."""
    with torch.no_grad():
        for number, parameter in enumerate(network.parameters()):
            if parameter.ndim == 1:
                parameter += 0.1 * torch.arange(len(parameter)) / len(parameter) + 0.01 * number
    values = iter(list(network.parameters()))
    return lambda: next(values)


def standardised(maps: Tensor, dims: tuple[int, ...]) -> Tensor:
    return (maps - maps.mean(dims, keepdim=True)) / (maps.var(dims, keepdim=True, correction=0) + 1e-5).sqrt()


def per_channel(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1)


def normalised(maps: Tensor, take: Callable[[], Tensor]) -> Tensor:
    """Instance norm: each channel of each image."""
    return standardised(maps, (2, 3)) * per_channel(take()) + per_channel(take())


@pytest.mark.parametrize(
    ("name", "dims"), [("instance", (2, 3)), ("group", (2, 3, 4)), ("layer", (1, 2, 3)), ("batch", (0, 2, 3))]
)
def test_norms(name: str, dims: tuple[int, ...]) -> None:
    maps = images(8, 5, 3) * torch.arange(1, 9).view(-1, 1, 1) + torch.arange(8).view(-1, 1, 1)
    made = blocks.norm(name, 8, (5, 3)).double()
    given = maps.unflatten(1, (4, 2)) if name == "group" else maps  # four groups of two channels
    torch.testing.assert_close(made(maps), standardised(given, dims).view_as(maps))
    assert torch.equal(blocks.norm("none", 8, (5, 3))(maps), maps)


@pytest.mark.parametrize(
    ("make", "line"),
    [
        (lambda: blocks.activation("tanh"), "architecture.activation=tanh: choose one of"),
        (lambda: blocks.norm("weight", 4, (8, 8)), "architecture.norm=weight: choose one of"),
        (lambda: blocks.pooling("median"), "architecture.pooling=median: choose one of"),
    ],
)
def test_unknown_parts_are_refused(make: Callable[[], nn.Module], line: str) -> None:
    with pytest.raises(ConfigError, match=line):
        make()


def test_activations_and_poolings() -> None:
    x = torch.tensor([-2.0, -0.5, 0.0, 1.0, 3.0])
    expected = {
        "relu": x.clamp_min(0),
        "leaky_relu": torch.where(x > 0, x, 0.01 * x),
        "sigmoid": 1 / (1 + (-x).exp()),
        "swish": x / (1 + (-x).exp()),
    }
    for name, values in expected.items():
        torch.testing.assert_close(blocks.activation(name)(x), values)
    maps = torch.tensor([[[[1.0, 5.0, 2.0, 0.0], [3.0, 7.0, 4.0, 2.0]]]])
    assert blocks.pooling("avg")(maps).tolist() == [[[[4.0, 2.0]]]]
    assert blocks.pooling("max")(maps).tolist() == [[[[7.0, 4.0]]]]
    odd = torch.arange(15.0).view(1, 1, 3, 5)  # the last row and column are left out
    assert blocks.pooling("avg")(odd).tolist() == [[[[3.0, 5.0]]]]


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 16)])
def test_convnet(shape: tuple[int, int, int]) -> None:
    network = ConvNet(channels=shape[0], size=shape[1:], classes=5, width=6).double()
    take, maps = weights(network), images(*shape)
    given = maps
    for block in range(3):
        padding = 3 if block == 0 and shape == (1, 28, 28) else 1
        maps = f.conv2d(maps, take(), take(), padding=padding)
        maps = f.avg_pool2d(f.relu(normalised(maps, take)), 2)
    torch.testing.assert_close(network(given), f.linear(maps.flatten(1), take(), take()))


def test_mlp() -> None:
    network = MLP(channels=2, size=(3, 5), classes=4, width=7, depth=2, activation="relu").double()
    take, given = weights(network), images(2, 3, 5)
    x = given.flatten(1)
    for _ in range(2):
        x = f.relu(f.linear(x, take(), take()))
    torch.testing.assert_close(network(given), f.linear(x, take(), take()))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_lenet(shape: tuple[int, int, int]) -> None:
    network = LeNet(channels=shape[0], size=shape[1:], classes=5).double()
    take, given = weights(network), images(*shape)
    x = f.conv2d(given, take(), take(), padding=2 if shape == (1, 28, 28) else 0)
    x = f.conv2d(f.max_pool2d(f.relu(x), 2), take(), take())
    x = f.max_pool2d(f.relu(x), 2).flatten(1)
    x = f.relu(f.linear(x, take(), take()))
    x = f.relu(f.linear(x, take(), take()))
    torch.testing.assert_close(network(given), f.linear(x, take(), take()))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_alexnet(shape: tuple[int, int, int]) -> None:
    network = AlexNet(channels=shape[0], size=shape[1:], classes=5).double()
    take, given = weights(network), images(*shape)
    x = f.conv2d(given, take(), take(), padding=4 if shape == (1, 28, 28) else 2)
    x = f.conv2d(f.max_pool2d(f.relu(x), 2), take(), take(), padding=2)
    x = f.max_pool2d(f.relu(x), 2)
    for _ in range(3):
        x = f.relu(f.conv2d(x, take(), take(), padding=1))
    x = f.max_pool2d(x, 2)
    torch.testing.assert_close(network(given), f.linear(x.flatten(1), take(), take()))


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_vgg11(shape: tuple[int, int, int]) -> None:
    network = VGG11(channels=shape[0], size=shape[1:], classes=5, norm="instance").double()
    # Instance norm of the last 2x2 maps is well-defined; scales and shifts are the network's own.
    take, x = weights(network), images(*shape)
    given, padding = x, 3 if shape == (1, 28, 28) else 1
    for convolutions in (1, 1, 2, 2, 2):
        for _ in range(convolutions):
            x = f.relu(normalised(f.conv2d(x, take(), take(), padding=padding), take))
            padding = 1
        x = f.max_pool2d(x, 2)
    torch.testing.assert_close(network(given), f.linear(x.flatten(1), take(), take()))


@pytest.mark.parametrize("pooled", [False, True])
def test_resnet18(pooled: bool) -> None:
    network = ResNet18(channels=3, size=(32, 32), classes=5, norm="instance", pooled=pooled).double()
    take, given = weights(network), images(3, 32, 32)
    x = f.relu(normalised(f.conv2d(given, take(), padding=1), take))
    for stage in range(4):
        for block in range(2):
            halved = stage > 0 and block == 0
            stride = 2 if halved and not pooled else 1
            y = f.relu(normalised(f.conv2d(x, take(), stride=stride, padding=1), take))
            y = f.avg_pool2d(y, 2) if halved and pooled else y
            y = normalised(f.conv2d(y, take(), padding=1), take)
            if halved:
                x = f.conv2d(x, take(), stride=stride)
                x = normalised(f.avg_pool2d(x, 2) if pooled else x, take)
            x = f.relu(x + y)
    x = x if pooled else f.avg_pool2d(x, 4)
    torch.testing.assert_close(network(given), f.linear(x.flatten(1), take(), take()))


@pytest.mark.parametrize("compiling", [False, True])
def test_the_average_pool_is_the_mean_of_four(compiling: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: compiling)
    maps = torch.tensor([[[1.0, 2.0, 10.0, 0.0], [3.0, 6.0, -2.0, 4.0]]])
    assert blocks.AveragePool()(maps).tolist() == [[[3.0, 3.0]]]
    odd = torch.tensor([[[1.0, 2.0, 9.0], [3.0, 6.0, 9.0]]])
    assert blocks.AveragePool()(odd).tolist() == [[[3.0]]]


def test_resnet18_pools_windows_of_four_also_on_larger_images() -> None:
    """As in the authors' code, so that 64x64 images have four times as many features."""
    for side, units in ((32, 512), (64, 2048)):
        network = ResNet18(channels=3, size=(side, side), classes=5, norm="none", pooled=False)
        assert network[-1].in_features == units
