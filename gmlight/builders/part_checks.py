"""Checks a part on a tiny input as soon as it is built, so that a part of one's own fails early, in one line.

The line names the yaml or the option, what the part gave, and what is expected. Built-in parts are checked
alike. A check takes milliseconds and leaves every random draw as it was.
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

_DISTANCE = "distance(synthetic, real) takes rows [..., out, length] and gives a tensor [...]"
_RULE = "rule(synthetic, real, distance, k) gives the terms of the loss, {name: tensor of shape []}"
_SCHEDULE = "schedule(t, losses) is a generator: it yields once for each epoch of the network"
_ARCHITECTURE = (
    "a network made with channels=, size= and classes= takes images [N, channels, H, W] and gives "
    "[N, classes]"
)
_INITIALIZATION = (
    "initialization(train, ipc, rng) gives LabelledImages of ipc images per class, in the order of the "
    "classes"
)
_AUGMENTATION = (
    "augmentation(images, rng) takes images [N, channels, H, W] and gives as many of the same size"
)
_DATASET = (
    "load(root, download) gives ((images, labels), (images, labels)) of train and test, images uint8 "
    "[N, channels, H, W], labels int64 [N]"
)


def check_distance(distance: Distance) -> Distance:
    """Checks a distance on two classes.

    Raises:
        ConfigError: it cannot be called, or does not give one value for each leading index.
    """
    rng = torch.Generator().manual_seed(0)
    synthetic, real = (torch.randn(2, 3, 4, generator=rng) for _ in range(2))
    synthetic.requires_grad_()
    values = try_part("distance", _DISTANCE, lambda: distance(synthetic, real))
    _check_tensor("distance", _DISTANCE, values, (2,), "[2, 3, 4]")
    single = try_part("distance", _DISTANCE, lambda: [distance(synthetic[c], real[c]) for c in range(2)])
    for value in single:
        _check_tensor("distance", _DISTANCE, value, (), "[3, 4]")
    if not torch.allclose(values, torch.stack(single), rtol=1e-3, atol=1e-6):
        raise refusal("distance", "mixes classes: the value of each must come from its own rows", _DISTANCE)
    return distance


def check_rule(
    rule: Callable[..., dict[str, Tensor]], distance: Distance, classes: int
) -> Callable[..., dict[str, Tensor]]:
    """Checks a matching rule on gradients of a tiny layer, at an even and an odd outer iteration.

    Args:
        rule: as in `matching.rules`.
        distance: checked already.
        classes: their number.

    Raises:
        ConfigError: it cannot be called, or does not give scalar terms by name.
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
            raise refusal("matching", f"gave {describe(terms)} at k={k}", _RULE)
        for name, term in terms.items():
            _check_tensor("matching", _RULE, term, (), f"k={k}, term {name!r}")
    return rule


def check_schedule(schedule: Schedule) -> Schedule:
    """Checks a schedule for its first three epochs at t = 0, with losses that stay as they are.

    Raises:
        ConfigError: it cannot be called, or is no generator.
    """
    epochs = try_part("schedule", _SCHEDULE, lambda: schedule(0, _SteadyLosses()))
    if not isinstance(epochs, Iterator):
        raise refusal("schedule", f"gave {describe(epochs)}", _SCHEDULE)
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
    """Checks what makes networks, by one without values.

    Args:
        factory: makes a network.
        shape: (channels, H, W) of an image.
        classes: their number.
        option: of the group, if it is not the chosen one.

    Raises:
        ConfigError: no network can be made, or it does not give a number for each class.
    """

    def run(device: str) -> Any:
        with torch.device(device), torch.no_grad():
            return factory()(torch.zeros(2, *shape))

    def logits() -> Any:
        try:
            return run("meta")
        except ConfigError:
            raise
        except Exception:  # not everything works without values
            return run("cpu")

    found = try_part("architecture", _ARCHITECTURE, logits, option)
    if not isinstance(found, Tensor) or tuple(found.shape) != (2, classes):
        images = [2, *shape]
        line = f"gave {describe(found)} for images {images}, not {[2, classes]}"
        raise refusal("architecture", line, _ARCHITECTURE, option)
    return factory


def check_augmentation(augmentation: Callable[..., Tensor], shape: tuple[int, int, int]) -> Any:
    """Checks an augmentation on two images.

    Args:
        augmentation: as in `data.augmentation`.
        shape: (channels, H, W) of an image.

    Raises:
        ConfigError: it cannot be called, or changes the size of the images.
    """
    images, rng = torch.zeros(2, *shape), torch.Generator().manual_seed(0)
    found = try_part("augmentation", _AUGMENTATION, lambda: augmentation(images, rng))
    if not isinstance(found, Tensor) or found.shape != images.shape or found.dtype != images.dtype:
        line = f"gave {describe(found)} for float32 images {list(images.shape)}"
        raise refusal("augmentation", line, _AUGMENTATION)
    return augmentation


def checked_initialization(initialization: Callable[..., TrainingSet]) -> Callable[..., TrainingSet]:
    """Checks that an initialization can be called, and later what it gives.

    Raises:
        ConfigError: it takes other arguments; or, when it is called, gives something else.
    """
    _check_signature("initialization", _INITIALIZATION, initialization, (None, 1, None))

    @functools.wraps(initialization)
    def checked(train: RealImages, ipc: int, rng: torch.Generator, **options: Any) -> TrainingSet:
        start = initialization(train, ipc, rng, **options)
        if isinstance(start, RealImages):  # the whole training set
            return start
        if not isinstance(start, LabelledImages):
            raise refusal("initialization", f"gave {describe(start)}", _INITIALIZATION)
        expected = (len(train.counts) * ipc, *train.images.shape[1:])
        if tuple(start.images.shape) != expected or not start.images.is_floating_point():
            line = f"gave images {describe(start.images)}, not float32 {list(expected)}"
            raise refusal("initialization", line, _INITIALIZATION)
        in_order = torch.arange(len(train.counts)).repeat_interleave(ipc)
        if not torch.equal(start.labels.cpu(), in_order):
            line = "gave labels that are not ipc of class 0, then ipc of class 1, and so on"
            raise refusal("initialization", line, _INITIALIZATION)
        return start

    return checked


def checked_loader(load: Callable[..., Any]) -> Callable[..., Any]:
    """Checks that a dataset's loader can be called, and later what it gives.

    Raises:
        ConfigError: it takes other arguments; or, when it is called, gives something else.
    """
    _check_signature("dataset", _DATASET, load, (None, False))

    @functools.wraps(load)
    def checked(*arguments: Any) -> Any:
        splits = load(*arguments)
        if not isinstance(splits, tuple | list) or len(splits) != 2:
            raise refusal("dataset", f"load gave {describe(splits)}", _DATASET)
        for name, split in zip(("train", "test"), splits, strict=True):
            if not isinstance(split, tuple | list) or len(split) != 2:
                raise refusal("dataset", f"load gave {describe(split)} as {name}", _DATASET)
            images, labels = split
            whole = isinstance(images, Tensor) and images.ndim == 4 and images.dtype == torch.uint8
            if not whole:
                raise refusal("dataset", f"load gave {name} images {describe(images)}", _DATASET)
            if not isinstance(labels, Tensor) or labels.dtype != torch.long or len(labels) != len(images):
                line = f"load gave {name} labels {describe(labels)} for {len(images)} images"
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


def _check_tensor(group: str, expected: str, value: Any, shape: tuple[int, ...], of: str) -> None:
    if not isinstance(value, Tensor) or tuple(value.shape) != shape:
        raise refusal(
            group, f"gave {describe(value)} for {of}, not a tensor of shape {list(shape)}", expected
        )
    if not value.requires_grad:
        raise refusal(group, f"gave a tensor without a gradient for {of}; leave out detach()", expected)
