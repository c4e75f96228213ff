"""Small parts get the values of their own keys; images that are not square show exchanged axes."""

import torch

from gmlight.builders.data import build_data, build_source
from gmlight.builders.parts import build_augmentation, build_distance, build_factory, build_rule
from gmlight.data.augmentation import TrainingAugmentation
from helpers.runs import composed


def test_networks_fit_images_that_are_not_square() -> None:
    config = composed(
        "dataset=svhn", "dataset.size=[16,40]", "architecture.norm=layer", "architecture.width=4"
    )
    network = build_factory(config.architecture, config.dataset)()
    assert network.norm0.normalized_shape == (4, 16, 40)
    assert network(torch.zeros(2, 3, 16, 40)).shape == (2, 10)


def test_source_has_the_statistics_of_the_dataset() -> None:
    words = ["dataset=svhn", "dataset.mean=[.1,.2,.3]", "dataset.std=[.4,.5,.6]", "dataset.size=[16,40]"]
    source = build_source(composed(*words, "holdout=0.3", "download=false"))
    assert (list(source.mean or ()), list(source.std or ())) == ([0.1, 0.2, 0.3], [0.4, 0.5, 0.6])
    assert (source.shape, source.holdout, source.download) == ((3, 16, 40), 0.3, False)
    assert list(source.classes) == list("0123456789")


def test_data_has_the_sizes_of_the_batches() -> None:
    words = ["real_batch=3", "mixed_batch=4", "statistics_batch=5", "ipc=2", "updates=7", "seed=8"]
    words += ["matching=interleaved", "matching.mixed_real=6", "memory.device_share=0.125"]
    data = build_data(composed(*words), statistics=True)
    sizes = data.batches
    assert (sizes.real, sizes.mixed, sizes.statistics, sizes.matched) == (3, 4, 5, 6)
    assert (data.updates, data.seed, data._device_share) == (7, 8, 0.125)
    assert [data._needs_mixed_batches(k) for k in range(4)] == [False, True, False, True]


def test_distance_has_its_weight() -> None:
    """Of rows (3, 4) and (0, 0): a cosine distance of 1, and 5 times the weight."""
    a, b = torch.tensor([[3.0, 4.0]]), torch.zeros(1, 2)
    for name, value in {"cos": 1.0, "euclid": 10.0, "sse": 50.0, "mse": 25.0, "cos_euclid": 11.0}.items():
        weight = [] if name == "cos" else ["distance.weight=2"]
        assert build_distance(composed(f"distance={name}", *weight))(a, b).item() == value


def test_rule_has_its_weights() -> None:
    rule = build_rule(composed("matching=inter", "matching.inter_weight=0.3", "matching.class_weights=batch"))
    assert (rule.name, rule.weight(10), rule.shares([3, 1], [0.5, 0.5])) == ("inter", 0.3, [0.75, 0.25])


def test_augmentation_has_its_amounts() -> None:
    words = ["augmentation=crop_scale_rotate", "augmentation.padding=2", "augmentation.degrees=30"]
    built = build_augmentation(composed(*words, "augmentation.scale=[0.5,1.5]"))
    assert isinstance(built, TrainingAugmentation)
    assert built.transform.keywords == {"padding": 2, "scale": [0.5, 1.5], "degrees": 30}
