"""The evaluation at the end of a run."""

from dataclasses import dataclass
from typing import Any

from rich.console import Console

from gmlight.artifacts.accuracy_log import AccuracyLog
from gmlight.artifacts.results import Evaluation
from gmlight.data.images import TrainingSet
from gmlight.training.evaluator import EvaluatedSet, Evaluator, evaluate_sets


@dataclass(frozen=True)
class FinalEvaluation:
    """What is evaluated at the end of a run, and how.

    Args:
        evaluators: by architecture.
        start: the run's own set, before its first update.
        baselines: sets evaluated beside it.
        protocol: whatever accuracies depend on besides the set, the architecture's name and the network's
            number; plain containers.
    """

    evaluators: dict[str, Evaluator]
    start: EvaluatedSet
    baselines: list[EvaluatedSet]
    protocol: dict[str, Any]

    def __call__(self, images: TrainingSet, console: Console, log: AccuracyLog | None) -> list[Evaluation]:
        """Evaluates the run's own set first, then the baselines.

        Args:
            images: the run's own set after its last update.
            console: where progress is shown.
            log: keeps each accuracy, and knows those of an interrupted evaluation.
        """
        sets = [self.start._replace(images=images), *self.baselines]
        return evaluate_sets(self.evaluators, sets, console, log)
