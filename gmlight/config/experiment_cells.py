"""Exceptions in an experiment's table: cells that stay blank or set other values."""

from collections.abc import Iterable, Mapping
from functools import cache
from typing import Any

import yaml
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from gmlight.artifacts.record import original_dataset
from gmlight.config.overrides import flat, override_key
from gmlight.runtime.paths import CONF_DIR

# An entry of `cells`: `when`, values by key, and `blank` or `set`.
Cell = Mapping[str, Any]


def apply_cell(config: DictConfig) -> None:
    """Sets the values of every cell that matches this configuration, in place; typed values stay."""
    typed = {override_key(word) for word in HydraConfig.get().overrides.task}
    for key, value in _settings(config, config.get("cells", []), HydraConfig.get().runtime.choices):
        if key not in typed:
            OmegaConf.update(config, key, value)


def apply_paper_cells(config: DictConfig, choices: Mapping[str, str]) -> None:
    """Sets the values that the paper's tables have for this configuration, in place.

    Args:
        config: what the choices imply.
        choices: the chosen option of each group.
    """
    for key, value in _settings(config, _paper_cells(), choices):
        OmegaConf.update(config, key, value)


def blank_cell(config: DictConfig) -> str | None:
    """Returns the reason why the experiment skips this configuration; None if it runs."""
    choices = HydraConfig.get().runtime.choices
    cells = [cell for cell in config.get("cells", []) if "blank" in cell]
    return next((cell.blank for cell in cells if _matches(cell, config, choices)), None)


@cache
def _paper_cells() -> list[Cell]:
    paths = sorted((CONF_DIR / "experiment").glob("table*.yaml"))
    return [cell for path in paths for cell in yaml.safe_load(path.read_text()).get("cells", [])]


def _settings(config: DictConfig, cells: Iterable[Cell], choices: Mapping[str, str]) -> list[tuple[str, Any]]:
    matching = [cell for cell in cells if "set" in cell and _matches(cell, config, choices)]
    return [setting for cell in matching for setting in flat(cell["set"])]


def _matches(cell: Cell, config: DictConfig, choices: Mapping[str, str]) -> bool:
    def found(key: str) -> set[str]:
        values = {str(choices[key] if key in choices else OmegaConf.select(config, key))}
        # The images of a paper's dataset may also be in a folder.
        return values | {original_dataset(config.dataset.name)} if key == "dataset" else values

    return all(found(key) & set(map(str, values)) for key, values in cell["when"].items())
