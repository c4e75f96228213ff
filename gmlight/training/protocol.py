"""The evaluation protocol: settings of the training of evaluation networks (section 4.1)."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from gmlight.data.augmentation import Augmentation, CutMix, none
from gmlight.training.steps import SGDSettings


@dataclass(frozen=True)
class EvaluationProtocol:
    """Training of evaluation networks: SGD with a learning rate that falls in steps.

    The defaults are the protocol of section 4.1.

    Args:
        epochs: number of epochs.
        sgd: batch size and optimizer.
        augmentation: applied to each mini-batch.
        cutmix: applied after the augmentation; None: not applied.
        name: of the protocol in tables; accuracies of different protocols are not comparable.
        falls: shares of the epochs after which the learning rate falls.
        fall: factor of each fall.
        precision: of convolutions and matrix products in the training, by autocast; None: that of the
            network.
    """

    epochs: int = 300
    sgd: SGDSettings = SGDSettings()  # noqa: RUF009 frozen
    augmentation: Augmentation = none
    cutmix: CutMix | None = None
    name: str = "plain"
    falls: Sequence[float] = (0.5,)
    fall: float = 0.1
    precision: torch.dtype | None = None

    def lr(self, epoch: int) -> float:
        """Returns the learning rate of an epoch; the first epoch, 0, is before every fall."""
        passed = sum(0 < int(share * self.epochs) <= epoch for share in self.falls)
        return self.sgd.lr * self.fall**passed
