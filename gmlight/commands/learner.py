"""Learns the tasks of one order with one memory; each condensed step is a run folder that can be resumed."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf, open_dict
from safetensors.torch import load_file, save_file
from torch import nn

from gmlight.applications.continual import Task, class_tasks, dataset_tasks, merged
from gmlight.applications.task_networks import Distillation, accuracies, train_step
from gmlight.artifacts.accuracy_log import digest_images
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.record import RunRecord
from gmlight.artifacts.run_folder import RunFolder
from gmlight.artifacts.set_files import METADATA
from gmlight.artifacts.work_log import Outcome, WorkLog, work_key
from gmlight.builders.data import build_data, build_source
from gmlight.builders.evaluators import build_protocol, evaluation_architecture
from gmlight.builders.part_errors import build_part
from gmlight.builders.parts import build_factory, unless_auto
from gmlight.builders.run import Run, build_run
from gmlight.builders.trainer import build_trainer
from gmlight.commands.train import claim_folder, condense
from gmlight.condensation import initialization
from gmlight.config.compose import choose, name_classes, register_resolvers
from gmlight.config.literal import literal
from gmlight.config.process import prepare_process
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.runtime.atomic import atomic_write
from gmlight.runtime.console import new_console, silent
from gmlight.runtime.progress import ProgressCallback, no_progress
from gmlight.runtime.seeding import generator
from gmlight.training.evaluator import Evaluator

MEMORIES = ("condensed", "random", "herding")
# Keys of the command that a step's own configuration does not have.
OWN_KEYS = ("steps", "orders", "memories", "carry", "distillation", "datasets", "jobs")


class LearningUnit(NamedTuple):
    """An order of the tasks, and what is remembered of each."""

    order: int
    memory: str


class Learned(NamedTuple):
    """What one order with one memory gave.

    Args:
        accuracies: in percent, by network, step and task; a step has the tasks up to it.
        test_images: number of test images of each task.
        storage_bytes: size of the memory's stored values after the last step.
    """

    accuracies: list[list[list[float]]]
    test_images: list[int]
    storage_bytes: int


class Learner:
    """Learns the tasks of an order with a memory.

    Args:
        config: of the command, completed.
        record: of the command.
        path: the command's folder.
    """

    def __init__(self, config: DictConfig, record: RunRecord, path: Path) -> None:
        self._config, self._record, self._path = config, record, path
        self.tasks = lru_cache(maxsize=1)(self._tasks)

    @cached_property
    def device(self) -> torch.device:
        """Where networks train."""
        return build_trainer(self._config).strategy.root_device

    def settings(self) -> "Settings":
        """Returns what makes a copy of this learner in another process."""
        plain: Any = literal(OmegaConf.to_container(self._config, resolve=True))
        return Settings(plain, self._record, self._path, HydraConfig.instance().cfg)

    @cached_property
    def _read(self) -> list[Any]:
        # Name, splits and description of each dataset.
        if not self._config.datasets:
            read = build_source(self._config).read(download=self._config.download)
            return [(self._config.dataset.name, read.splits, read.info)]
        found = []
        for name in self._config.datasets:
            config = self._config.copy()
            config.dataset = choose(config, "dataset", name)
            name_classes(config)
            read = build_source(config).read(download=config.download)
            found.append((name, read.splits, read.info))
        return found

    def _tasks(self, order: int) -> list[Task]:
        if self._config.datasets:
            own, first = build_source(self._config), self._read[0][2]
            mean, std = own.mean or first.mean, own.std or first.std
            info = replace(first, mean=tuple(mean), std=tuple(std), shape=own.shape)
            return dataset_tasks(self._read, info)
        _, splits, info = self._read[0]
        return class_tasks(splits, info, self._config.steps, self._config.seed, order)

    def __call__(self, unit: LearningUnit, progress: ProgressCallback = no_progress) -> Learned:
        """Learns all steps.

        Args:
            unit: the order and the memory.
            progress: called with the number of steps done.
        """
        config, tasks, sets = self._config, self.tasks(unit.order), list[LabelledImages]()
        log = WorkLog(self._path / "networks")
        networks: list[list[list[float]]] = [[] for _ in range(config.evaluation.networks)]
        for step, task in enumerate(tasks):
            sets.append(task.remembered(self._memory(unit, step, task)))
            memory = merged(sets)
            for number, found in enumerate(networks):
                found.append(self._accuracies(unit, tasks[: step + 1], memory, number, log))
            progress(step + 1)
        return Learned(networks, [len(task.splits[1][1]) for task in tasks], 4 * memory.floats)

    def _memory(self, unit: LearningUnit, step: int, task: Task) -> LabelledImages:
        if unit.memory == "condensed":
            return self._condensed(unit.order, step, task)
        train = task.train(self.device)
        rng = generator(self._config.seed, f"continual-{unit.memory}", unit.order, step)
        if unit.memory == "random":
            return initialization.random(train, self._config.ipc, rng)
        herding = build_part("initialization", choose(self._config, "initialization", "herding"))
        return herding(train, self._config.ipc, rng)

    def _condensed(self, order: int, step: int, task: Task) -> LabelledImages:
        folder = self.step_folder(order, step)
        finished = (folder.condensed / METADATA).exists()
        if not finished or not CondensedDataset(folder.condensed).metadata["complete"]:
            with silent():
                run = self.build_step(task, order, step)
                folder.path.mkdir(parents=True, exist_ok=True)
                with folder.locked():
                    condense(run, claim_folder(run))
        return CondensedDataset(folder.condensed).labelled().to(self.device)

    def step_folder(self, order: int, step: int) -> RunFolder:
        """Returns the run folder of a condensed step."""
        return RunFolder(self._path / "condensed" / f"order{order}-step{step + 1}")

    def build_step(self, task: Task, order: int, step: int) -> Run:
        """Builds the run that condenses a task."""
        config, folder = self.step_config(task), self.step_folder(order, step)
        plain: Any = OmegaConf.to_container(config, resolve=True)
        record = replace(self._record, config=plain)
        return build_run(config, folder, record, new_console(), resumed=folder.has_run, source=task.source())

    def step_config(self, task: Task) -> DictConfig:
        """Returns the configuration of the run that condenses a task."""
        config = self._config.copy()
        with open_dict(config):
            for key in OWN_KEYS:
                config.pop(key, None)
            config.dataset.pop("find_classes", None)
            config.dataset.classes, config.holdout = literal(list(task.classes)), 0
            config.evaluation.every, config.logger = 0, {}
            config.evaluation.baselines = {"random": 0, "whole": 0}
        return config

    def _accuracies(
        self, unit: LearningUnit, tasks: Sequence[Task], memory: LabelledImages, number: int, log: WorkLog
    ) -> list[float]:
        # Of one network after one step, on each task so far.
        content = {
            "unit": unit,
            "step": len(tasks),
            "network": number,
            "memory": digest_images(memory),
            "carry": self._config.carry and asdict(self._distillation),
            "evaluation": OmegaConf.to_container(self._config.evaluation, resolve=True),
        }
        keys = [work_key(content | {"task": place}) for place in range(len(tasks))]
        known = [log.get(key) for key in keys]
        found = [each.accuracy for each in known if each is not None and each.accuracy is not None]
        if len(found) == len(tasks):
            return found
        evaluator = self._evaluator(tasks)
        before = self._network_before(unit, tasks, number) if self._config.carry else None
        network = train_step(evaluator, memory, number, before, self._distillation)
        outputs = 1 + max(output for task in tasks for output in task.outputs)
        found = accuracies(evaluator, network, [task.test(outputs, self.device) for task in tasks])
        if self._config.carry:  # first: the log says that the step is done
            self._keep(network, self._network_file(unit, len(tasks), number))
        for key, accuracy in zip(keys, found, strict=True):
            log.add(key, Outcome(accuracy, 0.0))
        return found

    def _evaluator(self, tasks: Sequence[Task]) -> Evaluator:
        # Its networks have the outputs of these tasks.
        config = self._config.copy()
        outputs = 1 + max(output for task in tasks for output in task.outputs)
        config.dataset.classes = [str(output) for output in range(outputs)]
        architecture = evaluation_architecture(config.architecture, config.evaluation.batch_norm)
        data = build_data(config, source=tasks[0].source())
        return Evaluator(
            build_factory(architecture, config.dataset),
            data.load(self.device),
            build_protocol(config),
            seed=config.seed,
            test_batch=unless_auto(config.evaluation.test_batch),
            networks_at_once=1,
        )

    @property
    def _distillation(self) -> Distillation:
        node = self._config.distillation
        return Distillation(node.weight, node.temperature)

    def _network_file(self, unit: LearningUnit, step: int, number: int) -> Path:
        return self._path / "networks" / f"{unit.memory}-order{unit.order}-step{step}-{number}.safetensors"

    def _network_before(self, unit: LearningUnit, tasks: Sequence[Task], number: int) -> nn.Module | None:
        if len(tasks) == 1:
            return None
        path = self._network_file(unit, len(tasks) - 1, number)
        network = self._evaluator(tasks[:-1]).factory().to(self.device)
        try:
            network.load_state_dict(load_file(path))
        except Exception as error:  # safetensors and torch raise many types
            raise ConfigError(f"{path}: cannot be read ({error}); start a new command") from None
        return network

    @staticmethod
    def _keep(network: nn.Module, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {name: values.cpu().contiguous() for name, values in network.state_dict().items()}
        with atomic_write(path) as file:
            save_file(state, file)


class Settings(NamedTuple):
    """What makes a learner in another process.

    Args:
        config: of the command, as plain containers.
        record: of the command.
        path: the command's folder.
        hydra: Hydra's own configuration.
    """

    config: dict[str, Any]
    record: RunRecord
    path: Path
    hydra: Any


def make_learner(settings: Settings) -> Callable[[LearningUnit], Learned]:
    """Makes a learner in a worker process."""
    register_resolvers()
    HydraConfig.instance().cfg = settings.hydra
    config: Any = OmegaConf.create(settings.config)
    prepare_process(config)
    return Learner(config, settings.record, settings.path)
