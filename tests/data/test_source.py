"""The description of a dataset: its statistics and priors, by hand."""

import pytest
import torch

from gmlight.data.source import DataSource
from gmlight.data.splits import Splits
from gmlight.errors import ConfigError


def splits(download: bool) -> Splits:
    """Train: ten 0s, four 51s and six 255s in channel 0, half of it in channel 1; test: other values."""
    values = torch.tensor([0] * 10 + [51] * 4 + [255] * 6, dtype=torch.uint8)
    train = torch.stack([values, values // 2], 1).view(20, 2, 1, 1).expand(-1, 2, 2, 3).contiguous()
    labels = torch.tensor([0] * 10 + [1] * 6 + [2] * 4)
    test = torch.full((3, 2, 2, 3), 99, dtype=torch.uint8)
    test[0] = 7
    return (train, labels), (test, torch.arange(3))


def source(**options: object) -> DataSource:
    return DataSource(splits, list("abc"), (2, 2, 3), **options)  # type: ignore[arg-type]


def test_statistics_are_those_of_all_training_pixels_per_channel() -> None:
    info = source().read(download=False).info
    # Of 0 ten times, 0.2 four times and 1 six times: mean 6.8/20, variance (10 m² + 4 (.2-m)² + 6 (1-m)²)/20.
    assert info.mean == (0.34, pytest.approx((4 * 25 + 6 * 127) / 255 / 20, abs=1e-4))
    assert info.std[0] == pytest.approx(((10 * 0.34**2 + 4 * 0.14**2 + 6 * 0.66**2) / 20) ** 0.5, abs=1e-4)
    assert info.std[1] < info.std[0] / 1.9
    given = source(mean=[0.1, 0.2]).read(download=False)[1]
    assert (given.mean, given.std) == ((0.1, 0.2), info.std)


def test_priors_are_the_shares_of_the_training_images() -> None:
    (train, _), info, _ = source().read(download=False)
    assert info.priors == (0.5, 0.3, 0.2)
    assert (info.classes, info.shape, len(train[0])) == (("a", "b", "c"), (2, 2, 3), 20)


@pytest.mark.parametrize("holdout", [-0.1, 1, 1.5])
def test_a_share_that_is_none_is_refused(holdout: float) -> None:
    with pytest.raises(ConfigError, match=f"holdout={holdout}: must be at least 0 and below 1"):
        source(holdout=holdout).read(download=False)


def test_held_out_images_leave_the_statistics_and_not_the_priors() -> None:
    """The images are normalised as without a holdout; the priors are those of the images that are trained."""
    whole = source().read(download=False)[1]
    ((kept, labels), (tested, held)), info, _ = source(holdout=0.5).read(download=False)
    assert (info.mean, info.std) == (whole.mean, whole.std)
    assert (labels.bincount().tolist(), held.bincount().tolist()) == ([5, 3, 2], [5, 3, 2])
    assert len(kept) == len(tested) == 10
    assert not (tested == 99).any()  # the test split is not used
    assert info.priors == (0.5, 0.3, 0.2)
    uneven = source(holdout=0.45).read(download=False)
    counts = uneven[0][0][1].bincount()
    assert counts.sum() == 11
    assert uneven[1].priors == pytest.approx((counts / 11).tolist())
