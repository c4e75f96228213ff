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
    """Evaluates the condensed set and the baselines of a run.

    Args:
        evaluators: by name of the architecture.
        start: the run's synthetic set before its first update.
        baselines: sets that are evaluated for comparison.
        protocol: all settings that accuracies depend on, except the set, the architecture's name and the
            network's number; plain containers.
    """

    evaluators: dict[str, Evaluator]
    start: EvaluatedSet
    baselines: list[EvaluatedSet]
    protocol: dict[str, Any]

    def __call__(self, images: TrainingSet, console: Console, log: AccuracyLog | None) -> list[Evaluation]:
        """Evaluates the condensed set first, then the baselines.

        Args:
            images: the run's synthetic set after its last update.
            console: where progress is shown.
            log: stores each accuracy and returns those of an interrupted evaluation; None: nothing is stored.
        """
        sets = [self.start._replace(images=images), *self.baselines]
        return evaluate_sets(self.evaluators, sets, console, log)
