"""Joined sets: labels, forms, storage and soft labels, compared with what is written out by hand."""

from pathlib import Path

import pytest
import torch

from gmlight import CondensedDataset
from gmlight.artifacts import condensed_set
from gmlight.artifacts.joining import joined_config
from gmlight.condensation.synthetic import MultiFormation, SharedComponents
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.problems import named_classes


def images_of(number: int, seed: int, size: int = 8) -> torch.Tensor:
    return torch.randn(number, 1, size, size, generator=torch.Generator().manual_seed(seed))


def write_pixels(folder: Path, classes: str, labels: list[int], *, soft: bool = False, size: int = 8) -> Path:
    """Writes a set with one character a class."""
    info, number = named_classes(*classes), torch.tensor(labels)
    rows = torch.rand(len(labels), len(classes)).softmax(1) if soft else None
    images = LabelledImages(images_of(len(labels), len(classes), size), number, soft_labels=rows)
    condensed_set.write(folder, images, info, {"method": f"of {classes}"})
    return folder


def write_formed(folder: Path, classes: str, ipc: int, factor: int) -> Path:
    stored = images_of(len(classes) * ipc, ipc).unflatten(0, (len(classes), ipc))
    synthetic = MultiFormation(stored, factor)
    info = named_classes(*classes)
    condensed_set.write(folder, synthetic.labelled(), info, {}, stored=synthetic.stored())
    return folder


def test_labels_follow_the_order_of_the_parts(tmp_path: Path) -> None:
    paths = [
        write_pixels(tmp_path / "x", "abc", [2, 0, 1, 1]),
        write_pixels(tmp_path / "y", "de", [1, 0, 1]),
        write_pixels(tmp_path / "z", "f", [0]),
    ]
    joined, parts = CondensedDataset.union(paths, tmp_path / "joined"), list(map(CondensedDataset, paths))
    assert joined.classes == list("abcdef")
    assert joined.labels.tolist() == [2, 0, 1, 1, 4, 3, 4, 5]
    assert torch.equal(joined.images, torch.cat([part.images for part in parts]))
    for i, (_, label) in enumerate(joined):
        part, inner = next((p, i - n) for p, n in ((parts[2], 7), (parts[1], 4), (parts[0], 0)) if i >= n)
        assert joined.classes[label] == part.classes[part[inner][1]]
    assert joined.soft_labels is None
    assert (joined.floats, joined.metadata["schema_version"]) == (8 * 64, 3)
    assert [part["sha256"] for part in joined.metadata["parts"]] == [p.metadata["sha256"] for p in parts]
    assert [part["classes"] for part in joined.metadata["parts"]] == [["a", "b", "c"], ["d", "e"], ["f"]]
    assert joined.metadata["command"].startswith("python -m gmlight.merge 'runs=[")
    assert (joined.path / "condensed" / "grid.png").is_file()


@pytest.mark.parametrize("complete", [(True, True), (True, False), (False, True)])
def test_a_joined_set_is_complete_if_all_its_parts_are(tmp_path: Path, complete: tuple[bool, bool]) -> None:
    for name, whole in zip("xy", complete, strict=True):
        images = LabelledImages(images_of(2, 0), torch.tensor([0, 1]))
        metadata = {"complete": whole}
        condensed_set.write(tmp_path / name, images, named_classes(name, name + name), metadata)
    joined = CondensedDataset.union([tmp_path / "x", tmp_path / "y"], tmp_path / "joined")
    assert joined.metadata["complete"] is all(complete)


def test_a_common_form_is_kept(tmp_path: Path) -> None:
    paths = [write_formed(tmp_path / "x", "abc", 2, 2), write_formed(tmp_path / "y", "de", 2, 2)]
    joined = CondensedDataset.union(list(map(CondensedDataset, paths)), tmp_path / "joined")
    assert joined.form == {"name": "multi_formation", "factor": 2}
    assert torch.equal(joined.images, torch.cat([CondensedDataset(path).images for path in paths]))
    assert joined.labels.tolist() == [label for label in range(5) for _ in range(8)]
    assert joined.floats == sum(CondensedDataset(path).floats for path in paths) == 5 * 2 * 64


def test_shared_components_are_kept(tmp_path: Path) -> None:
    paths = []
    for classes in ("abc", "de"):
        number = len(classes)
        components = images_of(2 * number, number).unflatten(0, (number, 2))
        synthetic = SharedComponents(components, torch.randn(number, 4, 2), [0.5], [0.25])
        condensed_set.write(
            tmp_path / classes, synthetic.labelled(), named_classes(*classes), {}, stored=synthetic.stored()
        )
        paths.append(tmp_path / classes)
    joined = CondensedDataset.union(paths, tmp_path / "joined")
    assert joined.form == {"name": "shared_components"}
    torch.testing.assert_close(joined.images, torch.cat([CondensedDataset(path).images for path in paths]))
    assert len(joined) == 20


@pytest.mark.parametrize(("ipc", "factor"), [(1, 2), (2, 1), (3, 2)])
def test_different_forms_are_decoded(tmp_path: Path, ipc: int, factor: int) -> None:
    """The images are those of the parts; the storage is that of the decoded images."""
    paths = [write_formed(tmp_path / "x", "abc", 2, 2), write_formed(tmp_path / "y", "de", ipc, factor)]
    joined = CondensedDataset.union(paths, tmp_path / "joined")
    assert joined.form == {"name": "pixels"}
    assert torch.equal(joined.images, torch.cat([CondensedDataset(path).images for path in paths]))
    assert joined.floats == joined.images.numel()


def test_soft_labels_get_columns_for_all_classes(tmp_path: Path) -> None:
    paths = [
        write_pixels(tmp_path / "x", "ab", [1, 0], soft=True),
        write_pixels(tmp_path / "y", "cde", [2, 0, 1]),
    ]
    joined, soft = CondensedDataset.union(paths, tmp_path / "joined"), CondensedDataset(paths[0]).soft_labels
    assert joined.soft_labels is not None
    assert soft is not None
    assert joined.soft_labels.tolist() == [
        [*soft[0].tolist(), 0, 0, 0],
        [*soft[1].tolist(), 0, 0, 0],
        [0, 0, 0, 0, 1],
        [0, 0, 1, 0, 0],
        [0, 0, 0, 1, 0],
    ]
    assert joined.metadata["schema_version"] == 4


def test_what_does_not_fit_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    good = write_pixels(tmp_path / "good", "abc", [0, 1, 2])
    same = write_pixels(tmp_path / "same", "xb", [0, 1])
    large = write_pixels(tmp_path / "large", "de", [0, 1], size=9)
    other = tmp_path / "other"
    condensed_set.write(
        other, LabelledImages(images_of(1, 0), torch.tensor([0])), named_classes("f", mean=[0.4]), {}
    )
    for paths, message in (
        ([good], "runs: 1 set; name two or more"),
        ([good, same], "has classes of .*good: b; join disjoint sets"),
        ([good, good], "has classes of .*good: a, b, c; join"),
        ([good, large], r"its image shape is \[1, 9, 9\], that of .*good \[1, 8, 8\]; make"),
        ([good, other], r"its mean is \[0.4\], that of .*good \[0.5\]; make"),
        ([good, tmp_path / "absent"], "no condensed set there"),
    ):
        with pytest.raises(ConfigError, match=message):
            CondensedDataset.union(paths, tmp_path / "joined")
        assert not (tmp_path / "joined").exists()
    two = [good, write_pixels(tmp_path / "two", "de", [0, 1])]
    with pytest.raises(ConfigError, match="already holds a run or other files"):
        CondensedDataset.union(two, good)
    assert CondensedDataset(good).classes == ["a", "b", "c"]


def test_a_configuration_is_kept_if_only_the_classes_differ() -> None:
    def described(classes: list[str], **dataset: object) -> dict:
        node = {"name": "pets", "classes": classes, "size": [8, 8], **dataset}
        config = {"dataset": node, "ipc": 2, "seed": 0}
        return {"architecture": "mlp", "command": "x", "method": "dc", "scale": "paper", "config": config}

    first, second = described(["a"], load={"sha256": "1"}), described(["b"], load={"sha256": "2"})
    config = joined_config([first, second], ["a", "b"], 3)
    assert config is not None
    assert (config["dataset"]["classes"], config["ipc"]) == (["a", "b"], 3)
    assert first["config"]["dataset"]["classes"] == ["a"]
    named = joined_config([first, described(["b"], name="birds", load={"sha256": "2"})], ["a", "b"], 3)
    assert named is not None
    assert named["dataset"]["name"] == "pets + birds"
    for other in (described(["b"], load={"fit": "pad"}), described(["b"], root="x"), {"config": {}}, {}):
        assert joined_config([first, other], ["a", "b"], 3) is None
