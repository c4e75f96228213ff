"""The commands as a user types them: the files that they write, and one clear line for each error."""

import csv
import errno
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from PIL import Image

from gmlight import CondensedDataset
from gmlight.artifacts import condensed_set, set_files
from gmlight.data.images import LabelledImages
from helpers.problems import named_classes
from helpers.runs import SMOKE, TINY, Run, refusal


def only_run(root: Path) -> Path:
    (config,) = root.glob("runs/*/*/config.yaml")
    return config.parent


def test_run_evaluation_and_analysis(command: Run, forked: Run, tmp_path: Path) -> None:
    result = command("train", *SMOKE, "evaluation.every=1", "checkpoint.every=1", "log_every=1")
    assert result.returncode == 0, result.stderr
    assert result.stderr == ""
    assert "\x1b" not in result.stdout
    assert max(map(len, result.stdout.splitlines())) <= 80
    for expected in (
        "k 2/2  t 2/2  loss ",
        "elapsed",
        "left",
        "condensed",
        "random images",
        "whole train set",
    ):
        assert expected in result.stdout

    folder = only_run(tmp_path)
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    assert files == {
        ".lock", "config.yaml", "metrics.csv", "origin.json", "report.html", "result.json",
        "evaluation.jsonl", "checkpoints/last.ckpt",
        "checkpoints/previous.ckpt", "samples/00000.png",
        "samples/00001.png", "samples/00002.png", "condensed/condensed.safetensors",
        "condensed/metadata.json", "condensed/grid.png",
    }  # fmt: skip
    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["ipc"], config["iterations"], config["scale"]["name"]) == (2, 2, "smoke")
    Image.open(folder / "condensed" / "grid.png").verify()

    rows = list(csv.DictReader((folder / "metrics.csv").open()))
    losses = [row for row in rows if row["matching_loss/total"]]
    assert [int(row["step"]) for row in losses] == [0, 1, 2, 3]
    total = [float(row["matching_loss/intra"]) + float(row["matching_loss/inter"]) for row in losses]
    assert [float(row["matching_loss/total"]) for row in losses] == pytest.approx(total, rel=1e-5)
    assert [row["iteration"] for row in rows if row["accuracy/mean"]] == ["1", "2"]

    found = json.loads((folder / "result.json").read_text())
    condensed, random, whole = found["evaluations"]
    assert [condensed["images"], random["images"], whole["images"]] == [20, 20, 1437]
    assert condensed["accuracy"]["n"] == len(condensed["accuracy"]["values"]) == 2
    assert found["scale"] == "smoke"
    assert found["method"] == "mda"

    dataset = CondensedDataset(folder)
    metadata = dataset.metadata
    assert dataset.images.shape == (20, 1, 8, 8)
    assert dataset.labels.tolist() == [c for c in range(10) for _ in range(2)]
    assert (
        metadata["sha256"]
        == hashlib.sha256((folder / "condensed/condensed.safetensors").read_bytes()).hexdigest()
    )
    assert metadata["evaluations"] == [condensed]
    assert metadata["complete"] is True
    assert metadata["config"]["seed"] == 0
    assert metadata["environment"]["torch"]

    again = forked("train", *TINY, f"hydra.run.dir={folder}")
    assert "already holds a run" in refusal(again)
    assert json.loads((folder / "result.json").read_text()) == found

    other = command("evaluate", f"run={folder}", "architecture=mlp", "evaluation.networks=3")
    assert other.returncode == 0, other.stderr
    assert "train images" in other.stdout  # what was read of the dataset
    assert "mlp" in other.stdout
    (path,) = folder.glob("evaluations/*/result.json")
    (row,) = json.loads(path.read_text())["evaluations"]
    assert (row["architecture"], row["images"], row["accuracy"]["n"]) == ("mlp", 20, 3)

    before = (folder / "result.json").read_text()
    assert "already holds" in refusal(forked("evaluate", f"run={folder}", f"hydra.run.dir={folder}"))
    assert (folder / "result.json").read_text() == before

    same = forked("evaluate", f"run={folder / 'condensed'}")
    assert same.returncode == 0, same.stderr
    (path,) = set(folder.glob("evaluations/*/result.json")) - {path}  # the set's folder names its run
    (row,) = json.loads(path.read_text())["evaluations"]
    assert row["accuracy"]["values"] == condensed["accuracy"]["values"]

    words = ("evaluation.networks=2", "evaluation.epochs=9", "points=4", "real_images=100")
    analysis = command("analyze", f"run={folder}", *words)
    assert analysis.returncode == 0, analysis.stderr
    *lines, picture, points = analysis.stdout.splitlines()
    assert max(map(len, lines)) <= 80
    assert (picture.split()[0], points.split()[0]) == ("picture", "points")
    (path,) = folder.glob("analyses/*/trajectory.json")
    analyzed = json.loads(path.read_text())
    assert [[point["epoch"] for point in points] for points in analyzed["networks"]] == [[0, 1, 3, 9]] * 2
    assert (analyzed["set"]["sha256"], analyzed["target"]) == (metadata["sha256"], "convnet")
    assert path.with_suffix(".svg").exists()
    Image.open(path.with_suffix(".png")).verify()


def test_whole_training_set_writes_no_artifact(typed: Run, tmp_path: Path) -> None:
    result = typed("train", *TINY, "initialization=whole")
    assert result.returncode == 0, result.stderr
    folder = only_run(tmp_path)
    assert not (folder / "condensed").exists()
    first = json.loads((folder / "result.json").read_text())["evaluations"][0]
    assert (first["images"], first["accuracy"]["n"]) == (1437, 2)


def test_real_images_can_be_evaluated_without_condensation(typed: Run, tmp_path: Path) -> None:
    result = typed("train", *TINY, "initialization=real", "iterations=0")
    assert result.returncode == 0, result.stderr
    folder = only_run(tmp_path)
    assert len(CondensedDataset(folder)) == 20
    assert json.loads((folder / "result.json").read_text())["method"] == "real"


def test_multirun_continues_after_a_failed_job(forked: Run, tmp_path: Path) -> None:
    result = forked("train", "-m", *TINY, "ipc=0,1", "seed=3")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "gmlight: ipc=0: must be a whole number of at least 1" in result.stderr
    (found,) = tmp_path.glob("runs/sweep/*/*/result.json")
    assert json.loads(found.read_text())["config"]["ipc"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["ipc=0"], "ipc=0: must be a whole number of at least 1"),
        (["ipc=-1"], "ipc=-1: must be a whole number of at least 1"),
        (["ipc=500", "initialization=real"], "has only 139; use a smaller ipc"),
        (["ipc=500"], "evaluation.baselines.random=0"),
        (["iterations=-1"], "iterations=-1: must be a whole number of at least 0"),
        (["iterations=0"], "initialization=real"),
        (["initialization=whole", "iterations=3"], "use iterations=0"),
        (["architecture.depth=9"], "use architecture.depth<=3"),
        (["dataset=svhn"], "/data/*_32x32.mat; put the files there or set data_dir"),
        (["dataset=image_folder"], "dataset.root="),
        (
            ["dataset=image_folder", "dataset.root=nowhere"],
            "nowhere: no such folder; use the one that holds train/ and test/",
        ),
        (["initialization=herding", "ipc=140"], "140 images of class '8' are wanted, and it has only 139"),
        (["initialization=artifact"], "initialization.path="),
        (["schedule=table", "ipc=30"], "T=30 needs 29 entries"),
        (["architecture=vgg11"], "leaves nothing of a 8x8 image"),
        (["image_lr=1e30"], "is not finite; lower image_lr"),
        (["method=random", "iterations=3"], "method=random: nothing is condensed"),
        (["trainer.accelerator=abacus"], "trainer=cpu"),
        (["logger=null"], "logger=null: no option of logger; use one of csv, "),
        (
            ["architecture=[mlp,convnet]"],
            "architecture=[mlp,convnet]: takes one option; use architecture=mlp, or",
        ),
        (["scale=[]"], "scale=[]: takes one option; use scale=<option>, or a sweep"),
        (["speed=1"], "speed=1: is a group of keys; set one of them, such as speed.allocator="),
        (["evaluation=null"], "evaluation=null: no option of evaluation"),
        (
            ["checkpoint=null"],
            "checkpoint=None: is a group of keys; set one of them, such as checkpoint.every=",
        ),
        (["cells=5"], "cells=5: must be a list of cells"),
        (["cells=[1]"], "cells=[1]: must be a list of cells"),
        (["cells=[{when:{ipc:[1]},blanc:no}]"], "must be a list of cells"),
        (["dataset.name=null"], "dataset.name=None: must be a name"),
        (["dataset.load.test_share=1"], "dataset.load.test_share=1: must be a number above 0 and below 1"),
        (["dataset.load.split_seed=x"], "dataset.load.split_seed=x: must be a whole number of at least 0"),
        (["seed=99999999999999999999"], "must be a whole number of at least 0, below 2^63"),
        (["image_lr=99999999999999999999"], "must be a number above 0"),
        (["evaluation.architectures=[1]"], "must be null or a list such as [convnet,mlp]"),
        (["schedule.epochs.0=9"], "entries by number are set together, such as schedule.epochs={0: ...}"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_user_error_prints_one_line_and_writes_nothing(
    typed: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    line = refusal(typed("train", *SMOKE, *words))
    assert message in line
    if "image_lr=1e30" in words:
        assert "k=0, t=1, class '0'" in line
        dataset = CondensedDataset(only_run(tmp_path))
        assert dataset.images.isfinite().all()
        assert dataset.metadata["complete"] is False
    else:
        assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "run=<run folder"),
        (["run=nowhere"], "nowhere: no condensed set there"),
        (["run=nowhere", "image_lr=1"], "image_lr=1: belongs to the run that made the set"),
    ],
    ids=["no run", "absent", "no part"],
)
def test_commands_refuse_a_missing_set(typed: Run, tmp_path: Path, words: list[str], message: str) -> None:
    for module in ("evaluate", "analyze"):
        assert message in refusal(typed(module, *words))
    if "image_lr=1" not in words:  # gmlight.export reads nothing of the run that made the set
        assert message in refusal(typed("export", *words))
    assert not any(tmp_path.iterdir())


def test_run_folder_that_cannot_be_created(typed: Run, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert "cannot write file" in refusal(typed("train", *TINY, "hydra.run.dir=file/run"))


def test_changed_set_is_not_evaluated(typed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "condensed"
    images = LabelledImages(torch.zeros(2, 1, 8, 8), torch.tensor([0, 1]))
    condensed_set.write(folder, images, named_classes("a", "b"), {})
    metadata = json.loads((folder / "metadata.json").read_text())
    (folder / "metadata.json").write_text(json.dumps(metadata | {"classes": ["a", "c"]}))
    assert "metadata.json: wrong hash" in refusal(typed("evaluate", f"run={folder}"))
    (folder / "metadata.json").write_text(
        json.dumps(metadata | {"schema_version": set_files.SCHEMA_VERSION + 1})
    )
    assert "upgrade gmlight" in refusal(typed("evaluate", f"run={folder}"))


def test_set_of_an_older_version_can_be_used(typed: Run, tmp_path: Path) -> None:
    """Its metadata lacks later additions: form, storage, groups and keys of the configuration."""
    assert typed("train", *TINY, "hydra.run.dir=made").returncode == 0
    path = tmp_path / "made" / "condensed" / "metadata.json"
    metadata = json.loads(path.read_text())
    for key in ("form", "storage", "protocol", "metadata_sha256"):
        del metadata[key]
    for node, keys in {"evaluation": ["cutmix"], "dataset": ["flip", "evaluation_augmentation"]}.items():
        for key in keys:
            del metadata["config"][node][key]
    for key in ("sampling", "network_images", "holdout"):
        del metadata["config"][key]
    metadata["config"]["synthetic"]["_target_"] = "gmlight.synthetic.Pixels"
    path.write_text(json.dumps(metadata | {"schema_version": 1}))
    few = ["run=made", "evaluation.networks=1", "evaluation.epochs=1"]
    assert "protocol plain" in typed("evaluate", *few).stdout
    result = typed("evaluate", *few, "augmentation=dsa")
    assert "protocol dsa" in result.stdout, result.stderr
    paths = sorted((tmp_path / "made" / "evaluations").glob("*/result.json"))
    found = [json.loads(path.read_text()) for path in paths]
    assert found[0]["changed"] == ["epochs=1"]
    assert found[1]["changed"] == ["epochs=1"]
    assert found[1]["config"]["augmentation"]["flip"] == 0  # digits
    assert typed("export", "run=made", "format=npz").returncode == 0


def test_typo_lists_the_options(typed: Run) -> None:
    result = typed("train", "distance=cosine")
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert "cos_euclid" in result.stderr
    for odd in ("distance=0", "distance=[1,2]", "schedule=1.5", "matching={a:1}"):
        assert f"{odd}: no option of " in refusal(typed("train", odd))
    unknown = typed("train", "iterationz=3")
    assert unknown.returncode == 1
    assert "iterationz" in unknown.stderr


@pytest.mark.parametrize("module", ["train", "evaluate", "analyze", "export"])
def test_help(typed: Run, module: str) -> None:
    result = typed(module, "--help")
    assert result.returncode == 0, result.stderr
    assert f"python -m gmlight.{module}" in result.stdout
    assert "architecture" in result.stdout


@pytest.mark.parametrize("module", ["report", "schedule"])
def test_usage(typed: Run, module: str) -> None:
    """Of the commands without Hydra; also for a word that they do not know."""
    for flag in ("--help", "-h"):
        result = typed(module, flag)
        assert (result.returncode, result.stderr) == (0, "")
        assert f"python -m gmlight.{module} runs=" in result.stdout
    result = typed(module, "folder")
    assert (result.returncode, result.stdout) == (1, "")
    assert f"python -m gmlight.{module} runs=" in result.stderr


@pytest.mark.slow
def test_installed_wheel_works_in_any_folder(tmp_path: Path) -> None:
    """Installs the wheel, which contains conf/, in a new environment that uses the packages of this one."""
    source = Path(__file__).parents[2]
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-q", "--no-deps", wheel], check=True)
    (site,) = (tmp_path / "venv").glob("lib/python*/site-packages")
    borrowed = next(path for path in sys.path if path.endswith("site-packages"))
    (site / "borrowed.pth").write_text(f"import sys; sys.path.append({borrowed!r})\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for start in ([python, "-m", "gmlight.train"], [python.parent / "gmlight-train"]):
        subprocess.run([*start, *TINY], cwd=elsewhere, check=True, stdin=subprocess.DEVNULL)
    assert len(list(elsewhere.glob("runs/*/*/result.json"))) == 2
    where = subprocess.run(
        [python, "-c", "import gmlight.config as c; print(c.CONF_DIR)"],
        cwd=elsewhere,
        check=True,
        capture_output=True,
        text=True,
    )
    assert where.stdout.strip() == str(site / "gmlight" / "conf")


def test_set_is_never_tested_on_its_training_images(typed: Run, tmp_path: Path) -> None:
    folder = tmp_path / "here"
    trained = typed("train", *TINY, "holdout=0.1", f"hydra.run.dir={folder}", "ipc=1")
    assert trained.returncode == 0, trained.stderr
    assert "holdout=0.2: the set was made with holdout=0.1" in refusal(
        typed("evaluate", f"run={folder}", "holdout=0.2")
    )
    held_out = typed("evaluate", f"run={folder}", "evaluation.networks=1", "evaluation.epochs=1")
    assert "tested on the 10% of the training images that were held out" in held_out.stdout
    test_split = typed(
        "evaluate", f"run={folder}", "holdout=0", "evaluation.networks=1", "evaluation.epochs=1"
    )
    assert test_split.returncode == 0, test_split.stderr
    assert "tested on" not in test_split.stdout


def test_an_explained_error_in_a_run_is_one_line(typed: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", "/somewhere")

    monkeypatch.setattr("gmlight.commands.train.train", fail)
    assert refusal(typed("train", *TINY)).startswith("gmlight: cannot write /somewhere: Permission denied; ")
