"""Every argument of lightning.Trainer is passed on or refused by name."""

import inspect

import lightning
import pytest
from omegaconf import OmegaConf

from gmlight.config.error_lines import explain_error
from gmlight.config.trainer_keys import PASSED_ON, REFUSED, check_trainer
from gmlight.errors import ConfigError
from helpers.runs import composed

ARGUMENTS = set(inspect.signature(lightning.Trainer).parameters)


def test_every_argument_is_passed_on_or_refused() -> None:
    assert PASSED_ON | REFUSED.keys() == ARGUMENTS
    assert not PASSED_ON & REFUSED.keys()


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_argument_that_gmlight_sets_is_refused_by_name(name: str) -> None:
    values, instead = REFUSED[name]
    with pytest.raises(ConfigError) as error:
        check_trainer(OmegaConf.create({name: "something else"}))
    assert str(error.value) == f"trainer.{name}=something else: {instead}"
    for value in values:
        check_trainer(OmegaConf.create({name: value}))


@pytest.mark.parametrize("precision", ["16-mixed", "bf16-mixed", "64-true", 16, "64"])
def test_another_precision_names_the_key_to_set(precision: str | int) -> None:
    with pytest.raises(ConfigError, match=rf"^trainer.precision={precision}: set speed.precision instead$"):
        check_trainer(OmegaConf.create({"precision": precision}))


def test_an_environment_variable_of_lightning_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PL_TRAINER_MAX_TIME", "00:00:01:00")
    with pytest.raises(ConfigError, match="PL_TRAINER_MAX_TIME is set: stop the run with SIGTERM"):
        check_trainer(OmegaConf.create({}))


def test_an_unknown_argument() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.max_step: not an argument of lightning.Trainer$"):
        check_trainer(OmegaConf.create({"max_step": 3}))


def test_override_without_a_plus_prints_the_same_line() -> None:
    """Hydra would suggest `+trainer.max_steps=3`, which is refused as well."""
    with pytest.raises(Exception, match="Could not override") as error:
        composed("trainer.max_steps=3")
    assert explain_error(error.value) == "trainer.max_steps: set iterations and updates instead"
