"""Cells of an experiment that are blank or take other values."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def apply_cell(config: DictConfig) -> None:
    """Sets the values of the experiment's cell that this configuration is, in place."""
    for cell in find_cells(config):
        config.merge_with(cell.get("set", {}))


def blank_cell(config: DictConfig) -> str | None:
    """The reason why the experiment leaves this cell blank; None if it does not."""
    return next((cell.blank for cell in find_cells(config) if "blank" in cell), None)


def find_cells(config: DictConfig) -> list[DictConfig]:
    """The entries of `cells` whose `when` this configuration fulfils."""
    choices = HydraConfig.get().runtime.choices

    def value(key: str) -> str:
        return str(choices[key] if key in choices else OmegaConf.select(config, key))

    return [
        cell
        for cell in config.get("cells", [])
        if all(value(key) in map(str, values) for key, values in cell.when.items())
    ]
