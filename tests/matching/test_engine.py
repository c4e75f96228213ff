"""Settings of the gradient engine: equal numbers, or a stated error."""

import copy
import functools
from collections.abc import Callable

import pytest
import torch
from torch import nn

from gmlight.architectures.alexnet import AlexNet
from gmlight.architectures.convnet import ConvNet
from gmlight.architectures.lenet import LeNet
from gmlight.architectures.mlp import MLP
from gmlight.architectures.resnet import ResNet18
from gmlight.architectures.vgg import VGG11
from gmlight.errors import ConfigError
from gmlight.matching import engine, reference
from gmlight.matching.class_gradients import Blocks, class_gradients
from gmlight.runtime.compile import Compilation
from gmlight.runtime.seeding import seeded
from gmlight.runtime.sizing import activation_bytes
from helpers.problems import gradient_engine, random_images, small_network

CONVNET = {"width": 8, "depth": 3, "pooling": "max"}
NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": functools.partial(MLP, width=16, depth=2, activation="relu"),
    "lenet": LeNet,
    "alexnet": AlexNet,
    "vgg11": functools.partial(VGG11, norm="instance"),
    "resnet18": functools.partial(ResNet18, norm="instance", pooled=False),
    "resnet18_bn_ap": functools.partial(ResNet18, norm="batch", pooled=True),
    "convnet_swish": functools.partial(ConvNet, activation="swish", norm="instance", **CONVNET),
    "convnet_layer": functools.partial(ConvNet, activation="relu", norm="layer", **CONVNET),
}


def derivative(layers: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
    return torch.autograd.grad(torch.stack([g.square().sum() for g in layers.values()]).sum(), images)[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_every_architecture_with_automatic_sizes(name: str) -> None:
    network = NETWORKS[name](channels=1, size=(32, 32), classes=2).double().eval()
    images = random_images(2, 2, 1, 32, 32).requires_grad_()
    chosen = gradient_engine(microbatch=1)
    layers = chosen.synthetic(network, images)
    expected = class_gradients(network, images, create_graph=True)
    on_real = chosen.real(network, images.detach())
    for weight in expected:
        torch.testing.assert_close(layers[weight], expected[weight], rtol=1e-9, atol=1e-13)
        torch.testing.assert_close(on_real[weight], expected[weight].detach(), rtol=1e-9, atol=1e-13)
    image_gradient = derivative(expected, images)
    atol = 1e-10 * image_gradient.abs().max().item()
    torch.testing.assert_close(derivative(layers, images), image_gradient, rtol=1e-9, atol=atol)


def test_networks_that_vmap_differentiates_wrongly_run_class_by_class() -> None:
    network, image = small_network("layer").eval(), random_images(1, 2, 8, 8)
    images = image.unsqueeze(0).repeat(3, 1, 1, 1, 1).requires_grad_()
    right = engine.vmap_is_right(network, image)
    chosen = gradient_engine()
    chosen.synthetic(network, images)
    (settings,) = chosen.describe()
    assert settings["classes_per_block"] == (3 if right else 1)
    if not right:  # as in torch 2.15
        with pytest.raises(ConfigError, match=r"speed\.classes_per_block=1"):
            gradient_engine(classes_per_block=2).synthetic(network, images)
    assert engine.vmap_is_right(small_network("instance"), image)


def test_wrong_derivative_is_detected(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = engine.class_gradients

    def wrong(*args: object, blocks: Blocks, **keywords: object) -> dict[str, torch.Tensor]:
        layers = honest(*args, blocks=blocks, **keywords)
        return {name: g * (1 + 1e-4 * (blocks.classes_per_block > 1)) for name, g in layers.items()}

    monkeypatch.setattr(engine, "class_gradients", wrong)
    assert not engine.vmap_is_right(small_network(), random_images(1, 2, 8, 8))


def test_automatic_sizes_fit_the_device() -> None:
    network = ConvNet(
        channels=3, size=(32, 32), classes=10, width=128, activation="relu", norm="instance", depth=3,
        pooling="avg",
    )  # fmt: skip
    image = torch.zeros(1, 3, 32, 32)
    # 128 maps of 32x32 floats, twice, and a quarter and a sixteenth of that again: 1.3 MiB.
    assert 1 * 2**20 < activation_bytes(network, image) < 2 * 2**20
    assert activation_bytes(network, image.expand(256, -1, -1, -1)[:1]) == activation_bytes(network, image)
    batch = image.expand(256, -1, -1, -1)
    assert engine.automatic_sizes(network, batch, 10, differentiable=False) == (32, 1)
    assert engine.automatic_sizes(network, image, 10, differentiable=True) == (1, 10)
    assert engine.automatic_sizes(network, batch[:10], 10, differentiable=True) == (10, 1)


def test_automatic_sizes_on_an_accelerator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "fitting_batch_size", lambda network, image: 4096)
    network = small_network()

    def sizes(images: int, differentiable: bool) -> tuple[int, int]:
        batch = torch.zeros(images, 2, 8, 8, device="meta")
        return engine.automatic_sizes(network, batch, 10, differentiable)

    assert sizes(256, differentiable=False) == (256, 1)
    assert sizes(64, differentiable=False) == (64, 4)
    assert sizes(8, differentiable=False) == (8, 10)
    assert sizes(10, differentiable=True) == (10, 10)
    assert sizes(2048, differentiable=True) == (2048, 2)


def test_given_sizes_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(*args: object, blocks: Blocks, **keywords: object) -> dict:
        seen.append((blocks.microbatch, blocks.classes_per_block))
        return {}

    monkeypatch.setattr(engine, "class_gradients", record)
    monkeypatch.setattr(engine, "vmap_is_right", lambda *args: True)
    network, images = small_network(), random_images(3, 5, 2, 8, 8)
    gradient_engine(microbatch=2, classes_per_block=3).real(network, images)
    gradient_engine(microbatch=4).synthetic(network, images)
    assert seen == [(2, 3), (4, 3)]


def test_largest_class_determines_the_sizes() -> None:
    network = small_network().eval()
    images = [random_images(n, 2, 8, 8, seed=n) for n in (1, 40, 9)]
    chosen = gradient_engine()
    layers = chosen.real(network, images)
    (settings,) = chosen.describe()
    assert (settings["images_per_class"], settings["microbatch"]) == (40, 40)
    for name, expected in class_gradients(network, images).items():
        torch.testing.assert_close(layers[name], expected, rtol=1e-10, atol=1e-14)


def test_described_sizes_are_at_most_those_of_a_class() -> None:
    network, images = small_network().eval(), random_images(3, 5, 2, 8, 8)
    chosen = gradient_engine(microbatch=100)
    chosen.real(network, images)
    (settings,) = chosen.describe()
    assert (settings["images_per_class"], settings["microbatch"]) == (5, 5)
    assert chosen.microbatch == 100


def test_resume_keeps_the_resolved_sizes() -> None:
    network, images = small_network().eval(), random_images(3, 5, 2, 8, 8)
    first = gradient_engine()
    first.real(network, images)
    state = first.state()
    assert state["compile"] is False
    ((key, _),) = state["automatic"].items()
    second = gradient_engine()
    second.load_state(state | {"automatic": {key: (2, 1)}})
    second.real(network, images)
    assert second.describe()[0]["microbatch"] == 2
    given = gradient_engine(microbatch=3)  # values from the command line win
    given.load_state(state | {"automatic": {key: (2, 1)}})
    given.real(network, images)
    assert given.describe()[0]["microbatch"] == 3


def test_resume_keeps_the_classes_at_once() -> None:
    network, images = small_network().eval(), random_images(3, 5, 2, 8, 8)
    first, second = gradient_engine(), gradient_engine()
    assert first.classes_at_once(network, images) == 3
    second.load_state(first.state() | {"classes_at_once": 2})
    assert second.classes_at_once(network, images) == 2
    assert second.state()["classes_at_once"] == 2


def paper_network(seed: int) -> nn.Module:
    with seeded(seed, "test"):
        return ConvNet(
            channels=3, size=(32, 32), classes=3, width=32, depth=3, activation="relu", norm="instance",
            pooling="avg",
        ).eval()  # fmt: skip


def relative_error(layers: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> float:
    """Relative error over all layers together."""
    difference, size = (
        torch.cat([each.flatten() for each in every]).norm()
        for every in ([layers[name] - exact[name] for name in exact], list(exact.values()))
    )
    return (difference / size).item()


def test_bfloat16_is_close_and_only_on_the_real_side() -> None:
    network, images = paper_network(0), random_images(3, 32, 3, 32, 32).float()
    inexact = gradient_engine(precision="bfloat16")
    real = inexact.real(network, images)
    assert {layer.dtype for layer in real.values()} == {torch.float32}
    assert 1e-4 < relative_error(real, gradient_engine().real(network, images)) < 3e-2
    images.requires_grad_()
    synthetic = inexact.synthetic(network, images)
    for name, expected in gradient_engine().synthetic(network, images).items():
        assert torch.equal(synthetic[name], expected)


def test_tf32_changes_nothing_on_a_cpu() -> None:
    network, images = paper_network(0), random_images(3, 8, 3, 32, 32).float()
    exact, fast = (gradient_engine(precision=name).real(network, images) for name in ("float32", "tf32"))
    for name, expected in exact.items():
        assert torch.equal(fast[name], expected)


def test_tf32_is_on_only_for_real_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def record(*args: object, **keywords: object) -> dict:
        seen.append((torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32))
        return {}

    monkeypatch.setattr(engine, "class_gradients", record)
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    monkeypatch.setattr(engine, "vmap_is_right", lambda *args: True)
    network, images = small_network(), random_images(3, 5, 2, 8, 8)
    for precision in ("tf32", "float32"):
        chosen = gradient_engine(precision=precision)
        chosen.real(network, images)
        chosen.synthetic(network, images)
    assert seen == [(True, True)] + [(False, False)] * 3
    assert not torch.backends.cudnn.allow_tf32


def test_single_precision_error_is_like_the_plain_loops() -> None:
    """At most 3 times the plain loop's error plus 1e-5, over several networks.

    Any other rounding flips the signs of a few activations, and one flip moves a gradient by some 1e-4.
    """
    errors: dict[str, float] = {"plain": 0.0, "microbatches": 0.0, "blocks": 0.0, "engine": 0.0}
    for seed in range(6):
        network, images = paper_network(seed), random_images(3, 32, 3, 32, 32, seed=seed)
        exact = class_gradients(copy.deepcopy(network).double(), images)
        images = images.float()
        by_class = reference.class_gradients(reference.with_library_layers(copy.deepcopy(network)), images)
        layers = {
            "plain": {name: torch.stack([of[i] for of in by_class]) for i, name in enumerate(exact)},
            "microbatches": class_gradients(network, images, blocks=Blocks(8)),
            "blocks": class_gradients(network, images, blocks=Blocks(classes_per_block=3)),
            "engine": gradient_engine().real(network, images),
        }
        for name, of_network in layers.items():
            errors[name] += relative_error(of_network, exact) / 6
    assert 0 < errors["plain"] < 1e-3
    for error in errors.values():
        assert error < 3 * errors["plain"] + 1e-5


def test_compilation_depends_on_operations_alone() -> None:
    network, images = small_network().eval(), random_images(3, 5, 2, 8, 8)
    asked = []

    class Asked(Compilation):
        def should_compile(self, operations: Callable[[], float], device: torch.device) -> bool:
            asked.append(operations())
            return False

    chosen = gradient_engine(compilation=Asked("auto", print), real_images=1000)
    chosen.real(network, images)
    chosen.real(network, images)
    # Per image: 3x3 convolutions 2->4 at 8x8 and 4->4 at 4x4, a linear layer 16->3, a multiply-add being two;
    # each forward, for its weights, and all but the first for its inputs.
    first, second, last = 2 * 9 * 2 * 4 * 64, 2 * 9 * 4 * 4 * 16, 2 * 16 * 3
    assert asked == [1000 * (2 * first + 3 * second + 3 * last)]
