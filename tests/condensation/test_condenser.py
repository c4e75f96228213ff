"""The LightningModule against the naive algorithm, and equal bits from equal seeds."""

import functools
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from torch.nn.functional import cross_entropy

from gmlight.artifacts.decoding import multi_formed
from gmlight.condensation import schedules
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.image_updates import ImageUpdates
from gmlight.condensation.synthetic import MultiFormation
from gmlight.data.images import LabelledImages, RealBatch
from gmlight.errors import NonFiniteError
from gmlight.matching import rules
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.runtime.seeding import generator, seeded
from helpers import naive_algorithm
from helpers.condensers import SETTINGS, condenser, fit, real_batches
from helpers.problems import random_images, siamese, small_network


class Recorder(lightning.Callback):
    """Records the matching loss and the network epochs of every update."""

    def __init__(self) -> None:
        self.losses: list[float] = []
        self.epochs: list[int] = []

    def on_train_batch_end(self, trainer: lightning.Trainer, *args: object) -> None:
        self.losses.append(trainer.callback_metrics["matching_loss/total"].item())
        self.epochs.append(int(trainer.callback_metrics["zeta"]))


def image_sgd(lr: float) -> functools.partial:
    return functools.partial(torch.optim.SGD, lr=lr, momentum=0.5)


def expected(
    images: torch.Tensor, real: list[RealBatch], epochs: list[int], norm: str = "instance", **options: Any
) -> tuple[torch.Tensor, list[float]]:
    """Images and losses of the naive algorithm after two outer iterations on the same networks."""
    networks, updates = [], len(epochs) + 1
    for k in range(2):
        with seeded(3, "network", k):
            networks.append(small_network(norm))
    by_update = [real[:updates], real[updates:]]
    return naive_algorithm.condense(
        images,
        networks,
        [[list(batch.images) for batch in of_k] for of_k in by_update],
        rule="multilevel",
        name="cos_euclid",
        weight=1.0,
        epochs=epochs,
        statistics=[[batch.statistics for batch in of_k] for of_k in by_update],
        **SETTINGS,
        **options,
    )


@pytest.mark.parametrize("norm", ["instance", "layer", "batch"])
def test_two_outer_iterations_keep_the_image_momentum(norm: str) -> None:
    images, epochs = random_images(3, 2, 2, 8, 8), [2, 1]
    real = real_batches(outer=2, updates=3, classes=3)
    module = condenser(images, 3, epochs, inner_loop={"factory": functools.partial(small_network, norm)})
    recorder = Recorder()
    fit(module, real, callbacks=[recorder])
    condensed, losses = expected(images, real, epochs, norm, batches=[[torch.arange(6)]] * (2 * sum(epochs)))
    torch.testing.assert_close(module.synthetic().detach(), condensed, rtol=1e-9, atol=1e-11)
    assert recorder.losses == pytest.approx(losses, rel=1e-6)  # logged in single precision


def test_real_and_synthetic_images_get_the_same_transform() -> None:
    images = random_images(3, 2, 2, 8, 8)
    batches = real_batches(outer=2, updates=2, classes=3)
    module = condenser(images, 2, [0], inner_loop={"augmentation": siamese()}, dsa=siamese())
    fit(module, batches)

    def seen(k: int, t: int, c: int, images: torch.Tensor) -> torch.Tensor:
        return siamese().update_transform(3, k, t)(images, torch.full((len(images),), c))

    condensed, _ = expected(images, batches, [0], batches=[], seen=seen)
    torch.testing.assert_close(module.synthetic().detach(), condensed, rtol=1e-9, atol=1e-11)
    plain = condenser(images, 2, [0])
    fit(plain, batches)
    assert not torch.allclose(plain.synthetic(), module.synthetic())


def test_images_are_learned_before_multi_formation() -> None:
    stored = random_images(3, 2, 2, 8, 8)
    batches = real_batches(outer=2, updates=2, classes=3)
    module = condenser(stored, 2, [1], MultiFormation(stored, 2))
    fit(module, batches)
    assert module.synthetic().shape == (3, 8, 2, 8, 8)
    condensed, _ = expected(
        stored, batches, [1], batches=[[torch.arange(24)]] * 2, form=lambda images: multi_formed(images, 2)
    )
    (learned,) = module.synthetic.parameters()
    torch.testing.assert_close(learned.detach(), condensed, rtol=1e-9, atol=1e-11)


def test_network_trains_on_real_images() -> None:
    images = random_images(3, 2, 2, 8, 8)
    batches = real_batches(outer=2, updates=2, classes=3)
    real = LabelledImages(random_images(9, 2, 8, 8, seed=7), torch.arange(9) % 3)
    module = condenser(images, 2, [2], inner_loop={"train_on": real})
    fit(module, batches)
    condensed, _ = expected(
        images,
        batches,
        [2],
        batches=[[torch.arange(9)]] * 4,
        trained_on=(real.images, real.labels),
    )
    torch.testing.assert_close(module.synthetic().detach(), condensed, rtol=1e-9, atol=1e-11)


def test_two_image_steps_at_each_network() -> None:
    """With zeta_S = 2 (Eq. 10) the same network and real batch are used twice."""
    images = random_images(3, 2, 2, 8, 8)
    batches = real_batches(outer=1, updates=1, classes=3)
    module = condenser(images, 1, [], image_updates=ImageUpdates(steps=2))
    assert fit(module, batches).global_step == 1
    with seeded(3, "network", 0):
        network = small_network()
    real = [list(batches[0].images)]
    expected, _ = naive_algorithm.condense(
        images, [network, network], [real, real], rule="multilevel", name="cos_euclid", weight=1.0, epochs=[],
        batches=[], **SETTINGS,
    )  # fmt: skip
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)


def test_mixed_batch_replaces_the_class_batches() -> None:
    images = random_images(3, 2, 2, 8, 8)
    (batch,) = real_batches(outer=1, updates=1, classes=3)
    real, labels = random_images(7, 2, 8, 8, seed=5), torch.tensor([0, 1, 2, 2, 2, 1, 2])
    batch.matched = (real, labels)
    module = condenser(images, 1, [], matcher={"rule": rules.inter()})
    fit(module, [batch])

    with seeded(3, "network", 0):
        network = small_network()
    weights = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    images.requires_grad_()
    synthetic_loss = cross_entropy(network(images.flatten(0, 1)), torch.arange(3).repeat_interleave(2))
    on_synthetic = torch.autograd.grad(synthetic_loss, weights, create_graph=True)
    on_real = torch.autograd.grad(cross_entropy(network(real), labels), weights)
    layers = [
        naive_algorithm.distance("cos_euclid", 1.0, s, r) for s, r in zip(on_synthetic, on_real, strict=True)
    ]
    (gradient,) = torch.autograd.grad(3 * sum(layers), images)
    expected = images.detach() - SETTINGS["image_lr"] * gradient
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)


def test_mixed_batches_are_transformed_too() -> None:
    """Each image of a mixed batch, real or synthetic, by the transform of its class."""
    images = random_images(3, 2, 2, 8, 8)
    (batch,) = real_batches(outer=1, updates=1, classes=3)
    real, labels = random_images(7, 2, 8, 8, seed=5), torch.tensor([0, 1, 2, 2, 2, 1, 2])
    batch.matched = (real, labels)
    module = condenser(images, 1, [], matcher={"rule": rules.inter()}, dsa=siamese())
    fit(module, [batch])

    transform = siamese().update_transform(3, 0, 0)
    kinds = [transform(real[i : i + 1], labels[i : i + 1]) for i in range(7)]
    synthetic_labels = torch.arange(3).repeat_interleave(2)
    with seeded(3, "network", 0):
        network = small_network()
    weights = [parameter for parameter in network.parameters() if parameter.ndim >= 2]
    leaf = images.clone().requires_grad_()
    seen = [
        transform(leaf[c, i : i + 1], torch.tensor([c])) for c in range(3) for i in range(2)
    ]  # image by image
    ours = torch.autograd.grad(
        cross_entropy(network(torch.cat(seen)), synthetic_labels), weights, create_graph=True
    )
    theirs = torch.autograd.grad(cross_entropy(network(torch.cat(kinds)), labels), weights)
    layers = [naive_algorithm.distance("cos_euclid", 1.0, a, b) for a, b in zip(ours, theirs, strict=True)]
    (gradient,) = torch.autograd.grad(3 * sum(layers), leaf)
    expected = images - SETTINGS["image_lr"] * gradient
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)


def test_each_update_draws_its_own_synthetic_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mixed batches are drawn anew at every k and t, from the seed."""
    drawn: list[tuple[int, ...]] = []
    match_mixed = GradientMatcher.match_mixed

    def noting(self: GradientMatcher, network: Any, images: torch.Tensor, *args: Any) -> Any:
        result = match_mixed(self, network, images, *args)
        of_image = result.image_gradient.flatten(0, 1).flatten(1).abs().sum(1)
        drawn.append(tuple(of_image.nonzero().squeeze(1).tolist()))
        return result

    monkeypatch.setattr(GradientMatcher, "match_mixed", noting)
    batches = real_batches(outer=2, updates=2, classes=3)
    for batch in batches:
        batch.matched = (random_images(7, 2, 8, 8, seed=5), torch.tensor([0, 1, 2, 2, 2, 1, 2]))
    for seed in (3, 3, 4):
        matcher = {"rule": rules.inter(), "mixed_synthetic": 7}
        fit(condenser(random_images(3, 6, 2, 8, 8), 2, [0], matcher=matcher, seed=seed), batches)
    assert {len(images) for images in drawn} == {7}
    assert drawn[:4] == drawn[4:8]
    assert len(set(drawn)) == 8  # four updates of two seeds


def test_diagnostics_are_those_of_the_images_after_the_step() -> None:
    images = random_images(3, 2, 2, 8, 8)
    (batch,) = real_batches(outer=1, updates=1, classes=3)
    module = condenser(images, 1, [])
    fit(module, [batch])
    learned, labels = module.synthetic().detach(), torch.arange(3).repeat_interleave(2)
    assert module.network is not None
    assert isinstance(batch.images, torch.Tensor)
    real, real_labels = batch.mixed or (None, None)
    expected = {
        "images/mean": learned.mean(),
        "images/std": ((learned - learned.mean()) ** 2).mean().sqrt(),
        "images/min": learned.min(),
        "images/max": learned.max(),
        "loss/synthetic": cross_entropy(module.network(learned.flatten(0, 1)), labels).detach(),
        "loss/real": cross_entropy(module.network(real), real_labels).detach(),
    }
    found = {name: module.metrics[name] for name in expected}
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)
    total = module.metrics["matching_loss/intra"] + module.metrics["matching_loss/inter"]
    torch.testing.assert_close(module.metrics["matching_loss/total"], total)


def test_schedule_can_count_steps() -> None:
    images = random_images(10, 30, 2, 8, 8)  # two mini-batches per epoch
    batches = real_batches(outer=1, updates=2, classes=10)
    by_steps = condenser(images, 2, [2], inner_loop={"unit": "steps"})
    by_epochs = condenser(images, 2, [1])
    fit(by_steps, batches)
    fit(by_epochs, batches)
    assert torch.equal(by_steps.synthetic(), by_epochs.synthetic())
    assert (by_steps.zeta_used, by_epochs.zeta_used) == ([[2]], [[1]])


@pytest.mark.parametrize("criterion", ["rise", "gap"])
def test_epochs_until_the_network_overfits(criterion: str) -> None:
    """A schedule gets the losses of the current network on the mixed batch and on the synthetic set."""
    images = random_images(3, 2, 2, 8, 8)
    batches = real_batches(outer=1, updates=2, classes=3)
    schedule = functools.partial(schedules.until_overfit, criterion=criterion, margin=0.1, limit=50)
    optimizer = functools.partial(torch.optim.SGD, lr=0.1, momentum=0.5)
    module = condenser(images, 2, [], inner_loop={"schedule": schedule, "optimizer": optimizer})
    recorder = Recorder()
    stopped: list[tuple[torch.Tensor, list[torch.Tensor]]] = []

    class AfterFirst(lightning.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, module: Condenser, *args: object) -> None:  # type: ignore[override]
            if not stopped:
                assert module.network is not None
                parameters = [parameter.detach().clone() for parameter in module.network.parameters()]
                stopped.append((module.synthetic.labelled().images.clone(), parameters))

    fit(module, batches, callbacks=[recorder, AfterFirst()])

    learned, parameters = stopped[0]
    with seeded(3, "network", 0):
        network = small_network()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.5)
    labels = torch.arange(3).repeat_interleave(2)
    assert batches[0].mixed is not None
    mixed, mixed_labels = batches[0].mixed
    before, epochs = cross_entropy(network(mixed), mixed_labels).item(), 0
    while True:
        optimizer.zero_grad()
        cross_entropy(network(learned), labels).backward()
        optimizer.step()
        epochs += 1
        real = cross_entropy(network(mixed), mixed_labels).item()
        gap = real - cross_entropy(network(learned), labels).item()
        if (real > before if criterion == "rise" else gap > 0.1) or epochs == 50:
            break
        before = real
    assert recorder.epochs == [epochs, 0]
    assert 0 < epochs < 50
    for actual, expected in zip(parameters, network.parameters(), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-10, atol=1e-12)


def test_an_epoch_of_300_images_has_two_mini_batches() -> None:
    images = random_images(10, 30, 2, 8, 8)
    batches = real_batches(outer=1, updates=2, classes=10)
    module = condenser(images, 2, [2])
    fit(module, batches)

    with seeded(3, "network", 0):
        network = small_network(classes=10)
    rng = generator(3, "network-batches", 0, 0)
    shuffled = [torch.randperm(300, generator=rng).split(256) for _ in range(2)]
    assert [len(batch) for batch in shuffled[0]] == [256, 44]
    real = [[list(batch.images) for batch in batches]]
    expected, _ = naive_algorithm.condense(
        images, [network], real, rule="multilevel", name="cos_euclid", weight=1.0, epochs=[2],
        batches=[list(batch) for batch in shuffled], **SETTINGS,
    )  # fmt: skip
    torch.testing.assert_close(module.synthetic().detach(), expected, rtol=1e-9, atol=1e-11)


def test_the_network_is_not_trained_after_the_last_update() -> None:
    batches = real_batches(outer=1, updates=1, classes=3)
    module = condenser(random_images(3, 1, 2, 8, 8), 1, [50])
    fit(module, batches)
    with seeded(3, "network", 0):
        fresh = small_network()
    assert module.network is not None
    for actual, expected in zip(module.network.parameters(), fresh.parameters(), strict=True):
        assert torch.equal(actual, expected)


@pytest.mark.parametrize("stop", [1, 2, 3, 4, 5])
def test_resume_at_any_update_gives_the_same_bits(stop: int, tmp_path: Path) -> None:
    batches = real_batches(outer=2, updates=3, classes=3)

    def fresh() -> Condenser:
        return condenser(random_images(3, 2, 2, 8, 8), 3, [2, 1])

    undisturbed = fresh()
    fit(undisturbed, batches)
    fit(fresh(), batches[:stop]).save_checkpoint(tmp_path / "stopped.ckpt")
    resumed = fresh()
    trainer = fit(resumed, batches[stop:], resume=tmp_path / "stopped.ckpt")
    assert trainer.global_step == 6
    assert torch.equal(resumed.synthetic(), undisturbed.synthetic())


@pytest.mark.parametrize("at_once", [None, 1])
@pytest.mark.parametrize("where", ["real", "images"])
def test_non_finite_numbers_stop_the_run(where: str, at_once: int | None) -> None:
    batches, chunks = real_batches(outer=3, updates=1, classes=3), {"classes_per_chunk": at_once}
    module = condenser(random_images(3, 1, 2, 8, 8), 1, [], matcher=chunks)
    if where == "real":
        assert isinstance(batches[1].images, torch.Tensor)
        batches[1].images[2, 0, 0, 0, 0] = math.nan
        message = "k=1, t=0, class '2': the class gradient on real images is not finite"
    else:
        module = condenser(
            random_images(3, 1, 2, 8, 8), 1, [], matcher=chunks, image_optimizer=image_sgd(1e300)
        )
        message = "k=1, t=0, class '0': .* is not finite"
    with pytest.raises(NonFiniteError, match=message):
        fit(module, batches)


def test_the_last_good_set_is_the_one_before_numbers_went_wrong() -> None:
    """The real images of the third update are broken, so the second set is the last with finite gradients."""
    batches, start = real_batches(outer=4, updates=1, classes=3), random_images(3, 1, 2, 8, 8)
    assert isinstance(batches[2].images, torch.Tensor)
    batches[2].images[1, 0] = math.nan
    module, shorter = (condenser(start, 1, []) for _ in range(2))
    with pytest.raises(NonFiniteError, match="k=2, t=0, class '1'"):
        fit(module, batches)
    fit(shorter, batches[:1])
    assert torch.equal(module.last_good(), shorter.synthetic())
    assert not torch.equal(module.last_good(), start)


def test_zeta_is_filed_under_its_update() -> None:
    module = condenser(random_images(3, 2, 2, 8, 8), 4, [3, 0, 2])
    fit(module, real_batches(outer=2, updates=4, classes=3))
    assert module.zeta_used == [[3, 3], [0, 0], [2, 2]]


def test_infinite_final_images_are_refused() -> None:
    start = random_images(3, 1, 2, 8, 8)
    module = condenser(start, 1, [], image_optimizer=image_sgd(math.inf))
    with pytest.raises(NonFiniteError, match="k=0, t=0, class '0': the image or its gradient is not finite"):
        fit(module, real_batches(outer=1, updates=1, classes=3))
    assert torch.equal(module.last_good(), start)


def test_same_seed_gives_the_same_bits_after_other_runs(run: Callable[..., Path]) -> None:
    def learned(*overrides: str) -> bytes:
        return (run(*overrides) / "condensed" / "condensed.safetensors").read_bytes()

    first = learned("seed=5")
    torch.manual_seed(123)
    torch.randn(1000)
    other = learned("seed=6")
    again = learned("seed=5", "evaluation.networks=1", "evaluation.baselines.random=0")
    assert first == again
    assert first != other


def test_every_second_update_is_diagnosed() -> None:
    seen: list[bool] = []

    class Seen(lightning.Callback):
        def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
            seen.append("images/mean" in module.metrics)

    module = condenser(random_images(3, 1, 2, 8, 8), 2, [0], diagnose_every=2)
    fit(module, real_batches(outer=2, updates=2, classes=3), callbacks=[Seen()])
    assert seen == [False, True, False, True]
