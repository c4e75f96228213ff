"""Checks each part on a tiny input when it is built, so that a faulty user-defined part fails early.

The error is one line with the yaml or the option, the part's output, and the expected output. Built-in parts
are checked too. A check takes milliseconds and does not affect random draws.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from gmlight.builders.part_errors import describe, refusal, try_part
from gmlight.condensation.schedules import Schedule
from gmlight.data.images import LabelledImages, RealImages, TrainingSet
from gmlight.errors import ConfigError
from gmlight.matching.class_gradients import ClassGradients
from gmlight.matching.distances import Distance

_DISTANCE = "distance(synthetic, real) must take rows [..., out, length] and return a tensor [...]"
_RULE = "rule(synthetic, real, distance, k) must return the terms of the loss, {name: tensor of shape []}"
_SCHEDULE = "schedule(t, losses) must be a generator that yields once for each epoch of the network"
_ARCHITECTURE = (
    "a network built with channels=, size= and classes= must take images [N, channels, H, W] and return "
    "[N, classes]"
)
_INITIALIZATION = (
    "initialization(train, ipc, rng) must return LabelledImages with ipc images per class, sorted by class"
)
_AUGMENTATION = (
    "augmentation(images, rng) must take images [N, channels, H, W] and return images of the same shape"
)
_DATASET = (
    "load(root, download) must return ((images, labels), (images, labels)) of train and test: images uint8 "
    "[N, channels, H, W], labels int64 [N]"
)


def check_distance(distance: Distance) -> Distance:
    """Checks a distance on two classes.

    Raises:
        ConfigError: the distance fails, or does not return one value for each leading index.
    """
    rng = torch.Generator().manual_seed(0)
    synthetic, real = (torch.randn(2, 3, 4, generator=rng) for _ in range(2))
    synthetic.requires_grad_()
    values = try_part("distance", _DISTANCE, lambda: distance(synthetic, real))
    _check_tensor("distance", _DISTANCE, values, (2,), "[2, 3, 4]")
    single = try_part("distance", _DISTANCE, lambda: [distance(synthetic[c], real[c]) for c in range(2)])
    for value in single:
        _check_tensor("distance", _DISTANCE, value, (), "[3, 4]")
    if not values.isfinite().all():
        raise refusal("distance", f"returned {values.tolist()}, which is not finite", _DISTANCE)
    if not torch.allclose(values, torch.stack(single), rtol=1e-3, atol=1e-6):
        raise refusal(
            "distance", "mixes classes: the value of a class must depend on its own rows only", _DISTANCE
        )
    return distance


def check_rule(
    rule: Callable[..., dict[str, Tensor]], distance: Distance, classes: int
) -> Callable[..., dict[str, Tensor]]:
    """Checks a matching rule on gradients of a tiny layer, at an even and an odd outer iteration.

    Args:
        rule: as in `matching.rules`.
        distance: a checked distance.
        classes: number of classes.

    Raises:
        ConfigError: the rule fails, or does not return scalar terms by name.
    """
    rng = torch.Generator().manual_seed(0)
    layers = [torch.randn(classes, 2, 3, generator=rng) for _ in range(2)]
    layers[0].requires_grad_()
    synthetic, real = (
        ClassGradients({"weight": layer}, [1] * classes, [1 / classes] * classes) for layer in layers
    )
    for k in range(2):
        terms = try_part("matching", _RULE, functools.partial(rule, synthetic, real, distance, k))
        if not isinstance(terms, dict) or not terms:
            raise refusal("matching", f"returned {describe(terms)} at k={k}", _RULE)
        for name, term in terms.items():
            _check_tensor("matching", _RULE, term, (), f"k={k}, term {name!r}")
    return rule


def check_schedule(schedule: Schedule) -> Schedule:
    """Checks the first three epochs of a schedule at t = 0, with constant losses.

    Raises:
        ConfigError: the schedule fails, or is not a generator.
    """
    epochs = try_part("schedule", _SCHEDULE, lambda: schedule(0, _SteadyLosses()))
    if not isinstance(epochs, Iterator):
        raise refusal("schedule", f"returned {describe(epochs)}", _SCHEDULE)
    try_part("schedule", _SCHEDULE, lambda: list(itertools.islice(epochs, 3)))
    return schedule


class _SteadyLosses:
    def real(self) -> float:
        return 1.0

    def synthetic(self) -> float:
        return 1.0


def check_factory(
    factory: Callable[[], nn.Module], shape: tuple[int, int, int], classes: int, option: str | None = None
) -> Callable[[], nn.Module]:
    """Checks a network factory on two images, if possible on the meta device.

    Args:
        factory: makes a network.
        shape: (channels, H, W) of an image.
        classes: number of classes.
        option: name of the architecture, for messages; None: the chosen option.

    Raises:
        ConfigError: no network can be built, or it does not return a number for each class.
    """

    def run(device: str) -> Any:
        with torch.device(device), torch.no_grad():
            return factory()(torch.zeros(2, *shape))

    def logits() -> Any:
        try:
            return run("meta")
        except ConfigError:
            raise
        except Exception:  # not every operation works on the meta device
            return run("cpu")

    found = try_part("architecture", _ARCHITECTURE, logits, option)
    if not isinstance(found, Tensor) or tuple(found.shape) != (2, classes):
        images = [2, *shape]
        line = f"returned {describe(found)} for images {images}, not {[2, classes]}"
        raise refusal("architecture", line, _ARCHITECTURE, option)
    return factory


def check_augmentation(augmentation: Callable[..., Tensor], shape: tuple[int, int, int]) -> Any:
    """Checks an augmentation on two images.

    Args:
        augmentation: as in `data.augmentation`.
        shape: (channels, H, W) of an image.

    Raises:
        ConfigError: the augmentation fails, or changes the shape or the type of the images.
    """
    images, rng = torch.zeros(2, *shape), torch.Generator().manual_seed(0)
    found = try_part("augmentation", _AUGMENTATION, lambda: augmentation(images, rng))
    if not isinstance(found, Tensor) or found.shape != images.shape or found.dtype != images.dtype:
        line = f"returned {describe(found)} for float32 images {list(images.shape)}"
        raise refusal("augmentation", line, _AUGMENTATION)
    return augmentation


def checked_initialization(initialization: Callable[..., TrainingSet]) -> Callable[..., TrainingSet]:
    """Checks the signature of an initialization, and wraps it to check its output.

    Raises:
        ConfigError: it has other arguments; or, when called, it returns something else.
    """
    _check_signature("initialization", _INITIALIZATION, initialization, (None, 1, None))

    @functools.wraps(initialization)
    def checked(train: RealImages, ipc: int, rng: torch.Generator, **options: Any) -> TrainingSet:
        start = initialization(train, ipc, rng, **options)
        if isinstance(start, RealImages):  # the whole training set
            return start
        if not isinstance(start, LabelledImages):
            raise refusal("initialization", f"returned {describe(start)}", _INITIALIZATION)
        expected = (len(train.counts) * ipc, *train.images.shape[1:])
        if tuple(start.images.shape) != expected or not start.images.is_floating_point():
            line = f"returned images {describe(start.images)}, not float32 {list(expected)}"
            raise refusal("initialization", line, _INITIALIZATION)
        in_order = torch.arange(len(train.counts)).repeat_interleave(ipc)
        if not torch.equal(start.labels.cpu(), in_order):
            line = "returned labels that are not ipc of class 0, then ipc of class 1, and so on"
            raise refusal("initialization", line, _INITIALIZATION)
        return start

    return checked


def checked_loader(load: Callable[..., Any]) -> Callable[..., Any]:
    """Checks the signature of a dataset's loader, and wraps it to check its output.

    Raises:
        ConfigError: it has other arguments; or, when called, it returns something else.
    """
    _check_signature("dataset", _DATASET, load, (None, False))

    @functools.wraps(load)
    def checked(*arguments: Any) -> Any:
        splits = load(*arguments)
        if not isinstance(splits, tuple | list) or len(splits) not in (2, 3):
            raise refusal("dataset", f"load returned {describe(splits)}", _DATASET)
        for name, split in zip(("train", "test"), splits[:2], strict=True):
            if not isinstance(split, tuple | list) or len(split) != 2:
                raise refusal("dataset", f"load returned {describe(split)} as {name}", _DATASET)
            images, labels = split
            whole = isinstance(images, Tensor) and images.ndim == 4 and images.dtype == torch.uint8
            if not whole:
                raise refusal("dataset", f"load returned {name} images {describe(images)}", _DATASET)
            if not isinstance(labels, Tensor) or labels.dtype != torch.long or len(labels) != len(images):
                line = f"load returned {name} labels {describe(labels)} for {len(images)} images"
                raise refusal("dataset", line, _DATASET)
        return splits

    return checked


def _check_signature(
    group: str, expected: str, function: Callable[..., Any], arguments: tuple[Any, ...]
) -> None:
    try:
        inspect.signature(function).bind(*arguments)
    except TypeError as error:
        raise refusal(group, f"cannot be called: {error}", expected) from None
    except ValueError:  # a function without a signature, such as one in C
        return


def _check_tensor(group: str, expected: str, value: Any, shape: tuple[int, ...], source: str) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        raise refusal(
            group, f"returned {describe(value)} for {source}, not a tensor of shape {list(shape)}", expected
        )
    if not value.requires_grad:
        raise refusal(
            group, f"returned a tensor without a gradient for {source}; leave out detach()", expected
        )
