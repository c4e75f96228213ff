"""Composes a command's configuration inside a running program, as the command line does."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hydra
import yaml
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from hydra.version import VersionBase
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from gmlight.config.compose import register_resolvers
from gmlight.config.error_lines import explain_error
from gmlight.config.overrides import quoted
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR


@contextmanager
def composed(
    name: str,
    words: Sequence[str],
    config_dir: Path | None = None,
    filled: Mapping[str, Any] | None = None,
) -> Iterator[tuple[DictConfig, Path]]:
    """Composes conf/<name>.yaml from the words of a command line.

    Hydra's process-wide state belongs to this configuration inside the block and is restored afterwards, so
    that the program may use Hydra itself.

    Args:
        name: of the command.
        words: overrides.
        config_dir: a folder with further options, as `--config-dir`; None: only conf/.
        filled: values by key, for keys that are null in the configuration.

    Yields:
        The configuration and the run folder that it names.

    Raises:
        ConfigError: an override is invalid.
    """
    if config_dir is not None and not config_dir.is_dir():
        raise ConfigError(f"config_dir={config_dir}: no such folder")
    register_resolvers()
    searched = (
        [] if config_dir is None else [f"hydra.searchpath=[{quoted(f'file://{config_dir.resolve()}')}]"]
    )
    initialized, config_before = GlobalHydra.instance().hydra, HydraConfig.instance().cfg
    version_before = VersionBase.instance().version_base
    GlobalHydra.instance().clear()
    try:
        with hydra.initialize_config_dir(str(CONF_DIR), version_base="1.3"):
            config = _compose(name, [*words, *searched])
            for key, value in (filled or {}).items():
                if OmegaConf.select(config, key) is None:
                    OmegaConf.update(config, key, value)
            HydraConfig.instance().set_config(config)
            folder = Path(config.hydra.run.dir)
            with open_dict(config):
                del config["hydra"]
            yield config, folder
    finally:
        GlobalHydra.instance().hydra, HydraConfig.instance().cfg = initialized, config_before
        VersionBase.instance().version_base = version_before


def _compose(name: str, words: list[str]) -> DictConfig:
    try:
        return hydra.compose(name, words, return_hydra_config=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise ConfigError(str(explain_error(error))) from None
