"""Names of sets on the hub, and their copies in runs/hub."""

from pathlib import Path

import pytest

from gmlight.artifacts.hub import KEPT, keep
from gmlight.artifacts.hub_names import check_repository, is_hub_name, parse_hub_name
from gmlight.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("hf://alice/pets", ("alice/pets", None)),
        ("hf://alice/pets@v1.0", ("alice/pets", "v1.0")),
        ("hf://a.b/c-d_e@refs/pr/1", ("a.b/c-d_e", "refs/pr/1")),
    ],
)
def test_names_are_split(name: str, parts: tuple[str, str | None]) -> None:
    assert is_hub_name(name)
    assert parse_hub_name(name) == parts


@pytest.mark.parametrize(
    "name",
    [
        "pets",
        "alice/pets/more",
        "alice/../pets",
        "/pets",
        "alice/",
        "alice/pets@",
        "alice/pets@..",
        "alice/pets\n",
    ],
)
def test_other_names_are_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="must be hf://user/name"):
        parse_hub_name(f"hf://{name}")
    if "@" not in name:
        with pytest.raises(ConfigError, match="must be user/name"):
            check_repository("push", name)


def test_a_path_is_no_name() -> None:
    assert not is_hub_name(Path("hf://alice/pets"))
    assert not is_hub_name("runs/hf://alice/pets")


def test_a_set_is_copied_from_the_cache_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cached = tmp_path / "datasets--alice--pets" / "snapshots" / ("0123456789ab" + 28 * "c")
    cached.mkdir(parents=True)
    for name in ("metadata.json", "condensed.safetensors", "other.txt"):
        (cached / name).write_text(name)
    run = keep(cached)
    assert run == tmp_path / KEPT / "alice--pets" / "0123456789ab"
    assert {path.name for path in (run / "condensed").iterdir()} == {"metadata.json", "condensed.safetensors"}
    (run / "condensed" / "metadata.json").write_text("mine")
    assert keep(cached) == run
    assert (run / "condensed" / "metadata.json").read_text() == "mine"


def test_another_folder_is_used_where_it_is(tmp_path: Path) -> None:
    assert keep(tmp_path / "runs" / "made") == tmp_path / "runs" / "made"
