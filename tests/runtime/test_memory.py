"""Out-of-memory errors name the setting to halve, in one line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gmlight import CondensedDataset
from gmlight.errors import ConfigError
from gmlight.matching.engine import GradientEngine
from gmlight.matching.image_gradient import GradientMatcher
from gmlight.runtime.memory import explain_out_of_memory, naming_missing_memory, peak_bytes
from gmlight.training.ensemble import Ensemble
from gmlight.training.evaluator import Evaluator
from helpers.runs import TINY, Run, refusal

CPU = (
    "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried to allocate"
)


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(CPU)]
)
def test_out_of_memory_errors_are_recognised(error: Exception) -> None:
    message = r"out of memory in the test, evaluation\.test_batch=9: evaluation\.test_batch=4 halves it"
    with (
        pytest.raises(ConfigError, match=message),
        explain_out_of_memory("the test", "evaluation.test_batch", lambda: 9),
    ):
        raise error
    with (
        pytest.raises(ConfigError, match="use a device with more"),
        explain_out_of_memory("it", "key", lambda: 1),
    ):
        raise error


def test_other_errors_are_unchanged() -> None:
    with pytest.raises(RuntimeError, match="shapes"), explain_out_of_memory("it", "key", lambda: 1):
        raise RuntimeError("shapes cannot be multiplied")


@pytest.mark.parametrize(
    ("owner", "name", "key"),
    [
        (GradientEngine, "real", "real images, speed.microbatch="),
        (
            GradientMatcher,
            "_differentiate",
            "synthetic images, memory.classes_per_chunk=10: memory.classes_per_chunk=5",
        ),
        (Ensemble, "train", "evaluation networks, evaluation.networks_at_once=1"),
        (Evaluator, "_logits", "the test, evaluation.test_batch="),
    ],
)
def test_out_of_memory_run_names_the_setting_to_halve(
    typed: Run, monkeypatch: pytest.MonkeyPatch, owner: type, name: str, key: str
) -> None:
    def full(*args: Any, **keywords: Any) -> Callable:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(owner, name, full)
    assert key in refusal(typed("train", *TINY, "iterations=1", "updates=1"))


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits the address space as Linux does")
def test_real_out_of_memory(tmp_path: Path) -> None:
    command = [
        "prlimit", "--as=8000000000", sys.executable, "-m", "gmlight.train", "dataset=made_up", "scale=smoke",
        "dataset.number=20", "dataset.images=5", "dataset.size=[64,64]", "ipc=20", "updates=1", "trainer=cpu",
        "iterations=1", "real_batch=2", "evaluation=quick", "evaluation.baselines.random=0",
        "evaluation.baselines.whole=0",
    ]  # fmt: skip

    def run(chunk: int) -> subprocess.CompletedProcess:
        return subprocess.run(
            [*command, f"memory.classes_per_chunk={chunk}", f"hydra.run.dir={tmp_path / str(chunk)}"],
            env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True,
        )  # fmt: skip

    everything = run(20)
    assert everything.returncode == 1
    assert everything.stderr.count("\n") == 1
    assert "on synthetic images, memory.classes_per_chunk=20: memory.classes_per_chunk=10 halves it" in (
        everything.stderr
    )
    run(5)  # its evaluation may still be too large
    assert CondensedDataset(tmp_path / "5").images.shape == (400, 3, 64, 64)


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not list its processes")
def test_the_peak_is_in_bytes() -> None:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    kibibytes = int(status["VmHWM"].split()[0])
    assert peak_bytes(torch.device("cpu")) == pytest.approx(1024 * kibibytes, rel=0.01)


OUT_OF_MEMORY = [
    torch.OutOfMemoryError("CUDA out of memory"), MemoryError(), RuntimeError(CPU),
    RuntimeError("CUDA error: out of memory\nSearch for it"),
]  # fmt: skip


@pytest.mark.parametrize("error", OUT_OF_MEMORY)
def test_memory_that_no_key_explains_is_named_in_one_line(error: Exception) -> None:
    with (
        pytest.raises(ConfigError, match=r"^out of memory \(.+\); end other programs") as raised,
        naming_missing_memory(),
    ):
        raise error
    assert "\n" not in str(raised.value)
    assert "Search" not in str(raised.value)
    with pytest.raises(RuntimeError, match="another"), naming_missing_memory():
        raise RuntimeError("another error")
