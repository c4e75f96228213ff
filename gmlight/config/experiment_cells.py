"""Exceptions in an experiment's table: cells that stay blank or set other values."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def apply_cell(config: DictConfig) -> None:
    """Sets the values of every cell that matches this configuration, in place."""
    for cell in find_cells(config):
        config.merge_with(cell.get("set", {}))


def blank_cell(config: DictConfig) -> str | None:
    """Returns the reason why the experiment skips this configuration; None if it runs."""
    return next((cell.blank for cell in find_cells(config) if "blank" in cell), None)


def find_cells(config: DictConfig) -> list[DictConfig]:
    """Returns the entries of `cells` whose `when` matches this configuration."""
    choices = HydraConfig.get().runtime.choices

    def value(key: str) -> str:
        return str(choices[key] if key in choices else OmegaConf.select(config, key))

    return [
        cell
        for cell in config.get("cells", [])
        if all(value(key) in map(str, values) for key, values in cell.when.items())
    ]
