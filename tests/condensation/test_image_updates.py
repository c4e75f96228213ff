"""Image updates beyond the paper's, each against its definition in plain loops."""

import functools
from collections.abc import Callable

import pytest
import torch

from gmlight.artifacts.decoding import multi_formed
from gmlight.condensation.image_updates import ImageRate, ImageUpdates
from gmlight.condensation.synthetic import MultiFormation, Pixels
from gmlight.matching import rules
from gmlight.runtime.seeding import generator, seeded
from helpers import naive_algorithm
from helpers.condensers import condenser, fit, real_batches
from helpers.problems import random_images, small_network

LR, MOMENTUM = 0.1, 0.5  # of the images in helpers.condensers
SHARES = [1 / 3] * 3


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (ImageRate(4), [1, 1, 1, 1]),
        (ImageRate(4, decay="linear"), [1, 0.75, 0.5, 0.25]),
        (ImageRate(4, decay="cosine"), [1, 0.5 + 0.5**1.5, 0.5, 0.5 - 0.5**1.5]),
        (ImageRate(8, 0.5, "linear"), [0.25, 0.5, 0.75, 1, 1, 0.75, 0.5, 0.25]),
        (ImageRate(5, 0.4), [0.5, 1, 1, 1, 1]),
    ],
    ids=str,
)
def test_rates_by_hand(rate: ImageRate, expected: list[float]) -> None:
    assert [rate(k) for k in range(len(expected))] == pytest.approx(expected)


def test_the_classes_of_the_steps() -> None:
    assert list(ImageUpdates().targets(3)) == [None]
    assert list(ImageUpdates(steps=2).targets(3)) == [None, None]
    assert list(ImageUpdates(steps=2, by_class=True).targets(3)) == [0, 1, 2, 0, 1, 2]


def test_drawn_images_are_different_ones_of_each_class() -> None:
    updates = ImageUpdates(at_once=3)
    drawn = updates.draw(4, 5, 0, 1, 2)
    assert drawn is not None
    assert drawn.shape == (4, 3)
    assert all(len(set(of_class)) == 3 for of_class in drawn.tolist())
    assert len({tuple(of_class) for of_class in drawn.tolist()}) > 1
    again = updates.draw(4, 5, 0, 1, 2)
    assert again is not None
    assert torch.equal(drawn, again)
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        found = updates.draw(4, 5, *other)
        assert found is not None
        assert not torch.equal(drawn, found)
    everything = torch.cat([updates.draw(1, 5, 0, k, 0) for k in range(40)])  # type: ignore[misc]
    assert torch.bincount(everything.flatten()).min() > 12  # of 24 on average
    assert updates.draw(4, 3, 0, 1, 2) is None
    assert ImageUpdates().draw(4, 5, 0, 1, 2) is None


def loss_of(rule: str, k: int, network: torch.nn.Module, images: torch.Tensor, real: list) -> torch.Tensor:
    ours = naive_algorithm.class_gradients(network, list(images), create_graph=True)
    theirs = naive_algorithm.class_gradients(network, real)
    return naive_algorithm.matching_loss(rule, ours, theirs, "cos_euclid", 1.0, k, 3, SHARES, SHARES)


def by_hand(
    images: torch.Tensor,
    batches: list,
    rule: str,
    *,
    rounds: int = 1,
    by_class: bool = False,
    decode: Callable[[torch.Tensor, int], torch.Tensor] = lambda images, k: images,
    rate: Callable[[int], float] = lambda k: 1.0,
    after: Callable[[torch.Tensor], torch.Tensor] = lambda images: images,
) -> torch.Tensor:
    """One update for each k, on the networks of seed 3."""
    velocity = torch.zeros_like(images)
    for batch in batches:
        with seeded(3, "network", batch.k):
            network = small_network().eval()
        for c in [c for _ in range(rounds) for c in (range(3) if by_class else [None])]:
            leaf = images.clone().requires_grad_()
            loss = loss_of(rule, batch.k, network, decode(leaf, batch.k), list(batch.images))
            (gradient,) = torch.autograd.grad(loss, leaf)
            if c is not None:
                kept = torch.zeros_like(gradient)
                kept[c] = gradient[c]
                gradient = kept
            velocity = MOMENTUM * velocity + gradient
            images = after(images - LR * rate(batch.k) * velocity)
    return images


@pytest.mark.parametrize("chunk", [None, 2])
@pytest.mark.parametrize("rounds", [1, 2])
@pytest.mark.parametrize("rule", ["intra", "inter", "multilevel", "interleaved"])
def test_a_step_after_each_class(rule: str, rounds: int, chunk: int | None) -> None:
    """Momentum moves the other classes too, as if their gradient were zero."""
    images, batches = random_images(3, 2, 2, 8, 8), real_batches(outer=2, updates=1, classes=3)
    module = condenser(
        images, 1, [], matcher={"rule": getattr(rules, rule)(), "classes_per_chunk": chunk},
        image_updates=ImageUpdates(rounds, by_class=True),
    )  # fmt: skip
    assert fit(module, batches).global_step == 2
    expected = by_hand(images, batches, rule, rounds=rounds, by_class=True)
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)
    assert not torch.allclose(expected, by_hand(images, batches, rule, rounds=rounds))


def test_losses_of_the_classes_add_up() -> None:
    images, batches = random_images(3, 2, 2, 8, 8), real_batches(outer=1, updates=1, classes=3)
    found = {}
    for rule in ("intra", "multilevel"):
        module = condenser(
            images, 1, [], matcher={"rule": getattr(rules, rule)()}, diagnose_every=1,
            image_optimizer=functools.partial(torch.optim.SGD, lr=1e-12),
            image_updates=ImageUpdates(by_class=True),
        )  # fmt: skip
        fit(module, batches)
        with seeded(3, "network", 0):
            network = small_network().eval()
        expected = loss_of(rule, 0, network, images.clone().requires_grad_(), list(batches[0].images))
        assert module.metrics["matching_loss/total"].item() == pytest.approx(expected.item(), rel=1e-6)
        found[rule] = module.metrics
    assert {"matching_loss/intra", "matching_loss/inter"} <= found["multilevel"].keys()
    assert "gradient_angle/overall" in found["intra"]  # measured on all classes
    angle = "gradient_angle/overall"
    torch.testing.assert_close(found["intra"][angle], found["multilevel"][angle])


@pytest.mark.parametrize("formed", [False, True])
def test_some_images_of_a_class_are_matched(formed: bool) -> None:
    """Three of four images, which are stored as one if they are formed."""
    images = random_images(3, 1 if formed else 4, 2, 8, 8)
    batches = real_batches(outer=3, updates=1, classes=3)
    synthetic = MultiFormation(images, 2) if formed else Pixels(images)
    module = condenser(images, 1, [], synthetic, image_updates=ImageUpdates(at_once=3))
    fit(module, batches)

    def some(images: torch.Tensor, k: int) -> torch.Tensor:
        decoded = multi_formed(images, 2) if formed else images
        rng = generator(3, "synthetic-batch", k, 0)
        chosen = [torch.randperm(4, generator=rng)[:3] for _ in range(3)]
        return torch.stack([of_class[positions] for of_class, positions in zip(decoded, chosen, strict=True)])

    expected = by_hand(images, batches, "multilevel", decode=some)
    (learned,) = module.synthetic.parameters()
    torch.testing.assert_close(learned.detach(), expected, rtol=1e-9, atol=1e-11)


def test_the_rate_follows_the_outer_iterations() -> None:
    images, batches = random_images(3, 2, 2, 8, 8), real_batches(outer=4, updates=1, classes=3)
    rate = ImageRate(4, 0.5, "cosine")
    module = condenser(images, 1, [], image_updates=ImageUpdates(rate=rate))
    fit(module, batches)
    expected = by_hand(images, batches, "multilevel", rate=[0.5, 1.0, 1.0, 0.5].__getitem__)
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("formed", [False, True])
def test_pixels_stay_in_their_range(formed: bool) -> None:
    images, batches = random_images(3, 2, 2, 8, 8), real_batches(outer=2, updates=1, classes=3)
    least, most = torch.tensor([-0.5, -0.2]).view(2, 1, 1), torch.tensor([0.6, 1.0]).view(2, 1, 1)
    synthetic = MultiFormation(images, 2) if formed else Pixels(images)
    clip = (least.double(), most.double())
    module = condenser(images, 1, [], synthetic, image_updates=ImageUpdates(clip=clip))
    fit(module, batches)
    expected = by_hand(
        images, batches, "multilevel",
        decode=lambda images, k: multi_formed(images, 2) if formed else images,
        after=lambda images: torch.maximum(torch.minimum(images, most), least),
    )  # fmt: skip
    (learned,) = module.synthetic.parameters()
    torch.testing.assert_close(learned.detach(), expected, rtol=1e-9, atol=1e-11)
    assert learned[:, :, 0].max().item() == pytest.approx(0.6)
    assert learned[:, :, 1].min().item() == pytest.approx(-0.2)
