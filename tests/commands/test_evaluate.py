"""What gmlight.evaluate says of an evaluation: the settings that differ from the run's."""

import pytest
from omegaconf import OmegaConf

from gmlight.commands.evaluate import changed
from helpers.runs import composed

RUN = ("dataset=mnist", "method=md", "scale=reduced")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], []),
        (["evaluation.networks=3", "evaluation.every=1", "evaluation.test_batch=7"], []),
        (["evaluation.lr=0.1"], ["lr=0.1"]),
        (["evaluation.batch_size=8", "evaluation.momentum=0.5"], ["batch_size=8", "momentum=0.5"]),
        (["evaluation.weight_decay=0"], ["weight_decay=0"]),
        (["evaluation.batch_norm=batch", "seed=4"], ["batch_norm=batch", "seed=4"]),
        (["evaluation.epochs=7"], ["epochs=7"]),
        (["holdout=0.1"], ["holdout=0.1"]),
        (["evaluation.cutmix=0.5"], []),  # in the protocol's name, as the augmentation
        (["augmentation=dsa"], []),
        (["augmentation=idc", "evaluation=idc"], []),
        (["augmentation=dsa", "evaluation.fall=0.2"], ["fall=0.2", "falls=[0.5]"]),
        (["architecture=mlp"], []),  # has its own column
    ],
    ids=str,
)
def test_settings_that_differ_from_the_run(words: list[str], expected: list[str]) -> None:
    original = OmegaConf.to_container(composed(*RUN), resolve=True)
    augmentation = next((w.split("=")[1] for w in words if w.startswith("augmentation=")), None)
    assert changed(composed(*RUN, *words), original, augmentation) == expected  # type: ignore[arg-type]
