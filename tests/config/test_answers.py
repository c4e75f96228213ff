"""Declared properties of the parts of a configuration, read before the parts are built."""

from omegaconf import OmegaConf

from gmlight.config.answers import answer
from helpers.runs import composed


def test_properties_of_parts() -> None:
    assert answer(composed().initialization, "draws_noise")
    assert not answer(composed("initialization=real").initialization, "draws_noise")
    assert answer(composed("initialization=artifact").initialization, "needs_pixels")
    assert answer(composed().synthetic, "stores_pixels")
    assert not answer(composed("synthetic=multi_formation").synthetic, "stores_pixels")
    assert answer(composed("schedule=table").schedule, "needs_list")
    assert not answer(composed("schedule=fixed").schedule, "needs_list")
    assert answer(composed("sampling=representative").sampling, "needs_class_batches")


def test_class_declares_the_property_of_its_factory() -> None:
    node = OmegaConf.create({"_target_": "gmlight.condensation.synthetic.Pixels"})
    assert answer(node, "stores_pixels")


def test_missing_part_has_the_default() -> None:
    node = OmegaConf.create({"_target_": "gmlight.condensation.synthetic.pixel"})
    assert answer(node, "stores_pixels", default=None) is None
