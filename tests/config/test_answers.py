"""What parts of a configuration answer before they are built."""

from omegaconf import OmegaConf

from gmlight.config.answers import answer
from helpers.runs import composed


def test_parts_answer_for_themselves() -> None:
    assert answer(composed().initialization, "draws_noise")
    assert not answer(composed("initialization=real").initialization, "draws_noise")
    assert answer(composed("initialization=artifact").initialization, "needs_pixels")
    assert answer(composed().synthetic, "stores_pixels")
    assert not answer(composed("synthetic=multi_formation").synthetic, "stores_pixels")
    assert answer(composed("schedule=table").schedule, "needs_list")
    assert not answer(composed("schedule=fixed").schedule, "needs_list")
    assert answer(composed("sampling=representative").sampling, "needs_class_batches")


def test_a_class_answers_as_its_function_does() -> None:
    node = OmegaConf.create({"_target_": "gmlight.condensation.synthetic.Pixels"})
    assert answer(node, "stores_pixels")


def test_a_part_that_is_not_there_answers_nothing() -> None:
    node = OmegaConf.create({"_target_": "gmlight.condensation.synthetic.pixel"})
    assert answer(node, "stores_pixels", default=None) is None
