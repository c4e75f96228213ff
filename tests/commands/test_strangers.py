"""Sets and run folders from strangers: no code of theirs runs, no secret is read, and one line says why."""

import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gmlight import CondensedDataset
from gmlight.config.resume import read_run
from helpers.runs import Run, refusal
from helpers.strangers import change_metadata, set_value

FINISHED = Path(__file__).parents[1] / "config" / "before_packages" / "finished"
COMMANDS = [
    ["evaluate", "evaluation.networks=1"],
    ["analyze", "evaluation.networks=1", "points=2"],
    ["export", "format=png", "compare=1"],
]
SAME = ["trainer=cpu", "download=false"]
SECRET = "a secret of this machine"


class Touch:
    """An object whose pickle makes a file when it is loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable, tuple]:
        return open, (str(self.path), "w")


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    """Folder of a run whose files would leave a file `ran` behind if any of them were followed."""
    folder = Path(shutil.copytree(FINISHED, tmp_path / "stranger"))
    (folder / "hubconf.py").write_text(
        f"open({str(tmp_path / 'ran')!r}, 'w')\ndef m(*args, **_): return None\n"
    )
    (folder / "payload.pkl").write_bytes(pickle.dumps(Touch(tmp_path / "ran")))
    (folder / "evil.yaml").write_text("_target_: joblib.load\nfilename: payload.pkl\n")
    return folder


@pytest.fixture
def inert(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Sets a secret, and returns a check that nothing ran and that the secret is in no output or file."""
    monkeypatch.setenv("SECRET_TOKEN", SECRET)

    def check(output: str) -> None:
        assert not (tmp_path / "ran").exists()
        assert SECRET not in output
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes(), path

    return check


def hub(folder: Path) -> dict[str, Any]:
    return {"_target_": "torch.hub.load", "repo_or_dir": str(folder), "model": "m", "source": "local"}


def pickled(folder: Path) -> dict[str, Any]:
    return {"_target_": "joblib.load", "filename": str(folder / "payload.pkl")}


# All commands read the stored configuration in one place: the others try everything in the slow tests.
@pytest.mark.parametrize(
    "words",
    [COMMANDS[0], *(pytest.param(each, marks=pytest.mark.slow) for each in COMMANDS[1:])],
    ids=lambda words: words[0],
)
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("dataset.find_classes", hub, "dataset.find_classes"),
        ("augmentation", hub, "augmentation._target_=torch.hub.load"),
        ("architecture", pickled, "architecture._target_=joblib.load"),
        ("dataset.load", pickled, "dataset.load._target_=joblib.load"),
        ("trainer", pickled, "trainer._target_=joblib.load"),
        ("callbacks", lambda folder: {"x": pickled(folder)}, "callbacks.x"),
        ("dataset.load.dataset", {"_target_": "hydra.utils.get_method", "path": "os.system"}, "load.dataset"),
        ("architecture.width", {"_target_": "builtins.eval", "_args_": ["1"]}, "architecture.width"),
        ("architecture._args_", ["1"], "architecture._args_"),
        ("cells", lambda folder: [{"set": {"architecture": pickled(folder)}}], "cells.set.architecture"),
        ("hydra", {"callbacks": {"x": {"_target_": "joblib.load"}}}, "hydra: conf/ has no such key"),
        ("hydra", {"run": {"dir": "elsewhere"}, "job": {"chdir": True}}, "hydra: conf/ has no such key"),
        ("hydra.job_logging", {"version": 1, "handlers": {"x": {"()": "joblib.load"}}}, "hydra: conf/"),
        ("defaults", [{"override hydra/launcher": "joblib"}], "defaults: conf/ has no such key"),
        ("evaluation.architectures", ["../stranger/evil"], "evaluation.architectures: ../stranger/evil"),
        ("evaluation.lr", "${oc.env:SECRET_TOKEN}", "evaluation.lr=${oc.env:SECRET_TOKEN}"),
        ("evaluation.lr", "${x", "evaluation.lr=${x"),
        ("seed", "???", "seed=???"),
        ("dataset", "digits", "dataset: must be a group of keys"),
        ("dataset.size", [20000, 20000], "dataset.channels and dataset.size"),
        ("dataset.load.names", list("9876543210"), "dataset.load.names are not those of digits"),
        ("dataset.load.names", ["0"] * 10, "dataset.load.names are not those of digits"),
        ("dataset.load.names", "0123456789", "dataset.load.names are not those of digits"),
    ],
)  # fmt: skip
def test_foreign_configurations_are_refused(
    typed: Run, stranger: Path, inert: Callable, words: list[str], key: str, value: Any, message: str
) -> None:
    set_value(stranger / "condensed", f"config.{key}", value(stranger) if callable(value) else value)
    refused_by(words, message, typed, stranger, inert)


@pytest.mark.parametrize("words", COMMANDS[1:], ids=lambda words: words[0])
@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("architecture", pickled, "architecture._target_=joblib.load"),
        ("hydra", {"callbacks": {"x": {"_target_": "joblib.load"}}}, "hydra: conf/ has no such key"),
        ("evaluation.lr", "${oc.env:SECRET_TOKEN}", "evaluation.lr=${oc.env:SECRET_TOKEN}"),
    ],
)
def test_foreign_configurations_are_refused_by_every_command(
    typed: Run, stranger: Path, inert: Callable, words: list[str], key: str, value: Any, message: str
) -> None:
    set_value(stranger / "condensed", f"config.{key}", value(stranger) if callable(value) else value)
    refused_by(words, message, typed, stranger, inert)


def refused_by(words: list[str], message: str, typed: Run, stranger: Path, inert: Callable) -> None:
    command, *options = words
    line = refusal(typed(command, f"run={stranger}", *SAME, *options))
    assert message in line
    inert(line)
    assert not (stranger / "evaluations").exists()


def test_text_of_a_stored_configuration_is_literal(typed: Run, stranger: Path, inert: Callable) -> None:
    set_value(stranger / "condensed", "config.dataset.name", "${oc.env:SECRET_TOKEN}")
    done = typed("evaluate", f"run={stranger}", *SAME, "evaluation.networks=1")
    assert done.returncode == 0, done.stderr
    (result,) = stranger.glob("evaluations/*/result.json")
    assert json.loads(result.read_text())["config"]["dataset"]["name"] == "${oc.env:SECRET_TOKEN}"
    assert "${oc.env:SECRET_TOKEN}" in done.stdout
    inert(done.stdout)


@pytest.mark.parametrize("form", ["npz", "pt", "png", "parquet"])
@pytest.mark.parametrize("config", [None, "text", {"architecture": {"_target_": "joblib.load"}}], ids=str)
def test_export_never_looks_at_the_configuration(
    typed: Run, stranger: Path, inert: Callable, tmp_path: Path, form: str, config: Any
) -> None:
    if form == "parquet":
        pytest.importorskip("pyarrow")
    if config == "text":
        set_value(stranger / "condensed", "config", {"dataset": "text"})
    elif config is None:
        change_metadata(stranger / "condensed", lambda metadata: metadata.pop("config"))
    else:
        set_value(stranger / "condensed", "config", config)
    done = typed("export", f"run={stranger}", f"format={form}", "to=out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out" / "export.json").is_file()
    inert(done.stdout)


@pytest.mark.parametrize(
    "word",
    [
        "+hydra.callbacks.x._target_=joblib.load",
        "+hydra.callbacks.x={_target_:joblib.load,filename:payload.pkl}",
        "hydra.job_logging={version:1,handlers:{x:{'()':joblib.load}}}",
        "hydra.run.dir=elsewhere/x",
        "hydra/launcher=joblib",
        "hydra.searchpath=[file://stranger]",
        "--config-dir=stranger",
        "--config-path=stranger",
        "-m",
        "+callbacks.x._target_=joblib.load",
        "+callbacks.x={_target_:torch.hub.load,repo_or_dir:stranger,model:m,source:local}",
        "architecture._target_=joblib.load",
        "+architecture@callbacks.x=convnet",
        "architecture=../../stranger/evil",
        "dataset.name=${oc.env:SECRET_TOKEN}",
        "'dataset.classes=[\"${oc.env:SECRET_TOKEN}\"]'",
        "+anything=1",
        "seed=???",
        "trust=joblib",
        "'cells=[{when:{},set:{architecture:{_target_:joblib.load}}}]'",
    ],
)
def test_stored_words_that_a_file_may_not_add(
    typed: Run, stranger: Path, inert: Callable, tmp_path: Path, word: str
) -> None:
    config = stranger / "config.yaml"
    line, rest = config.read_text().split("\n", 1)
    config.write_text(f"{line} {word}\n{rest}")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    if word.startswith(
        ("hydra.run.dir", "trust")
    ):  # dropped: it is the folder that counts, and the user's words
        from gmlight.artifacts.run_folder import RunFolder

        assert word not in read_run(RunFolder(stranger))[0]
        return
    refused = refusal(typed("train", f"resume={stranger}", *SAME))
    assert "if it is yours" in refused or "do not use this file" in refused or "conf/ has no" in refused
    inert(refused)
    assert before == {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "content",
    ["", "[]", "a", "command: 5\n", "command: [5]\n", "x: &a [1]\ny: *a\n", "{", "\0", "a: " + "[" * 5000],
    ids=range(9),
)
def test_files_that_are_no_configuration(typed: Run, stranger: Path, content: str) -> None:
    (stranger / "config.yaml").write_text(content)
    assert "config.yaml: " in refusal(typed("train", f"resume={stranger}"))


@pytest.mark.parametrize(("command", "name"), [("evaluate", "evaluations"), ("analyze", "analyses")])
def test_results_are_not_written_through_a_link(
    typed: Run, stranger: Path, tmp_path: Path, command: str, name: str
) -> None:
    (tmp_path / "mine").mkdir()
    (stranger / name).symlink_to(tmp_path / "mine")
    assert "is a link" in refusal(typed(command, f"run={stranger}", "evaluation.networks=1", *SAME))
    assert not list((tmp_path / "mine").iterdir())


OWN = """
from gmlight.architectures.convnet import ConvNet


class Own(ConvNet):
    pass
"""


def test_own_code_is_used_again_when_it_is_named_again(
    typed: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run with code of one's own is resumed and evaluated with trust=, or with the same --config-dir."""
    (tmp_path / "own_network.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    option = tmp_path / "my" / "architecture" / "own.yaml"
    option.parent.mkdir(parents=True)
    option.write_text("_target_: own_network.Own\n_partial_: true\nwidth: 4\ndepth: 2\n"
                      "activation: relu\nnorm: none\npooling: avg\n")  # fmt: skip
    mine = ["--config-dir", str(tmp_path / "my")]
    small = [
        "scale=smoke",
        "iterations=1",
        "evaluation.networks=1",
        "evaluation.baselines={random:0,whole:0}",
    ]
    made = typed(
        "train", *mine, "architecture=own", "ipc=1", "evaluation.every=0", *small, *SAME, "hydra.run.dir=made"
    )
    assert made.returncode == 0, made.stderr
    again = ["resume=made", "iterations=2"]
    assert "--config-dir" in refusal(typed("train", *again))
    resumed = typed("train", *again, *mine)
    assert resumed.returncode == 0, resumed.stderr
    assert "add trust=own_network" in refusal(typed("evaluate", "run=made", *SAME))
    for words in (["trust=other,own_network"], mine):
        done = typed("evaluate", "run=made", *SAME, *words)
        assert done.returncode == 0, done.stderr
    assert len(CondensedDataset(tmp_path / "made")) == 10
