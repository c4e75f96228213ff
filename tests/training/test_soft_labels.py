"""Networks learn soft labels: compared with a plain loop that writes the cross-entropy out."""

import pytest
import torch
from torch import Tensor, nn

from gmlight.data.augmentation import CutMix, none
from gmlight.data.images import LabelledImages
from gmlight.reporting.dynamics import mean_gradient, measure
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import training_steps
from helpers.problems import random_images, small_network

IMAGES = random_images(7, 2, 8, 8)
SOFT = torch.rand(7, 3, dtype=torch.double, generator=generator(0, "soft")) + 0.1
SOFT = SOFT / SOFT.sum(1, keepdim=True)
HARD = torch.tensor([0, 2, 1, 0, 1, 2, 0])


def network(seed: int = 0) -> nn.Module:
    with seeded(seed, "network"):
        return small_network()


def naive_loss(outputs: Tensor, soft: Tensor) -> Tensor:
    """The mean over images of -sum_c p_c log q_c, image by image."""
    losses = []
    for logits, probabilities in zip(outputs, soft, strict=True):
        q = logits.exp() / logits.exp().sum()
        losses.append(-sum(p * q_c.log() for p, q_c in zip(probabilities, q, strict=True)))
    return torch.stack(losses).mean()  # type: ignore[arg-type]


def naive_steps(single: nn.Module, soft: Tensor, batch: int, cutmix: CutMix | None, steps: int) -> None:
    """Trains a network as `training_steps` does, with the same draws; no two images are taken at once."""
    rng, optimizer = generator(0, "batches"), torch.optim.SGD(single.parameters(), lr=0.1)
    single.train()
    order: list[Tensor] = []
    for _ in range(steps):
        if batch >= len(IMAGES):
            order = [torch.arange(len(IMAGES))]
        elif not order:
            order = list(torch.randperm(len(IMAGES), generator=rng).split(batch))
        indices = order.pop(0)
        images, targets = IMAGES[indices], soft[indices]
        if cutmix is not None:
            images, pasted, share = cutmix(images, rng)
            targets = share * targets + (1 - share) * targets[pasted]  # linear in the probabilities
        optimizer.zero_grad()
        naive_loss(torch.stack([single(image.unsqueeze(0))[0] for image in images]), targets).backward()
        optimizer.step()


@pytest.mark.parametrize("cutmix", [None, CutMix(1.0)], ids=["plain", "cutmix"])
@pytest.mark.parametrize("batch", [3, 7])
def test_training_on_soft_labels(batch: int, cutmix: CutMix | None) -> None:
    trained, plain = network(), network()
    steps = training_steps(
        Ensemble([trained]), torch.optim.SGD(trained.parameters(), lr=0.1),
        LabelledImages(IMAGES, HARD, soft_labels=SOFT), batch_size=batch, rngs=[generator(0, "batches")],
        augmentation=none, cutmix=cutmix,
    )  # fmt: skip
    for _ in range(4):
        next(steps)
    naive_steps(plain, SOFT, batch, cutmix, 4)
    for found, expected in zip(trained.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(found, expected)


def test_labels_are_soft_labels_that_are_certain() -> None:
    """One-hot rows train as the labels do; several networks at once each learn by themselves."""
    certain = nn.functional.one_hot(HARD, 3).double()
    trained = []
    for images in (LabelledImages(IMAGES, HARD), LabelledImages(IMAGES, HARD, soft_labels=certain)):
        ensemble = Ensemble([network(0), network(1)])
        steps = training_steps(
            ensemble, torch.optim.SGD(ensemble.parameters(), lr=0.1), images, batch_size=4,
            rngs=[generator(0, "batches", i) for i in range(2)], augmentation=none, cutmix=CutMix(0.5),
        )  # fmt: skip
        for _ in range(4):
            next(steps)
        trained.append([parameter.detach().clone() for parameter in ensemble.parameters()])
    for hard, soft in zip(*trained, strict=True):
        torch.testing.assert_close(hard, soft)


def test_images_keep_their_soft_labels() -> None:
    images = LabelledImages(IMAGES, HARD, soft_labels=SOFT)
    moved = images.to(torch.device("cpu"))
    assert moved.soft_labels is not None
    assert torch.equal(moved.targets, SOFT)
    assert torch.equal(images.batch(torch.tensor([5, 1]))[1], SOFT[[5, 1]])
    assert images.floats == IMAGES.numel() + SOFT.numel()
    assert LabelledImages(IMAGES, HARD).floats == IMAGES.numel()
    assert torch.equal(LabelledImages(IMAGES, HARD).targets, HARD)


def test_an_analysis_measures_the_loss_that_is_learned() -> None:
    single, images = network().eval(), LabelledImages(IMAGES, HARD, soft_labels=SOFT)
    loss = naive_loss(single(IMAGES), SOFT)
    gradients = torch.autograd.grad(loss, list(single.parameters()))
    expected = torch.cat([gradient.flatten() for gradient in gradients])
    torch.testing.assert_close(mean_gradient(single, images), expected)
    point = measure(single, 0, images, LabelledImages(IMAGES, HARD))
    assert point.loss_synthetic == pytest.approx(loss.item())
