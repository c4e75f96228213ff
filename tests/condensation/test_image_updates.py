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


def drawn(updates: ImageUpdates, classes: int, images: int, *place: int) -> torch.Tensor | None:
    (found,) = updates.draws(classes, images, *place)
    return found


def test_drawn_images_are_different_ones_of_each_class() -> None:
    updates = ImageUpdates(at_once=3)
    once = drawn(updates, 4, 5, 0, 1, 2)
    assert once is not None
    assert once.shape == (4, 3)
    assert all(len(set(of_class)) == 3 for of_class in once.tolist())
    assert len({tuple(of_class) for of_class in once.tolist()}) > 1
    again = drawn(updates, 4, 5, 0, 1, 2)
    assert again is not None
    assert torch.equal(once, again)
    for other in ((1, 1, 2), (0, 2, 2), (0, 1, 3)):
        found = drawn(updates, 4, 5, *other)
        assert found is not None
        assert not torch.equal(once, found)
    everything = torch.cat([drawn(updates, 1, 5, 0, k, 0) for k in range(40)])  # type: ignore[misc]
    assert torch.bincount(everything.flatten()).min() > 12  # of 24 on average
    assert drawn(updates, 4, 3, 0, 1, 2) is None
    assert drawn(ImageUpdates(), 4, 5, 0, 1, 2) is None


def test_prefixes_of_every_size_are_matched_before_all_images() -> None:
    """Of 4 stored images, decoded to 3 each: the first 3, 6 or 9 of 12; with at most 5, some of them."""
    seen = set()
    for k in range(30):
        prefix, everything = ImageUpdates(prefixes=4).draws(2, 12, 0, k, 1)
        assert prefix is not None
        assert everything is None
        assert prefix.tolist() == [list(range(prefix.shape[1]))] * 2
        seen.add(prefix.shape[1])
        few, some = ImageUpdates(prefixes=4, at_once=5).draws(2, 12, 0, k, 1)
        assert few is not None
        assert some is not None
        assert few.shape == (2, min(5, prefix.shape[1]))
        assert int(few.max()) < prefix.shape[1]
        assert some.shape == (2, 5)
    assert seen == {3, 6, 9}
    (first, _), (again, _), (other, _) = (
        ImageUpdates(prefixes=99).draws(1, 99, seed, 1, 2) for seed in (0, 0, 1)
    )
    assert first is not None
    assert again is not None
    assert other is not None
    assert first.shape == again.shape != other.shape
    assert list(ImageUpdates(prefixes=1).draws(2, 4, 0, 0, 0)) == [None]  # a single stored image has none


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
    first: Callable[[torch.Tensor, int], torch.Tensor] | None = None,
    rate: Callable[[int], float] = lambda k: 1.0,
    after: Callable[[torch.Tensor], torch.Tensor] = lambda images: images,
) -> torch.Tensor:
    """One update for each k, on the networks of seed 3."""
    velocity = torch.zeros_like(images)
    for batch in batches:
        with seeded(3, "network", batch.k):
            network = small_network().eval()
        steps = [c for _ in range(rounds) for c in (range(3) if by_class else [None])]
        for form, c in [(form, c) for form in (first, decode) if form for c in steps]:
            leaf = images.clone().requires_grad_()
            loss = loss_of(rule, batch.k, network, form(leaf, batch.k), list(batch.images))
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


@pytest.mark.parametrize("rounds", [1, 2])
def test_losses_of_the_classes_add_up(rounds: int) -> None:
    """The loss of an update is that of its last round."""
    images, batches = random_images(3, 2, 2, 8, 8), real_batches(outer=1, updates=1, classes=3)
    found = {}
    for rule in ("intra", "multilevel"):
        module = condenser(
            images, 1, [], matcher={"rule": getattr(rules, rule)()}, diagnose_every=1,
            image_optimizer=functools.partial(torch.optim.SGD, lr=1e-12),
            image_updates=ImageUpdates(rounds, by_class=True),
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


@pytest.mark.parametrize("by_class", [False, True])
@pytest.mark.parametrize("formed", [False, True])
def test_an_update_steps_on_a_prefix_and_then_on_all_images(formed: bool, by_class: bool) -> None:
    images, batches = random_images(3, 3, 2, 8, 8), real_batches(outer=4, updates=1, classes=3)
    synthetic = MultiFormation(images, 2) if formed else Pixels(images)
    updates = ImageUpdates(by_class=by_class, prefixes=3)
    module = condenser(images, 1, [], synthetic, image_updates=updates)
    fit(module, batches)
    sizes = [int(torch.randint(1, 3, (), generator=generator(3, "prefix", k, 0))) for k in range(4)]
    assert set(sizes) == {1, 2}

    def decode(images: torch.Tensor, k: int) -> torch.Tensor:
        return multi_formed(images, 2) if formed else images

    expected = by_hand(
        images, batches, "multilevel", by_class=by_class, decode=decode,
        first=lambda images, k: decode(images[:, : sizes[k]], k),
    )  # fmt: skip
    (learned,) = module.synthetic.parameters()
    torch.testing.assert_close(learned.detach(), expected, rtol=1e-9, atol=1e-11)
    plain = by_hand(images, batches, "multilevel", by_class=by_class, decode=decode)
    assert not torch.allclose(expected, plain)


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
