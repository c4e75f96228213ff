"""Siamese augmentation: each transform against its definition, and which images share one."""

import math

import pytest
import torch
from torch import Tensor

from gmlight.builders.parts import build_augmentation
from gmlight.config.validate import _TRANSFORMS, check
from gmlight.data.dsa import DRAWN, TRANSFORMS, Chain, Siamese
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator
from helpers.problems import random_images, real_images, siamese
from helpers.runs import composed

NUMBERS = [[0.0, 0.0, 0.0], [0.3, 0.6, 0.9], [0.999, 0.999, 0.999], [0.5, 0.1, 0.7]]


def at(image: Tensor, channel: int, y: float, x: float) -> float:
    """Bilinear value at a position in pixels; 0 outside."""
    total = 0.0
    for row, column in ((math.floor(y) + i, math.floor(x) + j) for i in (0, 1) for j in (0, 1)):
        if 0 <= row < image.shape[1] and 0 <= column < image.shape[2]:
            total += (1 - abs(y - row)) * (1 - abs(x - column)) * image[channel, row, column].item()
    return total


def moved_from(image: Tensor, source) -> Tensor:
    """Takes each pixel from a source position; both are relative to the centre."""
    channels, height, width = image.shape
    result, down, right = torch.empty_like(image), (height - 1) / 2, (width - 1) / 2
    for c in range(channels):
        for y in range(height):
            for x in range(width):
                from_y, from_x = source(y - down, x - right)
                result[c, y, x] = at(image, c, from_y + down, from_x + right)
    return result


def color(image: Tensor, numbers: list[float]) -> Tensor:
    image = image + (numbers[0] - 0.5) * 1.0
    grey = sum(image) / len(image)
    image = torch.stack([(channel - grey) * (2.0 * numbers[1]) + grey for channel in image])
    mean = image.sum() / image.numel()
    return (image - mean) * (numbers[2] + 0.5) + mean


def crop(image: Tensor, numbers: list[float]) -> Tensor:
    _, height, width = image.shape
    result = torch.zeros_like(image)
    shifts = [math.floor(size * 0.125 + 0.5) for size in (height, width)]
    down, right = (math.floor(n * (2 * shift + 1)) - shift for n, shift in zip(numbers, shifts, strict=False))
    for y in range(height):
        for x in range(width):
            if 0 <= y + down < height and 0 <= x + right < width:
                result[:, y, x] = image[:, y + down, x + right]
    return result


def cutout(image: Tensor, numbers: list[float]) -> Tensor:
    result = image.clone()
    sides = [int(size * 0.5 + 0.5) for size in image.shape[1:]]
    centres = [
        int(n * (size + 1 - side % 2)) for n, size, side in zip(numbers, image.shape[1:], sides, strict=False)
    ]
    for y in range(centres[0] - sides[0] // 2, centres[0] - sides[0] // 2 + sides[0]):
        for x in range(centres[1] - sides[1] // 2, centres[1] - sides[1] // 2 + sides[1]):
            if 0 <= y < image.shape[1] and 0 <= x < image.shape[2]:
                result[:, y, x] = 0
    return result


def flip(image: Tensor, numbers: list[float]) -> Tensor:
    return image[:, :, list(reversed(range(image.shape[2])))] if numbers[0] < 0.5 else image


def scale(image: Tensor, numbers: list[float]) -> Tensor:
    down, right = (1 / 1.2 + n * (1.2 - 1 / 1.2) for n in numbers[:2])
    return moved_from(image, lambda y, x: (down * y, right * x))


def rotate(image: Tensor, numbers: list[float]) -> Tensor:
    angle = math.radians(15 * (2 * numbers[0] - 1))
    return moved_from(
        image,
        lambda y, x: (math.sin(angle) * x + math.cos(angle) * y, math.cos(angle) * x - math.sin(angle) * y),
    )


PLAIN = {"color": color, "crop": crop, "cutout": cutout, "flip": flip, "scale": scale, "rotate": rotate}


@pytest.mark.parametrize("shape", [(3, 8, 8), (1, 9, 6)])
@pytest.mark.parametrize("kind", TRANSFORMS)
def test_transform_equals_its_definition(kind: str, shape: tuple[int, ...]) -> None:
    images = random_images(len(NUMBERS), *shape)
    found = siamese().apply(kind, images, torch.tensor(NUMBERS, dtype=torch.double))
    expected = torch.stack([PLAIN[kind](*pair) for pair in zip(images, NUMBERS, strict=True)])
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kind", TRANSFORMS)
def test_transform_is_differentiable(kind: str) -> None:
    images = random_images(2, 2, 5, 5).requires_grad_()
    numbers = torch.tensor([[0.3, 0.6, 0.9], [0.7, 0.2, 0.4]], dtype=torch.double)
    assert torch.autograd.gradcheck(lambda images: siamese().apply(kind, images, numbers), images)


def test_the_published_amounts_are_the_defaults() -> None:
    augmentation = build_augmentation(composed("dataset=cifar10", "augmentation=dsa"))
    assert isinstance(augmentation, Siamese)
    assert augmentation == siamese(transforms=list(TRANSFORMS))


@pytest.mark.parametrize(
    ("dataset", "mirrored"), [("mnist", False), ("svhn", False), ("digits", False), ("cifar10", True)]
)
def test_digits_are_not_mirrored(dataset: str, mirrored: bool) -> None:
    augmentation = build_augmentation(composed(f"dataset={dataset}", "augmentation=dsa"))
    assert isinstance(augmentation, Siamese)
    assert ("flip" in augmentation.drawn) is mirrored


def test_all_images_of_a_class_get_the_same_transform() -> None:
    """Holds for a class alone and together with other classes."""
    images, labels = random_images(24, 3, 8, 8), torch.arange(24) % 12
    together = siamese().update_transform(0, 1, 2)(images, labels)
    for image, label, seen in zip(images, labels, together, strict=True):
        alone = siamese().update_transform(0, 1, 2)(image.unsqueeze(0), label.unsqueeze(0))[0]
        torch.testing.assert_close(seen, alone, rtol=1e-12, atol=1e-12)
        rng = generator(0, "siamese", 1, 2, int(label))
        kind, numbers = siamese()._kind(rng), torch.rand(DRAWN, generator=rng).double()
        torch.testing.assert_close(seen, PLAIN[kind](image, numbers.tolist()), rtol=1e-9, atol=1e-9)


def test_transform_depends_on_seed_update_and_class_alone() -> None:
    image = random_images(1, 3, 8, 8)

    def of(seed: int, k: int, t: int, c: int) -> Tensor:
        return siamese().update_transform(seed, k, t)(image, torch.tensor([c]))

    assert torch.equal(of(0, 1, 2, 3), of(0, 1, 2, 3))
    for other in ((1, 1, 2, 3), (0, 2, 2, 3), (0, 1, 3, 3), (0, 1, 2, 4)):
        assert not torch.equal(of(0, 1, 2, 3), of(*other))


def test_every_transform_is_drawn() -> None:
    rng = torch.Generator().manual_seed(0)
    kinds = [siamese()._kind(rng) for _ in range(600)]
    assert {name: kinds.count(name) > 60 for name in TRANSFORMS} == dict.fromkeys(TRANSFORMS, True)


def test_real_images_are_transformed_when_they_are_loaded() -> None:
    images = torch.randint(256, (12, 3, 8, 8), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    split = real_images(images, torch.arange(12) % 3, mean=[0.5] * 3, std=[0.2] * 3)
    drawn = split.draw_lazily(3, torch.Generator().manual_seed(1))
    by_label = siamese().update_transform(0, 0, 0)
    seen = drawn.transformed(by_label)
    for c in range(3):
        expected = by_label(drawn[c : c + 1][0], torch.full((3,), c))
        torch.testing.assert_close(seen[c : c + 1][0], expected)
    torch.testing.assert_close(seen[1:3][1], seen[:][2])


def test_training_batch_has_one_transform_with_a_strength_per_image() -> None:
    images = random_images(1, 3, 8, 8).expand(6, -1, -1, -1)
    color_only = siamese(transforms=["color"])
    seen = color_only(images, torch.Generator().manual_seed(0))
    assert len({tuple(image.flatten().tolist()) for image in seen}) == 6


def test_dsa_starts_from_real_images_and_evaluates_for_a_thousand_epochs() -> None:
    config = composed("dataset=cifar10", "augmentation=dsa")
    assert config.initialization["_target_"].endswith(".random")
    assert config.evaluation.epochs == 1000
    assert composed("augmentation=dsa", "initialization=noise").initialization["_target_"].endswith(".noise")
    assert composed("augmentation=dsa", "scale=smoke").evaluation.epochs == 2
    assert composed("dataset=cifar10").evaluation.epochs == 300


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("augmentation.transforms=[colour]", "must be some of [color,"),
        ("augmentation.transforms=[]", "must be some of [color,"),
        ("augmentation.transforms=[flip]", "must be some of [color,"),  # the digits are not mirrored
        ("augmentation.flip=2", "a number from 0 to 1"),
        ("augmentation.scale=0.5", "at least 1"),
        ("augmentation.rotate=-1", "at least 0"),
        ("network_images=none", "synthetic or real"),
        ("evaluation.cutmix=1.5", "a number from 0 to 1"),
    ],
)
def test_impossible_settings_are_refused(word: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(composed("augmentation=dsa", word))
    assert word.split("=")[0] in str(error.value)
    assert said in str(error.value)


def test_checked_names_are_the_existing_transforms() -> None:
    assert _TRANSFORMS == TRANSFORMS
    assert DRAWN == 3


STAGES: list = ["flip", "color", ["crop", "scale", "rotate"], "cutout"]


def chain(**options: object) -> Chain:
    """IDC's stages with the published strengths."""
    made = siamese(Chain, **({"transforms": STAGES, "matched": ["color", "crop", "cutout"]} | options))
    assert isinstance(made, Chain)
    return made


def test_a_chain_applies_its_stages_in_turn() -> None:
    """By the definitions: one of each stage for the mini-batch, and numbers for each image."""
    images, kinds = random_images(5, 3, 8, 8), set()
    for seed in range(12):
        seen = chain()(images, torch.Generator().manual_seed(seed))
        rng, expected = torch.Generator().manual_seed(seed), images
        for stage in (["flip"], ["color"], ["crop", "scale", "rotate"], ["cutout"]):
            kind = stage[int(torch.randint(len(stage), (), generator=rng))]
            numbers = torch.rand(5, DRAWN, generator=rng).double().tolist()
            expected = torch.stack([PLAIN[kind](*pair) for pair in zip(expected, numbers, strict=True)])
            kinds.add(kind)
        torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)
    assert kinds == set(TRANSFORMS)


def test_matched_images_of_a_class_pass_the_same_chain() -> None:
    images, labels = random_images(24, 3, 8, 8), torch.arange(24) % 12
    matched = ["color", ["crop", "rotate"], "cutout"]
    together = chain(matched=matched).update_transform(0, 1, 2)(images, labels)
    drawn = set()
    for image, label, seen in zip(images, labels, together, strict=True):
        rng, expected = generator(0, "siamese", 1, 2, int(label)), image
        for stage in (["color"], ["crop", "rotate"], ["cutout"]):
            kind = stage[int(torch.randint(len(stage), (), generator=rng))]
            expected = PLAIN[kind](expected, torch.rand(DRAWN, generator=rng).double().tolist())
            drawn.add(kind)
        torch.testing.assert_close(seen, expected, rtol=1e-9, atol=1e-9)
    assert drawn == {"color", "crop", "rotate", "cutout"}
    other = chain(matched=matched).update_transform(0, 1, 3)(images, labels)
    assert not torch.allclose(together, other)


def test_transforms_without_an_effect_are_not_drawn() -> None:
    plain = chain(flip=0.0, cutout=0.0)
    assert plain.drawn == ("color", "crop", "scale", "rotate")
    images, rng = random_images(3, 1, 8, 8), torch.Generator().manual_seed(0)
    first = plain._stages(plain.transforms)
    assert first == [("color",), ("crop", "scale", "rotate")]
    assert plain(images, rng).shape == images.shape
    assert chain().drawn == TRANSFORMS


def test_the_network_between_updates_sees_the_matched_stages() -> None:
    """Cutout is left out beside CutMix, which covers parts of the images itself."""
    assert chain().for_network(mixes=False).transforms == [["color"], ["crop"], ["cutout"]]
    assert chain().for_network(mixes=True).transforms == [["color"], ["crop"]]
    assert siamese().for_network(mixes=True) == siamese()


def test_the_published_stages_are_the_defaults() -> None:
    config = composed("dataset=cifar10", "augmentation=idc")
    assert build_augmentation(config) == chain()
    assert config.initialization["_target_"].endswith(".random")
    assert config.evaluation.epochs == 1000


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("augmentation.transforms=[color,[crop,turn]]", "must be some of [color,"),
        ("augmentation.transforms=[[flip]]", "or lists of them"),  # the digits are not mirrored
        ("augmentation.matched=[[[color]]]", "augmentation.matched=[[['color']]]: must be some of [color,"),
        ("augmentation.matched=color", "must be some of [color,"),
    ],
)
def test_impossible_stages_are_refused(word: str, said: str) -> None:
    check(composed("augmentation=idc"))
    with pytest.raises(ConfigError) as error:
        check(composed("augmentation=idc", word))
    assert said in str(error.value)
    with pytest.raises(ConfigError, match="must be some of"):
        check(composed("augmentation=dsa", "augmentation.transforms=[color,[crop,scale]]"))


@pytest.mark.parametrize("name", TRANSFORMS)
def test_images_keep_the_order_of_memory(name: str) -> None:
    """Convolutions of images in another order take two to four times as long on a CPU."""
    settings, images = siamese(), torch.randn(5, 3, 8, 8)
    assert settings.apply(name, images, torch.rand(5, DRAWN)).is_contiguous()
    labels = torch.tensor([0, 0, 1, 1, 2])
    assert settings.update_transform(0, 0, 0)(images, labels).is_contiguous()
