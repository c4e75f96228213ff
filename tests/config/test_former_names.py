"""Sets, run folders and yaml files from before the packages still work."""

import json
import shutil
from pathlib import Path

import torch
from omegaconf import OmegaConf
from safetensors.torch import load_file

from gmlight import CondensedDataset
from gmlight.config.compose import use_present_names
from gmlight.config.former_names import FORMER_NAMES, present_name, with_former_names, with_present_names
from gmlight.config.stored import stored_configuration
from gmlight.runtime.paths import CONF_DIR
from helpers.runs import Run

BEFORE = Path(__file__).parent / "before_packages"  # written when all modules were in one folder
SAME = ["trainer=cpu", "download=false"]


def copied(name: str, tmp_path: Path) -> Path:
    """Copies an old run folder to a writable folder."""
    return Path(shutil.copytree(BEFORE / name, tmp_path / name))


def test_longest_former_name_is_replaced() -> None:
    assert present_name("gmlight.distances.cos") == "gmlight.matching.distances.cos"
    assert present_name("gmlight.synthetic.noise") == "gmlight.condensation.initialization.noise"
    assert present_name("gmlight.synthetic.pixels") == "gmlight.condensation.synthetic.pixels"
    assert present_name("gmlight.distances_of_mine.cos") == "gmlight.distances_of_mine.cos"
    assert present_name("mine.distances.cos") == "mine.distances.cos"


def test_present_names_are_kept_and_can_be_reversed() -> None:
    for name in FORMER_NAMES:
        node = {"a": [{"_target_": f"{name}.x", "b": {"_target_": name}}], "path": name}
        now = with_present_names(node)
        assert now["path"] == name  # names no function here
        assert with_present_names(now) == now
        assert with_former_names(now) == node
    found = {"_target_": "hydra.utils.get_method", "path": "gmlight.data.at_random"}
    assert with_present_names(found)["path"] == "gmlight.data.images.random_sampling"
    loader = {"_target_": "my.load", "path": "gmlight.data.at_random"}  # a file's path, of any name
    assert with_present_names(loader) == loader
    assert with_present_names({"_target_": "hydra.utils.get_class", "path": None})["path"] is None


def test_partial_rules_become_rules() -> None:
    rule = {"_target_": "gmlight.matching.inter", "_partial_": True, "inter_weight": None}
    now = {"_target_": "gmlight.matching.rules.inter", "inter_weight": None}
    distance = {"_target_": "gmlight.matching.distances.cos", "_partial_": True}
    assert with_present_names({"matching": [rule], "distance": distance}) == {
        "matching": [now],
        "distance": distance,
    }
    composed = OmegaConf.create({"matching": rule, "distance": distance})
    OmegaConf.set_struct(composed, True)
    use_present_names(composed)
    assert OmegaConf.to_container(composed) == {"matching": now, "distance": distance}


def test_old_set_is_read_and_evaluated(typed: Run, tmp_path: Path) -> None:
    folder = copied("finished", tmp_path)
    assert len(CondensedDataset(folder)) == 80  # 10 classes, 2 stored images each, 4 images from each
    done = typed("evaluate", f"run={folder}", "evaluation.networks=1", *SAME)
    assert done.returncode == 0, done.stderr
    (result,) = folder.glob("evaluations/*/result.json")
    assert json.loads(result.read_text())["changed"] == []  # only the names differ


def test_old_set_knows_the_names_of_its_files_classes(tmp_path: Path) -> None:
    """Without them, its classes in another order would be tested under wrong names."""
    config = stored_configuration([f"run={copied('finished', tmp_path)}"])
    assert config["dataset"]["load"]["names"] == list("0123456789")


def test_old_run_is_resumed(typed: Run, tmp_path: Path) -> None:
    folder = copied("stopped", tmp_path)
    done = typed("train", f"resume={folder}", *SAME)
    assert done.returncode == 0, done.stderr
    assert "resumed after image update 3" in done.stdout
    words = json.loads((folder / "result.json").read_text())["overrides"]
    assert typed("train", *words, "download=false", "hydra.run.dir=whole").returncode == 0
    resumed, whole = (
        load_file(run / "condensed" / "condensed.safetensors") for run in (folder, tmp_path / "whole")
    )
    # The run was started on another machine, whose rounding may differ.
    torch.testing.assert_close(resumed["images"], whole["images"], rtol=1e-3, atol=1e-3)


def test_logged_accuracies_are_not_computed_again(typed: Run, tmp_path: Path) -> None:
    folder = copied("finished", tmp_path)  # as if stopped between its last network and its result
    *_, random_line, whole_line = (folder / "evaluation.jsonl").read_text().splitlines()
    done = typed("train", f"resume={folder}", *SAME)
    assert done.returncode == 0, done.stderr
    lines = (folder / "evaluation.jsonl").read_text().splitlines()
    logged = [json.loads(line)[0] for line in lines if line]
    # The condensed set is decoded again, and another machine may round its last digits differently.
    assert logged.count(json.loads(whole_line)[0]) == 1
    assert logged.count(json.loads(random_line)[0]) == 2  # its two networks


def test_user_yaml_may_have_former_names(typed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "conf" / "distance"
    folder.mkdir(parents=True)
    folder.joinpath("mine.yaml").write_text(
        "_target_: gmlight.distances.cos_mse\n_partial_: true\nweight: 2.0\n"
    )
    words = ["--config-dir", str(tmp_path / "conf"), "distance=mine", "scale=smoke", *SAME]
    done = typed("train", *words, "hydra.run.dir=run")
    assert done.returncode == 0, done.stderr
    assert "gmlight.matching.distances.cos_mse" in (tmp_path / "run" / "config.yaml").read_text()


def test_conf_has_present_names_only() -> None:
    for path in CONF_DIR.rglob("*.yaml"):
        for name in FORMER_NAMES:
            assert f"{name}." not in path.read_text().replace("gmlight.matching.rules.", ""), path
