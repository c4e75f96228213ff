"""Builds evaluators, and the sets that are evaluated beside the condensed one."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gmlight.builders.parts import build_augmentation, build_factory, unless_auto
from gmlight.condensation import initialization
from gmlight.config.compose import choose
from gmlight.config.former_names import with_former_names
from gmlight.config.labels import protocol_label
from gmlight.data.augmentation import CutMix
from gmlight.data.datamodule import CondensationData
from gmlight.runtime.compile import Compilation
from gmlight.runtime.seeding import generator
from gmlight.training.evaluator import EvaluatedSet, Evaluator


def evaluation_architecture(architecture: DictConfig, batch_norm: str) -> DictConfig:
    """Replaces batch norm in an architecture, for evaluation.

    Args:
        architecture: its node in the configuration.
        batch_norm: the norm to use in the place of batch norm.
    """
    target = architecture.copy()
    if target.get("norm") == "batch":
        target.norm = batch_norm
    return target


def build_evaluators(
    config: DictConfig,
    data: CondensationData,
    source: str,
    compilation: Compilation,
    console: Console,
) -> dict[str, Evaluator]:
    """Builds an evaluator for each of `evaluation.architectures`.

    Args:
        config: of a run or of a command on a set.
        data: need not be loaded yet.
        source: label of the configuration's own architecture, which is evaluated if none are listed.
        compilation: whether testing is compiled.
        console: gets a line if a norm is replaced.

    Returns:
        Evaluators by the label of their architecture in tables.
    """
    own = source.split(",")[0]  # of "convnet, width=64"
    evaluators = {}
    for name in config.evaluation.architectures or [own]:
        node = config.architecture if name == own else choose(config, "architecture", name)
        target = evaluation_architecture(node, config.evaluation.batch_norm)
        label = source if name == own else name
        if target != node:
            console.print(f"{name} is evaluated with instance norm in the place of batch norm")
            label += " (instance)"
        option = None if name == own else name
        evaluators[label] = build_evaluator(config, target, data, compilation, option)
    return evaluators


def build_quick_evaluator(config: DictConfig, data: CondensationData, compilation: Compilation) -> Evaluator:
    """Builds what evaluates the synthetic set during condensation, on the run's own architecture."""
    target = evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    return build_evaluator(config, target, data, compilation)


def build_evaluator(
    config: DictConfig,
    architecture: DictConfig,
    data: CondensationData,
    compilation: Compilation,
    option: str | None = None,
) -> Evaluator:
    """Builds an evaluator of one architecture, with the settings of `config.evaluation`."""
    protocol = config.evaluation
    return Evaluator(
        build_factory(architecture, config.dataset, option),
        data,
        epochs=protocol.epochs,
        lr=protocol.lr,
        momentum=protocol.momentum,
        weight_decay=protocol.weight_decay,
        batch_size=protocol.batch_size,
        augmentation=build_augmentation(config),
        cutmix=CutMix(protocol.cutmix) if protocol.get("cutmix") else None,
        seed=config.seed,
        test_batch=unless_auto(protocol.test_batch),
        networks_at_once=unless_auto(protocol.networks_at_once),
        compilation=compilation,
        protocol=protocol_label(config),
    )


def evaluation_protocol(config: DictConfig) -> dict[str, Any]:
    """Collects the settings that accuracies depend on, apart from the name of the architecture."""
    keys = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "batch_norm", "cutmix")
    # With the oldest names, so that accuracies logged by older versions are still known.
    plain: Any = with_former_names(OmegaConf.to_container(config, resolve=True))
    nodes = {key: plain.get(key) for key in ("architecture", "augmentation", "dataset", "holdout", "seed")}
    return nodes | {key: plain["evaluation"].get(key) for key in keys}


def build_baselines(config: DictConfig, data: CondensationData) -> list[EvaluatedSet]:
    """Builds the sets that are evaluated beside the synthetic set, from loaded data."""
    networks = config.evaluation.baselines
    baselines = []
    if networks.random:
        images = initialization.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
        baselines.append(EvaluatedSet("random images", images, networks.random))
    if networks.whole:
        baselines.append(EvaluatedSet("whole train set", data.train, networks.whole))
    return baselines
