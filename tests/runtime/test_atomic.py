"""Files that are complete or absent."""

import os
from pathlib import Path

import pytest

from gmlight.runtime.atomic import atomic_write, partial_path


def test_file_is_on_the_disk_before_it_gets_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, calls = tmp_path / "file", []
    fsync = os.fsync

    def noting(descriptor: int) -> None:
        calls.append((Path(os.readlink(f"/proc/self/fd/{descriptor}")), path.exists()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", noting)
    with atomic_write(path) as partial:
        partial.write_text("content")
    assert calls == [(partial_path(path), False), (tmp_path, True)]
    assert path.read_text() == "content"


def test_a_file_that_must_be_new_replaces_none(tmp_path: Path) -> None:
    path = tmp_path / "file"
    with atomic_write(path, new=True) as partial:
        partial.write_text("first")
    with pytest.raises(FileExistsError), atomic_write(path, new=True) as partial:
        partial.write_text("second")
    assert path.read_text() == "first"
    with atomic_write(path) as partial:
        partial.write_text("third")
    assert path.read_text() == "third"
    assert [*tmp_path.iterdir()] == [path]


def write_half(path: Path, *, new: bool) -> None:
    with atomic_write(path, new=new) as partial:
        partial.write_text("half")
        raise OSError("full")


@pytest.mark.parametrize("new", [False, True])
def test_error_leaves_the_file_and_no_other(tmp_path: Path, new: bool) -> None:
    path = tmp_path / "file"
    path.write_text("before")
    with pytest.raises(OSError, match="full"):
        write_half(path, new=new)
    assert [*tmp_path.iterdir()] == [path]
    assert path.read_text() == "before"
