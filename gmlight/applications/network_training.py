"""Trains and tests single networks, in worker processes or here; a log keeps each from a second training."""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import torch
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.accuracy_log import digest_images
from gmlight.artifacts.work_log import Outcome, WorkLog, work_key
from gmlight.builders.data import build_data, load_data
from gmlight.builders.evaluators import build_protocol
from gmlight.builders.parts import build_factory, unless_auto
from gmlight.builders.trainer import build_trainer
from gmlight.config.compose import register_resolvers
from gmlight.config.literal import literal
from gmlight.config.process import prepare_process
from gmlight.config.ranges import check_ranges
from gmlight.config.values import ABSENT, select
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import LabelledImages, TrainingSet
from gmlight.errors import ConfigError, OutOfMemoryError
from gmlight.runtime.memory import naming_missing_memory
from gmlight.runtime.progress import ProgressCallback
from gmlight.runtime.worker_pool import Died, work_in_processes
from gmlight.training.evaluator import Evaluator


@dataclass(frozen=True)
class TrainedOn:
    """A training set, and how long networks train on it.

    Args:
        name: in tables.
        images: the set; None: the whole training set.
        epochs: of a network's training.
        epoch_images: images in an epoch, which may be fewer than the set has; None: all.
    """

    name: str
    images: LabelledImages | None
    epochs: int
    epoch_images: int | None = None

    @cached_property
    def digest(self) -> str:
        """Identifies the images, without the whole training set's."""
        return "whole" if self.images is None else digest_images(self.images)


class NetworkUnit(NamedTuple):
    """One network to train and to test.

    Args:
        values: of its candidate, by key, such as `architecture.width`.
        trained_on: name of its training set.
        network: its number, which seeds it.
    """

    values: dict[str, Any]
    trained_on: str
    network: int


class NetworkTrainer:
    """Trains and tests networks of candidates.

    Args:
        config: of a command on a set, completed.
        sets: the training sets.
        data: loaded; None: it is loaded when the first network is trained.
    """

    def __init__(
        self, config: DictConfig, sets: Sequence[TrainedOn], data: CondensationData | None = None
    ) -> None:
        self._config, self._sets = config, {each.name: each for each in sets}
        if data is not None:
            self.data = data

    @cached_property
    def data(self) -> CondensationData:
        """The dataset, on the trainer's device."""
        return load_data(build_data(self._config), build_trainer(self._config))

    def __call__(self, unit: NetworkUnit) -> Outcome:
        """Trains and tests a network."""
        self.data.test  # is loaded now: the time is that of training alone  # noqa: B018
        started = time.monotonic()
        try:
            with naming_missing_memory():
                evaluator = self.evaluator(unit)
                ensemble = evaluator.trained(self.images(unit), [unit.network])
                seconds = time.monotonic() - started
                if not all(parameter.isfinite().all() for parameter in ensemble.parameters()):
                    return Outcome(None, seconds, "its weights are not finite")
                return Outcome(evaluator.accuracies(ensemble)[0], seconds)
        except OutOfMemoryError as error:
            return Outcome(None, time.monotonic() - started, str(error), lasting=False)
        except ConfigError as error:
            return Outcome(None, time.monotonic() - started, str(error))

    def images(self, unit: NetworkUnit) -> TrainingSet:
        """Returns what a unit's network is trained on, on the device of the data."""
        images = self._sets[unit.trained_on].images
        return self.data.train if images is None else images.to(self.data.test.device)

    def evaluator(self, unit: NetworkUnit) -> Evaluator:
        """Makes what trains and tests the networks of a unit's candidate on its set.

        Raises:
            ConfigError: the candidate's network cannot be built.
        """
        config, plan = with_values(self._config, unit.values), self._sets[unit.trained_on]
        protocol, images = build_protocol(config), plan.epoch_images
        return Evaluator(
            build_factory(config.architecture, config.dataset),
            self.data,
            protocol,
            seed=config.seed,
            test_batch=unless_auto(config.evaluation.test_batch),
            networks_at_once=1,
            epoch_steps=None if images is None else -(-images // protocol.sgd.batch_size),
        ).with_epochs(plan.epochs)

    def settings(self) -> tuple[dict[str, Any], list[TrainedOn]]:
        """Returns what makes a copy of this trainer in another process."""
        plain: Any = literal(OmegaConf.to_container(self._config, resolve=True))
        on_cpu = [
            replace(each, images=None if each.images is None else each.images.to(torch.device("cpu")))
            for each in self._sets.values()
        ]
        return plain, on_cpu

    def key(self, unit: NetworkUnit) -> str:
        """Returns the key of a unit in the log: everything that its accuracy depends on."""
        config, plan = with_values(self._config, unit.values), self._sets[unit.trained_on]
        plain: Any = OmegaConf.to_container(config, resolve=True)
        digest = self.data.info.digest
        assert digest is not None
        device = {
            "networks_at_once",
            "test_batch",
            "networks",
            "quick_networks",
            "every",
            "baselines",
            "epochs",
        }
        return work_key(
            {
                "architecture": plain["architecture"],
                "augmentation": plain["augmentation"],
                "evaluation": {k: v for k, v in plain["evaluation"].items() if k not in device},
                "data": digest.identity(),
                "set": plan.digest,
                "epochs": plan.epochs,
                "epoch_images": plan.epoch_images,
                "seed": plain["seed"],
                "network": unit.network,
            }
        )


def with_values(config: DictConfig, values: dict[str, Any]) -> DictConfig:
    """Returns a copy of a configuration with a candidate's values.

    Raises:
        ConfigError: the configuration has no such key, or a value is out of range.
    """
    changed = config.copy()
    for key, value in values.items():
        if select(changed, key) is ABSENT:
            raise ConfigError(f"space.values.{key}: there is no such key")
        OmegaConf.update(changed, key, value)
    check_ranges(changed)
    return changed


def train_networks(
    trainer: NetworkTrainer,
    units: Sequence[NetworkUnit],
    log: WorkLog,
    jobs: int,
    progress: ProgressCallback,
) -> None:
    """Trains the networks that the log lacks, and logs each.

    Args:
        trainer: of the networks; in worker processes, a copy of it.
        units: the networks.
        log: of finished networks.
        jobs: number of processes; 1: this one.
        progress: called with the number of networks done.
    """
    keys = [trainer.key(unit) for unit in units]
    missing = [(key, unit) for key, unit in zip(keys, units, strict=True) if log.get(key) is None]
    missing = list(dict(missing).items())  # equal networks are trained once
    done = len(units) - len(missing)
    progress(done)
    for key, outcome in _outcomes(trainer, missing, jobs):
        log.add(key, outcome)
        done += 1
        progress(done)


def _outcomes(
    trainer: NetworkTrainer, units: Sequence[tuple[str, NetworkUnit]], jobs: int
) -> Iterator[tuple[str, Outcome]]:
    if jobs == 1:
        for key, unit in units:
            yield key, trainer(unit)
        return
    settings = trainer.settings()
    for (key, _), outcome in work_in_processes(_make_worker, settings, units, jobs):
        if isinstance(outcome, Died):
            outcome = Outcome(None, 0.0, str(outcome), lasting=False)
        yield key, outcome


class _Worker:
    # Does units of a worker process.
    def __init__(self, trainer: NetworkTrainer) -> None:
        self._trainer = trainer

    def __call__(self, unit: tuple[str, NetworkUnit]) -> Outcome:
        return self._trainer(unit[1])


def _make_worker(settings: tuple[dict[str, Any], Sequence[TrainedOn]]) -> _Worker:
    register_resolvers()
    config, sets = OmegaConf.create(settings[0]), settings[1]
    prepare_process(config)
    return _Worker(NetworkTrainer(config, sets))
