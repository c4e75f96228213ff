"""Every option of every group composes, builds and runs; options are found by glob."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import yaml
from hydra.errors import MissingConfigException
from omegaconf import DictConfig, OmegaConf

from gmlight.builders.data import build_data
from gmlight.builders.parts import build_factory, build_rule, build_schedule
from gmlight.config.compose import name_classes
from gmlight.config.labels import describe
from gmlight.config.validate import check
from gmlight.config.values import built_in_dataset
from gmlight.data.datamodule import CondensationData
from gmlight.errors import ConfigError
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import composed

OPTIONS = sorted(path.relative_to(CONF_DIR).with_suffix("") for path in CONF_DIR.glob("*/*.yaml"))
GROUPS = sorted({option.parent.name for option in OPTIONS})
PAPER_DATASETS = ["mnist", "fashion_mnist", "svhn", "cifar10", "cifar100"]


def test_groups_are_found() -> None:
    assert {"dataset", "architecture", "matching", "distance", "schedule"} <= set(GROUPS)


# Tested elsewhere: experiments in test_experiment_cells.py, trainer=slurm in test_slurm.py, formats in
# test_export.py, layouts in test_convert.py, spaces in test_search_space.py.
_ELSEWHERE = ("experiment", "format", "layout", "space")
ELSEWHERE = [one for one in OPTIONS if one.parent.name in _ELSEWHERE or one.name == "slurm"]


@pytest.mark.parametrize("option", [one for one in OPTIONS if one not in ELSEWHERE], ids=str)
def test_option_runs(option: Path, run: Callable[..., Path]) -> None:
    group, name = option.parent.name, option.name
    if group == "dataset":
        config = composed(f"dataset={name}", "download=false")
        if name == "made_up":
            name_classes(config)
        elif config.dataset.classes is None:
            with pytest.raises(ConfigError, match=r"data_dir|dataset.root|dataset.path|gmlight.condense"):
                name_classes(config)
            return
        network = build_factory(config.architecture, config.dataset)()
        assert network(torch.zeros(1, config.dataset.channels, *config.dataset.size)).shape[1] == len(
            config.dataset.classes
        )
        data = build_data(config)
        if not _is_available(data):
            return
        assert tuple(data.train.images.shape[1:]) == (config.dataset.channels, *config.dataset.size)
        return
    if option == Path("initialization/artifact"):
        folder = run(f"initialization={name}", f"initialization.path={run()}")
        assert (folder / "result.json").is_file()
        return
    if option == Path("trainer/gpu") and not torch.cuda.is_available():
        with pytest.raises(ConfigError, match="trainer=cpu"):
            run("trainer=gpu")
        return
    if group == "architecture":
        # A few images, large enough for every network.
        enlarged = ["dataset.load._target_=helpers.problems.enlarged_digits", "dataset.size=[32,32]"]
        few = ["ipc=1", "iterations=1", "real_batch=2", "statistics_batch=2", "evaluation=quick"]
        fewer = ["evaluation.networks=1", "evaluation.epochs=1", "evaluation.baselines={random:0,whole:0}"]
        run(f"architecture={name}", *enlarged, *few, *fewer)
        return
    if option == Path("trainer/ddp"):  # with one process; test_survival.py has two
        run("trainer=ddp", "trainer.accelerator=cpu", "trainer.devices=1")
        assert not torch.distributed.is_initialized()  # the run destroys its process group
        return
    small = ["scale.iterations=2", "scale.networks=1", "scale.epochs=1"] if group == "scale" else []
    folder = run(f"{group}={name}", *small)
    assert (folder / "result.json").is_file()


@pytest.mark.parametrize("option", [one.name for one in OPTIONS if one.parent.name == "dataset"])
def test_classes_of_built_in_datasets_can_be_chosen_but_not_renamed(option: str) -> None:
    """Also those of a dataset that extends another one."""
    config = composed(f"dataset={option}")
    if "find_classes" in config.dataset:
        return
    named = list(config.dataset.classes)
    name_classes(config)
    fixed = built_in_dataset(option)
    assert list(config.dataset.classes) == named == fixed["classes"] == fixed["load"]["names"]
    config.dataset.classes = [named[7], named[2]]
    name_classes(config)
    assert list(config.dataset.classes) == [named[7], named[2]]
    config.dataset.classes = ["one", named[2]]
    with pytest.raises(ConfigError, match=f"dataset.classes: {option} has no class 'one'"):
        name_classes(config)


def label(config: DictConfig, name: str) -> str:
    return getattr(describe(config), name)


def _is_available(data: CondensationData) -> bool:
    """Whether the dataset loads; if not, checks that the message names the key to set."""
    try:
        data.load(torch.device("cpu"))
    except ConfigError as absent:
        message = str(absent)
    else:
        return True
    assert "set data_dir" in message
    return False


@pytest.mark.parametrize("group", sorted(set(GROUPS) - {"format", "layout", "space"}))
def test_typo_lists_the_options(group: str) -> None:
    with pytest.raises(MissingConfigException) as error:
        composed(f"{group}=nonsense")
    listed = {line.strip() for line in str(error.value).splitlines()}
    assert {option.name for option in OPTIONS if option.parent.name == group} <= listed


@pytest.mark.parametrize("dataset", PAPER_DATASETS)
@pytest.mark.parametrize(
    ("ipc", "updates", "zeta"), [(1, 1, 1), (10, 10, 50), (50, 50, 10)], ids=["ipc 1", "ipc 10", "ipc 50"]
)
def test_paper_datasets_have_the_settings_of_the_paper(
    dataset: str, ipc: int, updates: int, zeta: int
) -> None:
    config = composed(f"dataset={dataset}", f"ipc={ipc}", "schedule=fixed")
    check(config)
    table = config.schedule.epochs
    assert table[max(entry for entry in table if entry <= ipc)] == zeta
    expected = {
        "iterations": 1000, "updates": updates, "real_batch": 256, "train_batch": 256,
        "image_lr": 0.1, "image_momentum": 0.5, "network_lr": 0.01, "network_momentum": 0.5,
        "matching.inter_weight": None, "matching.class_weights": "equal", "distance.weight": 1.0,
        "architecture.width": 128, "architecture.depth": 3, "architecture.norm": "instance",
        "evaluation.networks": 50, "evaluation.epochs": 1000 if dataset == "mnist" else 300,
        "evaluation.batch_size": 256, "evaluation.lr": 0.01, "evaluation.momentum": 0.9,
        "evaluation.weight_decay": 5e-4, "evaluation.every": 500, "statistics_batch": 16,
        "checkpoint.minutes": 10, "checkpoint.every": 50,
    }  # fmt: skip
    assert {key: OmegaConf.select(config, key) for key in expected} == expected
    assert config.initialization["_target_"].endswith(".noise")
    assert config.augmentation["_target_"].endswith("crop_scale_rotate" if dataset == "mnist" else ".none")
    assert label(config, "scale") == "paper"


@pytest.mark.parametrize(
    ("dataset", "mean", "std", "classes"),
    [
        ("digits", [0.3054], [0.3760], 10),
        ("mnist", [0.1307], [0.3081], 10),
        ("fashion_mnist", [0.2861], [0.3530], 10),
        ("svhn", [0.4377, 0.4438, 0.4728], [0.1980, 0.2010, 0.1970], 10),
        ("cifar10", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616], 10),
        ("cifar100", [0.5071, 0.4867, 0.4408], [0.2675, 0.2565, 0.2761], 100),
    ],
)
def test_statistics_of_the_paper_datasets(dataset: str, mean: list, std: list, classes: int) -> None:
    node = composed(f"dataset={dataset}").dataset
    assert (node.mean, node.std, len(set(node.classes))) == (mean, std, classes)


def test_a_search_never_sees_the_test_set() -> None:
    node = yaml.safe_load((CONF_DIR / "experiment" / "search.yaml").read_text())
    assert node["holdout"] == 0.1
    assert node["hydra"]["sweeper"]["direction"] == "maximize"


@pytest.mark.parametrize(
    ("method", "matching", "distance", "schedule"),
    [
        ("dc", "intra", "cos", "fixed"),
        ("m", "multilevel", "cos", "fixed"),
        ("md", "multilevel", "cos_euclid", "fixed"),
        ("mdo", "multilevel", "cos_euclid", "until_overfit"),
        ("mda", "multilevel", "cos_euclid", "adaptive"),
    ],
)
def test_methods_of_table_3(method: str, matching: str, distance: str, schedule: str) -> None:
    config = composed(f"method={method}")
    targets = [config[group]["_target_"].split(".")[-1] for group in ("matching", "distance", "schedule")]
    assert targets == [matching, distance, schedule]
    assert label(config, "method") == method
    assert (config.mixed_batch == 256) == (method == "mdo")


def test_command_line_overrides_the_method() -> None:
    config = composed("method=dc", "distance=mse", "distance.weight=10")
    assert config.distance["_target_"].endswith(".mse")
    assert config.matching["_target_"].endswith(".intra")
    assert label(config, "method") == "dc with distance=mse, distance.weight=10"


@pytest.mark.parametrize(
    ("overrides", "scale"),
    [
        ([], "demo"),
        (["scale=paper"], "paper"),
        (["dataset=mnist", "scale=reduced"], "reduced"),
        (["dataset=mnist", "iterations=10"], "paper with iterations=10"),
        (["dataset=mnist", "evaluation=quick"], "paper with evaluation.networks=5"),
        (["dataset=mnist", "evaluation.epochs=7"], "paper with evaluation.epochs=7"),
        (["dataset=mnist", "augmentation=none"], "paper with augmentation=none"),
        (["dataset=mnist", "evaluation.lr=0.1"], "paper with evaluation.lr=0.1"),
    ],
    ids=str,
)
def test_scales_are_labelled(overrides: list[str], scale: str) -> None:
    assert label(composed(*overrides), "scale") == scale


@pytest.mark.parametrize(
    ("overrides", "method"),
    [
        (["updates=3"], "mda with updates=3"),
        (["initialization=real", "image_lr=1"], "mda with initialization=real, image_lr=1"),
        (["seed=4", "ipc=3", "evaluation=quick", "real_batch=8"], "mda"),
        (["initialization=real", "iterations=0"], "real"),
    ],
    ids=str,
)
def test_departures_from_the_method_are_labelled(overrides: list[str], method: str) -> None:
    assert label(composed(*overrides), "method") == method


def test_architecture_label() -> None:
    assert (
        label(composed("architecture.width=64", "architecture.norm=group"), "architecture")
        == "convnet, width=64, norm=group"
    )


def test_of_an_override_typed_twice_the_last_one_is_labelled() -> None:
    config = composed("architecture.width=8", "architecture.width=64", "architecture.width=64")
    assert label(config, "architecture") == "convnet, width=64"
    assert config.architecture.width == 64
    twice = describe(composed("distance.weight=3", "distance.weight=2", "distance.weight=2"))
    assert twice.method == "mda with distance.weight=2"
    assert twice.departures == ["distance.weight=2"]


def test_table_of_epochs_must_start_at_0() -> None:
    config = composed()
    config.schedule.epochs = {3: 5}
    with pytest.raises(ConfigError, match="must have an entry at 0 or below"):
        check(config)


@pytest.mark.parametrize("schedule", ["fixed", "adaptive"])
def test_one_number_of_epochs_replaces_a_table(schedule: str) -> None:
    config = composed(f"schedule={schedule}", "schedule.epochs=7")
    check(config)
    made = build_schedule(config)
    assert [sum(1 for _ in made(t, None)) for t in (0, 3, 40)] == [7, 7, 7]


@pytest.mark.parametrize(("weight", "expected"), [("null", 10), ("0.3", 0.3)])
def test_weight_of_the_inter_term_is_the_number_of_classes_by_default(weight: str, expected: float) -> None:
    config = composed(f"matching.inter_weight={weight}")
    check(config)
    assert build_rule(config).weight(10) == expected


def test_mlp_has_a_smaller_image_learning_rate() -> None:
    assert composed("architecture=mlp").image_lr == 0.01
    assert composed("architecture=mlp", "image_lr=0.2").image_lr == 0.2


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        *(
            ([f"{key}={value}"], f"{key}={value}: must be auto or a whole number of at least 1")
            for key in ("speed.microbatch", "speed.classes_per_block", "memory.classes_per_chunk",
                        "evaluation.test_batch", "evaluation.networks_at_once")
            for value in ("0", "-1", "1.5", "all")
        ),
        (["synthetic=multi_formation", "synthetic.factor=0"], "synthetic.factor=0: must be a whole number"),
        (["matching.layers=0"], "matching.layers=0: must be all, conv, or a share above 0 and up to 1"),
        (["matching.layers=convs"], "matching.layers=convs: must be all, conv, or a share"),
        (["ipc=0"], "ipc=0: must be a whole number of at least 1"),
        (["ipc=-3"], "ipc=-3: must be a whole number of at least 1"),
        (["ipc=two"], "ipc=two: must be a whole number of at least 1"),
        (["ipc=1.5"], "ipc=1.5: must be a whole number"),
        (["ipc=true"], "ipc=True: must be a whole number"),
        (["iterations=-1"], "iterations=-1: must be a whole number of at least 0"),
        (["iterations=0"], "iterations=0: noise would be evaluated"),
        (["updates=0"], "updates=0"),
        (["real_batch=0"], "real_batch=0"),
        (["train_batch=0"], "train_batch=0"),
        (["evaluation.networks=0"], "evaluation.networks=0"),
        (["evaluation.epochs=0"], "evaluation.epochs=0"),
        (["evaluation.batch_size=0"], "evaluation.batch_size=0"),
        (["checkpoint.every=0"], "checkpoint.every=0"),
        (["image_lr=0"], "image_lr=0: must be a number above 0"),
        (["image_lr=nan"], "image_lr=nan: must be a number above 0"),
        (["network_lr=-0.1"], "network_lr=-0.1: must be a number above 0"),
        (["evaluation.lr=inf"], "evaluation.lr=inf: must be a number above 0"),
        (["ipc=null"], "ipc=None: must be a whole number of at least 1"),
        (["iterations=null"], "iterations"),
        (["real_batch=null"], "real_batch=None"),
        (["network_lr=null"], "network_lr=None: must be a number above 0"),
        (["evaluation.weight_decay=-1"], "evaluation.weight_decay=-1: must be a number of at least 0"),
        (["evaluation.baselines=0"], "evaluation.baselines=0: must be a group of keys"),
        (["scale.epochs=abc"], "evaluation.epochs"),
        (["architecture.depth=0"], "architecture.depth=0: must be a whole number of at least 1"),
        (["architecture.width=8.5"], "architecture.width=8.5: must be a whole number"),
        (["architecture.depth=null"], "architecture.depth=None: must be a whole number"),
        (["trainer.devices=2"], "trainer.devices=2: must be 1; use trainer=ddp for several"),
        (["trainer=ddp", "trainer.devices=0"], "trainer.devices=0: must be auto or a whole number"),
        (["speed.allocator=on"], "speed.allocator=on: must be auto or off"),
        (["augmentation=crop_scale_rotate", "augmentation.padding=0"], "augmentation.padding=0"),
        (["augmentation=crop_scale_rotate", "augmentation.scale=1"], "must be [least, greatest]"),
        (["augmentation=crop_scale_rotate", "augmentation.scale=[1.2,0.8]"], "must be [least, greatest]"),
        (["schedule=table", "schedule.epochs=[5,4]"], "T=10 needs 9 entries or more"),
        (["matching=inter", "matching.mixed_real=-1"], "matching.mixed_real=-1"),
        (["matching=inter", "matching.mixed_real=9", "matching.class_weights=batch"], "has no class weights"),
        (["schedule=table", "schedule.epochs=5"], "a table is a list such as"),
        (["initialization=herding", "initialization.batch_size=0"], "initialization.batch_size=0"),
        (["initialization=herding", "initialization.lr=-1"], "initialization.lr=-1"),
        (["dataset.size=8"], "dataset.size=8: must be [height, width]"),
        (["dataset.size=[0,8]"], "must be [height, width]"),
        (["dataset.channels=2"], "dataset.channels=2: must be 1 or 3"),
        (["dataset=svhn", "dataset.mean=[0.5]"], "a number for each channel"),
        (["schedule.unit=minutes"], "schedule.unit=minutes: must be epochs or steps"),
        (["image_steps=0"], "image_steps=0"),
        (["evaluation.architectures=mlp"], "must be null or a list such as [convnet,mlp]"),
        (["initialization=herding", "initialization.features=edges"], "must be network or pixels"),
        (["schedule=until_overfit", "mixed_batch=0"], "use mixed_batch=256"),
        (["schedule=until_overfit", "schedule.margin=abc"], "schedule.margin=abc"),
        (["schedule.epochs=null"], "schedule.epochs=None"),
        (["matching.class_weights=3"], "must be equal, priors, batch"),
        (["matching.class_weights=[a,b]"], "must be equal, priors, batch"),
        (["pool.least=0.2", "pool.most=0.1"], "pool.least=0.2: must be at most pool.most=0.1"),
        (["image_momentum=1"], "image_momentum=1: must be a number from 0"),
        (["distance.weight=0"], "distance.weight=0"),
        (["matching.inter_weight=-1"], "matching.inter_weight=-1"),
        (["matching.class_weights=sizes"], "must be equal, priors, batch, or a list of 10"),
        (["matching.class_weights=[0.5,0.5]"], "a list of 10 numbers that sum to 1"),
        (["schedule=fixed", "schedule.epochs=-1"], "schedule.epochs=-1"),
        (["schedule=until_overfit", "schedule.criterion=up"], "schedule.criterion=up: must be rise or gap"),
    ],
    ids=str,
)  # fmt: skip
def test_values_out_of_range(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check(composed(*overrides))
    assert message in str(error.value)
    assert "\n" not in str(error.value)
