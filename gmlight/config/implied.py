"""The configuration that a run's choices alone compose; labels name what differs from it."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import hydra
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.record import original_dataset
from gmlight.config.experiment_cells import apply_paper_cells
from gmlight.config.literal import literal
from gmlight.config.overrides import flat, override_key, quoted
from gmlight.config.values import built_in_dataset, data_root
from gmlight.runtime.paths import CONF_DIR

# Groups whose options tables show by themselves, and groups that are compared with what those imply.
_SHOWN_GROUPS = ("dataset", "scale", "architecture", "method", "augmentation", "trainer")
COMPARED_GROUPS = ("matching", "distance", "schedule", "initialization", "synthetic", "sampling")
# What the paper's protocol fixes for a dataset; copies in another form are compared with it.
_FREE_FOR_A_DATASET = (
    "convnet_depth", "evaluation_epochs", "evaluation_augmentation", "flip", "formation_factor",
    "occlusion",
)  # fmt: skip
_FIXED_FOR_A_DATASET = (*_FREE_FOR_A_DATASET, "channels", "size", "mean", "std")


@dataclass(frozen=True)
class Reference:
    """What a run's choices imply.

    Args:
        options: the implied option of each group in `COMPARED_GROUPS`.
        config: the configuration of the chosen options, without any value that was set besides.
    """

    options: dict[str, str]
    config: DictConfig


def read_reference(config: DictConfig, choices: Mapping[str, str]) -> Reference:
    """Composes what the chosen options alone give: no experiment, and no value from the command line.

    Where one of the paper's tables has a value of its own, as in footnote 5, it is the reference's.

    Args:
        config: of the run, completed.
        choices: the chosen option of each group.
    """
    words = [f"ipc={config.ipc}"]
    words += [
        f"{group}={choices[group]}" for group in _SHOWN_GROUPS if _is_compared_with(group, choices[group])
    ]
    if choices["evaluation"] == choices["augmentation"] == "idc":  # a protocol with a name of its own
        words.append("evaluation=idc")
    with _hydra() as search_path:
        implied = hydra.compose("train", [*words, *search_path], return_hydra_config=True)
        options = {group: implied.hydra.runtime.choices[group] for group in COMPARED_GROUPS}
        words += [
            f"{group}={choices[group]}"
            for group in COMPARED_GROUPS
            if choices[group] != options[group] and _is_compared_with(group, choices[group])
        ]
        reference = hydra.compose("train", [*words, *search_path])
    _follow_built_in_data(reference.dataset, config.dataset.name, choices["dataset"])
    reference.dataset.name = config.dataset.name
    _fill_in_described_data(reference.dataset, config, choices["dataset"])
    apply_paper_cells(reference, choices)
    return Reference(options, reference)


def is_built_in(group: str, option: str) -> bool:
    """Whether the option is gmlight's own, not from a user's folder."""
    return (CONF_DIR / group / f"{option}.yaml").exists()


def differences(config: DictConfig, reference: DictConfig) -> dict[str, Any]:
    """Lists the resolved values that differ from the reference and were set, by key.

    Values that follow from others are left out, such as `architecture.depth` from `dataset.convnet_depth`.
    The value of a key that was removed is None.
    """
    written, expected = (dict(flat(_plain(each, resolve=False))) for each in (config, reference))
    resolved, expected_values = (dict(flat(_plain(each, resolve=True))) for each in (config, reference))
    added = {key for key in written if key not in expected}
    changed = {
        key
        for key in written.keys() & expected.keys()
        if written[key] != expected[key] and resolved.get(key) != expected_values.get(key)
    }
    # `schedule.epochs=5` replaces schedule.epochs.0, schedule.epochs.1, ...
    replaced = tuple(f"{key}." for key in added)
    above = {key.rsplit(".", depth)[0] for key in added for depth in range(1, key.count(".") + 1)}
    removed = {key for key in expected.keys() - written.keys() if not key.startswith(replaced)} - above
    found = [key for key in written if key in added | changed] + [key for key in expected if key in removed]
    return {key: resolved.get(key) for key in map(str, found)}


def as_words(values: Mapping[str, Any]) -> list[str]:
    """Formats values as on a command line: `distance.weight=0.1`, `dataset.size=[32,32]`."""
    return [f"{key}={_as_text(value)}" for key, value in values.items()]


def _is_compared_with(group: str, option: str) -> bool:
    # A user's option may hold any value: it is compared with the default option, so that labels name them.
    return is_built_in(group, option) or group == "dataset"


def _as_text(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, list):
        return f"[{','.join(map(_as_text, value))}]"
    return str(value).lower() if isinstance(value, bool) else str(value)


def _plain(config: DictConfig, *, resolve: bool) -> dict[Any, Any]:
    content: Any = OmegaConf.to_container(config, resolve=resolve)
    return content


@contextlib.contextmanager
def _hydra() -> Iterator[list[str]]:
    # Yields the override that adds the user's folders of options, behind conf/.
    folders = [
        quoted(f"{source.schema}://{source.path}")
        for source in HydraConfig.get().runtime.config_sources
        if source.provider not in ("hydra", "main", "schema")
    ]
    words = [f"hydra.searchpath=[{','.join(folders)}]"]
    with contextlib.ExitStack() as stack:
        if not GlobalHydra.instance().is_initialized():  # after a run inside a program
            stack.enter_context(hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"))
        yield words if folders else []


def _follow_built_in_data(reference: DictConfig, name: str, option: str) -> None:
    # Images of a paper's dataset in another form are compared with it; a user's dataset with a folder.
    built_in = {path.stem for path in (CONF_DIR / "dataset").glob("*.yaml")}
    original = original_dataset(name)
    if original in built_in - {option}:
        _copy_keys(original, reference, _FIXED_FOR_A_DATASET)
    elif option not in built_in:
        _copy_keys("image_folder", reference, _FREE_FOR_A_DATASET)


def _copy_keys(dataset: str, reference: DictConfig, keys: Iterable[str]) -> None:
    values = built_in_dataset(dataset)
    for key in keys:
        if key in reference:  # a dataset of one's own may lack some
            reference[key] = values[key]


def _fill_in_described_data(reference: DictConfig, config: DictConfig, option: str) -> None:
    # Keys that are null until the data are known: equal values were not set by a user.
    dataset = config.dataset
    if "find_classes" in dataset and reference.get("classes") is None:
        reference.classes = literal(hydra.utils.instantiate(dataset.find_classes)(data_root(config)))
    if option == "in_memory":
        typed = {override_key(word) for word in HydraConfig.get().overrides.task}
        for key in [str(key) for key, value in reference.items() if value is None]:
            if f"dataset.{key}" not in typed:
                reference[key] = dataset[key]
