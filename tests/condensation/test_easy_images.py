"""Easy real batches: images of each class without the hardest ones."""

import pytest
import torch
from torch import nn

from gmlight.builders.data import build_data, build_sampler
from gmlight.builders.parts import build_factory
from gmlight.condensation import easy_images
from gmlight.condensation.easy_images import EasyImages
from gmlight.config.validate import check
from gmlight.data.datamodule import CondensationData
from gmlight.data.images import RealImages
from gmlight.errors import ConfigError
from gmlight.training.steps import SGDSettings
from helpers.problems import real_images
from helpers.runs import composed

CPU = torch.device("cpu")
WORDS = ("sampling.networks=2", "sampling.steps=3", "real_batch=8")


def loaded(*words: str) -> CondensationData:
    config = composed("scale=smoke", "sampling=easy", "architecture.width=8", *WORDS, *words)
    factory = build_factory(config.architecture, config.dataset)
    return build_data(config, sampler=build_sampler(config, factory)).load(CPU)


def sampler_of(data: CondensationData) -> EasyImages:
    sampler = data._sampler
    assert isinstance(sampler, EasyImages)
    return sampler


def test_the_images_with_the_largest_errors_are_never_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two networks, whose logits are the pixels and twice the pixels; errors are computed by hand."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (12, 3, 1, 1), generator=generator).byte()
    labels = torch.tensor([0, 1, 2, 0, 1, 2, 0, 0, 0, 1, 0, 1])
    train = real_images(pixels, labels, mean=[0.0] * 3, std=[0.1] * 3)
    factors = iter((1.0, 2.0))

    class Logits(nn.Module):
        def __init__(self, factor: float) -> None:
            super().__init__()
            self.factor = factor

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            return self.factor * images.flatten(1)

    monkeypatch.setattr(easy_images, "trained", lambda network, *_, **__: network)
    sampler = EasyImages(lambda: Logits(next(factors)), 0.5, 2, 0, SGDSettings(), 0)
    drawn = sampler(train, 100, 0, torch.Generator())
    logits = train.batch(torch.arange(12))[0].flatten(1).double()
    for c, found in enumerate(drawn._indices):
        errors = {}
        for i in (train.labels == c).nonzero().flatten().tolist():
            label = torch.zeros(3).double()
            label[c] = 1
            errors[i] = sum(float((torch.softmax(f * logits[i], 0) - label).norm()) for f in (1, 2)) / 2
        kept = sorted(errors, key=lambda i: errors[i])[: round(len(errors) / 2)]
        assert sorted(found.tolist()) == sorted(kept)


@pytest.mark.parametrize(("drop", "kept"), [(0, [6, 4]), (0.25, [4, 3]), (0.4, [4, 2]), (0.99, [1, 1])])
def test_number_of_images_that_are_kept(
    drop: float, kept: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    labels = torch.tensor([0] * 6 + [1] * 4)
    train = real_images(torch.zeros(10, 1, 2, 2).byte(), labels, mean=[0.5], std=[0.5])
    monkeypatch.setattr(EasyImages, "_scores", lambda self, train, i: torch.arange(10.0))
    sampler = EasyImages(nn.Identity, drop, 1, 0, SGDSettings(), 0)
    assert sampler(train, 100, 0, torch.Generator()).sizes == kept
    assert [sorted(found.tolist())[0] for found in sampler(train, 100, 0, torch.Generator())._indices] == [
        0,
        6,
    ]


def test_batches_are_distinct_images_of_each_class_and_depend_on_seed_and_update_alone() -> None:
    data = loaded()
    drawn = {(k, t): data.draw(k, t).images[:] for k in range(2) for t in range(2)}
    batch = data.draw(0, 1).images
    assert batch.sizes == [8] * 10
    for c, indices in enumerate(batch._indices):
        assert data.train.labels[indices].unique().tolist() == [c]
        assert len(indices.unique()) == 8
    later = loaded()
    for place in ((1, 1), (0, 0), (1, 0)):
        assert torch.equal(later.draw(*place).images[:], drawn[place])
    assert not torch.equal(drawn[0, 0], drawn[0, 1])
    kept, others = sampler_of(data)._refreshed, loaded("seed=1")
    others.draw(0, 0)
    assert kept is not None
    other = sampler_of(others)._refreshed
    assert other is not None
    assert any(set(a.tolist()) != set(b.tolist()) for a, b in zip(kept[1], other[1], strict=True))


def test_images_are_scored_once_by_networks_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    networks = []
    found = easy_images.trained

    def counted(network: nn.Module, train: RealImages, **settings: object) -> nn.Module:
        networks.append(next(network.parameters()).detach().flatten()[:5].tolist())
        assert settings["steps"] == 3
        return found(network, train, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(easy_images, "trained", counted)
    data = loaded()
    for k in range(3):
        data.draw(k, 0)
    assert len(networks) == 2
    assert networks[0] != networks[1]
    assert data.sampling_seconds(1) == data.sampling_seconds(99) == sampler_of(data).seconds > 0


def test_kept_images_are_stored_in_checkpoints() -> None:
    first, later = loaded(), loaded()
    first.draw(0, 0)
    state = first.state_dict()
    number, kept = state["found"]
    state["found"] = number, [indices[:1] for indices in kept]  # as if another device had kept others
    later.load_state_dict(state)
    assert later.draw(0, 0).images.sizes == [1] * 10


def test_diverging_networks_raise_a_one_line_error() -> None:
    data = loaded("network_lr=1e30", "sampling.steps=5")
    with pytest.raises(ConfigError, match=r"sampling.steps=5: .*lower network_lr$"):
        data.draw(0, 0)


def test_mixed_batches_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^sampling=easy: cannot draw mixed batches"):
        check(composed("sampling=easy", "matching=inter", "matching.mixed_real=64"))
