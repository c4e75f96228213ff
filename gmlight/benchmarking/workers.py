"""Benchmark worker processes; each measures one task on request.

Each side has its own process, because a shared memory allocator would distort the comparison.
"""

import contextlib
import dataclasses
import io
import itertools
import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gmlight.benchmarking.measured_loop import MeasuredLoop
from gmlight.benchmarking.textbook import (
    PLAIN_TEST_BATCH,
    Measurement,
    check_textbook_config,
    fresh_network,
    textbook_iteration,
)
from gmlight.builders.condenser import build_condenser, build_start
from gmlight.builders.data import build_data, build_matched_data
from gmlight.builders.evaluators import build_evaluator
from gmlight.builders.parts import build_factory, build_loggers, build_parts
from gmlight.builders.trainer import build_trainer
from gmlight.callbacks.metrics import MetricsLines
from gmlight.callbacks.progress_bar import ProgressBar
from gmlight.condensation import initialization
from gmlight.config.compose import register_resolvers
from gmlight.config.process import prepare_process
from gmlight.errors import ConfigError
from gmlight.matching import flops, reference
from gmlight.reporting.loggers import DashboardLabels
from gmlight.runtime.profiling import PartTimer, Stopwatch, convolution_peak, measure_seconds
from gmlight.runtime.seeding import generator
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator

SECONDS_TO_END = 10
EPOCHS_TIMED = 4  # of an evaluation; all epochs take the same time


class Side:
    """A worker process that does tasks one at a time, with one configuration.

    Args:
        config: of a run.
        as_textbook: whether to run the plain loop instead of gmlight.
        scratch: a new folder for the logger's files.
    """

    def __init__(self, config: DictConfig, as_textbook: bool, scratch: Path) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, other = context.Pipe()
        container = OmegaConf.to_container(config, resolve=True)
        self._process = context.Process(
            target=_serve, args=(other, container, as_textbook, scratch), daemon=True
        )
        self._process.start()
        other.close()

    def ask(self, task: str) -> Measurement:
        """Runs a task in the process.

        Args:
            task: one of
                `iteration`: seconds, and numbers of real, synthetic and trained images;
                `profile`: the same, with seconds of each part and memory in bytes;
                `test`: seconds, and number of images;
                `operations`: floating-point operations per image, see `flops.count`;
                `evaluation` (gmlight only): seconds of training `networks` for `epochs`;
                `peak` (gmlight only): a convolution's throughput in GFLOP/s;
                `settings` (gmlight only): settings of the gradients.

        Returns:
            The measurement.

        Raises:
            ConfigError: the process found an error in the configuration, or the system killed it.
        """
        self._pipe.send(task)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            if self._process.exitcode == -9:  # SIGKILL
                raise ConfigError(
                    "the system killed a benchmark process, usually because memory ran out; use a smaller "
                    "real_batch=, or another machine"
                ) from None
            raise RuntimeError(
                f"a benchmark process failed in task {task!r}; its error is printed above"
            ) from None
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    def close(self) -> None:
        """Ends the process; kills it if it does not end in time."""
        with contextlib.suppress(OSError):  # it may have ended already
            self._pipe.send("end")
        self._process.join(timeout=SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, container: dict[str, Any], as_textbook: bool, scratch: Path) -> None:
    register_resolvers()
    config = OmegaConf.create(container)
    assert isinstance(config, DictConfig)
    first = pipe.recv()  # so that an error of the preparation answers the first task
    if first == "end":
        return
    try:
        if as_textbook:
            _serve_textbook(pipe, first, config)
        else:
            scratch.mkdir()
            _serve_gmlight(pipe, first, config, scratch)
    except ConfigError as error:
        pipe.send(error)


def _serve_gmlight(pipe: Connection, first: str, config: DictConfig, scratch: Path) -> None:
    prepare_process(config)
    endless = config.copy()  # never ends by itself; values that depend on K come from `config`
    endless.iterations = 10**9
    notes: list[str] = []
    built = build_parts(config, notes.append)
    data = build_matched_data(endless, built)
    evaluator = build_evaluator(config, config.architecture, data, built.compilation)
    parts = PartTimer(torch.device("cpu"))
    loop = MeasuredLoop(pipe, first, parts, config)
    trainer = build_trainer(
        endless,
        logger=build_loggers(config, scratch, DashboardLabels("benchmark", "benchmark", [], {})),
        callbacks=[
            MetricsLines(config.log_every),
            ProgressBar(config.iterations, config.updates, Console(file=io.StringIO())),
            loop,
        ],
        profiler=parts,
    )
    device = parts.device = trainer.strategy.root_device
    data.prepare_data()
    data.load(device)
    condenser = build_condenser(config, build_start(config, data), data, built)
    network = fresh_network(config, built.factory, 0).to(device)
    loop.others = {
        "test": lambda: _test(evaluator, network, config.evaluation.networks),
        "evaluation": lambda: _evaluation(evaluator, config),
        "operations": lambda: dataclasses.asdict(
            flops.count(network, data.shape, config.matching.get("layers", "all"))
        ),
        "peak": lambda: {"gflops": convolution_peak(device)},
        "settings": lambda: {"engine": condenser.matcher.engine.describe(), "notes": notes},
    }
    trainer.fit(condenser, datamodule=data)


def _test(evaluator: Evaluator, network: torch.nn.Module, networks: int) -> Measurement:
    test = evaluator.data.test

    def work() -> None:
        evaluator.accuracies(Ensemble([network]), networks)

    return {"seconds": measure_seconds(work, test.device), "images": len(test)}


def _evaluation(evaluator: Evaluator, config: DictConfig) -> Measurement:
    # As many networks at once as in an evaluation. The first training warms up, the second is timed.
    data = evaluator.data
    few = initialization.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
    shorter = evaluator.with_epochs(EPOCHS_TIMED)
    members = list(range(min(evaluator.parallel_networks(few), config.evaluation.networks)))
    shorter.trained(few, members)
    seconds = measure_seconds(lambda: shorter.trained(few, members), data.train.device)
    return {"seconds": seconds, "networks": len(members), "epochs": EPOCHS_TIMED}


def _serve_textbook(pipe: Connection, first: str, config: DictConfig) -> None:
    config.speed.allocator = "off"  # glibc's default
    prepare_process(config)
    check_textbook_config(config)
    device = build_trainer(config).strategy.root_device
    data = build_data(config)
    data.prepare_data()
    data.load(device)
    factory = build_factory(config.architecture, config.dataset)
    network = reference.with_library_layers(fresh_network(config, factory, 0).to(device))
    iterate, counts = textbook_iteration(config, factory, data)
    numbers, parts = itertools.count(), PartTimer(device)

    def iteration(profiled: bool) -> Measurement:
        watch = Stopwatch(parts, profiled)
        iterate(next(numbers), parts.profile)
        return watch.stop() | counts

    def test() -> None:
        batches = torch.arange(len(data.test)).split(PLAIN_TEST_BATCH)
        reference.accuracy(network, (data.test.batch(indices) for indices in batches))

    tasks = {
        "iteration": lambda: iteration(profiled=False),
        "profile": lambda: iteration(profiled=True),
        "test": lambda: {"seconds": measure_seconds(test, device), "images": len(data.test)},
        "operations": lambda: dataclasses.asdict(
            flops.count(network, data.shape, config.matching.get("layers", "all"))
        ),
    }
    task = first
    while task != "end":
        pipe.send(tasks[task]())
        task = pipe.recv()
