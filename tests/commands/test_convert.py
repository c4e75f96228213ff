"""Published sets are converted: then evaluate, analyze, export and `CondensedDataset` work on them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gmlight import CondensedDataset
from gmlight.artifacts.decoding import multi_formed
from helpers.published import write_dc, write_idc, write_mtt, write_pictures
from helpers.runs import Run, refusal

IMAGES = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))  # pixels
LABELS = torch.arange(10).repeat_interleave(2)
SOFT = torch.nn.functional.one_hot(LABELS, 10) * 0.9 + 0.01
MEAN, STD = 0.3054, 0.3760  # of the digits
NORMALISED = (IMAGES - MEAN) / STD
DIGITS = [str(digit) for digit in range(10)]
FEW = ["evaluation.networks=1", "evaluation.epochs=2", "trainer=cpu"]


def convert(typed: Run, *words: str) -> CondensedDataset:
    """Converts for the digits, and opens the set."""
    done = typed("convert", "dataset=digits", "to=made", *words)
    assert done.returncode == 0, done.stderr
    return CondensedDataset(Path("made"))


def test_dc_is_evaluated_analysed_and_exported(typed: Run, tmp_path: Path) -> None:
    write_dc(tmp_path / "res.pt", (NORMALISED + 1, LABELS), (NORMALISED, LABELS))
    made = convert(typed, "from=res.pt", "layout.experiment=1")
    assert torch.equal(made.images, NORMALISED)
    assert torch.equal(made.labels, LABELS)
    assert (made.classes, made.mean, made.std) == (DIGITS, [MEAN], [STD])
    metadata = made.metadata
    assert (metadata["method"], metadata["config"]["ipc"], metadata["complete"]) == ("converted", 2, True)
    assert metadata["departures"] == ["converted from dc"]
    assert metadata["command"].startswith("python -m gmlight.convert dataset=digits ")
    assert metadata["converted"]["experiment"] == 1
    assert "digits, ipc 2, converted" in repr(made)
    done = typed("evaluate", "run=made", *FEW, "evaluation.architectures=[mlp,convnet]")
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "made" / "evaluations").glob("*/result.json")
    content = json.loads(result.read_text())
    assert [row["architecture"] for row in content["evaluations"]] == ["mlp", "convnet"]
    assert (content["set"]["method"], content["changed"]) == ("converted", ["epochs=2"])
    assert typed("evaluate", "run=made", "ipc=1", *FEW).returncode == 0
    assert typed("analyze", "run=made", *FEW, "points=2", "real_images=20").returncode == 0
    assert typed("export", "run=made", "format=png", "to=png", "compare=1", *FEW).returncode == 0


def test_idc_is_stored_as_it_is_published(typed: Run, tmp_path: Path) -> None:
    write_idc(tmp_path / "idc", IMAGES, LABELS)
    made = convert(typed, "from=idc", "factor=2")
    stored = NORMALISED.unflatten(0, (10, 2))
    torch.testing.assert_close(made.images, multi_formed(stored, 2).flatten(0, 1))
    assert (len(made), made.floats, made.metadata["config"]["ipc"]) == (80, IMAGES.numel(), 2)
    assert made.metadata["config"]["synthetic"]["factor"] == 2
    done = typed("evaluate", "run=made", *FEW)
    assert done.returncode == 0, done.stderr
    assert "factor: idc does not say" in refusal(typed("convert", "dataset=digits", "from=idc"))


def test_soft_labels_are_evaluated(typed: Run, tmp_path: Path) -> None:
    """As probabilities or logits; tables and records name them. tests/training compares what is learned."""
    write_mtt(tmp_path / "mtt", NORMALISED, SOFT, 0.01)
    write_mtt(tmp_path / "logits", NORMALISED, SOFT.log())
    made = convert(typed, "from=mtt", "normalization=dataset")
    assert made.soft_labels is not None
    torch.testing.assert_close(made.soft_labels, SOFT)
    assert torch.equal(made.labels, LABELS)
    assert made.metadata["converted"]["learning_rate"] == 0.01
    again = ["from=logits", "normalization=dataset", "soft_labels=logits", "to=again"]
    assert typed("convert", "dataset=digits", *again).returncode == 0
    torch.testing.assert_close(CondensedDataset("again").soft_labels, SOFT)
    done = typed("evaluate", "run=made", *FEW)
    assert done.returncode == 0, done.stderr
    (result,) = (tmp_path / "made" / "evaluations").glob("*/result.json")
    (row,) = json.loads(result.read_text())["evaluations"]
    assert (row["name"], row["storage_bytes"]) == ("condensed, soft labels", 4 * (20 * 64 + 20 * 10))
    done = typed("export", "run=made", "format=png", "to=png")
    assert "png has no soft labels" in done.stdout


def test_exports_of_gmlight_come_back(typed: Run, tmp_path: Path) -> None:
    """Lossless formats bit for bit, pictures up to the rounding to 8 bits."""
    write_mtt(tmp_path / "mtt", NORMALISED, SOFT)
    made = convert(typed, "from=mtt", "normalization=dataset")
    formats = {"npz": 0.0, "pt": 0.0, "png": 0.5 / 255 / STD + 1e-5}
    for form, error in formats.items():
        assert typed("export", "run=made", f"format={form}", f"to={form}").returncode == 0
        done = typed("convert", f"from={form}", "dataset=digits", f"to=back_{form}")
        assert done.returncode == 0, done.stderr
        back = CondensedDataset(f"back_{form}")
        torch.testing.assert_close(back.images, made.images, rtol=0, atol=error)
        assert torch.equal(back.labels, made.labels)
        assert (back.soft_labels is None) == (form == "png")
    assert "is a set of gmlight already" in refusal(typed("convert", "from=made", "dataset=digits"))


def test_parquet_comes_back(typed: Run, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    write_pictures(tmp_path / "pictures", (IMAGES * 255).byte(), LABELS, DIGITS)
    made = convert(typed, "from=pictures")
    assert typed("export", "run=made", "format=parquet", "to=hf").returncode == 0
    card = (tmp_path / "hf" / "README.md").read_text()
    assert "exported with gmlight" in card
    assert "learned with" not in card
    assert typed("convert", "from=hf", "dataset=digits", "to=back").returncode == 0
    torch.testing.assert_close(CondensedDataset("back").images, made.images, rtol=0, atol=1e-5)


@pytest.mark.parametrize(
    ("dataset", "mean", "std"),
    [
        ("cifar10", [0.4914, 0.4822, 0.4465], [0.2470, 0.2435, 0.2616]),
        ("cifar10_dc", [0.4914, 0.4822, 0.4465], [0.2023, 0.1994, 0.2010]),
    ],
)
def test_no_image_of_the_dataset_is_needed(
    typed: Run, tmp_path: Path, dataset: str, mean: list, std: list
) -> None:
    """DC divides CIFAR-10 by other standard deviations; with the same ones the images stay bit for bit."""
    images = torch.randn(10, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    write_dc(tmp_path / "res.pt", (images, torch.arange(10)))
    words = ["from=res.pt", f"dataset={dataset}", "to=made", "data_dir=nowhere"]
    done = typed("convert", *words)
    assert done.returncode == 0, done.stderr
    made = CondensedDataset("made")
    assert (made.mean, made.std) == (mean, std)
    expected = images.clone()
    for c, dc_std in enumerate((0.2023, 0.1994, 0.2010)):
        expected[:, c] = ((images[:, c] * dc_std + mean[c]) - mean[c]) / std[c]
    torch.testing.assert_close(made.images, expected)
    assert torch.equal(made.images, images) == (dataset == "cifar10_dc")


def test_own_images_need_mean_and_std(typed: Run, tmp_path: Path) -> None:
    """Those of the files, or typed ones; then the set is one of that dataset."""
    for label in "ab":
        for part in ("train", "test"):
            write_pictures(
                tmp_path / "photos" / part, (IMAGES[:3] * 255).byte(), torch.zeros(3).long(), [label]
            )
    own = ["dataset=image_folder", "dataset.root=photos", "dataset.size=[8,8]", "dataset.channels=1"]
    arrays: dict[str, Any] = {"images": NORMALISED[:4].numpy(), "labels": np.array([1, 1, 0, 0])}
    np.savez(tmp_path / "plain.npz", **arrays)
    np.savez(
        tmp_path / "stated.npz", **arrays, mean=np.array([MEAN]), std=np.array([STD]), classes=["b", "a"]
    )
    line = refusal(typed("convert", "from=plain.npz", *own, "normalization=none"))
    assert "dataset.mean, dataset.std: are computed from images" in line
    given = [f"dataset.mean=[{MEAN}]", f"dataset.std=[{STD}]"]
    assert "npz does not say how" in refusal(typed("convert", "from=plain.npz", *own, *given))
    explicit = f"normalization={{std:[{STD}],mean:[{MEAN}]}}"
    assert typed("convert", "from=plain.npz", *own, *given, explicit, "to=plain").returncode == 0
    assert CondensedDataset("plain").targets == [1, 1, 0, 0]
    assert torch.equal(CondensedDataset("plain").images, NORMALISED[:4])
    assert typed("convert", "from=stated.npz", *own, "to=stated").returncode == 0
    stated = CondensedDataset("stated")
    assert (stated.targets, stated.mean, stated.classes) == ([0, 0, 1, 1], [MEAN], ["a", "b"])
    assert torch.equal(stated.images, NORMALISED[:4])
    done = typed("evaluate", "run=stated", *FEW)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["dataset=digits"], "name the file or folder to convert: from=..."),
        (["from=res.pt"], "name the dataset that was condensed: dataset=..."),
        (["from=absent.pt", "dataset=digits"], "absent.pt: cannot be read"),
        (["from=res.pt", "dataset=cifar10"], "images: are [20, 1, 8, 8]; the dataset needs [N, 3, 32, 32]"),
        (["from=res.pt", "dataset=digits", "layout=idc", "factor=1"], "res.pt: must hold [images, labels]"),
        (["from=res.pt", "dataset=digits", "layout=rar"], "layout=rar: no such option"),
        (["from=res.pt", "dataset=digits", "layout.experiment=2"], "layout.experiment=2: "),
        (["from=res.pt", "dataset=digits", "layout.experiment=x"], "layout.experiment=x: must be a whole"),
        (["from=res.pt", "dataset=digits", "layout=dc", "+layout.x=1"], "layout=dc: "),
        (["from=res.pt", "dataset=digits", "ipc=3"], "ipc=3: the set has 2 images per class"),
        (["from=res.pt", "dataset=digits", "factor=0"], "factor=0: must be a whole number"),
        (["from=res.pt", "dataset=digits", "factor=1.5"], "factor=1.5: must be a whole number"),
        (["from=res.pt", "dataset=digits", "factor=3"], "factor=3: must divide 8x8"),
        (["from=res.pt", "dataset=digits", "normalization=none"], "not pixels in 0..1"),
        (["from=res.pt", "dataset=digits", "normalization=zca"], "which gmlight does not make"),
        (["from=res.pt", "dataset=digits", "normalization=l2"], "normalization=l2: must be dataset, dc"),
        (["from=res.pt", "dataset=digits", "normalization={mean:[0],std:x}"], "normalization: "),
        (["from=res.pt", "dataset=digits", "soft_labels=hard"], "soft_labels=hard: must be probabilities"),
        (["from=res.pt", "dataset=digits", "soft_labels=logits"], "there are no soft labels"),
        (["from=res.pt", "dataset=digits", "+form=x"], "form: no such key"),
        (["from=evil.pt", "dataset=digits"], "evil.pt: holds more than tensors"),
        (["from=mtt", "dataset=digits"], "mtt does not say how its images are normalised"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_words_and_files_leave_nothing(
    typed: Run, tmp_path: Path, words: list[str], message: str
) -> None:
    write_dc(tmp_path / "res.pt", (NORMALISED, LABELS))
    write_mtt(tmp_path / "mtt", NORMALISED, LABELS)
    torch.save({"data": np.zeros(3)}, tmp_path / "evil.pt")
    before = set(tmp_path.rglob("*"))
    assert message in refusal(typed("convert", *words))
    assert set(tmp_path.rglob("*")) == before


def test_nothing_is_overwritten(typed: Run, tmp_path: Path) -> None:
    write_dc(tmp_path / "res.pt", (NORMALISED, LABELS))
    made = convert(typed, "from=res.pt")
    write_dc(tmp_path / "res.pt", (NORMALISED + 1, LABELS))
    assert "made already holds a run" in refusal(typed("convert", "from=res.pt", "dataset=digits", "to=made"))
    assert torch.equal(CondensedDataset("made").images, made.images)
