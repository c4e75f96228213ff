"""Misspelled keys and other notations: one line says how to write it."""

from typing import Any

import pytest
from omegaconf import open_dict

from gmlight.config.spelling import check_keys, check_spelling, explain_unknown_key
from gmlight.errors import ConfigError
from helpers.runs import composed


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["ipcs=1"], "ipcs: no such key, did you mean ipc? --help lists the keys"),
        (["datset=mnist"], "datset: no such key, did you mean dataset? --help lists the keys"),
        (["width=8"], "width: no such key, did you mean architecture.width? --help lists the keys"),
        (["+zzz=3"], "zzz: no such key; --help lists the keys"),
        (["--ipc", "1"], "--ipc 1: write ipc=1"),
        (["--ipc=1"], "--ipc=1: write ipc=1"),
        (["ipc", "1"], "ipc 1: write ipc=1"),
        (["ipc", "=", "1"], "ipc = 1: write ipc=1"),
        (["ipc=", "1"], "ipc= 1: write ipc=1"),
        (["ipc", "=1"], "ipc =1: write ipc=1"),
        (["--real-batch", "8"], "--real-batch 8: write real_batch=8"),
        (["--ipc"], "--ipc: write ipc=<value>"),
        (["ipc"], "ipc: write ipc=<value>"),
        (["--real-batch"], "--real-batch: write real_batch=<value>"),
        (["mnist"], "mnist: must be key=value, in quotes if it contains spaces; --help lists the keys"),
        (["--config-path", "x"],
         "--config-path: conf/ cannot be replaced; add options of yours with --config-dir <folder>"),
        (["-cn=x"], "-cn: conf/ cannot be replaced; add options of yours with --config-dir <folder>"),
        (["~seed"], "~seed: this key cannot be removed; set it to another value"),
    ],
    ids=str,
)  # fmt: skip
def test_words_are_refused_with_the_right_way_to_write_them(words: list[str], line: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_spelling("train", words)
    assert str(error.value) == line


@pytest.mark.parametrize(
    "words",
    [
        ["ipc=1", "-m", "dataset=mnist,cifar10", "+callbacks.x._target_=a.B", "++architecture.width=4"],
        ["--help"],
        ["-sc", "query=bash"],
        ["--cfg", "job", "--resolve", "hydra.run.dir=x", "hydra/launcher=joblib"],
        ["--config-dir", "mine", "own_key=1"],
        ["~callbacks.x", "+trainer.limit=1"],
        ["trust=mine", "resume=a b", "seed=0"],
    ],
    ids=str,
)
def test_other_words_are_left_to_hydra(words: list[str]) -> None:
    check_spelling("train", words)


@pytest.mark.parametrize(
    ("group", "key", "line"),
    [
        ("evaluation", "network", "evaluation.network: no such key, did you mean evaluation.networks?"),
        ("speed", "precison", "speed.precison: no such key, did you mean speed.precision?"),
        ("dataset", "convnet_dept", "dataset.convnet_dept: no such key, did you mean dataset.convnet_depth?"),
        (None, "image_rl", "image_rl: no such key, did you mean image_lr?"),
    ],
)
def test_an_added_key_that_nothing_reads_is_refused(group: str | None, key: str, line: str) -> None:
    config: Any = composed("dataset=mnist")
    check_keys(config)
    with open_dict(config):
        (config if group is None else config[group])[key] = 1
    with pytest.raises(ConfigError, match=line.replace("?", r"\?")):
        check_keys(config)


def test_a_key_of_another_option_is_not_its_own_correction() -> None:
    line = "architecture.depth: no such key in the chosen option of architecture, only in others"
    assert explain_unknown_key("architecture.depth").startswith(line)


def test_arguments_of_parts_may_be_added() -> None:
    check_keys(composed("+architecture.own=1", "+callbacks.x._target_=a.B", "+trainer.detect_anomaly=true"))
