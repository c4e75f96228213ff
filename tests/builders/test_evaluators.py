"""Evaluators, protocols and baselines get the values of their own keys; all values differ."""

import pytest
import torch
from rich.console import Console

from gmlight.builders.condenser import build_start
from gmlight.builders.data import build_data
from gmlight.builders.evaluators import (
    build_baselines,
    build_evaluators,
    build_protocol,
    build_quick_evaluator,
    evaluation_protocol,
)
from gmlight.runtime.compile import Compilation
from gmlight.training.steps import SGDSettings
from helpers.runs import composed

CPU = torch.device("cpu")
DIFFERENT = (
    "evaluation.epochs=7", "evaluation.batch_size=11", "evaluation.lr=0.03", "evaluation.momentum=0.6",
    "evaluation.weight_decay=0.002", "evaluation.cutmix=0.25", "seed=5", "train_batch=13", "network_lr=0.04",
    "network_momentum=0.1", "ipc=3", "evaluation.baselines.random=4", "evaluation.baselines.whole=2",
    "evaluation.test_batch=17", "evaluation.networks_at_once=6", "augmentation=crop_or_noise",
)  # fmt: skip


def test_protocol_is_that_of_the_evaluation() -> None:
    built = build_protocol(composed(*DIFFERENT))
    assert built.sgd == SGDSettings(batch_size=11, lr=0.03, momentum=0.6, weight_decay=0.002)
    assert (built.epochs, built.name) == (7, "crop_or_noise + cutmix 0.25")
    assert built.cutmix is not None
    assert built.cutmix.probability == 0.25
    assert built.augmentation.protocol == "crop_or_noise"
    assert built.precision is None
    assert build_protocol(composed("evaluation.cutmix=0")).cutmix is None
    assert build_protocol(composed("evaluation.precision=bfloat16")).precision is torch.bfloat16
    assert build_protocol(composed("speed.network_precision=bfloat16")).precision is None


def test_each_architecture_has_its_own_evaluator() -> None:
    names = "[mlp,convnet,vgg11_bn]"
    words = ["dataset=cifar10", "architecture=convnet_bn", "architecture.width=16"]
    config = composed(*words, f"evaluation.architectures={names}", *DIFFERENT)
    data, compilation = build_data(config), Compilation(False, print)
    made = build_evaluators(config, data, "convnet_bn, width=16", compilation, Console(quiet=True))
    kinds = {name: type(evaluator.factory()).__name__ for name, evaluator in made.items()}
    assert kinds == {"mlp": "MLP", "convnet": "ConvNet", "vgg11_bn (instance)": "VGG11"}
    assert made["convnet"].factory().conv0.out_channels == 128  # the option's width, not the source's
    for evaluator in made.values():
        assert (evaluator.seed, evaluator.test_batch, evaluator.networks_at_once) == (5, 17, 6)
        assert (evaluator.protocol.sgd.lr, evaluator.data) == (0.03, data)
    quick = build_quick_evaluator(config, data, compilation, build_protocol(config))
    network = quick.factory()
    assert network.conv0.out_channels == 16  # the source itself, with instance norm
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in network.modules())


def test_baselines_are_other_images_than_the_start() -> None:
    config = composed(*DIFFERENT, "initialization=real")
    data = build_data(config).load(CPU)
    random, whole = build_baselines(config, data)
    assert (random.name, random.networks, whole.name, whole.networks) == (
        "random images", 4, "whole train set", 2,
    )  # fmt: skip
    assert whole.images is data.train
    images, labels = random.images.batch(torch.arange(30))
    assert labels.tolist() == [c for c in range(10) for _ in range(3)]
    start, _ = build_start(config, data).batch(torch.arange(30))
    assert not torch.equal(images, start)
    again, _ = build_baselines(config, data)[0].images.batch(torch.arange(30))
    assert torch.equal(images, again)
    none = composed("evaluation.baselines={random:0,whole:0}")
    assert build_baselines(none, data) == []


@pytest.mark.parametrize(
    "word",
    [
        "evaluation.epochs=8", "evaluation.batch_size=12", "evaluation.lr=0.04", "evaluation.momentum=0.7",
        "evaluation.weight_decay=0.003", "evaluation.cutmix=0.5", "evaluation.batch_norm=batch", "seed=6",
        "holdout=0.1", "augmentation.padding=3", "architecture.width=64", "dataset.mean=[0.1]",
        "evaluation.falls=[0.4]", "evaluation.fall=0.3", "evaluation.precision=bfloat16",
    ],
)  # fmt: skip
def test_stored_accuracies_belong_to_every_value_that_they_depend_on(word: str) -> None:
    assert evaluation_protocol(composed(*DIFFERENT, word)) != evaluation_protocol(composed(*DIFFERENT))


@pytest.mark.parametrize(
    "word",
    [
        "evaluation.networks=3",
        "evaluation.test_batch=18",
        "evaluation.every=1",
        "network_lr=0.07",
        "speed.network_precision=bfloat16",
        "dataset.occlusion=0.1",
    ],
)
def test_stored_accuracies_survive_other_changes(word: str) -> None:
    assert evaluation_protocol(composed(*DIFFERENT, word)) == evaluation_protocol(composed(*DIFFERENT))
