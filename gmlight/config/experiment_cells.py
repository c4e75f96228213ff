"""Cells of an experiment that are blank or take other values."""

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf


def settle_cell(config: DictConfig) -> None:
    """Where the command line is a cell that its experiment has at other values, sets these."""
    for cell in cells_here(config):
        config.merge_with(cell.get("set", {}))


def blank_cell(config: DictConfig) -> str | None:
    """Why its experiment leaves this cell blank; null: it does not."""
    return next((cell.blank for cell in cells_here(config) if "blank" in cell), None)


def cells_here(config: DictConfig) -> list[DictConfig]:
    choices = HydraConfig.get().runtime.choices

    def here(key: str) -> str:
        return str(choices[key] if key in choices else OmegaConf.select(config, key))

    return [
        cell
        for cell in config.get("cells", [])
        if all(here(key) in map(str, values) for key, values in cell.when.items())
    ]
