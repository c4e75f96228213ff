"""The two sides of a benchmark: processes that compute when they are told to.

In one process both would share an allocator's state, and their ratio would lie.
"""

import contextlib
import dataclasses
import io
import itertools
import multiprocessing
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import lightning
import torch
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gmlight import build, coresets, operations, plain
from gmlight.callbacks import MetricsLines, ProgressBar
from gmlight.condenser import Condenser
from gmlight.config import instantiate, is_siamese, prepare_process, register_resolvers
from gmlight.data import CondensationData, RealBatch, class_sizes
from gmlight.ensembles import Ensemble
from gmlight.errors import ConfigError
from gmlight.evaluation import Evaluator
from gmlight.loggers import About
from gmlight.measuring import Parts, Watch, convolution_peak, seconds_of
from gmlight.randomness import generator, seeded
from gmlight.results import images_per_class

PLAIN_TEST_BATCH = 256
SECONDS_TO_END = 10
EPOCHS_TIMED = 4  # of an evaluation; the others take as long

Measurement = dict[str, Any]


class Side:
    """A process that does tasks one at a time, all with one configuration.

    Args:
        config: of a run. as_textbook: whether the plain loop computes it. scratch: a folder for its logger.
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
        """Has the process do a task, and returns what it measured.

        Args:
            task: `iteration` (seconds; real, synthetic and trained images), `profile` (the same of an
                iteration that is looked at: parts in seconds, memory in bytes), `test` (seconds, images),
                `operations` (per image, see `operations.count`), and of gmlight's side alone `evaluation`
                (seconds of training `networks` for `epochs`), `peak` (gflops), `settings`.

        Raises:
            ConfigError: the process says what is wrong.
        """
        self._pipe.send(task)
        try:
            answer = self._pipe.recv()
        except EOFError:
            self._process.join()
            if self._process.exitcode == -9:  # by the system
                raise ConfigError(
                    "the system killed a measuring process, as it does for want of memory; use real_batch="
                    "a smaller number, or another machine"
                ) from None
            raise RuntimeError(f"a measuring process failed in {task!r}; its error stands above") from None
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    def close(self) -> None:
        """Lets the process end; one that does not is killed."""
        with contextlib.suppress(OSError):  # it may have ended by itself
            self._pipe.send("end")
        self._process.join(timeout=SECONDS_TO_END)
        self._process.kill()
        self._process.join()


def _serve(pipe: Connection, container: dict[str, Any], as_textbook: bool, scratch: Path) -> None:
    register_resolvers()
    config = OmegaConf.create(container)
    assert isinstance(config, DictConfig)
    first = pipe.recv()  # errors of the preparation are its answer
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
    endless = config.copy()  # rounds are as many as are asked for; what depends on K goes by the real one
    endless.iterations = 10**9
    notes: list[str] = []
    factory = build.build_factory(config.architecture, config.dataset)
    data = build.build_matched_data(endless, factory)
    compilation = build.build_compilation(config, notes.append)
    evaluator = build.build_evaluator(config, config.architecture, data, compilation)
    parts = Parts(torch.device("cpu"))
    loop = _Loop(pipe, first, parts, config)
    trainer = build.build_trainer(
        endless,
        logger=build.build_loggers(config, scratch, About("benchmark", "benchmark", [], {})),
        callbacks=[
            MetricsLines(config.log_every),
            ProgressBar(config.iterations, config.updates, Console(file=io.StringIO())),
            loop,
        ],
        profiler=parts,
    )
    device = parts.device = trainer.strategy.root_device
    data.load(device)
    condenser = build.build_condenser(config, build.build_start(config, data), data, factory, compilation)
    network = _fresh_network(config, factory, 0).to(device)
    loop.others = {
        "test": lambda: _test(evaluator, network, config.evaluation.networks),
        "evaluation": lambda: _evaluation(evaluator, config),
        "operations": lambda: dataclasses.asdict(operations.count(network, data.shape)),
        "peak": lambda: {"gflops": convolution_peak(device)},
        "settings": lambda: {"engine": condenser.engine.describe(), "notes": notes},
    }
    trainer.fit(condenser, datamodule=data)


def _test(evaluator: Evaluator, network: torch.nn.Module, networks: int) -> Measurement:
    test = evaluator.data.test

    def work() -> None:
        evaluator.accuracies(Ensemble([network]), networks)

    return {"seconds": seconds_of(work, test.device), "images": len(test)}


def _evaluation(evaluator: Evaluator, config: DictConfig) -> Measurement:
    # As many networks at once as an evaluation has, the second time, when all is warm.
    data = evaluator.data
    few = coresets.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
    shorter = dataclasses.replace(evaluator, epochs=EPOCHS_TIMED)
    members = list(range(min(evaluator.together(few), config.evaluation.networks)))
    shorter.trained(few, members)
    seconds = seconds_of(lambda: shorter.trained(few, members), data.train.device)
    return {"seconds": seconds, "networks": len(members), "epochs": EPOCHS_TIMED}


class _Loop(lightning.Callback):
    """Lets the trainer compute an outer iteration each time one is asked for.

    With what surrounds it in a run, draws, log and progress, but without checkpoints and evaluations.
    """

    def __init__(self, pipe: Connection, first: str, parts: Parts, config: DictConfig) -> None:
        self.pipe, self.parts, self._task = pipe, parts, first
        self.others: dict[str, Callable[[], Measurement]] = {}
        synthetic = len(config.dataset.classes) * images_per_class(config)
        in_steps = config.schedule.unit == "steps"
        self._images_a_zeta = min(synthetic, config.train_batch) if in_steps else synthetic
        self._images = config.image_steps * synthetic
        self._mixed = config.image_steps * config.matching.get("mixed_synthetic", 0)

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        self._start(trainer)

    def on_train_batch_end(
        self,
        trainer: lightning.Trainer,
        module: lightning.LightningModule,
        outputs: Any,
        batch: RealBatch,
        batch_idx: int,
    ) -> None:
        assert isinstance(module, Condenser)
        mixed = batch.matched is not None
        sizes = [len(batch.matched[1])] if batch.matched else class_sizes(batch.images)
        self._counts["real_images"] += sum(sizes)
        self._counts["synthetic_images"] += self._mixed if mixed else self._images
        if batch.t == module.updates - 1:
            zeta = sum(of_t[-1] for of_t in module.zeta_used)
            counts = self._counts | {"trained_images": zeta * self._images_a_zeta}
            self.pipe.send(self._watch.stop() | counts)
            self._task = self.pipe.recv()
            self._start(trainer)

    def _start(self, trainer: lightning.Trainer) -> None:
        while self._task in self.others:
            self.pipe.send(self.others[self._task]())
            self._task = self.pipe.recv()
        trainer.should_stop = self._task == "end"
        self._counts = {"real_images": 0, "synthetic_images": 0}
        self._watch = Watch(self.parts, self._task == "profile")


def _serve_textbook(pipe: Connection, first: str, config: DictConfig) -> None:
    config.speed.allocator = "off"  # stock
    prepare_process(config)
    refuse_what_the_textbook_lacks(config)
    device = build.build_trainer(config).strategy.root_device
    data = build.build_data(config).load(device)
    factory = build.build_factory(config.architecture, config.dataset)
    network = plain.with_library_layers(_fresh_network(config, factory, 0).to(device))
    iterate, counts = textbook_iteration(config, factory, data)
    numbers, parts = itertools.count(), Parts(device)

    def iteration(profiled: bool) -> Measurement:
        watch = Watch(parts, profiled)
        iterate(next(numbers), parts.profile)
        return watch.stop() | counts

    def test() -> None:
        batches = torch.arange(len(data.test)).split(PLAIN_TEST_BATCH)
        plain.accuracy(network, (data.test.batch(indices) for indices in batches))

    tasks = {
        "iteration": lambda: iteration(profiled=False),
        "profile": lambda: iteration(profiled=True),
        "test": lambda: {"seconds": seconds_of(test, device), "images": len(data.test)},
        "operations": lambda: dataclasses.asdict(operations.count(network, data.shape)),
    }
    task = first
    while task != "end":
        pipe.send(tasks[task]())
        task = pipe.recv()


def refuse_what_the_textbook_lacks(config: DictConfig) -> None:
    """Raises a ConfigError where the configuration is not the plain loop's."""
    rule = config.matching["_target_"].rpartition(".")[2]
    for key, has, wanted in (
        ("matching", rule, plain.RULES),
        ("matching.class_weights", config.matching.get("class_weights", "equal"), ["equal"]),
        ("matching.mixed_real", config.matching.get("mixed_real", 0), [0]),
        ("schedule.unit", config.schedule.unit, ["epochs"]),
        ("image_steps", config.image_steps, [1]),
        ("network_images", config.network_images, ["synthetic"]),
        ("synthetic", config.synthetic["_target_"].rpartition(".")[2], ["pixels"]),
        ("sampling", "random" if "path" in config.sampling else "representative", ["random"]),
        ("augmentation", "dsa" if is_siamese(config) else "none", ["none"]),
    ):
        if has not in wanted:
            words = " or ".join(map(str, wanted))
            raise ConfigError(f"{key}={has}: the plain loop has {words}; name another side by against=")
    if build.needs_statistics(build.build_factory(config.architecture, config.dataset)):
        raise ConfigError("architecture: the plain loop has no batch norm; name another side by against=")
    epochs_between(config)


def textbook_iteration(
    config: DictConfig, factory: Callable[[], torch.nn.Module], data: CondensationData
) -> tuple[Callable[[int, Callable], None], Measurement]:
    """The outer iteration as a function of k and of `timed`, and how many images each one handles."""
    classes, device = len(data.classes), data.train.device
    start = build.build_start(config, data)
    images, _ = start.batch(torch.arange(len(start)))
    images = images.to(device).unflatten(0, (classes, config.ipc)).clone().requires_grad_()
    optimizer = torch.optim.SGD([images], lr=config.image_lr, momentum=config.image_momentum)
    epochs = epochs_between(config)
    inter_weight = config.matching.get("inter_weight")
    distance = instantiate(config.distance)

    def iteration(k: int, timed: Callable) -> None:
        network = plain.with_library_layers(_fresh_network(config, factory, k)).to(device)
        plain.outer_iteration(
            images,
            optimizer,
            network,
            (data.draw(k, t).images[:] for t in range(config.updates)),
            rule=config.matching["_target_"].rpartition(".")[2],
            distance=distance,
            k=k,
            inter_weight=classes if inter_weight is None else inter_weight,
            shares=[1 / classes] * classes,
            epochs=epochs,
            network_lr=config.network_lr,
            network_momentum=config.network_momentum,
            train_batch=config.train_batch,
            timed=timed,
        )

    counts = {
        "real_images": config.updates * sum(min(config.real_batch, n) for n in data.train.counts),
        "synthetic_images": config.updates * classes * config.ipc,
        "trained_images": sum(epochs) * classes * config.ipc,
    }
    return iteration, counts


def epochs_between(config: DictConfig) -> list[int]:
    """The network's epochs after each update but the last.

    Raises:
        ConfigError: they depend on what is measured on the way.
    """

    class Unknown:
        def real(self) -> float:
            raise ConfigError("schedule: its work depends on the data; benchmark fixed, adaptive or table")

        synthetic = real

    schedule = build.build_schedule(config)
    return [sum(1 for _ in schedule(t, Unknown())) for t in range(config.updates - 1)]


def _fresh_network(config: DictConfig, factory: Callable[[], torch.nn.Module], k: int) -> torch.nn.Module:
    with seeded(config.seed, "network", k):
        return factory()
