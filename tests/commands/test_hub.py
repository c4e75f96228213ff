"""Sets on a hub that runs on this machine: uploaded by gmlight.export, opened by name."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image

from conftest import user_environment
from gmlight.artifacts import condensed_set
from gmlight.artifacts.condensed_set import CondensedDataset
from gmlight.artifacts.set_files import GRID, LARGEST_TENSORS, METADATA, TENSORS
from gmlight.data.images import LabelledImages
from helpers.hub_server import TOKEN, Hub, Repository, serve_hub
from helpers.problems import named_classes
from helpers.processes import run_code, run_forked
from helpers.runs import Run, refusal

pytest.importorskip("huggingface_hub", reason="needs the extra hf")

FINISHED = Path(__file__).parents[1] / "config" / "before_packages" / "finished"
SET = (METADATA, TENSORS, GRID)
PUSH = ["format=parquet", "push=alice/digits"]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """An empty hub, which other processes ask, logged in."""
    with serve_hub() as server:
        environment = {"HF_ENDPOINT": server.address, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": TOKEN}
        for name, value in (
            environment | {"HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
        ).items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def made(tmp_path: Path) -> Path:
    """Folder of a finished run."""
    folder = Path(shutil.copytree(FINISHED, tmp_path / "made"))
    Image.new("RGB", (2, 2)).save(folder / "condensed" / GRID)
    return folder


@pytest.fixture
def opened(tmp_path: Path) -> Callable[[str], dict[str, Any]]:
    """Returns a function that opens a set by its name in another process, and returns what it saw."""

    def _opened(name: str) -> dict[str, Any]:
        code = f"""
import json
from gmlight import CondensedDataset, ConfigError
try:
    found = CondensedDataset({name!r})
    print(json.dumps({{"path": str(found.path), "sha256": found.metadata["sha256"], "images": len(found)}}))
except ConfigError as error:
    print(json.dumps({{"error": str(error)}}))
"""
        done = run_forked(run_code, code, folder=tmp_path, environment=user_environment(tmp_path))
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout.splitlines()[-1])

    return _opened


def published(hub: Hub, folder: Path) -> Repository:
    """Makes a public repository with the set of a run, as if it had been pushed."""
    repository = hub.repositories["alice/digits"] = Repository(private=False)
    repository.add({name: (folder / "condensed" / name).read_bytes() for name in SET})
    return repository


def fetched(hub: Hub) -> set[str]:
    """Names of the files that were downloaded."""
    return {path.rpartition("/")[2] for method, path in hub.asked if method == "GET" and "/resolve/" in path}


def test_an_export_is_pushed_with_its_set(
    hub: Hub, made: Path, forked: Run, opened: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    done = forked("export", f"run={made}", *PUSH, "to=out")
    assert done.returncode == 0, done.stderr
    assert f"pushed   {hub.address}/datasets/alice/digits" in done.stdout
    assert done.stderr == ""
    repository = hub.repositories["alice/digits"]
    assert repository.private
    first = repository.head
    files = repository.commits[first]
    data = "data/train-00000-of-00001.parquet"
    assert files.keys() == {".gitattributes", "README.md", data, *SET}
    assert [files[name] for name in SET] == [(made / "condensed" / name).read_bytes() for name in SET]
    assert files[data] == (tmp_path / "out" / data).read_bytes()
    card = files["README.md"].decode()
    assert 'load_dataset("alice/digits", split="train")' in card
    assert 'CondensedDataset("hf://alice/digits")' in card
    assert yaml.safe_load(card.split("---")[1])["configs"][0]["data_files"][0]["path"] == "data/*.parquet"
    record = json.loads((tmp_path / "out" / "export.json").read_text())["push"]
    assert (record["repository"], record["commit"], record["private"]) == ("alice/digits", first, True)
    for path in made.parent.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path

    hub.asked.clear()
    stored = CondensedDataset(made)
    found = opened("hf://alice/digits")
    assert (found["sha256"], found["images"]) == (stored.metadata["sha256"], len(stored))
    assert fetched(hub) == set(SET)

    assert "has 5 files already" in refusal(forked("export", f"run={made}", *PUSH))
    assert repository.head == first
    done = forked("export", f"run={made}", *PUSH, "push_update=true")
    assert done.returncode == 0, done.stderr
    assert repository.head != first
    assert opened(f"hf://alice/digits@{first}")["path"] == found["path"]
    assert opened("hf://alice/digits")["path"] != found["path"]


def test_a_command_writes_its_results_beside_a_copy(
    hub: Hub, made: Path, forked: Run, tmp_path: Path
) -> None:
    repository = published(hub, made)
    few = ["evaluation.networks=1", "evaluation.epochs=1", "trainer=cpu"]
    done = forked("evaluate", "run=hf://alice/digits", *few)
    assert done.returncode == 0, done.stderr
    kept = tmp_path / "runs" / "hub" / "alice--digits" / repository.head[:12]
    assert f"hf://alice/digits is kept in {kept.relative_to(tmp_path)}" in done.stdout
    assert len(list(kept.glob("evaluations/*/result.json"))) == 1
    code = """
import gmlight
words = ["evaluation.epochs=1", "trainer=cpu"]
gmlight.evaluate("hf://alice/digits", networks=1, overrides=words, progress=False)
"""
    done = run_forked(run_code, code, folder=tmp_path, environment=user_environment(tmp_path))
    assert done.returncode == 0, done.stderr
    assert len(list(kept.glob("evaluations/*/result.json"))) == 2
    assert not list((tmp_path / "hf").rglob("result.json"))


def test_what_cannot_be_pushed_is_refused_before_the_export(
    hub: Hub, made: Path, forked: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = f"run={made}"
    for words, message in (
        (["format=png", "push=alice/digits"], "add format=parquet"),
        (["format=parquet", "push=digits"], "push=digits: must be user/name"),
        ([*PUSH, "push_private=no"], "push_private=no: must be true or false"),
    ):
        assert message in refusal(forked("export", run, *words))
    published(hub, made)
    line = refusal(forked("export", run, *PUSH, "push_update=true"))
    assert "push=alice/digits: is public; use push_private=false" in line
    monkeypatch.delenv("HF_TOKEN")
    assert "log in to the hub first" in refusal(forked("export", run, *PUSH))
    monkeypatch.setenv("HF_TOKEN", "another")
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # nothing listens there
    assert "the hub cannot be reached" in refusal(forked("export", run, *PUSH))
    assert not (made / "exports").exists()
    assert len(hub.repositories["alice/digits"].commits) == 1


def test_a_refused_upload_leaves_the_export(
    hub: Hub, made: Path, forked: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HF_TOKEN", "another")
    done = forked("export", f"run={made}", *PUSH, "to=out")
    assert "you have no access; check the name, and log in" in refusal(done)
    assert "push" not in json.loads((tmp_path / "out" / "export.json").read_text())
    assert hub.repositories == {}


def test_a_repository_that_changed_meanwhile_is_left_alone(hub: Hub, made: Path, tmp_path: Path) -> None:
    repository = published(hub, made)
    before = repository.head
    repository.add({"README.md": b"of somebody else"})
    code = f"""
from pathlib import Path
from gmlight.artifacts.hub import Target, push
from gmlight.errors import ConfigError
try:
    push(Target("alice/digits", False, {before!r}), {{"README.md": Path({str(made / "config.yaml")!r})}})
except ConfigError as error:
    print(error)
"""
    done = run_forked(run_code, code, folder=tmp_path, environment=user_environment(tmp_path))
    assert done.stdout.strip() == "push=alice/digits: it has changed meanwhile; export again", done.stderr
    assert repository.commits[repository.head]["README.md"] == b"of somebody else"


def test_sets_of_strangers_are_checked(hub: Hub, made: Path, opened: Callable[[str], dict[str, Any]]) -> None:
    assert "it is absent, or you have no access" in opened("hf://alice/digits")["error"]
    repository = published(hub, made)
    assert "there is no such revision" in opened("hf://alice/digits@v9")["error"]
    repository.sizes[TENSORS] = 2 * LARGEST_TENSORS
    hub.asked.clear()
    assert f"its {TENSORS} has 16 GiB; at most 8 GiB" in opened("hf://alice/digits")["error"]
    assert fetched(hub) == {METADATA}
    repository.sizes.clear()
    repository.add({TENSORS: b"damaged", "train.py": b"raise SystemExit", "big.bin": b"0" * 1000})
    hub.asked.clear()
    assert "wrong hash" in opened("hf://alice/digits")["error"]
    assert fetched(hub) == {TENSORS, GRID}  # the metadata are in the cache already
    hub.repositories["alice/other"] = Repository(private=False)
    hub.repositories["alice/other"].add({"README.md": b""})
    assert "has no condensed set at its top" in opened("hf://alice/other")["error"]


def test_a_set_of_the_hub_is_joined_with_one_of_a_folder(
    hub: Hub, made: Path, forked: Run, tmp_path: Path
) -> None:
    published(hub, made)
    info, images = named_classes("x", "y", mean=[0.3054], std=[0.376]), torch.randn(2, 1, 8, 8)
    condensed_set.write(tmp_path / "mine", LabelledImages(images, torch.tensor([0, 1])), info, {})
    done = forked("merge", "runs=[hf://alice/digits,mine]", "to=joined")
    assert done.returncode == 0, done.stderr
    assert CondensedDataset(tmp_path / "joined").classes == [*"0123456789", "x", "y"]


def test_the_cache_is_used_without_the_hub(
    hub: Hub,
    made: Path,
    forked: Run,
    opened: Callable[[str], dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    published(hub, made)
    words = ["run=hf://alice/digits", "evaluation.networks=1", "evaluation.epochs=1", "trainer=cpu"]
    hub.asked.clear()
    line = refusal(forked("evaluate", *words, "download=false"))
    assert "hf://alice/digits: cannot be downloaded (it is not in the cache)" in line
    assert hub.asked == []
    found = opened("hf://alice/digits")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    hub.asked.clear()
    assert opened("hf://alice/digits") == found
    assert hub.asked == []
