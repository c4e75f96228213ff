"""Builds the evaluators and the baselines of the synthetic set."""

from typing import Any

from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from gmlight.artifacts.robust_scores import RANDOM, WHOLE
from gmlight.builders.parts import build_augmentation, build_factory, unless_auto
from gmlight.condensation import initialization
from gmlight.config.compose import choose
from gmlight.config.former_names import LATER_KEYS, with_former_names
from gmlight.config.labels import protocol_label
from gmlight.data.augmentation import CutMix, NamedAugmentation
from gmlight.data.datamodule import CondensationData
from gmlight.runtime.autocast import autocast_type
from gmlight.runtime.compile import Compilation
from gmlight.runtime.seeding import generator
from gmlight.training.evaluator import EvaluatedSet, Evaluator
from gmlight.training.protocol import EvaluationProtocol
from gmlight.training.steps import SGDSettings

# Keys that sets of older versions lack, with the paper's values (section 4.1).
LATER: dict[str, Any] = {key: LATER_KEYS[f"evaluation.{key}"] for key in ("falls", "fall", "precision")}


def evaluation_architecture(architecture: DictConfig, batch_norm: str) -> DictConfig:
    """Copies an architecture's node for evaluation.

    Args:
        architecture: the node.
        batch_norm: the norm that replaces batch norm.
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
    protocol: EvaluationProtocol | None = None,
) -> dict[str, Evaluator]:
    """Builds an evaluator for each entry of evaluation.architectures.

    Args:
        config: the composed configuration.
        data: the data module.
        source: label of the run's architecture, which is evaluated if none are listed.
        compilation: decides whether tests are compiled.
        console: gets a line for each architecture whose batch norm is replaced.
        protocol: how networks are trained; None: the configuration's.
    """
    source_name = source.split(",")[0]  # "convnet, width=64" is this run's convnet
    evaluators, protocol = {}, protocol or build_protocol(config)
    for name in config.evaluation.architectures or [source_name]:
        node = config.architecture if name == source_name else choose(config, "architecture", name)
        target = evaluation_architecture(node, config.evaluation.batch_norm)
        label = source if name == source_name else name
        if target != node:
            console.print(f"{name} is evaluated with instance norm instead of batch norm")
            label += " (instance)"
        option = None if name == source_name else name
        evaluators[label] = build_evaluator(config, target, data, compilation, option, protocol)
    return evaluators


def build_quick_evaluator(
    config: DictConfig, data: CondensationData, compilation: Compilation, protocol: EvaluationProtocol
) -> Evaluator:
    """Builds what evaluates the synthetic set during condensation, on the run's own architecture."""
    target = evaluation_architecture(config.architecture, config.evaluation.batch_norm)
    return build_evaluator(config, target, data, compilation, protocol=protocol)


def build_evaluator(
    config: DictConfig,
    architecture: DictConfig,
    data: CondensationData,
    compilation: Compilation,
    option: str | None = None,
    protocol: EvaluationProtocol | None = None,
) -> Evaluator:
    """Builds the evaluator of an architecture.

    Args:
        config: the composed configuration.
        architecture: the node of the architecture.
        data: the data module.
        compilation: decides whether tests are compiled.
        option: the architecture's name, if it is not the chosen one.
        protocol: how networks are trained; None: the configuration's.
    """
    return Evaluator(
        build_factory(architecture, config.dataset, option),
        data,
        protocol or build_protocol(config),
        seed=config.seed,
        test_batch=unless_auto(config.evaluation.test_batch),
        networks_at_once=unless_auto(config.evaluation.networks_at_once),
        compilation=compilation,
    )


def build_protocol(config: DictConfig, augmentation: NamedAugmentation | None = None) -> EvaluationProtocol:
    """Builds how evaluation networks are trained, from config.evaluation.

    Args:
        config: the composed configuration.
        augmentation: of the training; None: the configuration's.
    """
    node = config.evaluation
    return EvaluationProtocol(
        epochs=node.epochs,
        sgd=SGDSettings(node.batch_size, node.lr, node.momentum, node.weight_decay),
        augmentation=augmentation or build_augmentation(config),
        cutmix=CutMix(node.cutmix) if node.get("cutmix") else None,
        name=protocol_label(config),
        falls=tuple(node.get("falls", LATER["falls"])),
        fall=node.get("fall", LATER["fall"]),
        precision=autocast_type(node.get("precision", LATER["precision"])),
    )


def evaluation_protocol(config: DictConfig) -> dict[str, Any]:
    """Collects the settings that an accuracy depends on, as plain containers.

    The set, the architecture's name and the network's number are not included.
    """
    keys = ("epochs", "batch_size", "lr", "momentum", "weight_decay", "batch_norm", "cutmix")
    # With the oldest names, so that accuracies stored by older versions are found.
    plain: Any = with_former_names(OmegaConf.to_container(config, resolve=True))
    nodes = {key: plain.get(key) for key in ("architecture", "augmentation", "dataset", "holdout", "seed")}
    nodes["dataset"].pop("occlusion", None)  # acts through the augmentation and CutMix, which are included
    settings = nodes | {key: plain["evaluation"].get(key) for key in keys}
    # The paper's values of later keys are left out, so that accuracies stored by older versions are found.
    for together in (("falls", "fall"), ("precision",)):
        later = {key: plain["evaluation"].get(key, LATER[key]) for key in together}
        if any(value != LATER[key] for key, value in later.items()):
            settings |= later
    return settings


def build_baselines(config: DictConfig, data: CondensationData) -> list[EvaluatedSet]:
    """Builds the baseline sets, from loaded data."""
    networks = config.evaluation.baselines
    baselines = []
    if networks.random:
        images = initialization.random(data.train, config.ipc, generator(config.seed, "random-baseline"))
        baselines.append(EvaluatedSet(RANDOM, images, networks.random))
    if networks.whole:
        baselines.append(EvaluatedSet(WHOLE, data.train, networks.whole))
    return baselines
