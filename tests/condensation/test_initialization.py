"""Initial synthetic sets: real images, herding, earlier condensed sets."""

import functools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from gmlight import CondensedDataset
from gmlight.architectures.convnet import ConvNet
from gmlight.artifacts import condensed_set
from gmlight.builders.condenser import build_start
from gmlight.builders.data import build_data
from gmlight.condensation import initialization
from gmlight.condensation.initialization import herd, herding
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages, RealImages
from gmlight.data.source import DataSource
from gmlight.errors import ConfigError
from gmlight.training.steps import SGDSettings
from helpers.problems import named_classes, real_images
from helpers.runs import composed

CPU = torch.device("cpu")


def test_herding_follows_the_class_mean() -> None:
    """Compares with the definition: tries every remaining image at each step."""
    features = torch.randn(30, 5, generator=torch.Generator().manual_seed(0), dtype=torch.double)
    chosen: list[int] = []
    for _ in range(12):
        left = [i for i in range(30) if i not in chosen]
        chosen.append(
            min(left, key=lambda i: (features[[*chosen, i]].mean(0) - features.mean(0)).norm().item())
        )
    assert herd(features, 12).tolist() == chosen


def numbered() -> RealImages:
    """Twelve images of two classes, filled with their numbers: 0 to 4 of class a, 5 to 11 of class b."""
    images = torch.arange(12, dtype=torch.uint8).view(12, 1, 1, 1).expand(-1, 1, 2, 2)
    return real_images(images, (torch.arange(12) > 4).long(), mean=[0.0], std=[1 / 255])


def test_sets_are_chosen_by_class() -> None:
    chosen = initialization.random(numbered(), 4, torch.Generator().manual_seed(0))
    numbers = chosen.images[:, 0, 0, 0].round().int().tolist()
    assert chosen.labels.tolist() == [0] * 4 + [1] * 4
    assert len(set(numbers)) == 8
    assert max(numbers[:4]) < 5 <= min(numbers[4:])
    rng = torch.Generator()
    assert initialization.whole(train := numbered(), 3, rng) is train
    noise = initialization.noise(numbered(), 500, rng)
    assert noise.labels.bincount().tolist() == [500, 500]
    assert noise.images.shape == (1000, 1, 2, 2)
    assert (noise.images.mean().item(), noise.images.std().item()) == pytest.approx((0, 1), abs=0.05)


def test_kmeans_chooses_an_image_of_each_cluster() -> None:
    """Class a: 0, 1, 2 and 10, 11, 12. Class b: 50, 51, 52 and 90. The middle ones are nearest."""
    values = torch.tensor([11, 0, 51, 2, 90, 12, 50, 1, 10, 52], dtype=torch.uint8)
    labels = (values > 20).long()
    train = real_images(values.view(10, 1, 1, 1).expand(-1, 1, 2, 2), labels, mean=[0.0], std=[1 / 255])
    options: dict = {"features": "pixels", "network": None, "epochs": 1}
    chosen = initialization.kmeans(train, 2, torch.Generator().manual_seed(0), **options)
    assert chosen.labels.tolist() == [0, 0, 1, 1]
    numbers = chosen.images[:, 0, 0, 0].round().int().tolist()
    assert (sorted(numbers[:2]), sorted(numbers[2:])) == ([1, 11], [51, 90])
    with pytest.raises(ConfigError, match="5 images of class 'b' are wanted, and it has only 4"):
        initialization.kmeans(train, 5, torch.Generator(), **options)


def test_kmeans_clusters_the_features_of_a_trained_network(monkeypatch: pytest.MonkeyPatch) -> None:
    train, seen = numbered(), []

    def trained(network: torch.nn.Module, *_: object, **options: object) -> None:
        seen.append(options)

    def features(extract: None, train: RealImages, indices: torch.Tensor) -> torch.Tensor:
        return indices.view(-1, 1).double()

    monkeypatch.setattr(initialization, "trained_features", trained)
    monkeypatch.setattr(initialization, "outputs_of", features)
    network = functools.partial(ConvNet, width=2, depth=1, activation="relu", norm="none", pooling="none")
    initialization.kmeans(
        train, 2, torch.Generator(), features="network", network=network, epochs=3, batch_size=5, lr=0.1,
        momentum=0.2, weight_decay=0.3,
    )  # fmt: skip
    (options,) = seen
    assert options["steps"] == 3 * 3
    assert options["sgd"] == SGDSettings(batch_size=5, lr=0.1, momentum=0.2, weight_decay=0.3)


@pytest.mark.parametrize("method", [initialization.random, functools.partial(herding, features="pixels")])
def test_all_images_of_the_smallest_class_may_be_chosen(method: Callable) -> None:
    """It has five."""
    sgd = {"network": None, "epochs": 1} if method is not initialization.random else {}
    chosen = method(numbered(), 5, torch.Generator(), **sgd)
    assert sorted(chosen.images[:5, 0, 0, 0].round().int().tolist()) == [0, 1, 2, 3, 4]
    with pytest.raises(ConfigError, match="6 images of class 'a' are wanted, and it has only 5"):
        method(numbered(), 6, torch.Generator(), **sgd)


def test_herding_keeps_the_order_of_its_choice() -> None:
    """Of 0 to 4 the middle 2 comes first, then the pair around it; of 5 to 11 the middle 8."""
    chosen = initialization.herding(
        numbered(), 3, torch.Generator(), features="pixels", network=torch.nn.Identity, epochs=0
    )
    numbers = chosen.images[:, 0, 0, 0].round().int().tolist()
    assert numbers[0] == 2
    assert numbers[3] == 8
    assert [sorted(numbers[1:3]), sorted(numbers[4:])] == [[1, 3], [7, 9]]
    assert chosen.labels.tolist() == [0, 0, 0, 1, 1, 1]


def test_a_stored_set_is_sorted_by_class(tmp_path: Path) -> None:
    train = numbered()
    images = torch.arange(4.0).view(4, 1, 1, 1).expand(-1, 1, 2, 2)
    stored = LabelledImages(images, torch.tensor([1, 0, 1, 0]))
    condensed_set.write(tmp_path / "set", stored, train.info, {"complete": True})
    found = initialization.condensed(train, 2, torch.Generator(), path=str(tmp_path / "set"))
    assert found.images[:, 0, 0, 0].tolist() == [1, 3, 0, 2]
    assert found.labels.tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("features", ["network", "pixels"])
def test_herding_selects_distinct_real_images_of_each_class(features: str) -> None:
    settings = [
        "initialization.epochs=1",
        "initialization.network.width=8",
        f"initialization.features={features}",
    ]
    config = composed("initialization=herding", "ipc=4", *settings)
    data = build_data(config).load(CPU)
    start = build_start(config, data)
    assert isinstance(start, LabelledImages)
    assert start.labels.tolist() == [c for c in range(10) for _ in range(4)]
    real, labels = data.train.batch(torch.arange(len(data.train)))
    for image, label in zip(start.images, start.labels, strict=True):
        assert (real[labels == label] == image).flatten(1).all(1).any()
    assert len(torch.unique(start.images.flatten(1), dim=0)) == 40
    by_pixels = torch.cat([real[labels == c][herd(real[labels == c].flatten(1), 4)] for c in range(10)])
    assert torch.equal(start.images, by_pixels) == (features == "pixels")


def test_herding_refuses_more_images_than_a_class_has() -> None:
    config = composed("initialization=herding", "ipc=140")
    with pytest.raises(ConfigError, match="140 images of class '8' are wanted"):
        build_start(config, build_data(config).load(CPU))


def test_condensed_set_as_initialization(run: Callable[..., Path]) -> None:
    first = run()
    second = run("initialization=artifact", f"initialization.path={first}", "iterations=0")
    assert torch.equal(CondensedDataset(first).images, CondensedDataset(second).images)
    with pytest.raises(ConfigError, match="number of images per class is"):
        run("initialization=artifact", f"initialization.path={first}", "ipc=3")
    with pytest.raises(ConfigError, match="name a run folder or artifact"):
        run("initialization=artifact")


@pytest.mark.parametrize(
    ("shape", "classes", "mean", "std", "message"),
    [
        ((10, 1, 9, 9), list("0123456789"), 0.3054, 0.376, "image shape is"),
        ((10, 1, 8, 8), list("abcdefghij"), 0.3054, 0.376, "classes are"),
        ((10, 1, 8, 8), list("0123456789"), 0.5, 0.376, "normalisation is"),
        ((10, 1, 8, 8), list("0123456789"), 0.3054, 0.5, "normalisation is"),
    ],
    ids=["shape", "classes", "mean", "std"],
)
def test_condensed_set_of_another_dataset_is_refused(
    shape: tuple[int, ...], classes: list[str], mean: float, std: float, message: str, tmp_path: Path
) -> None:
    folder = tmp_path / "condensed"
    images = LabelledImages(torch.zeros(shape), torch.arange(10))
    condensed_set.write(folder, images, named_classes(*classes, mean=[mean], std=[std]), {})
    config = composed("initialization=artifact", f"initialization.path={folder}", "ipc=1")
    with pytest.raises(ConfigError, match=message):
        build_start(config, build_data(config).load(CPU))


def test_images_that_the_set_was_learned_from_are_not_held_out(
    run: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = (
        run("initialization=real", "iterations=0"),
        run("holdout=0.2", "initialization=real", "iterations=0"),
    )
    for path, holdout, refused in (
        (whole, 0.2, True),
        (part, 0.3, True),
        (part, 0.2, False),
        (part, 0, False),
    ):
        words = (
            f"initialization.path={path}",
            f"holdout={holdout}",
            "initialization=artifact",
            "iterations=0",
        )
        capsys.readouterr()
        if refused:
            with pytest.raises(ConfigError, match=f"^holdout={holdout}: initialization.path=.* use holdout="):
                run(*words)
        else:
            run(*words)
            assert "warning" not in capsys.readouterr().out
    other = (
        f"initialization.path={whole}",
        "initialization=artifact",
        "iterations=0",
        "dataset.load.split_seed=1",
    )
    run(*other)
    assert "was learned from other training images" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("method", ["random", "herding", "whole"])
def test_methods_that_condense_nothing(method: str, run: Callable[..., Path]) -> None:
    quick = ["initialization.epochs=1"] if method == "herding" else []
    folder = run(f"method={method}", *quick)
    assert (folder / "condensed").exists() == (method != "whole")
    found = json.loads((folder / "result.json").read_text())
    assert found["method"] == " with ".join([method, *quick])
    assert found["evaluations"][0]["images"] == (1437 if method == "whole" else 20)
    assert found["config"]["iterations"] == 0


def test_herding_trains_its_network_for_epochs_not_steps() -> None:
    """24 images in mini-batches of 10 are three steps an epoch."""
    rng = torch.Generator().manual_seed(0)
    split = torch.randint(0, 256, (24, 1, 8, 8), dtype=torch.uint8, generator=rng), torch.arange(24) % 2
    data = CondensationData(DataSource.from_tensors(split, split))
    done: list[float] = []
    network = functools.partial(ConvNet, width=8, depth=2, activation="relu", norm="instance", pooling="avg")
    herding(
        data.load(CPU).train, 1, torch.Generator(), features="network", network=network, epochs=4,
        progress=done.append, batch_size=10, lr=0.01, momentum=0.9, weight_decay=0.0,
    )  # fmt: skip
    assert done == pytest.approx([step / 3 for step in range(1, 13)])


def test_the_generator_draws_herdings_network() -> None:
    weights: list[torch.Tensor] = []

    def network(**sizes: object) -> torch.nn.Module:
        made = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2))
        weights.append(made[1].weight.detach().clone())
        return made

    for seed in (3, 3, 4):
        herding(
            numbered(), 1, torch.Generator().manual_seed(seed), features="network", network=network, epochs=0,
            batch_size=10, lr=0.01, momentum=0.9, weight_decay=0.0,
        )  # fmt: skip
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[1], weights[2])
