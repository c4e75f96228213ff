"""Diagnostics of an image update against their definitions."""

import functools
import math

import pytest
import torch
from torch.nn.functional import cross_entropy

from gmlight.data.images import RealBatch
from gmlight.matching import distances, rules
from gmlight.matching.class_gradients import ClassGradients, class_gradients
from gmlight.matching.diagnostics import GradientDiagnosis, image_statistics, losses
from helpers.problems import random_images, small_network

CLASSES = 3


@pytest.fixture
def pair() -> tuple[dict, dict]:
    network = small_network(classes=CLASSES).double().eval()
    real = class_gradients(network, random_images(CLASSES, 5, 2, 8, 8))
    return class_gradients(network, random_images(CLASSES, 2, 2, 8, 8, seed=1)), real


def test_norms_and_angles_are_means_over_classes(pair: tuple[dict, dict]) -> None:
    synthetic, real = pair
    diagnosis = GradientDiagnosis(active=True)
    for c in (slice(0, 1), slice(1, 3), slice(3, 3)):  # in chunks, one of them empty
        diagnosis.note_classes(*({name: layer[c] for name, layer in each.items()} for each in pair))
    metrics = diagnosis.metrics(CLASSES)

    def flat(layers: dict, c: int, names: list[str]) -> list[float]:
        return [value for name in names for value in layers[name][c].flatten().tolist()]

    for shown, names in [("overall", list(real)), *((name.removesuffix(".weight"), [name]) for name in real)]:
        norms, angles = [], []
        for c in range(CLASSES):
            ours, theirs = flat(synthetic, c, names), flat(real, c, names)
            norms.append((math.hypot(*ours), math.hypot(*theirs)))
            inner = sum(a * b for a, b in zip(ours, theirs, strict=True))
            angles.append(math.degrees(math.acos(inner / math.prod(norms[-1]))))
        expected = [sum(column) / CLASSES for column in (*zip(*norms, strict=True), angles)]
        kinds = ("gradient_norm/synthetic", "gradient_norm/real", "gradient_angle")
        assert [metrics[f"{kind}/{shown}"].item() for kind in kinds] == pytest.approx(expected, rel=1e-9)


def test_zero_gradient_has_an_angle_of_90_degrees() -> None:
    diagnosis = GradientDiagnosis(active=True)
    diagnosis.note_classes({"a.weight": torch.zeros(1, 2, 2)}, {"a.weight": torch.ones(1, 2, 2)})
    assert diagnosis.metrics(1)["gradient_angle/a"].item() == pytest.approx(90)
    diagnosis.note_classes({"a.weight": torch.ones(1, 2, 2)}, {"a.weight": torch.ones(1, 2, 2)})
    assert diagnosis.metrics(2)["gradient_angle/a"].item() == pytest.approx(45)


def test_layer_losses_add_up_to_the_matching_loss(pair: tuple[dict, dict]) -> None:
    rule = rules.multilevel()
    distance = functools.partial(distances.cos_euclid, weight=1.0)

    def loss(synthetic: dict, real: dict) -> torch.Tensor:
        sides = (ClassGradients(each, [1] * CLASSES, [1 / CLASSES] * CLASSES) for each in (synthetic, real))
        return torch.stack(list(rule(*sides, distance, 0).values())).sum()

    diagnosis = GradientDiagnosis(active=True)
    diagnosis.note_loss(loss, *pair)
    by_layer = diagnosis.metrics(CLASSES)
    assert len(by_layer) == len(pair[0])
    torch.testing.assert_close(sum(by_layer.values()), loss(*pair))


def test_diagnostics_are_measured_only_on_request(pair: tuple[dict, dict]) -> None:
    diagnosis = GradientDiagnosis(active=False)
    diagnosis.note_classes(*pair)
    diagnosis.note_loss(lambda *_: pytest.fail("measured"), *pair)
    assert diagnosis.metrics(CLASSES) == {}


def test_losses_are_means_over_images() -> None:
    network = small_network(classes=CLASSES).double().eval()
    synthetic, labels = random_images(4, 2, 8, 8), torch.tensor([0, 1, 2, 0])
    real = tuple(random_images(n, 2, 8, 8, seed=n) for n in (3, 100, 90))
    found = losses(network, synthetic, labels, RealBatch(0, 0, real))
    torch.testing.assert_close(found["loss/synthetic"], cross_entropy(network(synthetic), labels))
    few = [of_class[:85] for of_class in real]  # at most 256 images of 3 classes
    wanted = torch.tensor([c for c in range(CLASSES) for _ in few[c]])
    torch.testing.assert_close(found["loss/real"], cross_entropy(network(torch.cat(few)), wanted))
    mixed = torch.cat(few), wanted
    also = losses(network, synthetic, labels, RealBatch(0, 0, (), mixed))["loss/real"]
    torch.testing.assert_close(also, found["loss/real"])


def test_statistics_of_the_images() -> None:
    found = image_statistics(torch.tensor([[-1.0, 0.0], [2.0, 3.0]]))
    values = {name: value.item() for name, value in found.items()}
    assert values == pytest.approx(
        {"images/mean": 1.0, "images/std": math.sqrt(2.5), "images/min": -1.0, "images/max": 3.0}
    )
