"""gmlight.benchmark: its measurements, its output and its refusals."""

import json
import os
import statistics
from pathlib import Path

import pytest
import torch

from gmlight.benchmarking.table import iteration_flops, speedups
from gmlight.benchmarking.textbook import check_textbook_config, epochs_between, textbook_iteration
from gmlight.builders.data import build_data
from gmlight.builders.parts import build_factory
from gmlight.config.validate import check
from gmlight.errors import ConfigError
from gmlight.runtime import profiling
from gmlight.runtime.console import check_output_paths
from gmlight.runtime.profiling import PARTS, PartTimer, PeakMemory, Stopwatch
from helpers.runs import TINY, Run, composed, refusal

CPU = torch.device("cpu")


def test_against_the_plain_loop(command: Run, forked: Run, tmp_path: Path) -> None:
    words = [*TINY, "schedule=fixed", "schedule.epochs={2:5}", "rounds=2", "json=here.json"]
    result = command("benchmark", *words)
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert max(map(len, result.stdout.splitlines())) <= 80
    found = json.loads((tmp_path / "here.json").read_text())
    (in_folder,) = tmp_path.glob("runs/benchmark/*/benchmark.json")
    assert json.loads(in_folder.read_text()) == found

    iterations = found["iterations"]
    assert list(iterations) == ["plain", "gmlight"]
    for measured in iterations.values():
        assert len(measured) == 2
        for one in measured:
            assert one["real_images"] == 2 * 10 * found["config"]["real_batch"]
            assert one["trained_images"] == found["config"]["schedule"]["epochs"]["2"] * 20
    for profile in found["profiles"].values():
        assert set(profile["parts"]) == set(PARTS)
        assert 0 < sum(profile["parts"].values()) < profile["seconds"]
    assert iteration_flops(found, "plain") == iteration_flops(found, "gmlight")
    assert found["settings"]["gmlight"]["engine"][0]["compiled"] is False
    assert "gradients on real images in microbatches of 8, classes at once: 1" in result.stdout
    assert [test["images"] for test in found["tests"]["plain"]] == [360] * 3
    expected = [
        a["seconds"] / b["seconds"] for a, b in zip(iterations["plain"], iterations["gmlight"], strict=True)
    ]
    assert speedups(found) == expected
    assert f"{statistics.median(expected):.3g} (" in result.stdout
    assert found["environment"]["torch"] == torch.__version__

    assert "here.json: the file exists" in refusal(forked("benchmark", *words))
    assert json.loads((tmp_path / "here.json").read_text()) == found


@pytest.mark.slow
def test_against_other_overrides(command: Run, tmp_path: Path) -> None:
    result = command("benchmark", *TINY, "rounds=1", "against={ipc:3,distance:cos}")
    assert result.returncode == 0, result.stderr
    (path,) = tmp_path.glob("runs/benchmark/*/benchmark.json")
    found = json.loads(path.read_text())
    assert list(found["iterations"]) == ["ipc=3,distance=cos", "gmlight"]
    assert (
        found["iterations"]["ipc=3,distance=cos"][0]["real_images"] == 3 * 10 * found["config"]["real_batch"]
    )
    assert found["iterations"]["gmlight"][0]["real_images"] == 2 * 10 * found["config"]["real_batch"]


@pytest.mark.slow
def test_settings_without_a_plain_loop_are_refused(command: Run, tmp_path: Path) -> None:
    assert "benchmark fixed" in refusal(command("benchmark", *TINY, "method=mdo"))
    assert "is not finite" in refusal(command("benchmark", *TINY, "image_lr=1e30", "rounds=9"))
    assert "ipcc" in refusal(command("benchmark", *TINY, "against={ipcc:3}"))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["image_steps=2"], "image_steps=2: the plain loop has 1;"),
        (["matching.step=class"], "matching.step=class: the plain loop has all;"),
        (["synthetic_batch=1"], "synthetic_batch=1: the plain loop has 0;"),
        (["multi_size=true"], "multi_size=True: the plain loop has False;"),
        (["image_lr_warmup=0.1"], "image_lr_warmup=0.1: the plain loop has 0;"),
        (["image_lr_decay=cosine"], "image_lr_decay=cosine: the plain loop has none;"),
        (["clip_images=true"], "clip_images=True: the plain loop has False;"),
        (["network_start=pool"], "network_start=pool: the plain loop has fresh;"),
        (["network_cutmix=0.5"], "network_cutmix=0.5: the plain loop has 0;"),
        (["schedule=fixed", "schedule.unit=steps"], "the plain loop has epochs"),
        (["matching.class_weights=priors"], "the plain loop has equal"),
        (["matching=interleaved", "matching.mixed_real=8"], "mixed_real=8"),
        (["architecture=convnet_bn"], "no batch norm"),
        (["schedule=until_overfit", "mixed_batch=4"], "benchmark fixed"),
    ],
    ids=str,
)
def test_refusals_of_the_plain_loop(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_textbook_config(composed(*TINY, *overrides, name="benchmark"))


def test_epochs_are_those_of_the_schedule() -> None:
    assert epochs_between(composed(*TINY, "ipc=4", "updates=3", "schedule=fixed")) == [50, 50]


def test_plain_iteration_runs_on_the_device_of_the_data() -> None:
    """Real batches and synthetic images of the plain loop are on one device, and it counts its images."""
    config = composed(*TINY, "schedule=fixed", "architecture.width=8", name="benchmark")
    data = build_data(config).load(CPU)
    iterate, counts = textbook_iteration(config, build_factory(config.architecture, config.dataset), data)
    parts = PartTimer(CPU)
    watch = Stopwatch(parts, profiled=True)
    iterate(0, parts.profile)
    measured = watch.stop()
    assert set(measured["parts"]) == set(PARTS)
    assert counts == {"real_images": 160, "synthetic_images": 40, "trained_images": 50 * 20}
    config.real_batch = 10_000  # more than a class has
    _, counts = textbook_iteration(config, build_factory(config.architecture, config.dataset), data)
    assert counts["real_images"] == 2 * len(data.train)


@pytest.mark.skipif(not os.access("/proc/self/clear_refs", os.W_OK), reason="needs Linux's /proc")
def test_peak_memory_counts_simultaneous_use() -> None:
    memory = PeakMemory(CPU)
    blocks = [torch.ones(2**22) for _ in range(4)]  # 16 MiB each
    del blocks
    torch.ones(2**22)
    peak = memory.peak()
    assert peak is not None
    assert 60 * 2**20 < peak < 200 * 2**20


def test_peak_memory_is_above_what_was_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(profiling, "_status", {"VmRSS": 100, "VmHWM": 350}.__getitem__)
    monkeypatch.setattr(Path, "write_text", lambda path, text: None)
    assert PeakMemory(CPU).peak() == 250


def test_only_a_profile_measures_parts() -> None:
    parts = PartTimer(CPU)
    watch = Stopwatch(parts, profiled=False)
    with parts.profile("distance"):
        pass
    assert set(watch.stop()) == {"seconds"}
    assert not parts.seconds


def test_invalid_against_is_refused() -> None:
    for word in ("fast", "{}", "[ipc]", "7"):
        with pytest.raises(ConfigError, match="must be plain, or overrides such as"):
            check(composed(f"against={word}", name="benchmark"))


def test_unwritable_output_path_is_refused_first(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="create it first"):
        check_output_paths({"a": tmp_path / "b.json", "json": tmp_path / "nowhere" / "b.json"})
