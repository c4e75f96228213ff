"""A pool of trained networks: how they are trained, drawn, perturbed and kept."""

import copy
import functools
import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.condensation.network_pool import NetworkPool, perturb
from gmlight.data.augmentation import CutMix
from gmlight.data.images import LabelledImages
from gmlight.runtime.seeding import generator, seeded
from gmlight.training.steps import SGDSettings
from helpers.condensers import condenser, fit, real_batches
from helpers.problems import random_images, small_network

CPU = torch.device("cpu")
REAL = LabelledImages(random_images(7, 2, 8, 8, seed=5), torch.arange(7) % 3)
SGD = SGDSettings(batch_size=4, lr=0.1, momentum=0.6, weight_decay=0.01)


def pool(file: Path | None = None, norm: str = "instance", **options: object) -> NetworkPool:
    settings: dict = {"size": 3, "epochs": 2, "sgd": SGD} | options
    return NetworkPool(functools.partial(small_network, norm), REAL, file=file, **settings)


def trained_by_hand(i: int, epochs: int = 2) -> nn.Module:
    """Seven images in mini-batches of four and three: two steps an epoch."""
    with seeded(9, "pool-network", i):
        network = small_network()
    parameters = list(network.parameters())
    velocities = [torch.zeros_like(parameter) for parameter in parameters]
    rng = generator(9, "pool-batches", i)
    for _ in range(epochs):
        for chosen in torch.randperm(7, generator=rng).split(4):
            loss = cross_entropy(network(2 * REAL.images[chosen]), REAL.labels[chosen])
            for j, gradient in enumerate(torch.autograd.grad(loss, parameters)):
                velocities[j] = 0.6 * velocities[j] + gradient + 0.01 * parameters[j].detach()
                parameters[j].data -= 0.1 * velocities[j]
    return network


def values(network: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in network.parameters()])


def test_networks_train_on_real_images_for_some_epochs() -> None:
    made = pool(least=0.0, most=0.0, augmentation=lambda images, rng: 2 * images)
    made.prepare(9, CPU)
    expected = [values(trained_by_hand(i)) for i in range(3)]
    drawn = set()
    for k in range(12):
        network = small_network()
        made.start(network, 9, k)
        (which,) = [i for i in range(3) if torch.allclose(values(network), expected[i], rtol=1e-9)]
        assert which == int(torch.randint(3, (), generator=generator(9, "pool", k)))
        drawn.add(which)
    assert drawn == {0, 1, 2}


def test_mini_batches_are_mixed() -> None:
    made = [pool(cutmix=mixed) for mixed in (None, CutMix(1.0))]
    for each in made:
        each.prepare(9, CPU)
    networks = [small_network() for _ in made]
    for each, network in zip(made, networks, strict=True):
        each.start(network, 9, 0)
    assert not torch.allclose(*map(values, networks))


def test_a_perturbation_by_hand() -> None:
    network = small_network("batch")
    before, rng = copy.deepcopy(network), torch.Generator().manual_seed(3)
    perturb(network, torch.Generator().manual_seed(3), 0.2, 0.6)
    amounts = []
    for _ in range(2):
        sign, size = torch.rand((), generator=rng).item(), torch.rand((), generator=rng).item()
        amounts.append((1 if sign < 0.5 else -1) * (0.2 + 0.4 * size))
    for (name, moved), weight in zip(network.named_parameters(), before.parameters(), strict=True):
        if weight.ndim < 2:
            assert torch.equal(moved, weight), name
            continue
        expected = weight.detach().clone()
        for amount in amounts:
            noise = torch.randn(weight.shape, generator=rng).double()
            for row in range(len(weight)):
                expected[row] += amount * noise[row] * weight[row].norm() / noise[row].norm()
        torch.testing.assert_close(moved.detach(), expected, rtol=1e-6, atol=1e-9)


def test_amounts_lie_between_the_bounds_on_both_sides() -> None:
    """In one direction of a weight with a single row, the amount is the share of the row's norm."""
    found = []
    for seed in range(60):
        layer = nn.Linear(500, 1, bias=False)
        nn.init.ones_(layer.weight)
        perturb(layer, torch.Generator().manual_seed(seed), 0.2, 0.6)
        found.append((layer.weight.detach() - 1).norm().item() / 500**0.5)
    # Two directions that are nearly orthogonal: from sqrt(2) 0.2 to sqrt(2) 0.6.
    assert 0.25 < min(found) < 0.4
    assert 0.6 < max(found) < 0.95


def test_a_file_keeps_the_networks(tmp_path: Path) -> None:
    file = tmp_path / "pool.safetensors"
    first = pool(file, norm="batch")
    first.prepare(9, CPU)
    again, trained = pool(file, norm="batch"), []
    again._trained = lambda i, *_: trained.append(i)  # type: ignore[assignment, method-assign, func-returns-value]
    again.prepare(9, CPU)
    assert trained == []
    for k in range(4):
        networks = small_network("batch"), small_network("batch")
        first.start(networks[0], 9, k)
        again.start(networks[1], 9, k)
        for one, other in zip(
            networks[0].state_dict().values(), networks[1].state_dict().values(), strict=True
        ):
            assert torch.equal(one, other)


@pytest.mark.parametrize("damage", ["cut", "other architecture", "fewer", "no file"])
def test_networks_that_a_file_lacks_are_trained_again(tmp_path: Path, damage: str) -> None:
    file = tmp_path / "pool.safetensors"
    whole = pool(file)
    whole.prepare(9, CPU)
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-5])
    elif damage == "other architecture":
        other = NetworkPool(functools.partial(small_network, classes=4), REAL, size=3, epochs=1, file=file)
        file.unlink()
        other.prepare(9, CPU)
    elif damage == "fewer":
        file.unlink()
        pool(file, size=2).prepare(9, CPU)
    else:
        file.unlink()
    again = pool(file)
    again.prepare(9, CPU)
    for k in range(6):
        networks = small_network(), small_network()
        whole.start(networks[0], 9, k)
        again.start(networks[1], 9, k)
        assert torch.equal(values(networks[0]), values(networks[1]))


def test_a_folder_without_room_costs_the_file_alone(tmp_path: Path) -> None:
    made = pool(tmp_path / "missing" / "pool.safetensors")
    made.prepare(9, CPU)
    made.start(small_network(), 9, 0)


def test_outer_iterations_match_networks_of_the_pool() -> None:
    images, batches = random_images(3, 1, 2, 8, 8), real_batches(outer=2, updates=1, classes=3)
    matched = []
    module = condenser(images, 1, [], inner_loop={"pool": pool()})
    fit(module, batches)
    again = pool()
    again.prepare(3, CPU)  # the run's seed
    for k in range(2):
        network = small_network()
        again.start(network, 3, k)
        matched.append(values(network))
    assert module.network is not None
    assert torch.equal(values(module.network), matched[1])
    assert not torch.equal(*matched)


def test_progress_counts_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gmlight.runtime.progress.PLAIN_SECONDS", -1)
    page = io.StringIO()
    pool(console=Console(file=page, width=80)).prepare(9, CPU)
    lines = page.getvalue().splitlines()
    assert "training the pool  network 1/3  33%" in lines
    assert lines[-1] == "training the pool  network 3/3  100%"


def test_seconds_are_those_of_all_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three steps take 6 seconds; three networks have four steps each."""
    calls = []

    def measured(work: Callable[[], object], device: torch.device) -> float:
        calls.append(len(work()))  # type: ignore[arg-type]
        return 6.0

    monkeypatch.setattr("gmlight.condensation.network_pool.measure_seconds", measured)
    assert pool().estimate_seconds(9, CPU) == 3 * 4 * 2.0
    assert pool(epochs=0.6).estimate_seconds(9, CPU) == 3 * 2 * 2.0  # 1.2 steps, in whole ones
    assert calls == [3, 3]
