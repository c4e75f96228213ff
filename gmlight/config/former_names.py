"""Translates former names of functions and classes, which stored sets, run folders and users' yaml use."""

from collections.abc import Mapping
from typing import Any

# Former name of a module or function -> present name. The longest entry that matches counts.
FORMER_NAMES = {
    "gmlight.augmentation": "gmlight.data.augmentation",
    "gmlight.coresets": "gmlight.condensation.initialization",
    "gmlight.data.at_random": "gmlight.data.images.random_sampling",
    "gmlight.datasets": "gmlight.data.datasets",
    "gmlight.datasets.image_folder": "gmlight.data.image_folders.image_folder",
    "gmlight.datasets.image_folder_classes": "gmlight.data.image_folders.image_folder_classes",
    "gmlight.datasets.tiny_imagenet": "gmlight.data.image_folders.tiny_imagenet",
    "gmlight.datasets.tiny_imagenet_classes": "gmlight.data.image_folders.tiny_imagenet_classes",
    "gmlight.distances": "gmlight.matching.distances",
    "gmlight.formats": "gmlight.artifacts.export_formats",
    "gmlight.loggers": "gmlight.reporting.loggers",
    "gmlight.matching.inter": "gmlight.matching.rules.inter",
    "gmlight.matching.interleaved": "gmlight.matching.rules.interleaved",
    "gmlight.matching.intra": "gmlight.matching.rules.intra",
    "gmlight.matching.multilevel": "gmlight.matching.rules.multilevel",
    "gmlight.representatives": "gmlight.condensation.sampling",
    "gmlight.schedules": "gmlight.condensation.schedules",
    "gmlight.siamese": "gmlight.data.dsa",
    "gmlight.sweeps": "gmlight.config.sweeps",
    "gmlight.synthetic": "gmlight.condensation.synthetic",
    "gmlight.synthetic.noise": "gmlight.condensation.initialization.noise",
}
# Targets that were partial functions before: `_partial_: true` beside their former name is dropped.
BUILT_AT_ONCE = tuple(
    f"gmlight.matching.rules.{name}" for name in ("inter", "interleaved", "intra", "multilevel")
)
# Keys that older runs lack, with the value that a run without them had.
LATER_KEYS: dict[str, Any] = {
    "matching.layers": "all",
    "matching.step": "all",
    "synthetic_batch": 0,
    "multi_size": False,
    "image_lr_warmup": 0,
    "image_lr_decay": "none",
    "clip_images": False,
    "network_weight_decay": 0,
    "network_start": "fresh",
    "pool.networks": 5,
    "pool.epochs": 2,
    "pool.least": 0.01,
    "pool.most": 0.09,
    "network_cutmix": 0,
    "evaluation.falls": [0.5],
    "evaluation.fall": 0.1,
    "evaluation.precision": "float32",
    "speed.network_precision": "float32",
}
# Keys that older runs lack and that act through choices which those runs could not make.
LATER_KEYS_OF_CHOICES = ("dataset.occlusion", "dataset.load.names")
_PRESENT_NAMES = {present: former for former, present in FORMER_NAMES.items()}


def with_present_names(node: Any) -> Any:
    """Copies plain containers, with the present name in every `_target_`."""
    return _without_partial(_renamed(node, FORMER_NAMES))


def with_former_names(node: Any) -> Any:
    """Copies plain containers, with the oldest name in every `_target_`; digests use these names."""
    return _renamed(node, _PRESENT_NAMES)


def present_name(target: str) -> str:
    """Translates `gmlight.distances.cos` to `gmlight.matching.distances.cos`; keeps other names."""
    return _look_up(target, FORMER_NAMES)


def name_keys(node: Mapping[Any, Any]) -> list[str]:
    """Lists the keys of a node whose values name a function or class."""
    target = node.get("_target_")
    if not isinstance(target, str):
        return []
    finds = target.startswith("hydra.utils.get_") and isinstance(node.get("path"), str)
    return ["_target_", "path"] if finds else ["_target_"]


def _without_partial(node: Any) -> Any:
    if isinstance(node, list):
        return [_without_partial(entry) for entry in node]
    if not isinstance(node, dict):
        return node
    dropped = {"_partial_"} if node.get("_target_") in BUILT_AT_ONCE else set()
    return {key: _without_partial(value) for key, value in node.items() if key not in dropped}


def _renamed(node: Any, names: dict[str, str]) -> Any:
    if isinstance(node, list):
        return [_renamed(entry, names) for entry in node]
    if not isinstance(node, dict):
        return node
    named = {key: node[key] for key in name_keys(node)}
    return {key: _renamed(value, names) for key, value in node.items()} | {
        key: _look_up(target, names) for key, target in named.items()
    }


def _look_up(target: str, names: dict[str, str]) -> str:
    fitting = [name for name in names if target == name or target.startswith(f"{name}.")]
    if not fitting:
        return target
    name = max(fitting, key=len)
    return names[name] + target.removeprefix(name)
