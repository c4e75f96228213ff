"""A set is used with the dataset that it was made from."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from gmlight.builders.stored_set import refuse_other_data, same_test_images
from gmlight.data.digest import DataDigest, SplitDigest
from gmlight.errors import ConfigError

SET = {"classes": ["a", "b"], "mean": [0.1, 0.2], "std": [0.3, 0.4], "images": torch.zeros(4, 2, 8, 6)}
DATA = {"classes": ("a", "b"), "mean": (0.1, 0.2), "std": (0.3, 0.4), "shape": (2, 8, 6)}


@pytest.mark.parametrize(
    ("quality", "other", "line"),
    [
        ("classes", ("b", "a"), r"the set's classes \['a', 'b'\] is not the dataset's \['b', 'a'\]"),
        ("shape", (2, 6, 8), r"the set's image shape \(2, 8, 6\) is not the dataset's \(2, 6, 8\)"),
        ("mean", (0.2, 0.1), r"the set's mean \[0.1, 0.2\] is not the dataset's \[0.2, 0.1\]"),
        ("std", (0.3, 0.5), r"the set's std \[0.3, 0.4\] is not the dataset's \[0.3, 0.5\]"),
    ],
)
def test_another_dataset_is_refused(quality: str, other: tuple, line: str) -> None:
    condensed: Any = SimpleNamespace(**SET)
    refuse_other_data(condensed, SimpleNamespace(**DATA))  # type: ignore[arg-type]
    data: Any = SimpleNamespace(**DATA | {quality: other})
    with pytest.raises(ConfigError, match=line):
        refuse_other_data(condensed, data)


def test_only_the_test_images_decide_whether_accuracies_can_be_compared() -> None:
    def found(train: str, test: str) -> dict[str, Any]:
        return DataDigest(SplitDigest(train, [2, 2]), SplitDigest(test, [1, 1])).as_dict()

    info: Any = SimpleNamespace(digest=DataDigest(SplitDigest("a", [2, 2]), SplitDigest("b", [1, 1])))
    assert same_test_images({"data": found("other", "b")}, info) is True
    assert same_test_images({"data": found("a", "other")}, info) is False
    assert same_test_images({}, info) is None
    assert same_test_images({"data": found("a", "b")}, SimpleNamespace(digest=None)) is None  # type: ignore[arg-type]
