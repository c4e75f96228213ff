"""Loggers: the metrics of a run, read back from each logger's files."""

import csv
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import wandb
import yaml

from gmlight.architectures.convnet import ConvNet
from gmlight.artifacts.results import Accuracy, Evaluation
from gmlight.callbacks.evaluation import metrics_of_all
from gmlight.errors import ConfigError
from gmlight.matching.class_gradients import matched_weights
from gmlight.reporting import loggers
from gmlight.runtime.paths import CONF_DIR
from helpers import wandb_file
from helpers.runs import composed

OFTEN = ("log_every=1", "evaluation.every=1", "evaluation.quick_networks=1")
SWEEP = Path(__file__).parents[2] / "docs" / "wandb-sweep.yaml"


def the_run(folder: Path) -> wandb_file.Recorded:
    wandb.teardown()  # completes the file, as at the end of the process
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    return wandb_file.read(path)


@pytest.mark.parametrize("rule", ["multilevel", "intra", "interleaved"])
def test_wandb_run_contains_the_metrics_of_the_paper(run: Callable[..., Path], rule: str) -> None:
    folder = run("logger=[csv,wandb]", f"matching={rule}", *OFTEN)
    found, updates = the_run(folder), 4
    layers = ["conv0", "conv1", "linear"]
    kinds = ("gradient_norm/real", "gradient_norm/synthetic", "gradient_angle")
    measured = {f"{kind}/{layer}" for kind in kinds for layer in (*layers, "overall")}
    measured |= {f"matching_loss/layer/{layer}" for layer in layers}
    measured |= {"matching_loss/total", "loss/synthetic", "loss/real", "zeta", "iteration"}
    measured |= {f"images/{what}" for what in ("mean", "std", "min", "max")}
    measured |= {"speed/iterations_per_second", "memory/peak_gib"}
    for key in measured - {"iteration"}:
        assert len(found.values(key)) == updates, key
    terms = {"multilevel": ["intra", "inter"], "intra": ["intra"], "interleaved": ["intra", "inter"]}[rule]
    for line in found.history:
        if "matching_loss/total" in line:
            total = pytest.approx(line["matching_loss/total"], rel=1e-5)
            assert sum(line[f"matching_loss/layer/{layer}"] for layer in layers) == total
            assert sum(line.get(f"matching_loss/{term}", 0) for term in terms) == total
            assert 0 <= line["gradient_angle/overall"] <= 180
            squares = [line[f"gradient_norm/real/{layer}"] ** 2 for layer in layers]
            # A mean over classes: bounded by the triangle inequality, and at least the largest.
            assert max(squares) <= line["gradient_norm/real/overall"] ** 2 <= 1.001 * sum(squares) * 10
    assert found.values("iteration") == [1, 1, 1, 2, 2, 2]  # two updates and one evaluation each
    assert len(found.values("samples/filenames")) == 2
    with (folder / "metrics.csv").open(newline="") as file:
        header = next(csv.reader(file))
    assert measured <= set(header)


def test_logged_layers_are_the_matched_layers() -> None:
    network = ConvNet(
        channels=1,
        size=(8, 8),
        classes=10,
        width=8,
        depth=2,
        activation="relu",
        norm="instance",
        pooling="avg",
    )
    assert matched_weights(network) == ["conv0.weight", "conv1.weight", "linear.weight"]


def test_wandb_name_group_tags_and_config_are_the_choices(run: Callable[..., Path]) -> None:
    folders = [run("logger=wandb", "method=m", "distance=euclid", f"seed={seed}") for seed in (0, 1)]
    first, second = map(the_run, folders)
    assert (first.group, second.group) == ("digits, ipc 2, m with distance=euclid, smoke",) * 2
    assert (first.project, second.project) == ("gmlight", "gmlight")
    assert (first.name, second.name) == (f"{first.group}, seed 0", f"{first.group}, seed 1")
    assert {"digits", "ipc 2", "m with distance=euclid", "distance=euclid", "convnet, width=8"} <= set(
        first.tags
    )
    assert all(len(tag) <= 64 for tag in first.tags)
    assert first.config["distance"]["weight"] == 1.0
    assert (first.exit_code, second.exit_code) == (0, 0)
    result = json.loads((folders[0] / "result.json").read_text())
    own, *others = result["evaluations"]
    assert first.values("accuracy/mean")[-1] == pytest.approx(own["accuracy"]["mean"])
    named = {row["name"].split()[0]: row["accuracy"] for row in others}
    for name, accuracy in named.items():
        assert first.values(f"accuracy/{name}/mean") == [pytest.approx(accuracy["mean"])]
    (artifact,) = first.artifacts
    assert artifact.type == "condensed-set"
    assert json.loads(artifact.metadata)["accuracy"]["n"] == own["accuracy"]["n"]
    assert json.loads(artifact.metadata)["command"] == result["command"]
    files = {entry.path for entry in artifact.manifest.contents}
    assert files == {"condensed.safetensors", "grid.png", "metadata.json"}


def test_failed_wandb_run_is_closed(run: Callable[..., Path], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="not finite"):
        run("logger=wandb", "image_lr=1e30")
    assert the_run(tmp_path / "run0").exit_code == 1
    after = run("logger=wandb")  # the next run is a new one
    assert the_run(after).exit_code == 0
    assert len(list(tmp_path.glob("run*/wandb/offline-run-*"))) == 2


def test_output_shows_how_to_sync_an_offline_run(
    run: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = run("logger=wandb")
    printed = capfd.readouterr()
    (offline,) = folder.glob("wandb/offline-run-*")
    assert [line for line in printed.out.splitlines() if "wandb" in line] == [
        f"wandb    wandb sync {offline}"
    ]
    assert "wandb" not in printed.err


def test_malformed_wandb_key_is_refused(run: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "short")
    with pytest.raises(ConfigError, match="WANDB_API_KEY"):
        run("logger=wandb")


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({"WANDB_API_KEY": "a" * 40}, "deadline exceeded"),
        ({"WANDB_API_KEY": "a" * 40, "WANDB_MODE": "online"}, "deadline exceeded"),
        ({"WANDB_MODE": "online"}, "No API key configured"),
    ],
    ids=["key", "key and online", "online"],
)
def test_run_without_a_network_is_recorded_offline(
    run: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    variables: dict[str, str],
    reason: str,
) -> None:
    monkeypatch.setattr(loggers, "ONLINE_SECONDS", 0.5)
    for name, value in variables.items() | {("WANDB_BASE_URL", "http://127.0.0.1:9")}:
        monkeypatch.setenv(name, value)
    wandb.teardown()  # forgets the settings of the test before
    folder = run("logger=wandb", "iterations=1", "diagnose_every=0")
    printed = capfd.readouterr()
    (line,) = [line for line in printed.out.splitlines() if "recorded offline" in line]
    assert line.startswith("logger=wandb: no connection (")
    assert reason in line
    (offline,) = folder.glob("wandb/offline-run-*")
    assert f"wandb sync {offline}" in printed.out
    assert printed.err == ""
    assert the_run(folder).values("accuracy/mean")
    # A resumed run keeps the id.
    identities = {path.name.rsplit("-", 1)[1] for path in folder.glob("wandb/*run-*")}
    assert len(identities) == 1


def test_tensorboard_contains_the_same_metrics(run: Callable[..., Path]) -> None:
    events = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    folder = run("logger=[csv,tensorboard]", *OFTEN)
    found = events.EventAccumulator(str(folder / "tensorboard"))
    found.Reload()
    with (folder / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for name in ("matching_loss/total", "gradient_angle/overall", "accuracy/mean"):
        expected = [(int(row["step"]), float(row[name])) for row in rows if row[name]]
        seen = [(event.step, event.value) for event in found.Scalars(name)]
        assert len(seen) >= 2
        assert seen == [(step, pytest.approx(value, rel=1e-6)) for step, value in expected]
    assert [event.step for event in found.Images("samples")] == [2, 4]


def test_without_a_logger_there_are_no_metrics(run: Callable[..., Path]) -> None:
    folder = run("logger=none")
    assert not (folder / "metrics.csv").exists()
    assert (folder / "result.json").exists()


def test_diagnose_every(run: Callable[..., Path]) -> None:
    folder = run("log_every=1", "diagnose_every=2")
    with (folder / "metrics.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["matching_loss/total"]]
    assert [bool(row["gradient_angle/overall"]) for row in rows] == [False, True, False, True]
    with pytest.raises(ConfigError, match="diagnose_every=3: must be 0 or a multiple of log_every=2"):
        run("log_every=2", "diagnose_every=3")


def test_line_averages_the_updates_since_the_last_line(run: Callable[..., Path]) -> None:
    def lines(*words: str) -> list[dict[str, str]]:
        with (run(*words) / "metrics.csv").open(newline="") as file:
            return [row for row in csv.DictReader(file) if row["matching_loss/total"]]

    each, both = lines("log_every=1"), lines("log_every=2")
    assert [line["t"] for line in each] == ["0", "1", "0", "1"]
    assert [line["t"] for line in both] == ["1", "1"]
    for name in ("matching_loss/total", "matching_loss/intra", "zeta"):
        values = [float(line[name]) for line in each]
        means = [(values[0] + values[1]) / 2, (values[2] + values[3]) / 2]
        assert [float(line[name]) for line in both] == pytest.approx(means, rel=1e-6)
    assert float(both[0]["zeta"]) > 0
    assert both[0]["gradient_angle/overall"] == each[1]["gradient_angle/overall"]


def test_diagnostics_change_no_bit_of_the_set(run: Callable[..., Path]) -> None:
    sets = [run(f"diagnose_every={n}", "log_every=1") / "condensed" for n in (0, 1)]
    hashes = {json.loads((folder / "metadata.json").read_text())["sha256"] for folder in sets}
    assert len(hashes) == 1


def test_accuracy_names_contain_set_and_architecture() -> None:
    rows = [
        Evaluation(name, 10, 2560, architecture, Accuracy([float(number)], epochs=1, protocol="plain"))
        for number, (name, architecture) in enumerate(
            [
                ("condensed", "convnet"),
                ("condensed", "mlp"),
                ("random images", "convnet"),
                ("random images", "mlp"),
            ]
        )
    ]
    means = {name: value for name, value in metrics_of_all(rows).items() if name.endswith("mean")}
    assert means == {
        "accuracy/mean": 0.0,
        "accuracy/mlp/mean": 1.0,
        "accuracy/random/mean": 2.0,
        "accuracy/random/mlp/mean": 3.0,
    }


def test_wandb_sweep_uses_existing_choices() -> None:
    sweep = yaml.safe_load(SWEEP.read_text())
    assert sweep["command"][:4] == ["${env}", "python", "-m", "gmlight.train"]
    assert sweep["command"][-1] == "${args_no_hyphens}"
    fixed = sweep["command"][4:-1]
    for key, options in sweep["parameters"].items():
        for value in options["values"]:
            config = composed(*fixed, f"{key}={value}")
            assert (CONF_DIR / key).is_dir() or config[key] == value
    assert sweep["metric"] == {"name": "accuracy/mean", "goal": "maximize"}
