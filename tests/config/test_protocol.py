"""Values of conf/ against the experimental protocol, written a second time from the paper and its code."""

from typing import Any

import pytest
from omegaconf import OmegaConf

from gmlight.artifacts.results import images_per_class
from helpers.runs import composed

# Overrides -> the values that they compose.
PROTOCOL: dict[str, dict[str, Any]] = {
    "dataset=cifar10 ipc=10": {
        "iterations": 1000, "updates": 10, "image_steps": 1, "seed": 0, "holdout": 0,
        "real_batch": 256, "mixed_batch": 0, "statistics_batch": 16, "train_batch": 256,
        "network_images": "synthetic",
        "image_lr": 0.1, "image_momentum": 0.5, "network_lr": 0.01, "network_momentum": 0.5,
        "network_weight_decay": 0, "network_cutmix": 0,
        "network_start": "fresh", "pool": {"networks": 5, "epochs": 2, "least": 0.01, "most": 0.09},
        "synthetic_batch": 0, "image_lr_warmup": 0, "image_lr_decay": "none", "clip_images": False,
        "multi_size": False,
        "matching": {"_target_": "gmlight.matching.rules.multilevel", "inter_weight": None,
                     "class_weights": "equal", "layers": "all", "step": "all"},
        "distance": {"_target_": "gmlight.matching.distances.cos_euclid", "weight": 1.0},
        "schedule": {"_target_": "gmlight.condensation.schedules.adaptive", "unit": "epochs",
                     "epochs": {0: 50, 1: 40, 2: 30, 3: 20, 4: 10, 10: 5}},
        "initialization": {"_target_": "gmlight.condensation.initialization.noise"},
        "synthetic": {"_target_": "gmlight.condensation.synthetic.pixels"},
        "augmentation": {"_target_": "gmlight.data.augmentation.none"},
        "architecture": {"_target_": "gmlight.architectures.convnet.ConvNet", "width": 128, "depth": 3,
                         "activation": "relu", "norm": "instance", "pooling": "avg"},
        "scale": {"name": "paper", "iterations": 1000, "real_batch": 256, "networks": 50, "epochs": None},
        "evaluation": {
            "networks": 50, "architectures": None, "batch_norm": "instance", "epochs": 300, "cutmix": 0,
            "falls": [0.5], "fall": 0.1, "precision": "float32",
            "batch_size": 256, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005, "every": 500,
            "quick_networks": 5, "baselines": {"random": 50, "whole": 0},
        },
        "speed.precision": "float32", "speed.network_precision": "float32",
    },
    "dataset=mnist": {
        "updates": 1, "evaluation.epochs": 1000,
        "augmentation": {"_target_": "gmlight.data.augmentation.crop_scale_rotate", "padding": 4,
                         "scale": [0.8, 1.2], "degrees": 45},
    },
    "dataset=cifar10 ipc=50": {"updates": 50},
    "dataset=cifar10 ipc=51": {"updates": 50},
    "dataset=cifar10_dc": {
        "dataset.name": "cifar10_dc", "dataset.mean": [0.4914, 0.4822, 0.4465],
        "dataset.std": [0.2023, 0.1994, 0.2010], "dataset.size": [32, 32], "evaluation.epochs": 300,
    },
    "dataset=mnist architecture=mlp": {
        "image_lr": 0.01,
        "architecture": {"_target_": "gmlight.architectures.mlp.MLP", "width": 128, "depth": 2,
                         "activation": "relu"},
    },
    "dataset=cifar10 architecture=resnet18": {"architecture.norm": "instance", "architecture.pooled": False},
    "dataset=cifar10 architecture=resnet18_bn_ap": {
        "architecture.norm": "batch", "architecture.pooled": True,
    },
    "dataset=cifar10 architecture=vgg11": {"architecture.norm": "instance"},
    "dataset=cifar10 architecture=vgg11_bn": {"architecture.norm": "batch"},
    "dataset=cifar10 architecture=convnet_bn": {"architecture.norm": "batch", "architecture.width": 128},
    "distance=euclid": {"distance.weight": 1.0},
    "distance=sse": {"distance.weight": 1.0},
    "distance=mse": {"distance.weight": 100.0},  # Table 2: 100 d4
    "distance=cos_sse": {"distance.weight": 1.0},
    "distance=cos_mse": {"distance.weight": 100.0},
    "matching=inter": {"matching": {"_target_": "gmlight.matching.rules.inter", "inter_weight": None,
                                    "class_weights": "equal", "mixed_real": 0, "mixed_synthetic": 256}},
    "matching=interleaved": {
        "matching": {"_target_": "gmlight.matching.rules.interleaved", "inter_weight": None,
                     "class_weights": "equal", "mixed_real": 0, "mixed_synthetic": 256},
    },
    "schedule=fixed ipc=20": {
        "schedule.epochs": {1: 1, 2: 50, 20: 25, 30: 20, 40: 15, 50: 10}, "schedule.ipc": 20,
        "schedule.unit": "epochs",
    },
    "schedule=until_overfit": {
        "mixed_batch": 256,
        "schedule": {"_target_": "gmlight.condensation.schedules.until_overfit", "criterion": "rise",
                     "margin": 0.5, "limit": 50, "unit": "epochs"},
    },
    "schedule=table": {"schedule.epochs": [50, 40, 30, 20, 10, 10, 10, 10, 10]},
    "augmentation=crop_or_noise": {"augmentation.padding": 4, "augmentation.noise": 0.001},
    "dataset=cifar10 augmentation=dsa": {
        "augmentation": {
            "_target_": "gmlight.data.dsa.Siamese", "brightness": 1, "saturation": 2, "contrast": 0.5,
            "transforms": ["color", "crop", "cutout", "flip", "scale", "rotate"], "crop": 0.125,
            "cutout": 0.5, "flip": 0.5, "scale": 1.2, "rotate": 15, "evaluation_epochs": 1000,
        },
        "initialization._target_": "gmlight.condensation.initialization.random",
        "evaluation.epochs": 1000,
    },
    "dataset=cifar10 augmentation=idc evaluation=idc": {
        "augmentation": {
            "_target_": "gmlight.data.dsa.Chain", "brightness": 1, "saturation": 2, "contrast": 0.5,
            "transforms": ["flip", "color", ["crop", "scale", "rotate"], "cutout"], "crop": 0.125,
            "matched": ["color", "crop", "cutout"],
            "cutout": 0.5, "flip": 0.5, "scale": 1.2, "rotate": 15, "evaluation_epochs": 1000,
        },
        "initialization._target_": "gmlight.condensation.initialization.random",
        "evaluation": {"epochs": 1000, "batch_size": 64, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005,
                       "cutmix": 0.5, "falls": [0.66666667, 0.83333334], "fall": 0.2},
    },
    "dataset=cifar10 ipc=10 method=idc": {
        "updates": 100, "real_batch": 64, "synthetic_batch": 128, "image_lr": 0.08, "image_momentum": 0.5,
        "clip_images": True, "network_images": "real", "network_lr": 0.01, "network_momentum": 0.9,
        "network_weight_decay": 0.0005, "network_cutmix": 0.5, "train_batch": 64,
        "matching": {"_target_": "gmlight.matching.rules.intra", "layers": "conv", "step": "class"},
        "distance": {"_target_": "gmlight.matching.distances.sse", "weight": 1.0},
        "schedule.epochs": 32, "schedule.unit": "steps", "synthetic.factor": 2,
        "initialization._target_": "gmlight.condensation.initialization.random",
        "augmentation._target_": "gmlight.data.dsa.Chain", "evaluation.batch_size": 64,
    },
    "dataset=mnist ipc=1 method=idc distance=sae": {
        "image_lr": 0.008, "network_cutmix": 0, "synthetic.factor": 3, "augmentation.cutout": 0,
        "distance": {"_target_": "gmlight.matching.distances.sae", "weight": 1.0},
    },
    "dataset=cifar10 ipc=10 method=best scale=reduced": {
        "iterations": 300, "updates": 50, "real_batch": 64, "synthetic_batch": 20, "image_lr": 0.15,
        "image_lr_decay": "cosine", "clip_images": False, "network_images": "real", "network_lr": 0.01,
        "network_momentum": 0.9, "network_weight_decay": 0.0005, "network_cutmix": 0.5, "train_batch": 64,
        "matching": {"_target_": "gmlight.matching.rules.multilevel", "layers": "all", "step": "all"},
        "distance._target_": "gmlight.matching.distances.cos_euclid",
        "schedule": {"_target_": "gmlight.condensation.schedules.fixed", "epochs": 16, "unit": "steps"},
        "synthetic.factor": 2, "augmentation._target_": "gmlight.data.dsa.Chain",
        "initialization._target_": "gmlight.condensation.initialization.random",
        "evaluation.batch_size": 64, "evaluation.epochs": 1000, "evaluation.cutmix": 0.5,
    },
    "dataset=cifar10 ipc=10 method=fast scale=reduced": {
        "iterations": 300, "updates": 20, "real_batch": 64, "synthetic_batch": 0, "image_lr": 0.15,
        "image_lr_decay": "cosine", "network_images": "real", "network_momentum": 0.9,
        "network_weight_decay": 0.0005, "train_batch": 64,
        "matching._target_": "gmlight.matching.rules.multilevel",
        "distance._target_": "gmlight.matching.distances.cos_euclid",
        "schedule": {"_target_": "gmlight.condensation.schedules.fixed", "epochs": 16, "unit": "steps"},
        "synthetic._target_": "gmlight.condensation.synthetic.pixels",
        "augmentation._target_": "gmlight.data.augmentation.none",
        "initialization._target_": "gmlight.condensation.initialization.random",
        "evaluation.batch_size": 256, "evaluation.epochs": 300, "evaluation.cutmix": 0,
    },
    "dataset=mnist augmentation=idc evaluation=idc": {
        "augmentation.cutout": 0, "augmentation.flip": 0, "evaluation.cutmix": 0, "evaluation.batch_size": 64,
    },
    "dataset=svhn augmentation=idc evaluation=idc": {
        "augmentation.cutout": 0.5, "augmentation.flip": 0, "evaluation.cutmix": 0.5,
    },
    "dataset=cifar10 method=herding": {
        "iterations": 0,
        "initialization": {
            "_target_": "gmlight.condensation.initialization.herding", "features": "network", "epochs": 20,
            "batch_size": 256, "lr": 0.01, "momentum": 0.9, "weight_decay": 0.0005,
            "network": {"_target_": "gmlight.architectures.convnet.ConvNet", "width": 128, "depth": 3,
                        "activation": "relu", "norm": "instance", "pooling": "avg"},
        },
    },
    "dataset=cifar10 method=random": {
        "iterations": 0, "initialization._target_": "gmlight.condensation.initialization.random",
        "evaluation.baselines.random": 0,
    },
    "dataset=cifar10 method=whole": {
        "iterations": 0, "initialization._target_": "gmlight.condensation.initialization.whole",
        "evaluation.baselines.whole": 0,
    },
    "dataset=cifar10 method=real_source": {
        "network_images": "real", "synthetic.factor": 2, "augmentation.flip": 0.5,
    },
    "dataset=mnist method=formation": {
        "network_images": "synthetic", "synthetic.factor": 3, "augmentation.flip": 0,
    },
    "method=representative": {
        "network_images": "real", "sampling.every": 10, "sampling.steps": 100, "sampling.nearest": 1,
    },
    "dataset=cifar10 evaluation=cutmix": {"evaluation.cutmix": 0.5, "evaluation.epochs": 300},
    "dataset=cifar10 evaluation=quick": {
        "evaluation.networks": 5, "evaluation.every": 0, "evaluation.epochs": 300,
    },
    "dataset=cifar10 scale=reduced": {
        "iterations": 300, "real_batch": 64, "evaluation.networks": 10, "evaluation.epochs": 300,
        "evaluation.every": 150,
    },
    "dataset=mnist scale=smoke": {
        "iterations": 2, "real_batch": 8, "evaluation.networks": 2, "evaluation.epochs": 2,
    },
    "": {  # digits, at the size of a demonstration
        "dataset.name": "digits", "ipc": 10, "iterations": 20, "real_batch": 64, "evaluation.networks": 5,
        "evaluation.epochs": 100, "evaluation.baselines.whole": 1,
    },
}  # fmt: skip
# name -> channels, side, epochs of evaluation, flip, factor of multi-formation
DATASETS = {
    "mnist": (1, 28, 1000, 0, 3),
    "fashion_mnist": (1, 28, 300, 0.5, 3),
    "svhn": (3, 32, 300, 0, 2),
    "cifar10": (3, 32, 300, 0.5, 2),
    "cifar100": (3, 32, 300, 0.5, 2),
    "tiny_imagenet": (3, 64, 300, 0.5, 2),
}


def differing(expected: Any, found: Any, key: str = "") -> list[str]:
    """Lists the expected values that were not found; nodes may have more keys than expected."""
    if isinstance(expected, dict):
        found = found or {}
        return [
            line for name in expected for line in differing(expected[name], found.get(name), f"{key}.{name}")
        ]
    return [] if expected == found else [f"{key}: {found}, not {expected}"]


@pytest.mark.parametrize("overrides", PROTOCOL)
def test_composed_values_are_those_of_the_protocol(overrides: str) -> None:
    config = composed(*overrides.split())
    for key, expected in PROTOCOL[overrides].items():
        node = OmegaConf.select(config, key)
        found = OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node
        assert differing(expected, found, key) == []


@pytest.mark.parametrize("name", DATASETS)
def test_datasets(name: str) -> None:
    config = composed(f"dataset={name}")
    node, (channels, side, epochs, flip, factor) = config.dataset, DATASETS[name]
    assert (node.channels, list(node.size), node.convnet_depth) == (channels, [side, side], 3)
    assert (node.evaluation_epochs, node.flip, node.formation_factor) == (epochs, flip, factor)
    assert config.evaluation.epochs == epochs
    assert config.scale.name == "paper"
    ipc = images_per_class(composed(f"dataset={name}", "ipc=4", "synthetic=multi_formation"))
    assert ipc == 4 * factor**2


def test_statistics_of_tiny_imagenet() -> None:
    node = composed("dataset=tiny_imagenet").dataset
    assert (node.mean, node.std) == ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])


@pytest.mark.parametrize(
    ("name", "first", "last"),
    [
        ("mnist", "0", "9"),
        ("fashion_mnist", "T-shirt/top", "Ankle boot"),
        ("svhn", "0", "9"),
        ("cifar10", "airplane", "truck"),
        ("cifar100", "apple", "worm"),
    ],
)
def test_order_of_the_classes(name: str, first: str, last: str) -> None:
    """In the order of the labels in the dataset's files; CIFAR-100's are sorted."""
    classes = list(composed(f"dataset={name}").dataset.classes)
    assert (classes[0], classes[-1]) == (first, last)
    if name == "cifar100":
        assert classes == sorted(classes)
    if name == "cifar10":
        assert classes[3:6] == ["cat", "deer", "dog"]
    if name == "fashion_mnist":
        assert classes[3:7] == ["Dress", "Coat", "Sandal", "Shirt"]
