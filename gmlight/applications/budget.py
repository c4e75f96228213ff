"""What it costs to train a network on a condensed set, and on the whole set to the same accuracy.

Each side trains in a process of its own, so that its memory is its own.
"""

import re
import resource
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gmlight.builders.data import build_data
from gmlight.builders.evaluators import build_protocol, evaluation_architecture
from gmlight.builders.parts import build_factory, unless_auto
from gmlight.config.compose import register_resolvers
from gmlight.config.literal import literal
from gmlight.config.process import prepare_process
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError, OutOfMemoryError
from gmlight.reporting.use_page import UseTable
from gmlight.runtime.console import format_bytes, format_duration
from gmlight.runtime.flops import forward_flops
from gmlight.runtime.memory import naming_missing_memory
from gmlight.runtime.worker_pool import Died, work_in_processes
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator
from gmlight.training.steps import steps_per_epoch

PASSES = 3  # operations of a training step, in forward passes: the backward pass takes two
TESTS = 10  # of the network on the whole set, per epoch
WATCH_SECONDS = 0.01  # between two looks at the memory
MINUTE = 60  # seconds


@dataclass(frozen=True)
class Cost:
    """What the training of one network took.

    Args:
        name: of the training set.
        images: number of its images.
        steps: mini-batches.
        seconds: of the training, without tests.
        accuracy: on the test images, in percent.
        memory_bytes: that the training added to the memory of the process, at its peak; the training set
            is included.
        operations: floating-point operations of the training, three forward passes per image.
        reached: whether the accuracy that was asked for was reached.
        failure: why the training ended early; empty if it did not.
    """

    name: str
    images: int
    steps: int
    seconds: float
    accuracy: float | None
    memory_bytes: int
    operations: float
    reached: bool = True
    failure: str = ""


class BudgetSettings(NamedTuple):
    """What a side needs in its process.

    Args:
        config: of the command, as plain containers.
        images: the condensed set.
        limit: bytes that the training may take; None: as many as there are.
        epochs: most epochs on the whole set.
        hydra: Hydra's own configuration.
    """

    config: dict[str, Any]
    images: LabelledImages
    limit: int | None
    epochs: int
    hydra: Any


def measure_budget(
    config: DictConfig, images: LabelledImages, limit: int | None, epochs: int
) -> tuple[Cost, Cost]:
    """Trains one network on the set, and one on the whole set until it is as accurate.

    Args:
        config: of the command, completed.
        images: the condensed set, on the CPU.
        limit: bytes that a training may take; None: as many as there are.
        epochs: most epochs on the whole set.

    Returns:
        The cost on the condensed set and on the whole set.

    Raises:
        ConfigError: the training on the condensed set fails.
    """
    plain: Any = literal(OmegaConf.to_container(config, resolve=True))
    settings = BudgetSettings(plain, images, limit, epochs, HydraConfig.instance().cfg)
    ours = _measured("condensed", settings, None)
    if ours.failure:
        raise ConfigError(
            f"budget=true: the training on the condensed set {ours.failure}; raise memory_limit="
        )
    return ours, _measured("whole set", settings, ours.accuracy)


def _measured(name: str, settings: BudgetSettings, target: float | None) -> Cost:
    [(_, cost)] = work_in_processes(make_side, settings, [(name, target)], 1)
    if isinstance(cost, Died):
        return Cost(name, 0, 0, 0.0, None, 0, 0.0, reached=False, failure=str(cost))
    return cost


def make_side(settings: BudgetSettings) -> Callable[[tuple[str, float | None]], Cost]:
    """Makes what trains one side, in its process."""
    register_resolvers()
    HydraConfig.instance().cfg = settings.hydra
    config: Any = OmegaConf.create(settings.config)
    prepare_process(config)

    def train(side: tuple[str, float | None]) -> Cost:
        return train_side(config, settings, *side)

    return train


def train_side(config: DictConfig, settings: BudgetSettings, name: str, target: float | None) -> Cost:
    """Trains a network on the condensed set; with a target on the whole set, until it is as accurate.

    Args:
        config: of the command.
        settings: of both sides.
        name: of the side.
        target: accuracy in percent at which the training ends; None: on the condensed set, all its epochs.
    """
    trained = Training()
    try:
        with naming_missing_memory(), watched_memory(trained), limited(settings.limit):
            if target is None:
                train_on_set(config, settings.images, trained)
            else:
                train_on_all(config, target, settings.epochs, trained)
    except OutOfMemoryError:
        trained.failure = "runs out of memory"
    except RuntimeError as error:  # a library may fail in its own words for lack of memory
        if settings.limit is None:
            raise
        trained.failure = f"fails ({error})"
    if trained.failure and settings.limit is not None:
        trained.failure = f"needs more than memory_limit={format_bytes(settings.limit)}"
    if not trained.failure and trained.accuracy is None:
        trained.accuracy = tested(config, trained)
    return trained.cost(name, config)


@dataclass
class Training:
    """The course of one side's training; its fields are those of `Cost`."""

    images: int = 0
    steps: int = 0
    seconds: float = 0.0
    seen: int = 0  # images in all mini-batches
    memory_bytes: int = 0
    accuracy: float | None = None
    reached: bool = True
    failure: str = ""
    ensemble: Ensemble | None = None

    def cost(self, name: str, config: DictConfig) -> Cost:
        """Returns what the training cost."""
        network = build_factory(config.architecture, config.dataset)()
        shape = (config.dataset.channels, *config.dataset.size)
        operations = float(PASSES * self.seen * forward_flops(network, shape))
        return Cost(
            name, self.images, self.steps, self.seconds, self.accuracy, self.memory_bytes, operations,
            self.reached and not self.failure, self.failure,
        )  # fmt: skip


def train_on_set(config: DictConfig, images: LabelledImages, trained: Training) -> None:
    """Trains a network on a condensed set, without the dataset in memory."""
    stand_in: Any = SimpleNamespace(
        test=SimpleNamespace(device=torch.device("cpu"))
    )  # all that training asks
    evaluator = _evaluator(config, stand_in)
    batch = evaluator.protocol.sgd.batch_size
    started = time.monotonic()
    trained.ensemble = evaluator.trained(images, [0])
    trained.seconds = time.monotonic() - started
    trained.images = len(images)
    trained.steps = evaluator.protocol.epochs * steps_per_epoch(images, batch)
    trained.seen = evaluator.protocol.epochs * len(images)


def train_on_all(config: DictConfig, target: float, epochs: int, trained: Training) -> None:
    """Trains a network on the whole training set until it is as accurate as asked for.

    Its learning rate stays that of the first epochs.

    Args:
        config: of the command.
        target: accuracy in percent.
        epochs: most epochs.
        trained: gets the course.
    """
    data = build_data(config).load(torch.device("cpu"))
    evaluator = _evaluator(config, data)
    batch = evaluator.protocol.sgd.batch_size
    between = max(1, steps_per_epoch(data.train, batch) // TESTS)
    protocol = replace(evaluator.protocol, epochs=epochs * TESTS, falls=())
    trained.images = len(data.train)
    course = replace(evaluator, protocol=protocol, epoch_steps=between).training(data.train, [0])
    next(course)  # the fresh network
    for _ in range(epochs * TESTS):
        started = time.monotonic()
        ensemble = next(course)
        trained.seconds += time.monotonic() - started
        trained.steps += between
        trained.seen += between * min(batch, len(data.train))
        trained.accuracy = evaluator.accuracies(ensemble)[0]
        if trained.accuracy >= target:
            return
    trained.reached = False


def tested(config: DictConfig, trained: Training) -> float:
    """Tests the network of `train_on_set`, in percent."""
    assert trained.ensemble is not None
    data = build_data(config).load(torch.device("cpu"))
    return _evaluator(config, data).accuracies(trained.ensemble)[0]


def _evaluator(config: DictConfig, data: CondensationData) -> Evaluator:
    architecture = evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    factory = build_factory(architecture, config.dataset)
    test_batch = unless_auto(config.evaluation.test_batch)
    return Evaluator(
        factory, data, build_protocol(config), seed=config.seed, test_batch=test_batch, networks_at_once=1
    )


@contextmanager
def limited(limit: int | None) -> Iterator[None]:
    """Lets the kernel refuse memory inside the block, beyond what the process has and the limit.

    What counts is memory of its own that the process may write to, used or not (RLIMIT_DATA of Linux).

    Args:
        limit: bytes; None: there is no limit.
    """
    before = resource.getrlimit(resource.RLIMIT_DATA)
    if limit is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (_status("VmData") + limit, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)


@contextmanager
def watched_memory(trained: Training) -> Iterator[None]:
    """Measures how far the process's memory rises inside the block."""
    before, ended = _status("VmRSS"), threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_SECONDS):
            trained.memory_bytes = max(trained.memory_bytes, _status("VmRSS") - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        ended.set()
        watcher.join()
        trained.memory_bytes = max(trained.memory_bytes, _status("VmRSS") - before)


def _status(key: str) -> int:
    # Bytes of this process, as Linux counts them.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(f"{key}:"))


def parse_bytes(text: object, key: str) -> int:
    """Reads a size such as `256MiB`, `1GiB` or `500000`.

    Args:
        text: the size.
        key: of the configuration, for messages.

    Raises:
        ConfigError: it is no size above zero.
    """
    found = re.fullmatch(r"([0-9]{1,15})(KiB|MiB|GiB)?", str(text))
    if not found or not int(found[1]):
        raise ConfigError(f"{key}={text}: must be a size such as 256MiB")
    return int(found[1]) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30}.get(found[2], 1)


def budget_table(costs: Sequence[Cost]) -> UseTable:
    """Lays out the costs of both sides."""
    rows = [
        [
            cost.name,
            str(cost.images),
            str(cost.steps),
            format_duration(cost.seconds) if cost.seconds >= MINUTE else f"{cost.seconds:.1f} s",
            "-" if cost.accuracy is None else f"{cost.accuracy:.2f}",
            format_bytes(cost.memory_bytes),
            f"{cost.operations:.2g}",
        ]
        for cost in costs
    ]
    lines = [
        "memory: what the training added to the process, with the training set; FLOP: operations, three "
        "forward passes per image",
        *(f"{cost.name}: {cost.failure}" for cost in costs if cost.failure),
        *(
            f"{cost.name}: the accuracy was not reached; raise budget_epochs="
            for cost in costs
            if not cost.reached and not cost.failure
        ),
    ]
    headings = ("training on", "images", "steps", "time", "accuracy, %", "memory", "FLOP")
    return UseTable("One network, on the CPU, to the same accuracy", headings, rows, lines)
