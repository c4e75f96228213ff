"""Checks that numbers are finite without waiting for the device that computes them."""

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gmlight.errors import NonFiniteError
from gmlight.matching.class_gradients import Layers
from gmlight.matching.real_gradients import RealGradients


class FiniteWatch:
    """Checks the finiteness flag of an update: immediately on a CPU, one update later on an accelerator.

    An accelerator copies the flag of one update while it computes the next, so that neither it nor the CPU
    waits.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.Event | None, Callable[[], str]]] = deque()

    def note(self, finite: Tensor, describe: Callable[[], str]) -> None:
        """Adds a flag and checks the flags that are due.

        Args:
            finite: whether all numbers of the update are finite, [] bool.
            describe: returns the error message; called only if a flag is false.

        Raises:
            NonFiniteError: a checked flag is false.
        """
        event = None
        if finite.device.type != "cpu":
            event = torch.Event(finite.device)
            finite = finite.to("cpu", non_blocking=True)
            event.record()
        self._pending.append((finite, event, describe))
        while len(self._pending) > (event is not None):
            self._check_next()

    def settle(self) -> None:
        """Checks all pending flags.

        Raises:
            NonFiniteError: a flag is false.
        """
        while self._pending:
            self._check_next()

    def _check_next(self) -> None:
        finite, event, describe = self._pending.popleft()
        if event is not None:
            event.synchronize()
        if not finite:
            raise NonFiniteError(describe())


def describe_failure(
    class_names: Sequence[str],
    real: RealGradients,
    synthetic: Layers,
    images: Sequence[Tensor],
    k: int,
    t: int,
) -> str:
    """Describes the first quantity that is not finite.

    Args:
        class_names: in the order of the labels.
        real: gradients on real images, of the classes of this rank.
        synthetic: gradients on synthetic images, of all classes or of a mixed batch; empty if unknown.
        images: the images and their gradients, of all classes, [C, ...] each.
        k: outer iteration.
        t: image update within it.

    Returns:
        One line that names the update, the class, the quantity and the setting to change.
    """
    learning_rates = "lower image_lr or network_lr"
    all_classes = range(len(class_names))
    synthetic_classes = None if real.classes is None else all_classes
    suspects = (
        ("class gradient on real images", list(real.layers.values()), real.classes,
         learning_rates if t else "look at the data"),
        ("class gradient on synthetic images", list(synthetic.values()), synthetic_classes, learning_rates),
        ("image or its gradient", list(images), all_classes, "lower image_lr or distance.weight"),
    )  # fmt: skip
    for quantity, tensors, classes, advice in suspects:
        if not tensors:
            continue
        finite = torch.stack([torch.isfinite(tensor.flatten(1)).all(1) for tensor in tensors]).all(0)
        if not finite.all():
            name = "any" if classes is None else class_names[classes[int(finite.int().argmin())]]
            return f"k={k}, t={t}, class {name!r}: the {quantity} is not finite; {advice}"
    return f"k={k}, t={t}, every class: the matching loss is not finite; lower distance.weight"
