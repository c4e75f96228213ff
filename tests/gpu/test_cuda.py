"""On an NVIDIA GPU: the numbers of the CPU, the same bits on resume, CUDA graphs, several GPUs.

`make test-gpu` runs these tests; they skip where there is no GPU.
"""

import copy
import functools
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import nn

from gmlight.architectures.convnet import ConvNet
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.config.process import prepare_process
from gmlight.matching.class_gradients import block_gradients, class_gradients
from gmlight.runtime.compile import Compilation, Compiled
from gmlight.runtime.seeding import seeded
from helpers.problems import gradient_engine, random_images
from helpers.runs import composed, train_tiny

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU"),
]
CUDA = torch.device("cuda", 0)
NO_BASELINES = "evaluation.baselines.random=0"
# Swish has no kink, where a rounding error that flips a sign moves an image by some percent.
SMOOTH = "architecture.activation=swish"
CASES = {
    "md": ["method=md", "updates=2", "schedule=fixed", "schedule.epochs=2"],
    "chunks": ["method=md", "memory.classes_per_chunk=3"],
    "one class at a time": ["method=md", "speed.classes_per_block=1", "speed.microbatch=4"],
    "batch norm": ["architecture=convnet_bn", "image_steps=2"],
    "interleaved, mixed, siamese": [
        "method=dsa", "matching=interleaved", "matching.mixed_real=64", "matching.mixed_synthetic=8",
    ],
    "formation, cutmix": ["method=formation", "evaluation=cutmix"],
    "shared components": ["synthetic=shared_components"],
    "real source": ["method=real_source", "updates=2"],
    "representative": ["method=representative", "sampling.steps=2", "real_batch=4"],
    "until overfit": ["updates=2", "schedule=until_overfit", "schedule.limit=3"],
    "augmented evaluation": ["augmentation=crop_scale_rotate"],
    "herding": ["method=herding", "initialization.epochs=1"],
    "pool": ["method=md", "updates=2", "network_start=pool", "pool.networks=2", "pool.epochs=1"],
    "idc": [
        "method=idc", "updates=2", "schedule.epochs=2", "train_batch=8", "synthetic_batch=4",
        "image_lr_decay=cosine",
    ],
    "k-means, absolute errors, half of the layers": [
        "method=m", "initialization=kmeans", "distance=sae", "matching.layers=0.5", "image_lr_warmup=0.5",
    ],
}  # fmt: skip


@pytest.fixture(autouse=True)
def _no_tf32() -> None:
    prepare_process(composed("speed.allocator=off"))


def paper_network(seed: int = 0) -> nn.Module:
    with seeded(seed, "test"):
        return ConvNet(
            channels=3, size=(32, 32), classes=3, width=32, depth=3, activation="swish", norm="instance",
            pooling="avg",
        ).eval()  # fmt: skip


def relative_error(layers: dict[str, torch.Tensor], exact: dict[str, torch.Tensor]) -> float:
    """Relative error over all layers together."""
    wrong = sum((layers[name].cpu().double() - exact[name]).square().sum() for name in exact)
    return float((wrong / sum(g.square().sum() for g in exact.values())).sqrt())


@pytest.mark.parametrize("name", CASES)
def test_runs_give_the_images_of_the_cpu(name: str, tmp_path: Path) -> None:
    for trainer in ("cpu", "gpu"):
        train_tiny(tmp_path / trainer, NO_BASELINES, SMOOTH, *CASES[name], f"trainer={trainer}")
    here, there = (CondensedDataset(tmp_path / trainer) for trainer in ("cpu", "gpu"))
    assert (there.images - here.images).norm() <= 1e-4 * here.images.norm()
    found = [json.loads((tmp_path / trainer / "result.json").read_text()) for trainer in ("cpu", "gpu")]
    assert "cuda" not in json.dumps(found[0]["environment"]["device"]).lower()
    assert torch.cuda.get_device_name(0) in json.dumps(found[1]["environment"])
    assert there.images.device.type == "cpu"  # a set can be opened without a GPU


@pytest.mark.parametrize(
    "name", ["md", "interleaved, mixed, siamese", "batch norm", "formation, cutmix", "pool", "idc"]
)
def test_a_run_twice_and_a_resumed_run_give_the_same_bits(name: str, tmp_path: Path) -> None:
    words = [NO_BASELINES, *CASES[name], "trainer=gpu", "iterations=4", "checkpoint.every=2"]
    words.append("architecture.width=8")
    for folder in ("once", "again"):
        train_tiny(tmp_path / folder, *words)
    once, again = (CondensedDataset(tmp_path / folder) for folder in ("once", "again"))
    assert once.metadata["sha256"] == again.metadata["sha256"]
    program = (
        "import sys; from pathlib import Path; import lightning; from helpers.runs import train_tiny\n"
        "from gmlight.condensation.condenser import Condenser\n"
        "step = Condenser.training_step\n"
        "def stopping(self, batch, number):\n"
        "    if batch.k == 3: import os; os._exit(9)\n"
        "    return step(self, batch, number)\n"
        "Condenser.training_step = stopping\n"
        "train_tiny(Path(sys.argv[1]), *sys.argv[2:])\n"
    )
    folder = tmp_path / "resumed"
    tests = Path(__file__).parents[1]
    killed = subprocess.run([sys.executable, "-c", program, str(folder), *words], cwd=tests, timeout=300)
    assert killed.returncode == 9
    resumed = subprocess.run(
        [sys.executable, "-m", "gmlight.train", f"resume={folder}"],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert resumed.returncode == 0, resumed.stderr
    assert CondensedDataset(folder).metadata["sha256"] == once.metadata["sha256"]


def test_float32_gradients_are_those_of_float64() -> None:
    network, images = paper_network(), random_images(3, 40, 3, 32, 32)
    exact = class_gradients(copy.deepcopy(network).double(), images)
    layers = gradient_engine().real(network.to(CUDA), images.float().to(CUDA))
    assert relative_error(layers, exact) < 1e-5


def test_faster_precisions_have_their_errors() -> None:
    network, images = paper_network(), random_images(3, 40, 3, 32, 32)
    exact = class_gradients(copy.deepcopy(network).double(), images)
    network, images = network.to(CUDA), images.float().to(CUDA)
    errors = {
        precision: relative_error(gradient_engine(precision=precision).real(network, images), exact)
        for precision in ("float32", "tf32", "bfloat16")
    }
    assert errors["float32"] < 1e-5 < errors["tf32"] < 1e-2
    assert errors["tf32"] < errors["bfloat16"] < 5e-2
    assert not torch.backends.cudnn.allow_tf32


@pytest.mark.parametrize("classes_per_block", [1, 3])
def test_cuda_graphs_give_the_same_for_every_network(classes_per_block: int) -> None:
    messages: list[str] = []
    compiled = gradient_engine(
        classes_per_block=classes_per_block, compilation=Compilation(True, messages.append)
    )
    eager = gradient_engine(classes_per_block=classes_per_block)
    kept = []
    for seed in range(5):  # the graph is recorded at the second call and replayed from the third
        network = paper_network(seed).to(CUDA)
        images = random_images(3, 16, 3, 32, 32, seed=seed).float().to(CUDA)
        expected = eager.real(network, images)
        kept.append((compiled.real(network, images), expected))
    for layers, expected in kept:  # a later replay must not write over an earlier result
        exact = {weight: gradient.cpu().double() for weight, gradient in expected.items()}
        assert relative_error(layers, exact) < 1e-5
    assert messages
    assert all(message.startswith("compiled the gradient on real images") for message in messages), messages
    (settings,) = compiled.describe()
    assert settings["compiled"] is True


def test_a_compiled_function_survives_other_shapes_and_training_between() -> None:
    network = paper_network().to(CUDA)
    function = functools.partial(block_gradients, network)
    messages: list[str] = []
    compiled: Callable = Compiled(function, "the test", messages.append)
    for count in (8, 8, 5, 8, 8):
        images = random_images(1, count, 3, 32, 32, seed=count).float().to(CUDA)
        labels = torch.zeros(1, count, dtype=torch.long, device=CUDA)
        weights = {name: p.detach() for name, p in network.named_parameters() if p.ndim > 1}
        others = {name: p.detach() for name, p in network.named_parameters() if p.ndim < 2}
        arguments = weights, others, images, labels
        expected = {name: g.cpu().double() for name, g in function(*arguments).items()}
        assert relative_error(compiled(*arguments), expected) < 1e-5
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
        network(images[0]).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()


def test_networks_in_parallel_reach_the_accuracies_of_one_after_another(tmp_path: Path) -> None:
    words = ["method=random", "trainer=gpu", "evaluation.networks=4", "evaluation.epochs=20", NO_BASELINES]
    found = []
    for at_once in ("1", "4", "auto"):
        folder = tmp_path / at_once
        train_tiny(folder, *words, f"evaluation.networks_at_once={at_once}")
        evaluation, *_ = json.loads((folder / "result.json").read_text())["evaluations"]
        found.append(evaluation["accuracy"]["values"])
    assert len(set(found[0])) > 1
    for other in found[1:]:
        assert other == pytest.approx(found[0], abs=0.7)  # of 360 images, two


def test_updates_rarely_wait_for_the_gpu(tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; import torch, warnings; from helpers.runs import train_tiny\n"
        "from gmlight.condensation.condenser import Condenser\n"
        "step = Condenser.training_step\n"
        "def strict(self, batch, number):\n"
        "    if batch.k: torch.cuda.set_sync_debug_mode('error')\n"  # the first one copies constants
        "    try: return step(self, batch, number)\n"
        "    finally: torch.cuda.set_sync_debug_mode('default')\n"
        "Condenser.training_step = strict\n"
        "train_tiny(Path(sys.argv[1]), *sys.argv[2:])\n"
    )
    words = ["method=mda", "trainer=gpu", "iterations=4", NO_BASELINES, "log_every=1"]
    tests = Path(__file__).parents[1]
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path / "run"), *words],
        cwd=tests, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(torch.cuda.device_count() < 2, reason="there are no two GPUs")
def test_two_gpus_give_the_images_of_one(tmp_path: Path) -> None:
    train_tiny(tmp_path / "one", "method=md", "trainer=gpu", NO_BASELINES)
    words = ["scale=smoke", "ipc=2", "method=md", "architecture.width=8", "evaluation.every=0", NO_BASELINES]
    subprocess.run(
        [sys.executable, "-m", "gmlight.train", *words, "evaluation.baselines.whole=0", "trainer=ddp",
         "trainer.devices=2", f"hydra.run.dir={tmp_path / 'two'}"],
        check=True, timeout=300,
    )  # fmt: skip
    one, two = (CondensedDataset(tmp_path / folder) for folder in ("one", "two"))
    assert (one.images - two.images).norm() <= 1e-3 * one.images.norm()
