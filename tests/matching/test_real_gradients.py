"""The memory of class gradients is checked before a run begins."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from gmlight.errors import ConfigError
from gmlight.matching import real_gradients
from helpers.problems import gradient_engine, random_images, small_network

# Weights [500, 1000] and [7, 500] are matched, the bias is not: 503,500 numbers of 4 bytes.
NETWORK = nn.Sequential(nn.Linear(1000, 500, bias=False), nn.Linear(500, 7, bias=True)).to("meta")


@pytest.mark.parametrize(("memory", "fits"), [(3000 * 503_500 * 4, True), (3000 * 503_500 * 4 - 1, False)])
def test_gradients_of_all_classes_must_fit_the_memory(
    monkeypatch: pytest.MonkeyPatch, memory: int, fits: bool
) -> None:
    monkeypatch.setattr(real_gradients, "total_memory", lambda device: memory)
    if fits:
        real_gradients.check_memory(NETWORK, 3000, torch.device("cpu"))
        return
    with pytest.raises(ConfigError, match=r"of 3000 classes need 5.6 GiB, the cpu has 5.6; use a smaller"):
        real_gradients.check_memory(NETWORK, 3000, torch.device("cpu"))


@pytest.mark.parametrize(
    ("words", "refused"),
    [([], True), (["iterations=0", "initialization=real"], False),
     (["matching=inter", "matching.mixed_real=8"], False)],
)  # fmt: skip
def test_run_that_does_not_fit_is_refused_before_it_begins(
    run: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: list[str],
    refused: bool,
) -> None:
    monkeypatch.setattr(real_gradients, "total_memory", lambda device: 1000)
    if refused:
        with pytest.raises(ConfigError, match="the gradients of 10 classes need"):
            run(*words)
        assert [*(tmp_path / "run0").iterdir()] == []
    else:
        assert (run(*words) / "result.json").exists()


@pytest.mark.parametrize("parts", [[slice(0, 7)], [slice(0, 2), slice(2, 7)], [slice(0, 7), slice(7, 7)]])
def test_parts_of_a_mixed_batch_add_up_to_its_gradient(parts: list[slice]) -> None:
    """As several ranks compute it: a part's mean counts by its share of the images, none as zero."""
    network, images = small_network().eval(), random_images(7, 2, 8, 8)
    labels = torch.tensor([0, 1, 2, 2, 0, 2, 1])
    engine = gradient_engine()
    found = [real_gradients._partial_gradient(engine, network, images, labels, part) for part in parts]
    loss = cross_entropy(network(images), labels)
    names = [name for name, weight in network.named_parameters() if weight.ndim >= 2]
    expected = torch.autograd.grad(loss, [network.get_parameter(name) for name in names])
    for name, gradient in zip(names, expected, strict=True):
        torch.testing.assert_close(sum(part[name][0] for part in found), gradient)
