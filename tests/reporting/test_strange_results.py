"""A broken or hostile result.json is named, never costs the others, and does nothing where it is shown."""

import csv
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gmlight.artifacts.result_file import read_result_file
from gmlight.commands import report
from gmlight.errors import ConfigError
from helpers.results import GOOD, changed

HOSTILE = "=1\x1b[2J\n|<b>`"


def write(folder: Path, content: object) -> Path:
    """Writes a run folder with this result: text as it is, anything else as JSON."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").touch()
    (folder / "result.json").write_text(content if isinstance(content, str) else json.dumps(content))
    return folder / "result.json"


def reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> dict[str, str]:
    """Reports all runs in every way, and returns the texts by kind."""
    monkeypatch.chdir(tmp_path)
    report.report({"runs": "runs", "html": "r.html", "markdown": "r.md", "csv": "r.csv", "plots": "plots"})
    texts = {kind: (tmp_path / f"r.{kind}").read_text() for kind in ("html", "md", "csv")}
    return {"terminal": capsys.readouterr().out, **texts}


@pytest.mark.parametrize(
    "value", [None, 5, "text", [], ["x"], {}, {"a": 1}, 10**30, float("inf"), True], ids=repr
)
@pytest.mark.parametrize(
    "key",
    ["config", "config.dataset", "config.dataset.name", "config.ipc", "config.seed", "method", "scale",
     "command", "architecture", "departures", "choices", "evaluations", "evaluations.0",
     "evaluations.0.accuracy", "evaluations.0.accuracy.values", "evaluations.0.storage_bytes", "seconds",
     "zeta_used", "changed", "set"],
)  # fmt: skip
def test_wrong_type_is_read_or_refused_in_one_line(tmp_path: Path, key: str, value: Any) -> None:
    try:
        result = read_result_file(write(tmp_path / "run", changed((key, value))))
    except ConfigError as error:
        lines = str(error).splitlines()
    else:
        lines = [f"n = {result['evaluations'][0]['accuracy']['n']}"]
    assert len(lines) == 1
    assert lines[0] == "n = 2" or key.split(".")[0] in lines[0]


ACCURACY = "evaluations.0.accuracy"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (f"{ACCURACY}.values", [1.7e308, 1.7e308]), (f"{ACCURACY}.values", [-0.5, 50.0]),
        (f"{ACCURACY}.values", [100.5]), (f"{ACCURACY}.mean", 91.5), (f"{ACCURACY}.mean", 1e300),
        (f"{ACCURACY}.std", 0.0), (f"{ACCURACY}.n", 1000), (f"{ACCURACY}.epochs", -1),
        ("evaluations.0.storage_bytes", -(2**62)), ("evaluations.0.images", -1),
        ("seconds", {"condensing": 1e300}), ("seconds", {"condensing": -1.0}),
        ("data", 5), ("data", {"test": None}), ("data", {"train": {"sha256": "a"}, "test": {"sha256": 5}}),
    ],
)  # fmt: skip
def test_impossible_and_contradictory_values_are_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(ConfigError) as error:
        read_result_file(write(tmp_path / "run", changed((key, value))))
    assert str(error.value).startswith(key.split(".")[0])


def test_the_accuracies_that_are_given_may_be_those_of_the_values(tmp_path: Path) -> None:
    """Of 90 and 92: mean 91, population std 1."""
    given = [(f"{ACCURACY}.{key}", value) for key, value in (("mean", 91.0), ("std", 1.0), ("n", 2))]
    digests = {split: {"sha256": "a", "counts": [1]} for split in ("train", "test")}
    result = read_result_file(write(tmp_path / "run", changed(*given, ("data", digests))))
    accuracy = result["evaluations"][0]["accuracy"]
    assert (accuracy["mean"], accuracy["std"], accuracy["n"]) == (91.0, 1.0, 2)
    read_result_file(write(tmp_path / "other", changed(("data", None), (f"{ACCURACY}.values", [0, 100]))))


BROKEN = ["", "{", "[]", '"text"', "5", "NaN", "9" * 5000, "[" * 100000, '{"evaluations": []}', "\0"]
SPECIAL: dict[str, Callable[[Path], object]] = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "endless": lambda path: path.symlink_to("/dev/zero"),
    "huge": lambda path: (path.touch(), os.truncate(path, 2**40)),
    "bytes": lambda path: path.write_bytes(b"\xff\xfe{}"),
}


def test_broken_results_are_named_and_the_others_are_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path / "runs" / "good", GOOD)
    broken = [write(tmp_path / "runs" / f"broken{i}", content) for i, content in enumerate(BROKEN)]
    broken += [
        write(tmp_path / "runs" / f"typed{i}", changed((key, value)))
        for i, (key, value) in enumerate(
            [("command", "an 'open quote"), ("config.seed", [0]), ("evaluations.0.accuracy.values", ["x"]),
             ("config.ipc", "1"), ("seconds", {"condensing": "long"}), ("zeta_used", [["x"]]),
             ("zeta_used", [[], [5]]), ("environment", []), ("environment", {"device": 3})]
        )
    ]  # fmt: skip
    for i, schedule in enumerate([{"unit": {"a": 1}}, {"unit": "years"}, {}, "until_overfit"]):
        strange = changed(("choices.schedule", "until_overfit"), ("config.schedule", schedule))
        broken.append(write(tmp_path / "runs" / f"scheduled{i}", strange))
    for name, make in SPECIAL.items():
        broken.append(write(tmp_path / "runs" / name, GOOD))
        broken[-1].unlink()
        make(broken[-1])
    texts = reported(tmp_path, monkeypatch, capsys)
    for kind in ("terminal", "html", "md"):
        assert "91.00" in texts[kind], kind
        for path in broken:
            assert str(path.relative_to(tmp_path)) in texts[kind], (kind, path)
    assert len(texts["csv"].splitlines()) >= 2


def test_hostile_text_is_inert_in_every_output(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    """Formulas, cells, HTML, code fences and control characters of a result are shown as text."""
    write(tmp_path / "runs" / "good", GOOD)
    for i, key in enumerate(("config.dataset.name", "method", "scale", "architecture", "command",
                             "evaluations.0.architecture", "evaluations.0.accuracy.protocol")):  # fmt: skip
        text = "../../x" + HOSTILE if key == "config.dataset.name" else HOSTILE
        write(tmp_path / "runs" / f"hostile{i}", changed((key, text)))
    write(tmp_path / "runs" / "fenced", changed(("command", "```\n# a heading")))
    texts = reported(tmp_path, monkeypatch, capsys)
    for kind, text in texts.items():
        assert "\x1b" not in text, kind
        assert "91.00" in text or "91.0" in text, kind
    assert "<b>" not in texts["html"]
    assert "\n# a heading" not in texts["md"]
    tables = [line for line in texts["md"].splitlines() if line.startswith("| ")]
    assert tables
    assert {line.replace(r"\|", "").count("|") for line in tables} == {11}  # ten cells, whatever is in them
    assert not any("<b>" in line.replace(r"\<b\>", "") for line in tables)
    cells = [cell for row in csv.reader(io.StringIO(texts["csv"])) for cell in row]
    assert any(cell.startswith("'=1") for cell in cells)
    assert not any(cell.startswith(("=", "+", "@")) for cell in cells)
    assert "91.0" in cells
    assert not (tmp_path.parent / "x").exists()
