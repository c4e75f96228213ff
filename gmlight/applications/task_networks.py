"""Networks that learn a memory step after step: fresh at each step, or carried on from the step before."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn.functional import kl_div, log_softmax

from gmlight.data.images import LabelledImages, RealImages
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class Distillation:
    """The loss that keeps a network near the network of the step before (Castro et al., ECCV 2018).

    Args:
        weight: of the loss.
        temperature: of both networks' outputs.
    """

    weight: float
    temperature: float

    def loss(self, logits: Tensor, before: Tensor) -> Tensor:
        """Computes the divergence from the outputs of the step before; mean over the images.

        Args:
            logits: of the network, [batch, outputs].
            before: of the network of the step before, [batch, outputs before].
        """
        t = self.temperature
        ours, theirs = log_softmax(logits[:, : before.shape[1]] / t, 1), log_softmax(before / t, 1)
        # Gradients shrink with the square of the temperature (Hinton et al., 2015).
        return self.weight * t**2 * kl_div(ours, theirs, reduction="batchmean", log_target=True)


def train_step(
    evaluator: Evaluator,
    memory: LabelledImages,
    number: int,
    before: nn.Module | None,
    distillation: Distillation,
) -> nn.Module:
    """Trains a network on the memory.

    Args:
        evaluator: its factory makes networks with the outputs of this step.
        memory: all images remembered so far, labelled by the outputs.
        number: of the network.
        before: the network of the step before, which is carried on; None: a fresh network is trained.
        distillation: from the network of the step before.
    """
    if before is not None:
        teacher = copy.deepcopy(before).eval()
        evaluator = replace(
            evaluator,
            start=lambda: widened(evaluator.factory, before),
            extra_loss=lambda images, logits: distillation.loss(logits[0], _outputs(teacher, images[0])),
        )
    return evaluator.trained(memory, [number]).only


def accuracies(evaluator: Evaluator, network: nn.Module, tests: Sequence[RealImages]) -> list[float]:
    """Tests a network on each task, in percent.

    Args:
        evaluator: tests networks.
        network: the network.
        tests: test images of the tasks, labelled by the outputs.
    """
    return [evaluator.accuracies(Ensemble([network]), test=test)[0] for test in tests]


def widened(factory: Callable[[], nn.Module], before: nn.Module) -> nn.Module:
    """Makes a network with more outputs that computes what another one does on the outputs of both.

    Args:
        factory: makes the network.
        before: a network of the same architecture with as many outputs or fewer.
    """
    network, known = factory(), before.state_dict()
    with torch.no_grad():
        for name, values in network.state_dict().items():
            if values.ndim:
                values[: len(known[name])] = known[name]
            else:  # a count of batches
                values.copy_(known[name])
    return network


@torch.no_grad()
def _outputs(network: nn.Module, images: Tensor) -> Tensor:
    return network(images)
