"""The evaluation protocol: settings of the training of evaluation networks (section 4.1)."""

from dataclasses import dataclass

from gmlight.data.augmentation import Augmentation, CutMix, none
from gmlight.training.steps import SGDSettings


@dataclass(frozen=True)
class EvaluationProtocol:
    """Training of evaluation networks: SGD, with the learning rate times 0.1 after half of the epochs.

    The defaults are the protocol of section 4.1.

    Args:
        epochs: number of epochs.
        sgd: batch size and optimizer.
        augmentation: applied to each mini-batch.
        cutmix: applied after the augmentation; None: not applied.
        name: of the protocol in tables; accuracies of different protocols are not comparable.
    """

    epochs: int = 300
    sgd: SGDSettings = SGDSettings()  # noqa: RUF009 frozen
    augmentation: Augmentation = none
    cutmix: CutMix | None = None
    name: str = "plain"
