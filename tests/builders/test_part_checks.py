"""A part that cannot work is refused when it is built, in one line; random draws stay as they are."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.hydra_config import HydraConfig
from torch import Tensor, nn

from gmlight.builders.part_checks import (
    check_augmentation,
    check_distance,
    check_factory,
    check_rule,
    check_schedule,
    checked_initialization,
    checked_loader,
)
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.matching.distances import cos_euclid
from helpers.runs import SMOKE, Run, refusal

DISTANCE = functools.partial(cos_euclid, weight=1.0)
SHAPE = (1, 8, 8)


@pytest.fixture(autouse=True)
def _no_composition() -> None:
    """Forgets the choices that a test before may have composed: messages name them."""
    HydraConfig.instance().cfg = None


def scalar(synthetic: Tensor, real: Tensor) -> Tensor:
    return (synthetic - real).abs().sum()


def divide(t: int, losses: Any) -> Iterator[None]:
    yield from range(1 // t)  # type: ignore[misc]


def random_distance(synthetic: Tensor, real: Tensor) -> Tensor:
    return ((synthetic - real) * torch.randn(()) * 0 + (synthetic - real)).square().sum((-2, -1))


def refused(check: Callable[[], object]) -> str:
    with pytest.raises(ConfigError) as error:
        check()
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("distance", "line"),
    [
        (
            scalar,
            "distance: returned a tensor of float32 of shape [] for [2, 3, 4], not a tensor of shape [2]",
        ),
        (lambda synthetic, real: 3.0, "returned float 3.0"),
        (lambda synthetic, real: (synthetic - real).sum(-1), "of shape [2, 3] for [2, 3, 4]"),
        (lambda synthetic, real: scalar(synthetic, real).expand(synthetic.shape[:-2]), "mixes classes"),
        (lambda synthetic, real: (synthetic - real).sum((-2, -1)) * torch.nan, "which is not finite"),
        (lambda synthetic, real: (synthetic - real).detach().sum((-2, -1)), "leave out detach()"),
        (lambda synthetic: synthetic, "TypeError: "),
        (functools.partial(cos_euclid, wieght=1.0), "unexpected keyword argument 'wieght'"),
        (lambda synthetic, real: synthetic @ real, "RuntimeError: "),
    ],
)
def test_distances(distance: Any, line: str) -> None:
    found = refused(lambda: check_distance(distance))
    assert line in found
    assert "distance(synthetic, real) must take rows [..., out, length]" in found


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (
            lambda synthetic, real, distance, k: torch.zeros(3),
            "returned a tensor of float32 of shape [3] at k=0",
        ),
        (lambda synthetic, real, distance, k: {}, "returned dict at k=0"),
        (
            lambda synthetic, real, distance, k: {
                "all": distance(synthetic.layers["weight"], real.layers["weight"])
            },
            "of shape [3] for k=0, term 'all'",
        ),
        (lambda synthetic, real: {}, "TypeError"),
    ],
)
def test_rules(rule: Any, line: str) -> None:
    found = refused(lambda: check_rule(rule, DISTANCE, classes=3))
    assert found.startswith("matching: ")
    assert line in found


@pytest.mark.parametrize(
    ("schedule", "line"),
    [
        (lambda t, losses: 3, "returned int 3; schedule(t, losses) must be a generator"),
        (lambda t: iter(()), "TypeError"),
        (divide, "ZeroDivisionError: integer division or modulo by zero (test_part_checks.py:"),
    ],
)
def test_schedules(schedule: Any, line: str) -> None:
    assert line in refused(lambda: check_schedule(schedule))


@pytest.mark.parametrize(
    ("factory", "line"),
    [
        (
            lambda: nn.Flatten(),
            "returned a tensor of float32 of shape [2, 64] for images [2, 1, 8, 8], not [2, 10]",
        ),
        (lambda: nn.Linear(7, 10), "RuntimeError"),
        (lambda: 3, "TypeError"),
    ],
)
def test_architectures(factory: Any, line: str) -> None:
    assert line in refused(lambda: check_factory(factory, SHAPE, 10))


class NeedsValues(nn.Linear):
    """As networks do that look at their input."""

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images.flatten(1) if images.sum().item() >= 0 else images)


def test_a_network_that_needs_values_passes() -> None:
    check_factory(lambda: NeedsValues(64, 10), SHAPE, 10)


@pytest.mark.parametrize(
    ("augmentation", "line"),
    [
        (lambda images, rng: images[:1], "of shape [1, 1, 8, 8] for float32 images [2, 1, 8, 8]"),
        (lambda images, rng: images.double(), "tensor of float64"),
        (lambda images: images, "TypeError"),
    ],
)
def test_augmentations(augmentation: Any, line: str) -> None:
    assert line in refused(lambda: check_augmentation(augmentation, SHAPE))


class Train:
    counts = (5, 5)
    images = torch.zeros(10, *SHAPE, dtype=torch.uint8)


@pytest.mark.parametrize(
    ("start", "line"),
    [
        (torch.zeros(4, *SHAPE), "returned a tensor of float32"),
        (LabelledImages(torch.zeros(3, *SHAPE), torch.tensor([0, 0, 1])), "not float32 [4, 1, 8, 8]"),
        (LabelledImages(torch.zeros(4, *SHAPE).byte(), torch.tensor([0, 0, 1, 1])), "tensor of uint8"),
        (LabelledImages(torch.zeros(4, *SHAPE), torch.tensor([0, 1, 0, 1])), "returned labels that are not"),
    ],
)
def test_initializations(start: Any, line: str) -> None:
    checked = checked_initialization(lambda train, ipc, rng: start)
    assert line in refused(lambda: checked(Train(), 2, torch.Generator()))
    assert "cannot be called" in refused(lambda: checked_initialization(lambda train: start))


IMAGES, LABELS = torch.zeros(4, *SHAPE, dtype=torch.uint8), torch.arange(4)


@pytest.mark.parametrize(
    ("splits", "line"),
    [
        ((IMAGES, LABELS, IMAGES, LABELS), "load returned tuple"),
        (((IMAGES, LABELS), IMAGES), "as test"),
        (((IMAGES, LABELS), (IMAGES.float(), LABELS)), "load returned test images a tensor of float32"),
        (((IMAGES[0], LABELS), (IMAGES, LABELS)), "load returned train images a tensor of uint8"),
        (((IMAGES, LABELS[:3]), (IMAGES, LABELS)), "load returned train labels"),
    ],
)
def test_datasets(splits: Any, line: str) -> None:
    load = checked_loader(lambda root, download: splits)
    assert line in refused(lambda: load(None, False))
    assert "cannot be called" in refused(lambda: checked_loader(lambda: splits))


def test_what_a_part_draws_is_drawn_again() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    check_distance(random_distance)
    check_factory(lambda: NeedsValues(64, 10), SHAPE, 10)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("words", "yaml", "line"),
    [
        (["distance=mine"], ("distance", "mine.scaler"), "module mine has no scaler; did you mean scalar?"),
        (["distance=mine"], ("distance", "mine.scalar"), "returned a tensor of float32 of shape []"),
        (["distance=mine"], ("distance", "nowhere.scalar"), "No module named 'nowhere'"),
        (["architecture=mine"], ("architecture", "torch.nn.Flatten"), "unexpected keyword argument"),
        (["schedule=mine"], ("schedule", "mine.number"), "schedule(t, losses) must be a generator"),
        (["initialization=mine"], ("initialization", "mine.number"), "cannot be called"),
    ],
)
def test_the_line_names_the_file(
    words: list[str],
    yaml: tuple[str, str],
    line: str,
    tmp_path: Path,
    typed: Run,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    group, target = yaml
    (tmp_path / "mine.py").write_text(
        "def scalar(synthetic, real):\n    return (synthetic - real).sum()\n\n"
        "def number(t, losses):\n    return 3\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(__import__("sys").modules, "mine", raising=False)
    path = tmp_path / "conf" / group / "mine.yaml"
    path.parent.mkdir(parents=True)
    unit = "unit: epochs\n" if group == "schedule" else ""
    path.write_text(f"_target_: {target}\n_partial_: true\n{unit}")
    found = refusal(typed("train", "--config-dir", str(tmp_path / "conf"), *SMOKE, *words))
    assert found.startswith(f"gmlight: {group}=mine ({path}): ")
    assert line in found
    assert "HYDRA_FULL_ERROR" not in found
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("key", "target", "near"),
    [
        ("distance", "gmlight.matching.distances.coss", "cos"),
        ("augmentation", "gmlight.data.augmentation.nonee", "none"),
        ("dataset.load", "gmlight.data.datasets.digitss", "digits"),
    ],
)
def test_an_option_changed_on_the_command_line_is_named_by_its_key(
    key: str, target: str, near: str, typed: Run
) -> None:
    found = refusal(typed("train", *SMOKE, f"{key}._target_={target}"))
    module, _, name = target.rpartition(".")
    group = key.split(".")[0]
    line = f"cannot build {target}: module {module} has no {name}; did you mean {near}?"
    assert found == f"gmlight: {group}: {line}"
