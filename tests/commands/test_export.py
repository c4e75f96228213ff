"""Export formats: each is read back by the usual library of the format."""

import io
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from rich.console import Console
from torchvision.datasets import ImageFolder
from torchvision.transforms.functional import to_tensor

from gmlight.artifacts import condensed_set, export_formats
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.commands import export
from gmlight.data.datasets import digits
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from gmlight.training.evaluator import EvaluatedSet
from helpers.problems import named_classes
from helpers.runs import TINY, Run, refusal


@pytest.fixture
def run_folder(typed: Run, tmp_path: Path) -> Path:
    """Folder of a finished run."""
    result = typed("train", *TINY, "hydra.run.dir=made")
    assert result.returncode == 0, result.stderr
    return tmp_path / "made"


def write_set(folder: Path) -> CondensedDataset:
    """Writes a set of two images of each class, with some pixels below 0 or above 1."""
    rng = torch.Generator().manual_seed(0)
    images, labels = torch.randn(4, 3, 6, 5, generator=rng), torch.tensor([0, 0, 1, 1])
    info = named_classes("cat", "dog", mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
    condensed_set.write(folder / "condensed", LabelledImages(images, labels), info, {})
    return CondensedDataset(folder)


def rounded(condensed: CondensedDataset) -> torch.Tensor:
    """Rounds each pixel in 0..1 to the nearest of 256 steps, by a plain loop."""
    images = condensed.images.clone()
    for image in images:
        for channel, mean, std in zip(image, condensed.mean, condensed.std, strict=True):
            pixels = torch.tensor([min(max(v * std + mean, 0), 1) for v in channel.flatten().tolist()])
            channel.copy_((((pixels * 255).round() / 255 - mean) / std).view_as(channel))
    return images


def test_png_is_read_by_torchvision(tmp_path: Path) -> None:
    condensed = write_set(tmp_path)
    (tmp_path / "png").mkdir()
    known = export_formats.png(tmp_path / "png", condensed)
    read = ImageFolder(tmp_path / "png", transform=to_tensor)
    assert read.classes == ["0_cat", "1_dog"]
    mean, std = (torch.tensor(each).view(-1, 1, 1) for each in (condensed.mean, condensed.std))
    images = torch.stack([(image - mean) / std for image, _ in read])
    torch.testing.assert_close(images, rounded(condensed), rtol=0, atol=1e-5)
    torch.testing.assert_close(known.images, images, rtol=0, atol=1e-5)
    assert [label for _, label in read] == condensed.labels.tolist()


def test_npz_and_pt_are_exact(tmp_path: Path) -> None:
    condensed = write_set(tmp_path)
    assert export_formats.npz(tmp_path, condensed) is None
    assert export_formats.pt(tmp_path, condensed) is None
    arrays = np.load(tmp_path / "condensed.npz", allow_pickle=False)
    content = torch.load(tmp_path / "condensed.pt", weights_only=True)
    for read in ({name: torch.from_numpy(arrays[name]) for name in ("images", "labels")}, content):
        assert torch.equal(read["images"], condensed.images)
        assert torch.equal(read["labels"], condensed.labels)
    for read in (arrays, content):
        assert list(read["classes"]) == condensed.classes
        assert (list(read["mean"]), list(read["std"])) == (condensed.mean, condensed.std)


def test_printed_difference_is_that_of_the_exported_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """The exported images are one point worse on one architecture, and two points better on another."""

    def evaluated(evaluators: object, sets: list[EvaluatedSet], console: Console) -> list[Evaluation]:
        assert [(each.name, each.networks) for each in sets] == [("condensed", 3), ("as png", 3)]
        assert torch.equal(sets[1].images.labels, labels)
        assert torch.equal(sets[1].images.images, read_back.images)
        means = [("condensed", "convnet", 50.0), ("condensed", "mlp", 30.0)]
        means += [("as png", "convnet", 49.0), ("as png", "mlp", 32.0)]
        return [
            Evaluation(name, 4, 1, network, Accuracy([mean], epochs=1, protocol="plain"))
            for name, network, mean in means
        ]

    labels = torch.tensor([0, 1])
    read_back = LabelledImages(torch.ones(2, 1, 2, 2), labels)
    stored = SimpleNamespace(
        name="condensed", images=LabelledImages(torch.zeros(2, 1, 2, 2), labels), evaluators={},
        device=torch.device("cpu"), metadata={},
    )  # fmt: skip
    monkeypatch.setattr(export, "open_set", lambda *_: stored)
    monkeypatch.setattr(export, "evaluate_sets", evaluated)
    monkeypatch.setattr(export, "headline", lambda metadata: "set")
    screen = io.StringIO()
    config: Any = SimpleNamespace(compare=3)
    export.compare(config, None, read_back, "png", Console(file=screen, width=80))  # type: ignore[arg-type]
    assert screen.getvalue().splitlines()[-2:] == [
        "as png -1.00 points on convnet (n = 3 networks each)",
        "as png +2.00 points on mlp (n = 3 networks each)",
    ]


def test_parquet_is_read_by_hugging_face_datasets(
    run_folder: Path, typed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    datasets = pytest.importorskip("datasets", reason="Hugging Face's datasets is not installed")
    result = typed("export", f"run={run_folder}", "format=parquet", "to=hf", "compare=0")
    assert result.returncode == 0, result.stderr
    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    read = datasets.load_dataset(str(tmp_path / "hf"), split="train", cache_dir=str(tmp_path / "cache"))
    condensed = CondensedDataset(run_folder)
    assert read.features["label"].names == condensed.classes
    assert read["label"] == condensed.labels.tolist()
    images = torch.stack(
        [(to_tensor(picture) - condensed.mean[0]) / condensed.std[0] for picture in read["image"]]
    )
    torch.testing.assert_close(images, rounded(condensed), rtol=0, atol=1e-5)
    head = yaml.safe_load((tmp_path / "hf" / "README.md").read_text().split("---")[1])
    assert head["size_categories"] == ["n<1K"]
    card = (tmp_path / "hf" / "README.md").read_text()
    accuracy = condensed.metadata["evaluations"][0]["accuracy"]
    assert f"{accuracy['mean']:.2f} ± {accuracy['std']:.2f} | {accuracy['n']} |" in card
    assert condensed.metadata["command"] in card


def test_parquet_holds_pictures_and_labels(tmp_path: Path) -> None:
    files = pytest.importorskip("pyarrow.parquet")
    condensed = write_set(tmp_path)
    condensed.metadata |= {"config": {"dataset": {"name": "pets"}, "ipc": 2, "iterations": 0, "seed": 0}}
    condensed.metadata |= {"method": "random", "scale": "paper", "command": "gmlight", "complete": True}
    condensed.metadata |= {"architecture": "convnet", "created": "2026-01-01", "evaluations": []}
    export_formats.parquet(tmp_path, condensed)
    assert "4 real images (3x6x5, 2 classes), chosen by gmlight" in (tmp_path / "README.md").read_text()
    (path,) = tmp_path.glob("data/*.parquet")
    table = files.read_table(path)
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["label"]["names"] == ["cat", "dog"]
    assert table["label"].to_pylist() == [0, 0, 1, 1]
    assert [item["bytes"][:4] for item in table["image"].to_pylist()] == [b"\x89PNG"] * 4


@pytest.mark.parametrize(
    ("classes", "names"),
    [
        (("a", "b"), ["0_a", "1_b"]),
        (
            ("../evil", "a/b\\c", "con", "", ".", "naïve ☃"),
            ["0_evil", "1_a_b_c", "2_con", "3", "4", "5_na_ve"],
        ),
        (tuple("same" for _ in range(11)), [f"{i:02d}_same" for i in range(11)]),
        (("x" * 300,), ["0_" + "x" * 80]),
    ],
)
def test_class_names_become_safe_folder_names_in_label_order(classes: tuple, names: list[str]) -> None:
    assert export_formats.folder_names(classes) == names
    assert sorted(names) == names


def test_images_that_png_cannot_store_are_refused(tmp_path: Path) -> None:
    condensed = write_set(tmp_path)
    condensed.images, condensed.mean, condensed.std = condensed.images[:, :2], [0.0, 0.0], [1.0, 1.0]
    with pytest.raises(ConfigError, match="2 channels cannot be PNGs; use format=npz"):
        export_formats.png(tmp_path, condensed)
    export_formats.npz(tmp_path, condensed)


def test_loss_of_a_format_is_measured_and_printed(run_folder: Path, typed: Run, tmp_path: Path) -> None:
    result = typed("export", f"run={run_folder}", "format=png", "to=out", "compare=2")
    assert result.returncode == 0, result.stderr
    condensed = CondensedDataset(run_folder)
    pixels = condensed.images * condensed.std[0] + condensed.mean[0]
    share = ((pixels < 0) | (pixels > 1)).double().mean().item()
    assert f"{share:.1%} of them" in result.stdout
    record = json.loads((tmp_path / "out" / "export.json").read_text())
    before, after = record["evaluations"]
    assert (before["accuracy"]["n"], after["name"]) == (2, "as png")
    difference = after["accuracy"]["mean"] - before["accuracy"]["mean"]
    assert f"as png {difference:+.2f} points on convnet, width=8 (n = 2 networks each)" in result.stdout
    assert record["clipped"] == pytest.approx(share)
    assert record["set"]["sha256"] == condensed.metadata["sha256"]
    assert len(list((tmp_path / "out").glob("*/*.png"))) == len(condensed)
    Image.open(next((tmp_path / "out").glob("*/*.png"))).verify()


def test_lossless_format_needs_no_data(run_folder: Path, typed: Run, tmp_path: Path) -> None:
    path = run_folder / "condensed" / "metadata.json"
    condensed_set.update_metadata(
        path.parent, config=json.loads(path.read_text())["config"] | {"data_dir": "nowhere"}
    )
    result = typed("export", f"run={run_folder}", "format=npz")
    assert result.returncode == 0, result.stderr
    assert "holds the images without loss" in result.stdout
    (exported,) = run_folder.glob("exports/*/condensed.npz")
    (shown,) = [
        line.split() for line in result.stdout.splitlines() if line.startswith("npz ") and "holds" not in line
    ]
    assert (tmp_path / shown[1]).resolve() == exported.parent.resolve()
    again = typed("export", f"run={run_folder}", "format=npz", f"to={exported.parent}")
    assert "choose another" in refusal(again)


def test_unknown_format_lists_the_options(run_folder: Path, typed: Run) -> None:
    result = typed("export", f"run={run_folder}", "format=jpeg")
    assert result.returncode == 1
    assert "npz" in result.stderr
    assert "png" in result.stderr


@pytest.mark.parametrize("bits", [4, 6, 8, 16, 32])
def test_numpy_alone_reads_its_format(run_folder: Path, typed: Run, tmp_path: Path, bits: int) -> None:
    result = typed("export", f"run={run_folder}", "format=numpy", f"format.bits={bits}", "to=small")
    assert result.returncode == 0, result.stderr
    condensed = CondensedDataset(run_folder)
    record = json.loads((tmp_path / "small" / "export.json").read_text())
    file = tmp_path / "small" / "condensed.npz"
    assert record["bytes"] == file.stat().st_size
    code = (
        "import sys; sys.modules['torch'] = None; sys.path.insert(0, sys.argv[1]); import numpy as np\n"
        "from train_without_torch import read; images, labels = read(sys.argv[2])\n"
        "np.save(sys.argv[3], images); print(labels.tolist())"
    )
    docs, saved = Path(__file__).parents[2] / "docs", tmp_path / "read.npy"
    done = subprocess.run(
        [sys.executable, "-c", code, str(docs), str(file), str(saved)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    assert json.loads(done.stdout) == condensed.labels.tolist()
    images = torch.from_numpy(np.load(saved)).view_as(condensed.images)
    if bits == 32:
        assert torch.equal(images, condensed.images)
        assert "without loss" in result.stdout
        return
    moved = float((images - condensed.images).abs().max())
    assert moved == pytest.approx(record["moved"], rel=1e-4)
    spread = float(condensed.images.max() - condensed.images.min())
    assert moved <= {16: spread / 2**11, 8: spread / 510, 6: spread / 126, 4: spread / 30}[bits] * 1.001


def test_a_network_trains_on_the_file_without_torch(run_folder: Path, typed: Run, tmp_path: Path) -> None:
    words = ["ipc=10", "method=random", "evaluation.networks=1", "hydra.run.dir=real"]
    assert typed("train", *[word for word in TINY if word != "ipc=2"], *words).returncode == 0
    assert typed("export", "run=real", "format=numpy", "format.bits=4", "to=small").returncode == 0
    _, test = digits(None, False, test_share=0.2, split_seed=0)
    np.savez(tmp_path / "test.npz", images=(test[0] / 255 - 0.3054) / 0.3760, labels=test[1])
    code = (
        "import runpy, sys; sys.modules['torch'] = None; runpy.run_path(sys.argv.pop(1), run_name='__main__')"
    )
    docs = Path(__file__).parents[2] / "docs"
    words = [str(docs / "train_without_torch.py"), "small/condensed.npz", "test.npz"]
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    accuracy, rest = done.stdout.split(" ", 1)
    assert rest == "% of 360 test images\n"
    assert float(accuracy) > 70  # chance is 10


def test_the_frontier_lists_sizes_and_accuracies(run_folder: Path, typed: Run, tmp_path: Path) -> None:
    result = typed("export", f"run={run_folder}", "frontier=true", "compare=1", "to=table")
    assert result.returncode == 0, result.stderr
    rows = json.loads((tmp_path / "table" / "export.json").read_text())["frontier"]
    assert [row["form"] for row in rows] == [*(f"numpy, {n} bits" for n in (32, 16, 8, 6, 4)), "png"]
    sizes = [row["bytes"] for row in rows]
    assert sizes[:5] == sorted(sizes[:5], reverse=True)
    assert all(len(row["evaluations"]) == 1 for row in rows)
    assert all(row["evaluations"][0]["accuracy"]["n"] == 1 for row in rows)
    assert [path.name for path in (tmp_path / "table").iterdir()] == ["export.json"]
    alone = typed("export", f"run={run_folder}", "frontier=true", "to=sizes")
    rows = json.loads((tmp_path / "sizes" / "export.json").read_text())["frontier"]
    assert [row["bytes"] for row in rows] == sizes, alone.stderr
    assert all(row["evaluations"] == [] for row in rows)


@pytest.mark.parametrize("bits", ["5", "0", "x", "true"])
def test_other_numbers_of_bits_are_refused(run_folder: Path, typed: Run, bits: str) -> None:
    line = refusal(typed("export", f"run={run_folder}", "format=numpy", f"format.bits={bits}", "to=small"))
    assert "must be one of 4, 6, 8, 16, 32" in line
