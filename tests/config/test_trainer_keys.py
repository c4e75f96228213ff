"""Every argument of lightning.Trainer is passed on or refused by name."""

import inspect

import lightning
import pytest
from omegaconf import OmegaConf, open_dict

from gmlight.config.error_lines import explain_error
from gmlight.config.trainer_keys import PASSED_ON, REFUSED, check_trainer
from gmlight.config.validate import check
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


@pytest.mark.parametrize(
    ("command_key", "words", "message"),
    [
        ("run", "profiler=simple", "has no effect here, only in gmlight.train; leave it out"),
        ("run", "enable_progress_bar=False", "has no effect here, only in gmlight.train; leave it out"),
        ("run", "detect_anomaly=True", "has no effect here, only in gmlight.train; leave it out"),
        ("dry_run", "profiler=simple", "dry_run=true uses its own profiler; leave out one of the two"),
        ("against", "profiler=simple", "the benchmark uses its own profiler; use it in gmlight.train"),
    ],
)
def test_an_argument_without_effect_is_refused_by_name(command_key: str, words: str, message: str) -> None:
    config = composed(f"+trainer.{words}" if "profiler" not in words else f"trainer.{words}")
    check(config)  # in gmlight.train it has an effect
    with open_dict(config):
        config[command_key] = {"run": "a folder", "dry_run": True, "against": "plain"}[command_key]
    with pytest.raises(ConfigError) as error:
        check(config)
    assert str(error.value) == f"trainer.{words}: {message}"
    with open_dict(config):
        del config.trainer[words.split("=")[0]]
    check(config)


def test_an_unknown_argument() -> None:
    with pytest.raises(ConfigError, match=r"^trainer.max_step: not an argument of lightning.Trainer$"):
        check_trainer(OmegaConf.create({"max_step": 3}))


def test_override_without_a_plus_prints_the_same_line() -> None:
    """Hydra would suggest `+trainer.max_steps=3`, which is refused as well."""
    with pytest.raises(Exception, match="Could not override") as error:
        composed("trainer.max_steps=3")
    assert explain_error(error.value) == "trainer.max_steps: set iterations and updates instead"


# Accepted besides Lightning's own default, because gmlight passes or checks them.
ALSO_ACCEPTED: dict[str, tuple] = {
    "check_val_every_n_epoch": (), "enable_checkpointing": (False,), "fast_dev_run": (0,),
    "inference_mode": (False,), "max_epochs": (-1,), "num_sanity_val_steps": (0,), "overfit_batches": (0,),
    "precision": (32, "32", "32-true"), "use_distributed_sampler": (False,),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_the_accepted_values_are_lightnings_defaults(name: str) -> None:
    default = inspect.signature(lightning.Trainer).parameters[name].default
    replaced = {"enable_checkpointing", "inference_mode", "max_epochs", "max_steps", "num_sanity_val_steps",
                "use_distributed_sampler"}  # fmt: skip
    expected = [*([] if name in replaced else [default]), *ALSO_ACCEPTED.get(name, ())]
    accepted = [(type(value), value) for value in REFUSED[name][0]]
    assert sorted(map(str, accepted)) == sorted(str((type(value), value)) for value in expected)
