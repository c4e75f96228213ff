"""Golden files: outer iterations of Algorithm 1 from an independent program, reproduced by gmlight."""

import functools
import json
import os
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from gmlight.architectures.convnet import ConvNet
from gmlight.condensation import schedules
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.inner_loop import InnerLoop
from gmlight.condensation.synthetic import Pixels
from gmlight.data.images import RealBatch
from gmlight.matching import distances, rules
from gmlight.matching.class_gradients import class_gradients
from gmlight.matching.image_gradient import GradientMatcher
from helpers.problems import numbered_classes

FOLDER = os.environ.get("GMLIGHT_GOLDEN_DIR")
FILES = sorted(Path(FOLDER).glob("*.npz")) if FOLDER else []
TOLERANCE = 1e-9
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no NVIDIA GPU")
GPU = pytest.param("gpu", marks=[pytest.mark.gpu, NO_GPU])

if not FOLDER:
    pytest.skip("GMLIGHT_GOLDEN_DIR is not set", allow_module_level=True)
assert FILES, f"GMLIGHT_GOLDEN_DIR={FOLDER} holds no .npz file"


def _names(path: Path) -> set[str]:
    with np.load(path) as arrays:
        return set(arrays)


ITERATIONS = [path for path in FILES if "settings" in _names(path)]
DISTANCES = [path for path in FILES if "settings" not in _names(path)]


class Golden:
    """One golden file: settings, arrays as float64 tensors, and the parts of gmlight that it names."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            self.settings = json.loads(str(arrays["settings"]))
            self.arrays = {name: torch.from_numpy(arrays[name]) for name in arrays if name != "settings"}

    def group(self, prefix: str) -> dict[str, torch.Tensor]:
        return {name.removeprefix(prefix): a for name, a in self.arrays.items() if name.startswith(prefix)}

    def network(self) -> ConvNet:
        settings = self.settings
        network = ConvNet(
            channels=settings["channels"],
            size=(settings["size"], settings["size"]),
            classes=settings["classes"],
            width=settings["width"],
            depth=settings["depth"],
            activation="relu",
            norm=settings["norm"],
            pooling="avg",
        ).double()
        missing, unexpected = network.load_state_dict(self.group("initial/"), strict=False)
        assert not unexpected
        assert all(name.endswith("num_batches_tracked") for name in missing)
        return network

    def batches(self) -> list[RealBatch]:
        arrays = self.arrays
        return [
            RealBatch(
                k=self.settings["outer_iteration"],
                t=t,
                images=arrays["real"][t],
                mixed=(arrays["validation/images"][t], arrays["validation/labels"][t].long())
                if "validation/images" in arrays
                else None,
                statistics=arrays["statistics"][t] if "statistics" in arrays else None,
            )
            for t in range(len(arrays["real"]))
        ]

    def rule(self) -> rules.MatchingRule:
        if self.settings["matching"] == "intra":
            return rules.intra()
        rule = getattr(rules, self.settings["matching"])
        return rule(self.settings["inter_weight"], self.settings["class_weights"] or "equal")

    def sgd(self, prefix: str) -> functools.partial:
        lr, momentum = self.settings[f"{prefix}_lr"], self.settings[f"{prefix}_momentum"]
        return functools.partial(torch.optim.SGD, lr=lr, momentum=momentum)

    def schedule(self) -> schedules.Schedule:
        if self.settings["epochs"] is not None:
            table = dict(enumerate(self.settings["epochs"]))
            return functools.partial(schedules.adaptive, epochs=table)
        criterion = self.settings["overfit_criterion"]
        rise = criterion == "rise"
        return functools.partial(
            schedules.until_overfit,
            criterion="rise" if rise else "gap",
            margin=0.0 if rise else criterion,
            limit=self.settings["overfit_cap"],
        )


class Recorder(lightning.Callback):
    """Sets the initial image momentum, and records the metrics and state after each update."""

    def __init__(self, momentum: torch.Tensor | None) -> None:
        self.momentum = momentum
        self.losses: list[float] = []
        self.epochs: list[int] = []

    def on_train_start(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        if self.momentum is not None:
            state = trainer.optimizers[0].state[module.synthetic.images]
            state["momentum_buffer"] = self.momentum.to(module.device, copy=True)

    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx) -> None:
        self.losses.append(trainer.callback_metrics["matching_loss/total"].item())
        self.epochs.append(int(trainer.callback_metrics["zeta"]))

    def on_train_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
        images = module.synthetic.images
        # Without momentum torch has no buffer: the last gradient takes its place.
        self.momentum = trainer.optimizers[0].state[images].get("momentum_buffer", images.grad)


def distance(name: str) -> distances.Distance:
    """Returns the distance by name: `cos_mse` with the paper's weight, `cos_0.1euclid` with weight 0.1."""
    before, _, last = name.rpartition("_")
    magnitude = last.lstrip("0123456789.")
    number = last.removesuffix(magnitude)
    function = getattr(distances, f"{before}_{magnitude}" if before else magnitude)
    if magnitude == "cos":
        return function
    return functools.partial(function, weight=float(number or (100 if magnitude == "mse" else 1)))


def assert_equal(name: str, actual: torch.Tensor, expected: torch.Tensor) -> None:
    error = (actual.cpu() - expected).norm() / expected.norm().clamp_min(1e-300)
    assert error < TOLERANCE, f"{name}: relative error {error:.2e}"


@pytest.mark.parametrize("accelerator", ["cpu", GPU])
@pytest.mark.parametrize("path", ITERATIONS, ids=lambda path: path.stem)
def test_outer_iteration(path: Path, accelerator: str, tmp_path: Path) -> None:
    golden = Golden(path)
    batches = golden.batches()
    settings = golden.settings
    recorder = Recorder(golden.arrays.get("image_momentum"))
    condenser = Condenser(
        Pixels(golden.arrays["synthetic"]),
        GradientMatcher(numbered_classes(settings["classes"]), golden.rule(), distance(settings["distance"])),
        InnerLoop(
            golden.network,
            golden.schedule(),
            optimizer=golden.sgd("network"),
            batch_size=10**6,
        ),
        updates=len(batches),
        image_optimizer=golden.sgd("image"),
        diagnose_every=1,
    ).double()
    trainer = lightning.Trainer(
        accelerator=accelerator,
        max_steps=len(batches),
        max_epochs=-1,
        callbacks=[recorder],
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(condenser, DataLoader(batches, batch_size=None))

    expected = golden.group("expected/")
    assert recorder.epochs[:-1] == expected.pop("epochs").tolist()
    assert_equal("losses", torch.tensor(recorder.losses, dtype=torch.double), expected.pop("losses"))
    assert_equal("synthetic", condenser.synthetic().detach(), expected.pop("synthetic"))
    assert_equal("image_momentum", recorder.momentum, expected.pop("image_momentum"))
    state = condenser.network.state_dict()
    for name in [name for name in expected if name in state]:
        assert_equal(name, state[name], expected.pop(name))
    assert all(name == "logits" or name.startswith("class_gradients/") for name in expected), list(expected)


@pytest.mark.parametrize("path", ITERATIONS, ids=lambda path: path.stem)
def test_network_and_class_gradients(path: Path) -> None:
    golden = Golden(path)
    if "expected/logits" not in golden.arrays:
        pytest.skip("the file holds no logits and class gradients: they need instance norm")
    network = golden.network()
    assert_equal("logits", network(golden.arrays["real"][0, 0]), golden.arrays["expected/logits"])
    expected = golden.group("expected/class_gradients/")
    actual = class_gradients(network, golden.arrays["synthetic"], weights=expected)
    size = torch.stack([array.norm() for array in expected.values()]).norm()
    for name in expected:
        if expected[name].norm() < 1e-15 * size:  # a bias under instance norm: zero up to rounding
            assert actual[name].norm() < 1e-15 * size
        else:
            assert_equal(name, actual[name], expected[name])


@pytest.mark.parametrize("path", DISTANCES, ids=lambda path: path.stem)
def test_distances(path: Path) -> None:
    with np.load(path) as arrays:
        a, b = torch.from_numpy(arrays["a"]), torch.from_numpy(arrays["b"])
        expected = json.loads(str(arrays["expected"]))
    for name, value in expected.items():
        assert_equal(name, distance(name)(a, b), torch.tensor(value, dtype=torch.double))
