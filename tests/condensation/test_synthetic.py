"""Parameterizations of the synthetic set: decoding to images, and storage in an artifact."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from gmlight.artifacts import condensed_set, set_files
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.decoding import composed as composed_images
from gmlight.artifacts.decoding import multi_formed
from gmlight.condensation.synthetic import (
    MultiFormation,
    Pixels,
    SharedComponents,
    Synthetic,
    multi_formation,
    shared_components,
)
from gmlight.config.validate import check
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.problems import named_classes, random_images
from helpers.runs import Run, composed, refusal

MEAN, STD = [0.4, 0.5], [0.2, 0.3]
RGB_MEAN, RGB_STD = [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]


def enlarged(part: Tensor, height: int, width: int) -> Tensor:
    """Resizes [channels, h, w] bilinearly by hand; pixel centres are half a pixel from the edge."""
    h, w = part.shape[1:]
    result = part.new_empty(len(part), height, width)
    for y in range(height):
        for x in range(width):
            from_y = min(max((y + 0.5) * h / height - 0.5, 0), h - 1)
            from_x = min(max((x + 0.5) * w / width - 0.5, 0), w - 1)
            top, left = int(from_y), int(from_x)
            down, right = from_y - top, from_x - left
            below, beside = min(top + 1, h - 1), min(left + 1, w - 1)
            upper = part[:, top, left] * (1 - right) + part[:, top, beside] * right
            lower = part[:, below, left] * (1 - right) + part[:, below, beside] * right
            result[:, y, x] = upper * (1 - down) + lower * down
    return result


@pytest.mark.parametrize(
    ("size", "factor", "cuts"), [(8, 2, [0, 4, 8]), (7, 3, [0, 3, 5, 7]), (6, 1, [0, 6])]
)
def test_each_part_becomes_an_image(size: int, factor: int, cuts: list[int]) -> None:
    stored = random_images(3, 2, 2, size, size)
    images = multi_formed(stored, factor)
    assert images.shape == (3, 2 * factor**2, 2, size, size)
    for c in range(3):
        n = 0
        for image in stored[c]:
            for i in range(factor):
                for j in range(factor):
                    part = image[:, cuts[i] : cuts[i + 1], cuts[j] : cuts[j + 1]]
                    torch.testing.assert_close(images[c, n], enlarged(part, size, size))
                    n += 1


def test_parameterizations_are_differentiable() -> None:
    stored = random_images(2, 1, 2, 5, 5).requires_grad_()
    assert torch.autograd.gradcheck(lambda stored: multi_formed(stored, 2), stored)
    components, weights = (
        random_images(2, 3, 2, 2, 2).requires_grad_(),
        random_images(2, 4, 3).requires_grad_(),
    )
    assert torch.autograd.gradcheck(
        lambda *parts: composed_images(*parts, torch.tensor(MEAN), torch.tensor(STD)), (components, weights)
    )


def test_shared_components_give_the_sigmoid_of_weighted_sums() -> None:
    components, weights = random_images(2, 3, 2, 4, 4), random_images(2, 5, 3, seed=1)
    images = SharedComponents(components, weights, MEAN, STD)()
    assert images.shape == (2, 5, 2, 4, 4)
    for c in range(2):
        for n in range(5):
            total = sum(weights[c, n, p] * components[c, p] for p in range(3))
            pixels = 1 / (1 + torch.exp(-total))
            for channel in range(2):
                expected = (pixels[channel] - MEAN[channel]) / STD[channel]
                torch.testing.assert_close(images[c, n, channel], expected)


def test_real_images_are_reduced_to_parts() -> None:
    """A constant image stays constant, and parts keep their positions."""
    start = torch.arange(8.0).view(1, 8, 1, 1, 1).expand(1, 8, 2, 6, 6)
    form = multi_formation(start, ipc=2, factor=2)
    torch.testing.assert_close(form(), start)
    assert form.images.shape == (1, 2, 2, 6, 6)
    torch.testing.assert_close(form.images[0, 1, 0, :3, 3:], torch.full((3, 3), 5.0))
    stored = torch.randn(1, 2, 2, 6, 6)
    assert torch.equal(multi_formation(stored, ipc=2, factor=2).images, stored)


def test_components_start_as_the_initial_images() -> None:
    pixels = 0.1 + 0.8 * torch.rand(3, 2, 2, 4, 4, generator=torch.Generator().manual_seed(0))
    start = (pixels - torch.tensor(MEAN).view(-1, 1, 1)) / torch.tensor(STD).view(-1, 1, 1)
    form = shared_components(start, mean=MEAN, std=STD, rng=torch.Generator().manual_seed(0), images=5)
    assert form().shape == (3, 5, 2, 4, 4)
    form.weights.data = torch.eye(2)[[0, 1, 0, 1, 0]].expand(3, -1, -1)
    torch.testing.assert_close(form()[:, 2], start[:, 0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "form",
    [
        Pixels(torch.randn(2, 3, 3, 6, 6)),
        MultiFormation(torch.randn(2, 3, 3, 6, 6), 2),
        SharedComponents(torch.randn(2, 3, 3, 6, 6), torch.randn(2, 7, 3), RGB_MEAN, RGB_STD),
    ],
    ids=lambda form: type(form).__name__,
)
def test_artifact_decodes_to_the_learned_images(form: Synthetic, tmp_path: Path) -> None:
    learned = form.labelled()
    info = named_classes("a", "b", mean=RGB_MEAN, std=RGB_STD)
    condensed_set.write(tmp_path / "condensed", learned, info, {}, stored=form.stored())
    read = CondensedDataset(tmp_path)
    assert torch.equal(read.images, learned.images)
    assert torch.equal(read.labels, learned.labels)
    assert read.floats == learned.floats == form.floats == read.metadata["storage"]["floats"]
    size = (tmp_path / "condensed" / set_files.TENSORS).stat().st_size
    assert 4 * form.floats < size < 4 * form.floats + 8 * len(learned) + 500


def test_unknown_form_raises_a_one_line_error(tmp_path: Path) -> None:
    images = LabelledImages(torch.randn(2, 3, 6, 6), torch.arange(2))
    info = named_classes("a", "b", mean=RGB_MEAN, std=RGB_STD)
    condensed_set.write(tmp_path / "condensed", images, info, {})
    condensed_set.update_metadata(tmp_path / "condensed", form={"name": "fractal"})
    with pytest.raises(ConfigError, match="form: must name one of pixels, multi_formation"):
        CondensedDataset(tmp_path)


@pytest.mark.parametrize(
    "words", [["synthetic=multi_formation"], ["synthetic=shared_components", "initialization=real"]]
)
def test_run_with_each_parameterization(words: list[str], typed: Run, run, tmp_path: Path) -> None:
    folder = run(*words, "evaluation.baselines.whole=0")
    read = CondensedDataset(folder)
    stored = 4 * (2 * 10 * 64 + (10 * 4 * 2 if "shared" in words[0] else 0))
    assert read.metadata["storage"]["bytes"] == stored
    assert len(read) == (80 if "multi" in words[0] else 40)
    result = typed("evaluate", f"run={folder}", "evaluation.networks=1", "evaluation.epochs=1")
    assert result.returncode == 0, result.stderr
    assert re.search(r"condensed +(40|80) +(\S+ KiB)", result.stdout)[2] == (  # type: ignore[index]
        "5 KiB" if "multi" in words[0] else "5.31 KiB"
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["synthetic=multi_formation", "synthetic.factor=0"], "synthetic.factor=0"),
        (["synthetic=multi_formation", "method=random"], "synthetic=pixels"),
        (["synthetic=multi_formation", "initialization=artifact"], "synthetic=pixels"),
    ],
)
def test_impossible_settings_are_refused(words: list[str], said: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(composed(*words))
    assert said in str(error.value)


def test_more_parts_than_pixels_are_refused(typed: Run) -> None:
    words = ["scale=smoke", "synthetic=multi_formation", "synthetic.factor=9"]
    assert "synthetic.factor=9" in refusal(typed("train", *words))


def test_images_are_reduced_as_pillow_reduces_them() -> None:
    """Bilinear with antialiasing: nine images of 12x12 become the nine parts of one."""
    start = random_images(9, 1, 12, 12).float().view(1, 9, 1, 12, 12)
    stored = multi_formation(start, ipc=1, factor=3).images.detach()[0, 0, 0]
    for i in range(9):
        picture = Image.fromarray(start[0, i, 0].numpy()).resize((4, 4), Image.Resampling.BILINEAR)
        rows, columns = 4 * (i // 3), 4 * (i % 3)
        part = stored[rows : rows + 4, columns : columns + 4]
        torch.testing.assert_close(part, torch.from_numpy(np.array(picture)), rtol=1e-4, atol=1e-4)


def test_weights_of_components_start_with_normal_noise() -> None:
    start = torch.zeros(1, 2, 2, 4, 4)
    form = shared_components(start, mean=MEAN, std=STD, rng=torch.Generator().manual_seed(0), images=4000)
    noise = form.weights[0].detach() - torch.eye(2)[torch.arange(4000) % 2]
    assert noise.mean().item() == pytest.approx(0, abs=0.005)
    assert noise.std().item() == pytest.approx(0.1, rel=0.03)
    assert (noise.abs() > 0.1).float().mean().item() == pytest.approx(0.317, abs=0.02)  # of a normal draw
