"""What is set up once in a process, before large tensors are allocated."""

import warnings
from collections.abc import Iterator

import pytest
import torch

from gmlight.config.process import prepare_process
from gmlight.runtime import memory
from helpers.runs import composed


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    flags = torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32
    with warnings.catch_warnings():
        yield
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = flags


@pytest.mark.parametrize(("allocator", "calls"), [("auto", 1), ("off", 0)])
def test_the_allocator_is_set_unless_it_is_off(
    allocator: str, calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    monkeypatch.setattr(memory, "keep_large_blocks", lambda: asked.append(1))
    prepare_process(composed(f"speed.allocator={allocator}"))
    assert len(asked) == calls


def test_no_device_rounds_to_tf32() -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = True
    prepare_process(composed("speed.allocator=off"))
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_irrelevant_warnings_alone_are_hidden() -> None:
    prepare_process(composed("speed.allocator=off"))
    with warnings.catch_warnings(record=True) as shown:
        for message in (
            "The 'train_dataloader' does not have many workers which may be a bottleneck",
            "Experiment logs directory x exists and is not empty. Previous log files",
            "The `srun` command is available on your system but is not used",
        ):
            warnings.warn(message, UserWarning, stacklevel=1)
        assert shown == []
        warnings.warn("something else", UserWarning, stacklevel=1)
    assert [str(each.message) for each in shown] == ["something else"]
