"""A simulated accelerator without float64 gives the numbers of the CPU; tensors of both devices never mix."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration

SCALE = ["evaluation.baselines.random=0"]
ONE = "iterations=1"  # with one network; the other cases have a second one
COMPARE = "from helpers import fake_device; fake_device.compare()"
CASES = {
    "md": ["method=md", "updates=2", "schedule=fixed", "schedule.epochs=2"],
    "chunks": [ONE, "method=md", "memory.classes_per_chunk=3"],
    "batch norm": [ONE, "architecture=convnet_bn", "image_steps=2"],
    "interleaved, mixed, siamese": [
        "method=dsa", "matching=interleaved", "matching.mixed_real=64", "matching.mixed_synthetic=8",
    ],
    "formation, cutmix": [ONE, "method=formation", "evaluation=cutmix"],
    "shared components": [ONE, "synthetic=shared_components"],
    "real source": ["method=real_source", "updates=2"],
    "representative": [ONE, "method=representative", "sampling.steps=2", "real_batch=4"],
    "until overfit": ["updates=2", "schedule=until_overfit", "schedule.limit=3"],
    "parallel evaluation": ["evaluation.networks_at_once=2", "augmentation=crop_scale_rotate"],
    "herding": ["method=herding", "initialization.epochs=1"],
}  # fmt: skip


@pytest.mark.skipif(
    not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"),
    reason="this torch cannot pretend a device",
)
def test_runs_on_another_device_give_the_same_and_rarely_wait(tmp_path: Path) -> None:
    cases = {name: [*SCALE, *words] for name, words in CASES.items()}
    subprocess.run(
        [sys.executable, "-c", COMPARE, str(tmp_path), json.dumps(cases)],
        cwd=Path(__file__).parents[1], check=True, timeout=600,
    )  # fmt: skip
    found = json.loads((tmp_path / "found.json").read_text())
    assert found.keys() == CASES.keys()
    # Every case is a run of its own: each of its settings has a part in the images.
    assert len({case.get("set", case.get("error")) for case in found.values()}) == len(CASES)
    waiting = {}
    for name, case in found.items():
        assert "error" not in case, f"{name}: {case['error']}"
        assert case["difference"] < 1e-4, name
        here, there = case["evaluations"]
        assert here == there, name
        at_here, at_there = case["trajectory"]
        assert at_there == pytest.approx(at_here, rel=1e-5, abs=1e-3), name
        waiting[name] = set(case["waits"]) - {"engine.py: vmap_is_right"}  # once per run
    # An image update waits only for the labels of mixed batches or for a loss that decides when to stop.
    assert {name: waits for name, waits in waiting.items() if waits} == {
        "interleaved, mixed, siamese": {"condenser.py: _update_images"},
        "until overfit": {"inner_loop.py: _mean_loss"},
    }
