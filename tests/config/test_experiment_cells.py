"""The paper's experiments: every cell composes and is labelled; the paper's blank cells are blank."""

import copy
import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from omegaconf import DictConfig

from gmlight.artifacts.results import images_per_class
from gmlight.config.experiment_cells import apply_cell, blank_cell
from gmlight.config.labels import describe
from gmlight.config.validate import check
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import TINY, Run, composed

EXPERIMENTS = sorted(path.stem for path in (CONF_DIR / "experiment").glob("*.yaml"))
EXPERIMENTS.remove("search")  # its runs are not known in advance; see test_launchers.py
SIZES = {
    "beyond": 64, "frontier": 30, "overfitting": 4, "relative_accuracy": 30, "table1": 64, "table2": 14,
    "table3": 240, "table4": 12, "tiny_imagenet": 4,
}  # fmt: skip


def cells_of(experiment: str) -> list[list[str]]:
    node = yaml.safe_load((CONF_DIR / "experiment" / f"{experiment}.yaml").read_text())
    params = {key: str(values).split(",") for key, values in node["hydra"]["sweeper"]["params"].items()}
    return [
        [f"{key}={value}" for key, value in zip(params, values, strict=True)]
        for values in itertools.product(*params.values())
    ]


def by_choices(cells: list[list[str]]) -> dict[tuple[str, ...], list[int]]:
    """Groups cells by all overrides but ipc; returns the images per class of each group."""
    sizes = defaultdict(list)
    for overrides in cells:
        others = tuple(word for word in overrides if not word.startswith("ipc="))
        sizes[others] += [int(word.removeprefix("ipc=")) for word in overrides if word not in others]
    return sizes


def with_ipc(config: DictConfig, ipc: int) -> DictConfig:
    """Copies the configuration with another number of images per class."""
    other = copy.deepcopy(config)
    other.ipc = ipc
    return other


def label(*overrides: str) -> str:
    config = composed(*overrides)
    apply_cell(config)
    return describe(config).method


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_number_of_cells(experiment: str) -> None:
    assert len(cells_of(experiment)) == SIZES[experiment]


PAPERS_SWEEPS = {
    "table1": {"method": "m", "dataset": "mnist,fashion_mnist,svhn,cifar10", "ipc": "1,10",
               "matching": "intra,inter,interleaved,multilevel"},
    "table2": {"method": "m", "dataset": "svhn", "ipc": 1,
               "distance": "cos,euclid,sse,mse,cos_euclid,cos_sse,cos_mse"},
    "table3": {"dataset": "mnist,fashion_mnist,svhn,cifar10,cifar100", "ipc": "1,10,50",
               "method": "random,herding,dc,m,md,mdo,mda,whole"},
    "table4": {"method": "md", "dataset": "mnist", "ipc": 1,
               "architecture": "mlp,convnet,lenet,alexnet,vgg11_bn,resnet18_bn_ap"},
    "tiny_imagenet": {"dataset": "tiny_imagenet", "ipc": 1, "method": "dc,md"},
    "overfitting": {"dataset": "cifar10", "ipc": 10, "method": "dc", "schedule": "fixed,until_overfit"},
    "relative_accuracy": {"dataset": "cifar10", "ipc": "50,100,200,500,1000", "method": "random,mda,whole"},
}  # fmt: skip


@pytest.mark.parametrize("experiment", PAPERS_SWEEPS)
def test_experiments_sweep_the_choices_of_the_paper(experiment: str) -> None:
    node = yaml.safe_load((CONF_DIR / "experiment" / f"{experiment}.yaml").read_text())
    assert node["hydra"]["sweeper"]["params"] == PAPERS_SWEEPS[experiment] | {"seed": "0,1"}
    if experiment == "table4":
        targets = ["mlp", "convnet", "lenet", "alexnet", "vgg11", "resnet18"]
        assert node["evaluation"]["architectures"] == targets


@pytest.mark.parametrize("experiment", EXPERIMENTS)
def test_every_cell_of_a_seed_composes(experiment: str) -> None:
    cells = [
        overrides
        for overrides in cells_of(experiment)
        if overrides[-1] != "seed=1" and "dataset=fashion_mnist" not in overrides  # as seed 0, as mnist
    ]
    for number, (choices, sizes) in enumerate(by_choices(cells).items()):
        words = [f"experiment={experiment}", *choices]
        shared = composed(*words, f"ipc={sizes[0]}")
        if number == 0:  # setting ipc equals composing again
            assert with_ipc(shared, sizes[-1]) == composed(*words, f"ipc={sizes[-1]}")
        for ipc in sizes:
            config = with_ipc(shared, ipc)
            apply_cell(config)
            check(config)
            assert config.scale.name == "paper"


def test_footnote_5_is_of_one_cell() -> None:
    weights = {}
    for dataset in ("cifar10", "cifar100", "svhn"):
        for ipc in (1, 10, 50):
            config = composed("experiment=table3", f"dataset={dataset}", f"ipc={ipc}", "method=md")
            apply_cell(config)
            weights[dataset, ipc] = config.distance.weight
    assert weights.pop(("cifar10", 50)) == 0.1
    assert set(weights.values()) == {1.0}


def test_blank_cells_of_table_3() -> None:
    for ipc, method, dataset, blank in [
        (1, "mdo", "mnist", True), (1, "mda", "svhn", True), (1, "md", "svhn", False),
        (10, "mda", "svhn", False), (50, "md", "cifar100", True), (10, "md", "cifar100", False),
        (1, "whole", "mnist", False), (10, "whole", "mnist", True),
    ]:  # fmt: skip
        config = composed("experiment=table3", f"dataset={dataset}", f"ipc={ipc}", f"method={method}")
        assert (blank_cell(config) is not None) is blank
    assert blank_cell(composed("ipc=1", "method=mda")) is None


def test_methods_of_the_frontier_have_as_many_image_updates() -> None:
    for cell in cells_of("frontier"):
        config = composed("experiment=frontier", *cell)
        apply_cell(config)
        assert config.iterations * config.updates == 20 * config.scale.iterations, cell
        assert f"iterations={config.iterations}" in describe(config).scale


def test_steps_beyond_the_paper_are_cumulative() -> None:
    """Each step includes the previous ones."""
    steps = ("dsa", "formation", "real_source", "representative")
    configs = [composed("experiment=beyond", "dataset=cifar10", "ipc=10", f"method={step}") for step in steps]
    parts = [
        (
            config.augmentation["_target_"].endswith(".Siamese"),
            config.synthetic["_target_"].endswith(".multi_formation"),
            config.network_images == "real",
            config.sampling["_target_"].endswith(".Representatives"),
        )
        for config in configs
    ]
    assert parts == [tuple(i <= step for i in range(4)) for step in range(4)]
    for step in steps:
        config = composed("dataset=mnist", "ipc=10", f"method={step}")
        record = describe(config)
        assert (record.method, record.scale, record.protocol) == (step, "paper", "dsa")
        assert record.departures[-2:] == [f"method={step}", "protocol dsa"]
        assert config.evaluation.epochs == 1000
    assert images_per_class(configs[1]) == 40
    assert images_per_class(composed("dataset=mnist", "ipc=10", "method=formation")) == 90
    assert images_per_class(composed("synthetic=shared_components", "ipc=5")) == 10


def test_choices_beyond_the_paper_are_labelled() -> None:
    assert label("method=md", "augmentation=dsa") == "md with augmentation=dsa"
    assert label("method=md", "synthetic=multi_formation") == "md with synthetic=multi_formation"
    assert label("method=dsa") == "dsa"
    assert label("method=random", "augmentation=dsa") == "random"
    for words in (["augmentation=dsa"], ["evaluation=cutmix"], ["method=random", "augmentation=dsa"]):
        config = composed("ipc=10", *words)
        assert describe(config).departures, words
    for words, protocol in (
        (["augmentation=dsa", "evaluation=cutmix"], "dsa + cutmix"),
        (["augmentation=dsa", "evaluation.cutmix=1"], "dsa + cutmix 1"),
        (["dataset=mnist"], "plain"),
        (["dataset=mnist", "augmentation=none"], "none"),
        (["dataset=cifar10", "augmentation=crop_scale_rotate"], "crop_scale_rotate"),
    ):
        config = composed(*words)
        found = describe(config)
        assert found.protocol == protocol
        assert (protocol == "plain") == (found.departures == [])
    assert label("method=dsa", "augmentation=none") == "dsa with augmentation=none"


def test_choices_are_labelled_wherever_they_are_made(tmp_path: Path, typed: Run) -> None:
    """On the command line, in a dataset's node, or in a user's experiment."""
    assert label("method=formation", "dataset=mnist", "dataset.formation_factor=2").endswith("factor=2")
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "all.yaml").write_text(
        "# @package _global_\ndefaults:\n  - override /synthetic: multi_formation\n"
        "  - override /sampling: representative\nnetwork_images: real\n"
    )
    words = [*TINY, "experiment=all", "method=md", "hydra.run.dir=here"]
    done = typed("train", "--config-dir", "mine", *words)
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    named = ["synthetic=multi_formation", "sampling=representative", "network_images=real"]
    assert result["departures"] == named
    assert result["method"] == f"md with {', '.join(named)}"


def test_footnote_5_and_table_4() -> None:
    here = ["experiment=table3", "dataset=cifar10", "ipc=50"]
    config = composed(*here, "method=md")
    apply_cell(config)
    assert config.distance.weight == 0.1
    assert label(*here, "method=md") == "md"
    assert label(*here, "method=m") == "m"
    assert label("experiment=table3", "dataset=cifar10", "ipc=10", "method=md") == "md"
    config = composed("experiment=table4", "dataset=mnist", "method=md", "architecture=mlp")
    apply_cell(config)
    assert config.image_lr == 0.01
    assert len(config.evaluation.architectures) == 6


def test_a_sweep_runs_its_cells_and_records_the_blank_ones(forked: Run, tmp_path: Path) -> None:
    words = ["experiment=table3", "dataset=digits", "ipc=1", "method=random,mda", "seed=0", "scale=smoke"]
    result = forked("train", *words, "architecture.width=8", "trainer=cpu")
    assert result.returncode == 0, result.stderr
    found = [json.loads(path.read_text()) for path in sorted(tmp_path.glob("runs/table3/*/*/result.json"))]
    assert [one["method"] for one in found] == ["random", "mda"]
    assert "blank" not in found[0]
    assert found[0]["evaluations"][0]["images"] == 10
    assert "not applicable" in found[1]["blank"]
    assert found[1]["evaluations"] == []
    assert "not applicable" in result.stdout


def test_blank_cell_writes_only_a_result(run: Callable[..., Path]) -> None:
    folder = run("experiment=table3", "ipc=1", "method=mdo")
    assert [path.name for path in folder.iterdir()] == ["result.json"]


def test_user_defined_method_is_in_no_table_of_the_paper(forked: Run, tmp_path: Path) -> None:
    (tmp_path / "mine" / "method").mkdir(parents=True)
    (tmp_path / "mine" / "method" / "slow.yaml").write_text("# @package _global_\nimage_lr: 0.01\n")
    done = forked("train", "--config-dir", "mine", "method=slow", *TINY, "hydra.run.dir=here")
    assert done.returncode == 0, done.stderr
    result = json.loads((tmp_path / "here" / "result.json").read_text())
    assert result["departures"] == ["image_lr=0.01", "method=slow"]
    assert result["method"] == "slow with image_lr=0.01"
