"""Checks that numbers are finite without waiting for the device that computes them."""

from collections import deque
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from gmlight.errors import NonFiniteError
from gmlight.matching.class_gradients import Layers
from gmlight.matching.real_gradients import RealGradients


class FiniteWatch:
    """Reads the verdict on an update at once on a CPU, and one update later on an accelerator.

    There the verdict on one update is copied while the next is computed, so that neither side waits.
    """

    def __init__(self) -> None:
        self._pending: deque[tuple[Tensor, torch.Event | None, Callable[[], str]]] = deque()

    def note(self, finite: Tensor, describe: Callable[[], str]) -> None:
        """Adds a verdict and reads those that are due.

        Args:
            finite: the verdict, [] bool.
            describe: returns the message for a false verdict; called only then.

        Raises:
            NonFiniteError: a verdict that was read is false.
        """
        event = None
        if finite.device.type != "cpu":
            event = torch.Event(finite.device)
            finite = finite.to("cpu", non_blocking=True)
            event.record()
        self._pending.append((finite, event, describe))
        while len(self._pending) > (event is not None):
            self._read()

    def settle(self) -> None:
        """Reads all verdicts that are pending.

        Raises:
            NonFiniteError: a verdict is false.
        """
        while self._pending:
            self._read()

    def _read(self) -> None:
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
    """Names the update, the class and the first quantity that is not finite, and what to change.

    Args:
        class_names: in the order of the labels.
        real: gradients on real images, of the classes of this rank.
        synthetic: gradients on synthetic images, of all classes or of a mixed batch; empty where not known.
        images: the images and their gradients, of all classes, [C, ...] each.
        k: outer iteration.
        t: update in it.
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
