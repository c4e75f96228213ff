"""A condensed set that contradicts itself is refused when it is opened, whatever its hashes say."""

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

from gmlight import CondensedDataset
from gmlight.artifacts import condensed_set, set_checks
from gmlight.artifacts.decoding import Stored, decoded_shape, formed
from gmlight.artifacts.set_files import METADATA, METADATA_HASH, TENSORS
from gmlight.data.images import LabelledImages
from gmlight.errors import ConfigError
from helpers.problems import named_classes
from helpers.strangers import change_metadata, change_tensors, set_value, write_content

LABELS = torch.tensor([0, 0, 1, 1])
FORMS = {
    "pixels": Stored({"images": torch.randn(4, 3, 6, 5)}, {"name": "pixels"}),
    "multi_formation": Stored({"images": torch.randn(2, 3, 6, 5)}, {"name": "multi_formation", "factor": 2}),
    "shared_components": Stored(
        {"components": torch.randn(2, 2, 3, 6, 5), "weights": torch.randn(2, 3, 2)},
        {"name": "shared_components"},
    ),
}
EVALUATION = {
    "name": "condensed", "images": 4, "storage_bytes": 1440, "architecture": "convnet",
    "accuracy": {"mean": 50.0, "std": 0.0, "n": 1, "epochs": 3, "protocol": "plain", "values": [50.0]},
}  # fmt: skip
METADATA_OF_A_RUN = {
    "complete": True, "created": "now", "command": "python -m gmlight.train seed=1", "overrides": ["seed=1"],
    "choices": {"dataset": "digits", "experiment": None}, "method": "mda", "departures": [], "scale": "paper",
    "architecture": "convnet", "protocol": "plain", "evaluations": [EVALUATION],
    "config": {"dataset": {"name": "pets"}, "iterations": 1, "seed": 1},
}  # fmt: skip


def write(folder: Path, form: str = "pixels") -> Path:
    """Writes a good set of two classes in one of the forms."""
    info = named_classes("cat", "dog", mean=[0.4, 0.5, 0.6], std=[0.2, 0.25, 0.3])
    stored = FORMS[form]
    images, labels = formed(Stored({**stored.tensors, "labels": LABELS}, stored.form), 2, info.mean, info.std)
    ipc = {"pixels": 2, "multi_formation": 1, "shared_components": 2}[form]
    metadata = METADATA_OF_A_RUN | {"config": METADATA_OF_A_RUN["config"] | {"ipc": ipc}}
    condensed_set.write(folder, LabelledImages(images, labels), info, metadata, stored=stored)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_good_sets_are_opened(tmp_path: Path, form: str) -> None:
    condensed = CondensedDataset(write(tmp_path / "set", form))
    assert condensed.images.shape == {"pixels": (4, 3, 6, 5), "multi_formation": (8, 3, 6, 5)}.get(
        form, (6, 3, 6, 5)
    )
    assert condensed.labels.tolist() == sorted([0, 1] * (len(condensed) // 2))
    assert "mda, scale paper, seed 1" in repr(condensed)
    assert decoded_shape(FORMS[form], 2) == tuple(condensed.images.shape)


TEXTS = ["architecture", "command", "created", "method", "protocol", "scale"]
NO_NUMBER = [
    [],
    0.5,
    "0.5",
    [0.5, 0.5, "0.5"],
    [0.5, 0.5, None],
    [0.5, 0.5, True],
    [0.5, 0.5, 1e999],
    {"0": 0.5},
]


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("classes", value) for value in (
            [], "ab", {"a": 0}, ["cat", 1], ["cat", None], ["cat", "cat"], ["cat", ""], ["cat"],
            ["cat", "dog", "frog"], ["cat", "\ud800"], 5, None)),
        *(("mean", value) for value in [*NO_NUMBER, [0.5], [0.5] * 4, [0, 0, 1e300], [0, 0, 10**400]]),
        *(("std", value) for value in [*NO_NUMBER, [0.5], [0.5, 0.5, 0], [0.5, 0.5, -0.25], [1, 1, 1e-300]]),
        *(("form", value) for value in (
            None, "pixels", [], {}, {"name": 1}, {"name": "other"}, {"name": ["pixels"]},
            {"name": "pixels", "factor": 2}, {"name": "shared_components"}, {"name": "multi_formation"},
            *({"name": "multi_formation", "factor": factor} for factor in (
                0, -1, 2.0, True, "2", None, 7, 20000, 10**30, [2])))),
        *((key, value) for key in TEXTS for value in (1, None, ["a"], {"a": 1}, "\udfff")),
        ("command", "a 'quote"),
        *(("schema_version", value) for value in (0, -1, True, "3", 2.0, None, [3])),
        *(("sha256", value) for value in (1, None, "", ["a"])),
        *(("complete", value) for value in ("yes", 1, None)),
        *(("config", value) for value in ("text", 1, None, [])),
        *(("choices", value) for value in ("text", [], {"dataset": 1}, {"dataset": {"a": 1}})),
        *(("departures", value) for value in ("text", {}, [1], None)),
        *(("parts", value) for value in (
            "text", {}, [1], None, [{}], [{"classes": "a", "tested": None}], [{"classes": [1], "tested": []}],
            [{"classes": ["a"], "tested": [["x"]]}])),
        *(("overrides", value) for value in ("text", {}, [1], None)),
        *(("config.ipc", value) for value in (1, 3, 2.5, "2", 10**400, True, [2])),
        *(("storage", value) for value in ("text", 1, {}, {"floats": 359, "bytes": 1436})),
        *(("evaluations", value) for value in ("text", {}, [1], [{}], [EVALUATION | {"accuracy": 1}],
            [EVALUATION | {"architecture": 1}], [EVALUATION | {"images": "4"}], [EVALUATION | {"name": None}],
            *([EVALUATION | {"accuracy": EVALUATION["accuracy"] | change}] for change in (
                {"values": []}, {"values": ["1"]}, {"values": 1}, {"mean": None}, {"epochs": "3"},
                {"protocol": 1}, {"n": 1e999})))),
    ],
)  # fmt: skip
def test_metadata_that_contradict_themselves(tmp_path: Path, key: str, value: Any) -> None:
    folder = write(tmp_path / "set")
    set_value(folder, key, value)
    with pytest.raises(ConfigError):
        CondensedDataset(folder)


CHANGED: dict[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]] = {
    "no tensors": lambda _: {},
    "no labels": lambda t: {"images": t["images"]},
    "no images": lambda t: {"labels": t["labels"]},
    "surplus": lambda t: t | {"more": torch.zeros(1)},
    "three dimensions": lambda t: t | {"images": t["images"][0]},
    "five dimensions": lambda t: t | {"images": t["images"][None]},
    "zero images": lambda t: {"images": t["images"][:0], "labels": t["labels"][:0]},
    "zero width": lambda t: t | {"images": t["images"][..., :0]},
    "two channels": lambda t: t | {"images": t["images"][:, :2]},
    "fewer images": lambda t: t | {"images": t["images"][:3]},
    "fewer labels": lambda t: t | {"labels": t["labels"][:3]},
    "labels above": lambda t: t | {"labels": t["labels"] + 1},
    "labels below": lambda t: t | {"labels": t["labels"] - 1},
    "labels in columns": lambda t: t | {"labels": t["labels"][:, None]},
    "nan": lambda t: t | {"images": t["images"].index_fill(0, torch.tensor([1]), float("nan"))},
    "inf": lambda t: t | {"images": t["images"].index_fill(0, torch.tensor([1]), float("inf"))},
    **{
        f"labels {dtype}": lambda t, dtype=dtype: t | {"labels": t["labels"].to(dtype)}
        for dtype in (torch.float32, torch.int32, torch.uint8, torch.bool, torch.int16)
    },
    **{
        f"images {dtype}": lambda t, dtype=dtype: t | {"images": t["images"].to(dtype)}
        for dtype in (
            torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.uint8, torch.bool,
            torch.complex64, torch.float8_e4m3fn, torch.float8_e5m2,
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED)
def test_tensors_that_do_not_fit(tmp_path: Path, change: str) -> None:
    folder = write(tmp_path / "set")
    change_tensors(folder, CHANGED[change])
    with pytest.raises(ConfigError, match=r"not a valid condensed set|not readable as tensors"):
        CondensedDataset(folder)


@pytest.mark.parametrize(
    ("form", "change"),
    [
        ("multi_formation", lambda t: t | {"images": torch.randn(3, 3, 6, 5)}),
        ("multi_formation", lambda t: t | {"labels": torch.tensor([1] * 4 + [0] * 4)}),
        ("shared_components", lambda t: t | {"components": torch.randn(1, 2, 3, 6, 5)}),
        ("shared_components", lambda t: t | {"components": torch.randn(2, 1, 3, 6, 5)}),
        ("shared_components", lambda t: t | {"weights": torch.randn(2, 3, 3)}),
        ("shared_components", lambda t: t | {"weights": torch.randn(3, 3, 2)}),
        (
            "shared_components",
            lambda t: t | {"weights": t["weights"] * 1e38, "components": t["components"] * 1e38},
        ),
        ("shared_components", lambda t: t | {"labels": torch.zeros(6, dtype=torch.long)}),
    ],
)
def test_tensors_that_do_not_fit_their_form(tmp_path: Path, form: str, change: Callable) -> None:
    folder = write(tmp_path / "set", form)
    change_tensors(folder, change)
    with pytest.raises(ConfigError):
        CondensedDataset(folder)


def test_small_file_does_not_decode_to_gigabytes() -> None:
    """The size is computed from the shapes; nothing is decoded."""
    components, weights = torch.zeros(1, 1, 3, 200, 200), torch.zeros(1, 30000, 1)
    stored = Stored({"components": components, "weights": weights, "labels": torch.zeros(30000).long()},
                    {"name": "shared_components"})  # fmt: skip
    assert decoded_shape(stored, 1) == (30000, 3, 200, 200)  # 13 GiB
    metadata = {"classes": ["a"], "mean": [0.5] * 3, "std": [0.5] * 3}
    with pytest.raises(ConfigError, match="decodes 600000 bytes to 14400000000"):
        set_checks.check_tensors(stored, metadata)


def header(content: str, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(content)) + content.encode() + data


def entry(dtype: str, shape: list[int], start: int, end: int) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, end]}


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\x01", struct.pack("<Q", 2**63), struct.pack("<Q", 100) + b"{}", header("{"), header("[]"),
        header("{}"), header('{"images": 1}'), header('{"images": {"dtype": "F32"}}'),
        header(json.dumps({"images": entry("F4", [1], 0, 4)}), b"0000"),
        header(json.dumps({"images": entry("XX", [1], 0, 4)}), b"0000"),
        header(json.dumps({"images": entry("F32", [1], 0, 8)}), b"0" * 8),
        header(json.dumps({"images": entry("F32", [1], 8, 4)}), b"0" * 8),
        header(json.dumps({"images": entry("F32", [2**62, 8], 0, 4)}), b"0000"),
        header(json.dumps({"images": entry("F32", [-1], 0, 4)}), b"0000"),
        header(json.dumps({"images": entry("F32", [1], 0, 4), "labels": entry("I64", [1], 0, 8)}), b"0" * 8),
        header(json.dumps({"images": entry("F32", [1], 0, 4)}), b"0" * 9),
        header(json.dumps({"images": entry("F32", [2**40, 0], 0, 0)})),
        b"PK\x03\x04" + b"0" * 100,
    ],
    ids=range(19),
)  # fmt: skip
def test_broken_files_of_tensors(tmp_path: Path, content: bytes) -> None:
    folder = write(tmp_path / "set")
    write_content(folder, content)
    with pytest.raises(ConfigError, match=r"not readable as tensors|not a valid condensed set"):
        CondensedDataset(folder)


def test_deleted_hash_is_noticed(tmp_path: Path) -> None:
    """Sets of schema version 1, which had no hash of the metadata, are opened after the same checks."""
    path = write(tmp_path / "set") / METADATA
    metadata = json.loads(path.read_text())
    del metadata[METADATA_HASH]
    for version in (2, 3):
        path.write_text(json.dumps(metadata | {"schema_version": version}))
        with pytest.raises(ConfigError, match="wrong hash"):
            CondensedDataset(path.parent)
    path.write_text(json.dumps(metadata | {"schema_version": 1}))
    assert len(CondensedDataset(path.parent)) == 4
    path.write_text(json.dumps(metadata | {"schema_version": 1, "std": [0, 0, 0]}))
    with pytest.raises(ConfigError, match="std: must be above 0"):
        CondensedDataset(path.parent)


@pytest.mark.parametrize("name", [METADATA, TENSORS])
@pytest.mark.parametrize("kind", ["pipe", "folder", "endless", "huge", "link to nothing"])
def test_files_that_are_none_are_not_read(tmp_path: Path, name: str, kind: str) -> None:
    path = write(tmp_path / "set") / name
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "folder":
        path.mkdir()
    elif kind == "huge":
        path.touch()
        os.truncate(path, 2**40)  # without using space
    else:
        path.symlink_to("/dev/zero" if kind == "endless" else "/nowhere")
    with pytest.raises(ConfigError, match=r"must be a file of at most|cannot be read|no condensed set"):
        CondensedDataset(path.parent)


def test_constants_that_are_no_json(tmp_path: Path) -> None:
    path = write(tmp_path / "set") / METADATA
    for constant in ("NaN", "Infinity", "-Infinity", "1" * 5000, "[" * 100000):
        path.write_text(path.read_text().replace('"complete": true', f'"complete": {constant}'))
        with pytest.raises(ConfigError, match="not the metadata of a condensed set"):
            CondensedDataset(path.parent)


def test_names_stay_literal_and_inert(tmp_path: Path) -> None:
    names = ["${oc.env:HOME}", "???", "{x}", "<b>", "a'b\"c", "=1+1", "\x1b[31m"]
    images = LabelledImages(torch.randn(7, 1, 4, 4), torch.arange(7))
    condensed_set.write(tmp_path / "set", images, named_classes(*names), {"note": 1})
    condensed = CondensedDataset(tmp_path / "set")
    assert condensed.classes == names
    change_metadata(
        tmp_path / "set",
        lambda metadata: metadata.update(
            METADATA_OF_A_RUN | {"config": {"dataset": {"name": "x"}, "ipc": 1, "seed": 1}},
            method="\x1b[2J\n  fake",
        ),
    )
    shown = repr(CondensedDataset(tmp_path / "set"))
    assert "\x1b" not in shown
    assert r"\x1b[2J\n  fake" in shown


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
    | st.sampled_from(["pixels", "multi_formation", "shared_components", "${oc.env:HOME}", "???", 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
KEYS = [
    "classes", "mean", "std", "form", "form.name", "form.factor", "schema_version", "storage", "evaluations",
    "config", "config.ipc", "config.seed", "config.dataset", "config.dataset.name", "choices", "complete",
    "method", "command", "departures", "environment",
]  # fmt: skip
SHAPES = st.lists(st.integers(0, 5), max_size=5)
DTYPES = st.sampled_from(
    [torch.float32, torch.float16, torch.float64, torch.int64, torch.int32, torch.bool, torch.complex64]
)


def opens_whole(folder: Path) -> bool:
    """Opens a set, and checks what every user of it relies on; False if it is refused in one line."""
    try:
        condensed = CondensedDataset(folder)
    except ConfigError as error:
        return len(str(error).splitlines()) != 1  # never a second line
    n, channels, *size = condensed.images.shape
    assert condensed.images.dtype == torch.float32
    assert condensed.images.isfinite().all()
    assert n == len(condensed) == len(condensed.labels) > 0
    assert min(size) > 0
    assert condensed.labels.dtype == torch.int64
    assert 0 <= min(condensed.targets) <= max(condensed.targets) < len(condensed.classes)
    assert len(condensed.mean) == len(condensed.std) == channels
    assert min(condensed.std) > 0
    assert len(condensed.class_to_idx) == len(condensed.classes)
    assert 4 * condensed.images.numel() <= max(2**28, 256 * 4 * condensed.floats)
    assert repr(condensed)
    assert condensed[0][0].shape == (channels, *size)
    _ = condensed.evaluations
    if channels in (1, 3):
        condensed.to_pil(0)
    return True


def fuzz(examples: int) -> Callable:
    """Returns a decorator: a test with changed metadata or tensors, both hashed again."""

    def decorate(test: Callable) -> Callable:
        changes = st.lists(st.tuples(st.sampled_from(KEYS), JSON), max_size=2)
        tensors = st.dictionaries(
            st.sampled_from(["images", "labels", "components", "weights", "x"]),
            st.tuples(SHAPES, DTYPES),
            max_size=2,
        )
        forms = st.sampled_from(list(FORMS))
        cut = (
            st.none()
            | st.integers(0, 700)
            | st.tuples(st.integers(0, 700), st.binary(min_size=1, max_size=8))
        )
        return settings(
            max_examples=examples, deadline=None, derandomize=True, database=None,
            suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
        )(given(form=forms, changes=changes, tensors=tensors, cut=cut)(test))  # fmt: skip

    return decorate


def check_changed_set(tmp_path: Path, form: str, changes: list, tensors: dict, cut: Any) -> bool:
    """Copies a good set, changes it, and opens it."""
    good, folder = tmp_path / form, tmp_path / "changed"
    if not good.exists():
        write(good, form)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(good, folder)
    if tensors:
        made = {name: torch.ones(shape).to(dtype) for name, (shape, dtype) in tensors.items()}
        change_tensors(folder, lambda before: before | made)
    if cut is not None:
        content = (folder / TENSORS).read_bytes()
        place, new = cut if isinstance(cut, tuple) else (cut, None)
        write_content(folder, content[:place] + (b"" if new is None else new + content[place + len(new) :]))
    for key, value in changes:
        set_value(folder, key, value)
    return opens_whole(folder)


@fuzz(40)
def test_changed_sets_are_refused_or_whole(
    tmp_path: Path, form: str, changes: list, tensors: dict, cut: Any
) -> None:
    check_changed_set(tmp_path, form, changes, tensors, cut)


@pytest.mark.slow
def test_many_changed_sets_are_refused_or_whole(tmp_path: Path) -> None:
    outcomes: list[bool] = []

    @fuzz(4000)
    def changed(form: str, changes: list, tensors: dict, cut: Any) -> None:
        outcomes.append(check_changed_set(tmp_path, form, changes, tensors, cut))

    changed()
    print(f"{len(outcomes)} changed sets: {outcomes.count(False)} refused, {outcomes.count(True)} whole")
    assert 0 < outcomes.count(True) < len(outcomes)
