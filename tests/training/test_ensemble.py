"""Networks trained together against networks trained one after another."""

import copy

import pytest
import torch
from torch.nn.functional import cross_entropy

from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_evaluator
from gmlight.data import augmentation
from gmlight.data.images import LabelledImages
from gmlight.runtime.compile import Compilation
from gmlight.training.ensemble import Ensemble
from gmlight.training.steps import training_steps
from helpers.problems import random_images, small_network
from helpers.runs import composed


@pytest.mark.parametrize("precision", [None, torch.bfloat16])
@pytest.mark.parametrize("norm", ["none", "batch", "layer", "instance", "group"])
def test_ensemble_trains_like_its_networks_alone(norm: str, precision: torch.dtype | None) -> None:
    """Autocast applies to single precision alone."""
    dtype = torch.double if precision is None else torch.float
    networks = [small_network(norm).to(dtype) for _ in range(3)]
    images = LabelledImages(random_images(9, 2, 8, 8).to(dtype), torch.arange(9) % 3)

    def trained(ensemble: Ensemble, seeds: list[int]) -> torch.Tensor:
        optimizer = torch.optim.SGD(ensemble.parameters(), lr=0.05, momentum=0.9, weight_decay=5e-4)
        rngs = [torch.Generator().manual_seed(seed) for seed in seeds]
        steps = training_steps(
            ensemble, optimizer, images, batch_size=4, rngs=rngs, augmentation=lambda x, rng: x + torch.rand(
                (), generator=rng
            ), precision=precision,
        )  # fmt: skip
        for _ in range(7):  # two epochs of three mini-batches, the last one smaller, and a step
            next(steps)
        ensemble.eval()
        with torch.no_grad():
            return ensemble(random_images(1, 5, 2, 8, 8).to(dtype).expand(ensemble.size, -1, -1, -1, -1))

    alone = [trained(Ensemble([copy.deepcopy(network)]), [i]) for i, network in enumerate(networks)]
    together = trained(Ensemble(networks), [0, 1, 2])
    exactly = {"rtol": 1e-9, "atol": 1e-11} if precision is None else {"rtol": 1e-5, "atol": 1e-5}
    torch.testing.assert_close(together, torch.cat(alone), **exactly)
    assert not torch.equal(together[0], together[1])


def test_single_network_makes_plain_sgd_steps() -> None:
    network, images = small_network(), random_images(6, 2, 8, 8)
    labels = torch.arange(6) % 3
    twin = copy.deepcopy(network)
    rng = torch.Generator()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    steps = training_steps(
        Ensemble([network]), optimizer, LabelledImages(images, labels), batch_size=6, rngs=[rng],
        augmentation=augmentation.none,
    )  # fmt: skip
    next(steps)
    gradients = torch.autograd.grad(cross_entropy(twin(images), labels), list(twin.parameters()))
    for trained, start, gradient in zip(network.parameters(), twin.parameters(), gradients, strict=True):
        torch.testing.assert_close(trained, start - 0.1 * gradient, rtol=1e-12, atol=0)


def test_evaluating_networks_together_gives_the_same_accuracies() -> None:
    options = ["architecture.width=8", "evaluation.epochs=8", "augmentation=crop_scale_rotate"]
    values = []
    for at_once, batch in ((1, 50), (2, "auto"), (3, "auto")):  # groups of 1+1+1, 2+1 and 3
        config = composed(
            *options, f"evaluation.networks_at_once={at_once}", f"evaluation.test_batch={batch}"
        )
        data = build_data(config).load(torch.device("cpu"))
        evaluator = build_evaluator(config, config.architecture, data, Compilation(False, print))
        finished: list[int] = []
        values.append(evaluator(data.train, 3, finished.append).values)
        assert finished[-1] == 3
    # Trained in single precision: an image near a decision boundary may change class.
    for others in values[1:]:
        assert others == pytest.approx(values[0], abs=0.6)
    assert len(set(values[0])) > 1
