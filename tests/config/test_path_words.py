"""Words that name files or folders: what a user types is what Hydra's configuration holds."""

from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st

from gmlight.config.overrides import parse_override, quote_if_needed, quoted, unquoted
from gmlight.config.path_words import find_run, path_of, prepare_paths
from gmlight.errors import ConfigError
from helpers.runs import composed

ODD_NAMES = [
    "my photos", "a=b", "a,b", "(1)", "#x", "it's", 'say "x"', "{a}", "[b]", "$HOME", "a\\b", "犬", "1e3",
    "true", "a: b", "~x", "-x", "x;y", "%", "@", "!", "glob(*)", "choice(a,b)",
]  # fmt: skip


@pytest.mark.parametrize("name", ODD_NAMES)
def test_an_existing_folder_is_taken_as_typed(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / name
    folder.mkdir()
    for typed in (str(folder), name):
        (word,) = prepare_paths([f"dataset.root={typed}"])
        assert path_of(word) == folder
        config = composed("dataset=image_folder", word)
        assert config.dataset.root == str(folder)


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1, max_size=12))
@settings(max_examples=300, deadline=None)
def test_quoted_text_comes_out_of_hydras_grammar_as_it_went_in(text: str) -> None:
    if "\n" in text or "\r" in text:  # a word of a command line that Hydra's grammar has no form for
        return
    assert unquoted(quoted(text)) == text
    if "${" not in text:
        assert OverridesParser.create().parse_override(f"a={quote_if_needed(text)}").value() == text


def test_home_is_expanded_and_stored_paths_are_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert prepare_paths(["data_dir=~/data", "dataset.root=photos", "initialization.path=sets/a"]) == [
        f"data_dir={tmp_path}/data",
        f"dataset.root={tmp_path}/work/photos",
        f"initialization.path={tmp_path}/work/sets/a",
    ]
    assert prepare_paths(["hydra.run.dir=~/x"]) == [f"hydra.run.dir={tmp_path}/x"]
    others = ["ipc=1", "architecture.width=8", "dataset.name=~x", "resume=null", "data_dir="]
    assert prepare_paths(others) == others


@pytest.mark.parametrize(
    ("typed", "names"),
    [
        ("[1.10,1.2]", ["1.10", "1.2"]), ("[1_0, 1e1]", ["1_0", "1e1"]), ("[True,null]", ["True", "null"]),
        ("['a, b',d e]", ["a, b", "d e"]), ('["7",07]', ["7", "07"]), ("['it\\'s',b]", ["it's", "b"]),
    ],
)  # fmt: skip
def test_names_of_classes_are_taken_as_they_are_typed(typed: str, names: list[str]) -> None:
    """Hydra would read numbers, of which several may have one value."""
    (word,) = prepare_paths([f"dataset.classes={typed}"])
    config = composed("dataset=image_folder", word)
    assert list(config.dataset.classes) == names


def test_choices_of_classes_can_be_swept() -> None:
    (word,) = prepare_paths(["dataset.classes=[a,1.0],[b,c]"])
    assert word == "dataset.classes=['a','1.0'],['b','c']"
    assert prepare_paths(["dataset.classes=null"]) == ["dataset.classes=null"]
    unfinished = "dataset.classes=[" + "a" * 5000  # Hydra explains it
    assert prepare_paths([unfinished]) == [unfinished]


def test_quoted_words_and_sweeps_keep_their_meaning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (quoted_word,) = prepare_paths(["dataset.root='a, b'"])
    assert path_of(quoted_word) == tmp_path / "a, b"
    (swept,) = prepare_paths(["-m", "dataset.root=a,'b c'"])[1:]
    parsed = parse_override(swept)
    assert parsed is not None
    assert list(parsed.sweep_iterator()) == [str(tmp_path / "a"), str(tmp_path / "b c")]
    (flag, other) = prepare_paths(["--multirun", "dataset.root=a,'b c'"])
    assert (flag, other) == ("--multirun", swept)
    assert path_of(prepare_paths(["dataset.root=a,b"])[0]) == tmp_path / "a,b"  # one run: one folder
    (tmp_path / "a,b").mkdir()  # an existing folder is that folder, also in a sweep
    assert path_of(prepare_paths(["-m", "dataset.root=a,b"])[1]) == tmp_path / "a,b"


def make_run(folder: Path, *, finished: bool) -> Path:
    (folder / "condensed").mkdir(parents=True)
    (folder / "checkpoints").mkdir()
    (folder / "config.yaml").touch()
    (folder / "checkpoints" / "last.ckpt").touch()
    if finished:
        (folder / "result.json").touch()
    return folder


def test_a_file_inside_a_run_names_the_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "run", finished=True)
    for inside in ("", "config.yaml", "condensed", "checkpoints/last.ckpt"):
        assert find_run(run / inside) == run
    (tmp_path / "other" / "condensed").mkdir(parents=True)
    assert find_run(tmp_path / "other" / "condensed") == tmp_path / "other" / "condensed"  # a set alone


def test_latest_is_the_newest_run_or_the_newest_finished_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        ConfigError, match="run=latest: there is no finished run with a condensed set in runs/"
    ):
        prepare_paths(["run=latest"])
    import os

    older = make_run(tmp_path / "runs" / "z", finished=True)
    done = make_run(tmp_path / "runs" / "a", finished=True)
    going = make_run(tmp_path / "runs" / "b", finished=False)
    files = [path / name for path in (older, done) for name in ("config.yaml", "result.json")]
    for second, path in enumerate((*files, going / "config.yaml")):
        os.utime(path, (second, second))
    assert path_of(prepare_paths(["run=latest"])[0]) == done
    assert path_of(prepare_paths(["resume=latest"])[0]).absolute() == going
    make_run(going / "condensed" / "order0-step1", finished=False)  # a step of continual learning
    assert path_of(prepare_paths(["resume=latest"])[0]).absolute() == going


def test_a_path_that_hydra_would_resolve_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"may not contain \$\{"):
        prepare_paths([f"hydra.run.dir='{tmp_path}/\\${{oc.env:HOME}}'"])
