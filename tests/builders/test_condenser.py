"""The parts of a condensation get the values of their own keys; all values differ."""

import functools
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from gmlight.builders.condenser import build_condenser, build_start
from gmlight.builders.data import build_matched_data, build_sampler
from gmlight.builders.parts import build_parts
from gmlight.condensation.condenser import Condenser
from gmlight.condensation.image_updates import ImageRate, ImageUpdates
from gmlight.condensation.sampling import Representatives
from gmlight.config.labels import describe
from gmlight.data.augmentation import CutMix
from gmlight.data.datamodule import CondensationData
from gmlight.data.dsa import Siamese
from gmlight.errors import ConfigError
from gmlight.runtime.seeding import generator
from gmlight.training.steps import SGDSettings
from helpers.runs import composed

CPU = torch.device("cpu")
DIFFERENT = (
    "image_lr=0.3", "image_momentum=0.7", "network_lr=0.02", "network_momentum=0.4", "train_batch=9",
    "ipc=2", "updates=3", "image_steps=5", "seed=11", "diagnose_every=20", "architecture.width=8",
    "real_batch=13", "mixed_batch=17", "statistics_batch=6",
)  # fmt: skip


def built(*words: str) -> tuple[DictConfig, CondensationData, Condenser]:
    config = composed(*DIFFERENT, *words)
    parts = build_parts(config, print)
    data = build_matched_data(config, parts).load(CPU)
    return config, data, build_condenser(config, build_start(config, data), data, parts)


def test_each_optimizer_has_its_own_rate_and_momentum() -> None:
    _, _, condenser = built("network_weight_decay=0.03")
    images = condenser.configure_optimizers()
    loop = condenser.inner_loop
    loop.start(0, 0, CPU)
    assert loop._optimizer is not None
    found = [
        (type(each), each.defaults["lr"], each.defaults["momentum"], each.defaults["weight_decay"])
        for each in (images, loop._optimizer)
    ]
    assert found == [(torch.optim.SGD, 0.3, 0.7, 0), (torch.optim.SGD, 0.02, 0.4, 0.03)]
    learned = [parameter for group in images.param_groups for parameter in group["params"]]
    assert [parameter.shape for parameter in learned] == [(10, 2, 1, 8, 8)]
    assert learned[0] is next(condenser.synthetic.parameters())


def test_sizes_and_counts_reach_their_parts() -> None:
    _, data, condenser = built("schedule.unit=steps", "matching=inter", "matching.mixed_synthetic=7")
    assert (condenser.updates, condenser.image_updates.steps, condenser.seed) == (3, 5, 11)
    assert (condenser.diagnose_every, condenser.dsa) == (20, None)
    loop, matcher = condenser.inner_loop, condenser.matcher
    assert (loop._unit, loop._batch_size, loop._train_on) == ("steps", 9, None)
    assert (matcher.rule.name, matcher._mixed_synthetic, matcher.info) == ("inter", 7, data.info)
    assert (data.updates, data.seed) == (3, 11)
    sizes = data.batches
    assert (sizes.real, sizes.mixed, sizes.statistics, sizes.matched) == (13, 17, 0, 0)


def test_image_updates_have_the_values_of_their_keys() -> None:
    config, _, condenser = built(
        "synthetic_batch=7", "iterations=40", "image_lr_warmup=0.25", "image_lr_decay=linear",
        "clip_images=true", "matching.step=class",
    )  # fmt: skip
    updates = condenser.image_updates
    assert (updates.steps, updates.by_class, updates.at_once) == (5, True, 7)
    assert updates.rate == ImageRate(40, 0.25, "linear")
    assert updates.clip is not None
    least, most = updates.clip
    assert least.shape == most.shape == (1, 1, 1)
    assert (least.item(), most.item()) == pytest.approx((-0.3054 / 0.376, (1 - 0.3054) / 0.376))
    _, _, paper = built()
    assert paper.image_updates == ImageUpdates(steps=5)
    for word, rate in (
        ("image_lr_warmup=0.25", ImageRate(4, 0.25, "none")),
        ("image_lr_decay=cosine", ImageRate(4, 0, "cosine")),
    ):
        _, _, other = built("iterations=4", word)  # each of the two keys works alone
        assert other.image_updates.rate == rate
    for word in ("synthetic_batch=7", "image_lr_decay=linear", "clip_images=true", "matching.step=class"):
        assert word in describe(config).method


@pytest.mark.parametrize(
    ("layers", "weights"),
    [
        ("all", ["conv0.weight", "conv1.weight", "linear.weight"]),
        ("conv", ["conv0.weight", "conv1.weight"]),
        ("0.4", ["linear.weight"]),
    ],
)
def test_the_engine_computes_the_layers_that_are_matched(layers: str, weights: list[str]) -> None:
    config, _, condenser = built(f"matching.layers={layers}")
    condenser.inner_loop.start(0, 0, CPU)
    assert condenser.network is not None
    assert condenser.matcher.engine.weights(condenser.network) == weights
    assert (f"matching.layers={layers}" in describe(config).method) is (layers != "all")


def test_batch_norm_gets_a_batch_for_its_statistics() -> None:
    config = composed(*DIFFERENT, "architecture=convnet_bn", "matching=inter", "matching.mixed_real=19")
    sizes = build_matched_data(config, build_parts(config, print)).batches
    assert (sizes.real, sizes.mixed, sizes.statistics, sizes.matched) == (13, 17, 6, 19)


def test_siamese_augmentation_applies_to_matching_and_to_the_network() -> None:
    _, data, condenser = built("augmentation=dsa", "network_images=real")
    assert isinstance(condenser.dsa, Siamese)
    assert condenser.inner_loop.augmentation is condenser.dsa
    assert condenser.inner_loop._train_on is data.train
    _, _, plain = built("augmentation=crop_scale_rotate")
    images = torch.randn(2, 1, 8, 8)
    assert plain.dsa is None
    assert torch.equal(plain.inner_loop.augmentation(images, torch.Generator()), images)


@pytest.mark.parametrize(("words", "mixed"), [((), None), (("network_cutmix=0.3",), CutMix(0.3))])
def test_the_networks_own_mini_batches_are_mixed(words: tuple[str, ...], mixed: CutMix | None) -> None:
    """Evaluation has a key of its own."""
    config, _, condenser = built(*words, "evaluation=cutmix")
    assert condenser.inner_loop.cutmix == mixed
    assert ("network_cutmix=0.3" in describe(config).method) is bool(mixed)


def test_the_sampler_trains_its_network_like_the_inner_loop() -> None:
    config = composed(
        *DIFFERENT, "sampling=representative", "sampling.every=3", "sampling.steps=4", "sampling.nearest=2"
    )
    sampler = build_sampler(config, torch.nn.Identity)
    assert isinstance(sampler, Representatives)
    assert (sampler.every, sampler.steps, sampler.nearest, sampler.seed) == (3, 4, 2, 11)
    assert sampler.sgd == SGDSettings(batch_size=9, lr=0.02, momentum=0.4, weight_decay=0.0)
    config.network_weight_decay = 0.07
    decayed = build_sampler(config, torch.nn.Identity)
    assert isinstance(decayed, Representatives)
    assert decayed.sgd == SGDSettings(batch_size=9, lr=0.02, momentum=0.4, weight_decay=0.07)


@pytest.mark.parametrize(
    ("words", "images"),
    [
        ((), 2),
        (("initialization=real",), 2),
        (("synthetic=multi_formation", "synthetic.factor=3"), 2),
        (("synthetic=multi_formation", "synthetic.factor=3", "initialization=real"), 18),
    ],
    ids=str,
)
def test_number_of_initial_images(words: tuple[str, ...], images: int) -> None:
    """Noise fills the stored images; real images fill the parts that are decoded from them."""
    config = composed(*DIFFERENT, *words)
    data = build_matched_data(config, build_parts(config, print)).load(CPU)
    start = functools.partial(build_start, config, data)()
    assert torch.bincount(start.batch(torch.arange(len(start)))[1]).tolist() == [images] * 10


def test_the_seed_draws_the_weights_of_components() -> None:
    weights = {}
    for seed in (11, 12):
        words = ("synthetic=shared_components", "synthetic.images=4", f"seed={seed}")
        weights[seed] = built(*words)[2].synthetic.get_parameter("weights")
    noise = 0.1 * torch.randn(10, 4, 2, generator=generator(11, "synthetic"))
    chosen = torch.eye(2)[torch.arange(4) % 2]
    torch.testing.assert_close(weights[11].detach(), chosen + noise)
    assert not torch.equal(weights[11], weights[12])


def test_the_pool_trains_like_the_network_between_updates() -> None:
    config, data, condenser = built(
        "network_start=pool", "pool.networks=4", "pool.epochs=3", "pool.least=0.02", "pool.most=0.05",
        "network_weight_decay=0.07", "network_cutmix=0.3", "augmentation=idc",
        "speed.network_precision=bfloat16",
    )  # fmt: skip
    loop, pool = condenser.inner_loop, condenser.inner_loop.pool
    assert pool is not None
    assert (pool.size, pool.epochs, pool.least, pool.most) == (4, 3, 0.02, 0.05)
    assert pool.sgd == SGDSettings(batch_size=9, lr=0.02, momentum=0.4, weight_decay=0.07)
    assert (pool.train_on, pool.cutmix, pool.file) == (data.train, CutMix(0.3), None)
    assert pool.augmentation == loop.augmentation
    assert (pool.precision, loop._precision) == (torch.bfloat16, torch.bfloat16)
    assert built("speed.precision=bfloat16")[2].inner_loop._precision is None
    assert pool.factory is loop.factory
    assert "network_start=pool" in describe(config).method
    assert built()[2].inner_loop.pool is None


@pytest.mark.parametrize(("made_with", "wrong"), [("0", ["0.1", "0.3"]), ("0.1", ["0.3"])])
def test_a_set_is_no_start_if_it_may_be_learned_from_images_that_are_tested(
    run: Callable[..., Path], made_with: str, wrong: list[str]
) -> None:
    path = run("iterations=0", "initialization=real", f"holdout={made_with}", "evaluation.epochs=1")
    words = ("ipc=2", "initialization=artifact", f"initialization.path={path}")
    for holdout in wrong:
        config = composed(*words, f"holdout={holdout}")
        data = build_matched_data(config, build_parts(config, print)).load(CPU)
        with pytest.raises(ConfigError, match=f"was made with holdout={made_with}, so it may be learned"):
            build_start(config, data)
    for holdout in {"0", made_with}:
        config = composed(*words, f"holdout={holdout}")
        data = build_matched_data(config, build_parts(config, print)).load(CPU)
        assert len(build_start(config, data)) == 20
